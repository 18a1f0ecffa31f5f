"""Measures of networks on labelled photos: logits and labels in, numbers with intervals out."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.stats import norm
from torch import Tensor
from torchmetrics.functional import classification

from catdog.model.metrics import cross_entropy, mean_logits
from catdog.names import percent
from catdog.statistics import mean_accuracy, wilson_interval

BINS = 15  # of equal width, of the probability of class 1
NUMBERS = {
    "accuracy": "accuracy",
    "roc_auc": "area under the ROC curve",
    "average_precision": "average precision",
    "brier": "Brier score",
    "bce": "binary cross-entropy",
    "calibration_error": "expected calibration error",
}  # scalar measures of a net, with titles


def measure_all(logits: Tensor, labels: Tensor, seeds: Sequence[int]) -> dict[str, Any]:
    """Measure networks on the same photos: each of them, their mean and standard deviation, and their ensemble.

    The mean's intervals cover the sampling of photos and, of several nets, that of initial weights. The ensemble
    predicts by the mean probability. A single net is its own mean, without sd or ensemble. All are JSON values. Logits
    of class 1 are float64 (nets, photos), one photo or more; labels 0 or 1, (photos,).
    """
    nets = [{"seed": seed, **measure(net_logits, labels)} for seed, net_logits in zip(seeds, logits, strict=True)]
    if len(nets) == 1:
        return {"nets": nets, "mean": nets[0], "sd": None, "ensemble": None}
    undefined: dict[str, Any] = dict.fromkeys(NUMBERS)
    defined = {name: [net[name] for net in nets] for name in NUMBERS if nets[0][name] is not None}
    mean = undefined | {name: fmean(values) for name, values in defined.items()}
    sd = undefined | {name: stdev(values) for name, values in defined.items()}
    correct, ones = ((logits > 0) == (labels > 0.5)).double().numpy(), int(labels.sum())
    mean["accuracy_interval"] = mean_accuracy(correct)[1]
    if "roc_auc" in defined:
        between = sd["roc_auc"] ** 2 / len(nets)
        mean["roc_auc_interval"] = auc_interval(mean["roc_auc"], len(labels) - ones, ones, between)
    return {"nets": nets, "mean": mean, "sd": sd, "ensemble": measure(mean_logits(logits, dim=0), labels)}


def measure(logits: Tensor, labels: Tensor) -> dict[str, Any]:
    """Measure one net, or an ensemble by its logits, float64 (photos,), with labels 0 or 1, (photos,).

    A photo is predicted to be of class 1 where its logit is above 0. The Brier score is the mean squared difference of
    probability and label. Intervals are 95 % confidence intervals. If all photos are of one class, ROC area and average
    precision are None. A class without photos has recall 0, and one that is never predicted precision 0.
    """
    probabilities, truth = logits.sigmoid(), labels.int()
    confusion = classification.binary_confusion_matrix((logits > 0).int(), truth)  # [true][predicted]
    right, photos, predicted = confusion.diag(), confusion.sum(1), confusion.sum(0)
    zeros, ones = photos.tolist()
    ranked = dict.fromkeys(("roc_auc", "roc_auc_interval", "average_precision"))
    if zeros and ones:
        area = float(classification.binary_auroc(probabilities, truth))
        precision = float(classification.binary_average_precision(probabilities, truth))
        ranked = {"roc_auc": area, "roc_auc_interval": auc_interval(area, zeros, ones), "average_precision": precision}
    return {
        "accuracy": int(right.sum()) / len(labels),
        "accuracy_interval": wilson_interval(int(right.sum()), len(labels)),
        "confusion_matrix": confusion.tolist(),
        "per_class": {
            "precision": (right / predicted.clamp(min=1)).tolist(),
            "recall": (right / photos.clamp(min=1)).tolist(),
            "f1": (2 * right / (photos + predicted).clamp(min=1)).tolist(),
        },
        **ranked,
        "brier": float((probabilities - labels).square().mean()),
        "bce": float(cross_entropy(logits, labels.double(), reduction="none").mean()),
        **calibration(probabilities, labels),
    }


def auc_interval(area: float, zeros: int, ones: int, between: float = 0.0) -> tuple[float, float]:
    """Compute the 95 % interval of an area under the ROC curve: all θ with |area - θ| ≤ 1.96 √(V(θ) + between).

    V is Hanley & McNeil's variance as Newcombe (2006), Statistics in Medicine 25, method 5, modifies it. Like Wilson's
    interval it has a positive width where the area is 0 or 1. The area is that of one net, or the mean of several, and
    `between` the variance of that mean between nets; `zeros` and `ones` count the photos of each class, 1 at least.
    """
    z, half = float(norm.ppf(0.975)), (zeros + ones) / 2 - 1

    def excess(theta: float) -> float:
        variance = theta * (1 - theta) * (1 + half * ((1 - theta) / (2 - theta) + theta / (1 + theta))) / (zeros * ones)
        return abs(area - theta) - z * math.sqrt(variance + between)

    tiny = 1e-9  # θ = 0 and θ = 1 are roots too, but not interval ends
    low = brentq(excess, 0, area * (1 - tiny)) if excess(0) > 0 else 0.0
    high = brentq(excess, area + tiny * (1 - area), 1) if excess(1) > 0 else 1.0
    return float(low), float(high)


def calibration(probabilities: Tensor, labels: Tensor) -> dict[str, Any]:
    """Compute the expected calibration error over BINS, and simulate that of a calibrated net with these probabilities.

    The latter is above 0, as few photos deviate from their probabilities by chance: mean and 0.95 quantile over labels
    drawn with these probabilities (consistency resampling, Bröcker & Smith 2007).
    """
    generator = torch.Generator().manual_seed(0)
    drawn = (probabilities.bernoulli(generator=generator) for _ in range(1000))
    compute = partial(classification.binary_calibration_error, probabilities, n_bins=BINS, validate_args=False)
    found, *simulated = (float(compute(outcome.int())) for outcome in (labels, *drawn))
    expected = {"mean": fmean(simulated), "quantile_95": float(np.quantile(simulated, 0.95))}
    return {"calibration_error": found, "calibration_error_if_calibrated": expected}


def with_interval(numbers: Mapping[str, Any], name: str) -> str:
    """Format a number with its interval, if it has one; the accuracy in percent, as everywhere."""
    if name == "accuracy":
        return percent({"test/acc": numbers[name], "test/acc_interval": numbers.get("accuracy_interval")})
    number, interval = numbers[name], numbers.get(f"{name}_interval")
    text = "not defined" if number is None else f"{number:.3f}"
    return text if interval is None else f"{text} [{interval[0]:.3f}, {interval[1]:.3f}]"

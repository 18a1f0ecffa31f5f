"""Measures of nets on labelled photos: logits and labels in, numbers out."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor
from torchmetrics.functional import classification

from catdog.inference.auc import mean_auc
from catdog.model.metrics import cross_entropy, mean_logits
from catdog.statistics import mean_accuracy, wilson_interval

BINS = 15  # of equal width, of the probability of class 1
DRAWS = 1000  # of labels that a calibrated net would meet
SINGLE = ("accuracy", "roc_auc", "average_precision", "brier", "bce", "calibration_error")  # one number of each net


def measure(logits: Tensor, labels: Tensor, seeds: Sequence[int]) -> dict[str, Any]:
    """All numbers of some nets on the same photos, ready for JSON; what cannot be told is None.

    The headline is what a single net does: the mean accuracy over the nets. `ensemble` is what they do together, by
    their mean probability; it is another predictor than each of them, and None for a single net.

    Args:
        logits: of class 1, (nets, photos), one photo at least.
        labels: 0 or 1, (photos,).
        seeds: of the nets' initial weights.
    """
    logits, labels = logits.double(), labels.int()
    nets = [{"seed": seed, **measure_one(own, labels)} for seed, own in zip(seeds, logits, strict=True)]
    columns = {name: [net[name] for net in nets] for name in SINGLE}
    headline = _headline(logits, labels)
    intervals = {"accuracy_interval": headline["interval"], "roc_auc_interval": _auc(logits, labels)[1]}
    return {
        "headline": headline,
        "mean": {name: _mean(values) for name, values in columns.items()} | intervals,
        "sd": {name: _spread(values) for name, values in columns.items()},
        "nets": nets,
        "ensemble": measure_one(mean_logits(logits, dim=0), labels) if len(nets) > 1 else None,
    }


def measure_one(logits: Tensor, labels: Tensor) -> dict[str, Any]:
    """All numbers of one net, or of an ensemble by its logits: float64 (photos,) with labels int (photos,), 0 or 1.

    A photo is taken for class 1 where its logit is above 0. Intervals are of 95 %. The Brier score is the mean squared
    distance of the probability of class 1 from the label, BCE the mean binary cross-entropy.
    """
    verdicts, probabilities = (logits > 0).int(), logits.sigmoid()
    correct = int((verdicts == labels).sum())
    roc_auc, roc_auc_interval = _auc(logits[None], labels)
    return {
        "accuracy": correct / len(labels),
        "accuracy_interval": wilson_interval(correct, len(labels)),
        "confusion_matrix": classification.binary_confusion_matrix(verdicts, labels).tolist(),  # [class][verdict]
        "classes": [_of_class(label, verdicts, logits, labels) for label in (0, 1)],
        "roc_auc": roc_auc,
        "roc_auc_interval": roc_auc_interval,
        "average_precision": _average_precision(logits, labels),
        "brier": float((probabilities - labels).square().mean()),
        "bce": float(cross_entropy(logits, labels.double(), reduction="none").mean()),
        "calibration_error": _calibration_error(probabilities, labels),
        "calibration_error_of_a_calibrated_net": calibrated_errors(probabilities.numpy()),
        "reliability": reliability(probabilities.numpy(), labels.numpy()),
    }


def roc_curve(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Share of class 0 that is taken for class 1, and of class 1 that is, for every threshold from high to low."""
    false, true, _ = classification.binary_roc(_ranks(logits), labels.int())
    return false, true


def precision_recall_curve(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Recall and precision of class 1 for every threshold from low to high; a precision holds down to the next recall.

    So the area below the steps is the average precision. Lines between the points would be too high.
    """
    precision, recall, _ = classification.binary_precision_recall_curve(_ranks(logits), labels.int())
    precision[-1] = precision[-2]  # torchmetrics says 1 where nothing is taken for the class
    return recall, precision


def reliability(probabilities: NDArray[np.float64], labels: NDArray[np.int_]) -> list[dict[str, Any]]:
    """Of each bin with photos: its edges, photos, their mean probability, and how many of them are of class 1."""
    bins = _bins(probabilities)
    return [
        {
            "low": number / BINS,
            "high": (number + 1) / BINS,
            "photos": int(inside.sum()),
            "mean_probability": float(probabilities[inside].mean()),
            "of_class_1": int(labels[inside].sum()),
        }
        for number in range(BINS)
        if (inside := bins == number).any()
    ]


def calibrated_errors(probabilities: NDArray[np.float64], draws: int = DRAWS) -> dict[str, float]:
    """Simulate the calibration error that a perfectly calibrated net with these probabilities has by chance.

    It is not 0: few photos never have just the share of class 1 that their probabilities say. Labels are drawn with
    these probabilities, with a fixed seed (consistency resampling, Bröcker & Smith 2007). Gives the mean over the draws
    and the quantile that 95 % of them do not exceed.
    """
    rng, bins, errors = np.random.default_rng(0), _bins(probabilities), np.empty(draws)
    for draw in range(draws):
        excess = (rng.random(len(bins)) < probabilities) - probabilities
        errors[draw] = np.abs(np.bincount(bins, weights=excess)).sum() / len(bins)
    return {"mean": float(errors.mean()), "quantile_95": float(np.quantile(errors, 0.95))}


def _bins(probabilities: NDArray[np.float64]) -> NDArray[np.intp]:
    """Numbers of the bins; a probability on an edge is in the upper bin, 1 in the last one."""
    return np.digitize(probabilities, np.linspace(0, 1, BINS + 1)[1:-1])


def _calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    # torchmetrics puts a probability of 1 into a bin of its own (its issue 3510).
    return float(classification.binary_calibration_error(probabilities.clamp(max=1 - 2**-53), labels, n_bins=BINS))


def _of_class(label: int, verdicts: Tensor, logits: Tensor, labels: Tensor) -> dict[str, Any]:
    """Precision, recall and F1 of one class, None where no photo is of it or is taken for it."""
    own, taken = labels == label, verdicts == label
    arguments = taken.int(), own.int()
    some, found = bool(own.any()), bool(taken.any())
    return {
        "precision": float(classification.binary_precision(*arguments)) if found else None,
        "recall": float(classification.binary_recall(*arguments)) if some else None,
        "f1": float(classification.binary_f1_score(*arguments)) if some else None,
        "average_precision": _average_precision(logits if label else -logits, own.int()),
        "photos": int(own.sum()),
    }


def _average_precision(logits: Tensor, labels: Tensor) -> float | None:
    """The area under the precision-recall curve of class 1 as a sum of steps, None if all photos are of one class."""
    if not _has_both(labels):
        return None
    return float(classification.binary_average_precision(_ranks(logits), labels))


def _auc(logits: Tensor, labels: Tensor) -> tuple[float, tuple[float, float]] | tuple[None, None]:
    if not _has_both(labels):
        return None, None
    area, low, high = mean_auc(logits.numpy(), labels.bool().numpy())
    return area, (low, high)


def _has_both(labels: Tensor) -> bool:
    return len(labels.unique()) == 2


def _ranks(logits: Tensor) -> Tensor:
    """The order of the logits as numbers in (0, 1]: probabilities are equal where they round to 1.

    And torchmetrics takes numbers for probabilities if all are between 0 and 1, which logits may happen to be.
    """
    return torch.from_numpy(rankdata(logits.numpy(), method="dense") / logits.numel())


def _headline(logits: Tensor, labels: Tensor) -> dict[str, Any]:
    """Estimate one net's accuracy on other photos of this kind; of several nets, from other initial weights too."""
    correct = ((logits > 0).int() == labels).double().numpy()
    nets, photos = correct.shape
    if nets == 1:
        return {
            "what": "accuracy of the net",
            "accuracy": float(correct.mean()),
            "interval": wilson_interval(int(correct.sum()), photos),
            "method": "Wilson, 95 %: other photos of this kind, for this very net",
        }
    return {
        "what": f"mean accuracy of {nets} nets",
        "accuracy": float(correct.mean()),
        "interval": mean_accuracy(correct)[1:] if photos > 1 else None,
        "method": "Student's t over nets and photos, 95 %: other photos of this kind and other initial weights",
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _spread(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.std(known, ddof=1)) if len(known) > 1 else None


def with_interval(numbers: Mapping[str, Any], name: str) -> str:
    """A number, as summaries and figures show it, with its interval if it has one."""
    number, interval = numbers[name], numbers.get(f"{name}_interval")
    text = "not defined" if number is None else f"{number:.3f}"
    return text if interval is None else f"{text} [{interval[0]:.3f}, {interval[1]:.3f}]"

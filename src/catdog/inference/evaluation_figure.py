"""Figure of an evaluation: confusion matrix, ROC and precision-recall curves, calibration."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torchmetrics.functional import classification

from catdog.inference.measures import BINS, with_interval
from catdog.model.metrics import mean_logits
from catdog.names import shown
from catdog.plots import TRAIN_COLOR, VAL_COLOR
from catdog.statistics import wilson_interval

LONGEST_NAME = 18  # characters of a class name; longer ones are cut
STRIP = -0.2  # lower end of the calibration panel, whose counts lie below 0


@matplotlib.rc_context({"text.parse_math": False})  # a dollar sign in a name begins no formula
def draw_evaluation(record: Mapping[str, Any], logits: Tensor, labels: Tensor) -> Figure:
    """Draw four panels for one net, or for the ensemble of several replicas with a thin ROC curve for each.

    The record is the content of `evaluation.json`; logits of class 1 are float64 (replicas, photos), labels (photos,).
    """
    ensemble, headline = record["ensemble"], f"accuracy {with_interval(record['mean'], 'accuracy')}"
    if ensemble:
        headline = f"mean of {len(logits)} nets: {headline}; of their ensemble {with_interval(ensemble, 'accuracy')}"
    names = [shown(name) for name in record["class_names"]]
    names = [name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…" for name in names]
    figure = Figure(figsize=(11, 10), layout="constrained")
    figure.suptitle(f"{textwrap.fill(record['title'], width=110)}\n{headline}", fontsize=11)
    (confusion, roc), (precision, calibration) = figure.subplots(2, 2)
    probabilities, one = mean_logits(logits, dim=0).sigmoid(), ensemble or record["nets"][0]
    _confusion(confusion, np.array(one["confusion_matrix"]), names)
    if one["roc_auc"] is None:
        for axes, name in ((roc, "ROC curve"), (precision, "precision-recall curve")):
            axes.set(title=f"{name}: not defined,\nall photos are of one class", xticks=(), yticks=())
    else:
        _roc(roc, record, logits, probabilities, labels)
        roc.set(xlabel=f"false positive rate: {names[0]} predicted to be {names[1]}", title="ROC curve")
        roc.set(ylabel=f"true positive rate: {names[1]} found")
        _precision_recall(precision, probabilities, labels, names)
    _calibration(calibration, probabilities, labels, one)
    calibration.set(xlabel=f"probability of {names[1]}, in {BINS} bins; bars: photos", ylabel=f"share of {names[1]}")
    for axes, corner in ((roc, "lower right"), (precision, "lower left"), (calibration, "upper left")):
        if axes.lines:
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02 if axes is not calibration else STRIP, 1.02))
            axes.grid(alpha=0.3)
            axes.legend(loc=corner, fontsize="small")
    return figure


def _confusion(axes: Axes, matrix: np.ndarray[Any, Any], names: Sequence[str]) -> None:
    """Draw the counts and their shares of the true class, which set the shade."""
    photos = matrix.sum(axis=1)
    shares = matrix / np.maximum(photos, 1)[:, None]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{matrix[row, column]:,}\n{100 * share:.1f} % of {photos[row]:,}"
        color = "white" if share > 0.6 else "black"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=12)
    axes.set(xticks=(0, 1), yticks=(0, 1), xticklabels=names, title="confusion matrix")
    axes.set_xlabel("predicted", fontsize="large", weight="bold")
    axes.set_ylabel("true", fontsize="large", weight="bold")
    axes.set_yticklabels(names, rotation=90, va="center")


def _roc(axes: Axes, record: Mapping[str, Any], logits: Tensor, probabilities: Tensor, labels: Tensor) -> None:
    area, whose = with_interval(record["mean"], "roc_auc"), ""
    if record["ensemble"]:
        for number, scores in enumerate(logits.sigmoid()):
            false, true, _ = classification.binary_roc(scores, labels.int())
            label = None if number else f"each net, mean {area}"
            axes.plot(false, true, color=TRAIN_COLOR, alpha=0.25, linewidth=0.9, label=label)
        area, whose = with_interval(record["ensemble"], "roc_auc"), "ensemble, "
    false, true, _ = classification.binary_roc(probabilities, labels.int())
    axes.plot(false, true, color=TRAIN_COLOR, linewidth=2, label=f"{whose}area {area}")
    at_half = [float((probabilities[labels == label] > 0.5).double().mean()) for label in (0, 1)]
    axes.plot(*at_half, "o", color="black", zorder=3)
    axes.text(min(at_half[0] + 0.02, 0.72), max(at_half[1] - 0.06, 0), "threshold 0.5", weight="bold")
    axes.plot([0, 1], [0, 1], "--", color="gray", label="random guessing, area 0.5")


def _precision_recall(axes: Axes, probabilities: Tensor, labels: Tensor, names: Sequence[str]) -> None:
    """Draw a curve with each class as the positive one: unlike ROC curves, the two differ."""
    for label, color in ((1, VAL_COLOR), (0, TRAIN_COLOR)):
        scores, positive = (probabilities, labels.int()) if label else (1 - probabilities, 1 - labels.int())
        precision, recall, _ = classification.binary_precision_recall_curve(scores, positive)
        area = float(classification.binary_average_precision(scores, positive))
        text = f"{names[label]}: average precision {area:.3f}"
        # Each precision holds down to the next recall. torchmetrics appends a last point: precision 1 at recall 0.
        axes.plot(recall[:-1], precision[:-1], drawstyle="steps-post", color=color, linewidth=2, label=text)
        share = float(positive.double().mean())
        axes.axhline(share, color=color, linestyle="--", linewidth=1, label=f"{names[label]}: baseline {share:.3f}")
    axes.set(xlabel="recall", ylabel="precision", title="precision-recall curve of each class")


def _calibration(axes: Axes, probabilities: Tensor, labels: Tensor, one: Mapping[str, Any]) -> None:
    """Draw the share of class 1 against its predicted probability; a strip of bars below counts the photos per bin."""
    values = probabilities.numpy()
    weights = (np.ones(len(values)), values, labels.numpy())
    sums = np.array([np.histogram(values, BINS, (0, 1), weights=weight)[0] for weight in weights])
    (filled,) = sums[0].nonzero()
    photos, means, ones = sums[:, filled]
    intervals = [wilson_interval(int(one), int(count)) for one, count in zip(ones, photos, strict=True)]
    shares, (low, high) = ones / photos, np.array(intervals).T
    bars = axes.bar((filled + 0.5) / BINS, -STRIP / 2 * photos / photos.max(), 0.9 / BINS, STRIP, color="0.8")
    axes.bar_label(bars, [f"{count:,.0f}" for count in photos], fontsize="x-small")
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.plot([0, 1], [0, 1], "--", color="gray", label="perfect calibration")
    errors = np.clip([shares - low, high - shares], 0, None)
    axes.errorbar(means / photos, shares, errors, fmt="o", color=TRAIN_COLOR, capsize=2, label="share, 95 % interval")
    expected = one["calibration_error_if_calibrated"]
    chance = f"expected by chance alone {expected['mean']:.3f}, in 95 % of cases at most {expected['quantile_95']:.3f}"
    axes.set_title(f"calibration error {one['calibration_error']:.3f}\n{chance}", fontsize="medium")

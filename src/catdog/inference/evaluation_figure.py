"""Figure of an evaluation: confusion matrix, ROC and precision-recall curves, calibration."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torchmetrics.functional import classification

from catdog.inference.measures import BINS, reliability, with_interval
from catdog.model.metrics import mean_logits
from catdog.names import shown
from catdog.plots import TRAIN_COLOR, VAL_COLOR
from catdog.statistics import wilson_interval

LONGEST_NAME = 18  # letters of a class's name that the figure has room for
MOST_THIN_LINES = 20


def draw_evaluation(record: Mapping[str, Any], logits: Tensor, labels: Tensor) -> Figure:
    """Draw four panels on one net; of several replicas on their ensemble, with a thin ROC curve for each of them.

    Args:
        record: content of `evaluation.json`.
        logits: of class 1, float64 (replicas, photos).
        labels: 0 or 1, (photos,).
    """
    one = record["ensemble"] or record["nets"][0]
    names = [_short(shown(name)) for name in record["class_names"]]
    figure = Figure(figsize=(11, 10), layout="constrained")
    nets = f"mean of {len(logits)} nets: " if record["ensemble"] else ""
    together = f"; of their ensemble {with_interval(one, 'accuracy')}" if record["ensemble"] else ""
    headline = f"{nets}accuracy {with_interval(record['mean'], 'accuracy')}{together}"
    figure.suptitle(f"{_plain(record['title'])}\n{headline}", fontsize=11, wrap=True)
    (confusion, roc), (precision, calibration) = figure.subplots(2, 2)
    probabilities = mean_logits(logits, dim=0).sigmoid()
    _confusion(confusion, np.array(one["confusion_matrix"]), names)
    if one["roc_auc"] is None:
        for axes, name in ((roc, "ROC curve"), (precision, "precision-recall curve")):
            axes.axis("off")
            axes.text(0.5, 0.5, f"{name}: not defined,\nall photos are of one class", ha="center", va="center")
    else:
        _roc(roc, logits, probabilities, labels, record, names)
        _precision_recall(precision, probabilities, labels, names)
    _calibration(calibration, probabilities, labels, one, names)
    return figure


def _confusion(axes: Axes, matrix: np.ndarray[Any, Any], names: Sequence[str]) -> None:
    """Counts, and which share of the photos of their class they are; the shade is that share."""
    photos = matrix.sum(axis=1, keepdims=True)
    shares = matrix / np.maximum(photos, 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        color = "white" if shares[row, column] > 0.55 else "black"
        text = f"{count:,}\n{shares[row, column]:.1%} of {photos[row, 0]:,}"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=12)
    axes.set(xticks=(0, 1), yticks=(0, 1), xticklabels=names, xlabel="predicted", ylabel="true")
    axes.set_yticklabels(names, rotation=90, va="center")
    axes.set_title("confusion matrix")


def _roc(
    axes: Axes, logits: Tensor, probabilities: Tensor, labels: Tensor, record: Mapping[str, Any], names: Sequence[str]
) -> None:
    whose = "ensemble, " if record["ensemble"] else ""
    area = with_interval(record["ensemble"] or record["mean"], "roc_auc")
    false, true, _ = classification.binary_roc(probabilities, labels.int())
    axes.plot(false, true, color=TRAIN_COLOR, linewidth=2, label=f"{whose}area {area}")
    for own in logits[:MOST_THIN_LINES] if record["ensemble"] else ():
        false, true, _ = classification.binary_roc(own.sigmoid(), labels.int())
        axes.plot(false, true, color=TRAIN_COLOR, alpha=0.25, linewidth=0.9)
    if record["ensemble"]:
        axes.plot(
            [], [], color=TRAIN_COLOR, alpha=0.25, label=f"each net, mean {with_interval(record['mean'], 'roc_auc')}"
        )
    at_half = [float((probabilities[labels == label] > 0.5).double().mean()) for label in (0, 1)]
    axes.plot(*at_half, "o", color=TRAIN_COLOR, label="threshold 0.5")
    axes.plot([0, 1], [0, 1], "--", color="gray", label="random guessing, area 0.5")
    axes.set(xlabel=f"false positive rate: {names[0]} predicted to be {names[1]}")
    axes.set(ylabel=f"true positive rate: {names[1]} found", title="ROC curve")
    _square(axes, "lower right")


def _precision_recall(axes: Axes, probabilities: Tensor, labels: Tensor, names: Sequence[str]) -> None:
    """Either class against the other: unlike the ROC curve, the two differ."""
    for label, color in ((1, VAL_COLOR), (0, TRAIN_COLOR)):
        scores, own = (probabilities, labels.int()) if label else (1 - probabilities, 1 - labels.int())
        precision, recall, _ = classification.binary_precision_recall_curve(scores, own)
        area = float(classification.binary_average_precision(scores, own))
        text = f"{names[label]}: average precision {area:.3f}"
        # A precision holds down to the next recall; the last point, 1 at recall 0, is torchmetrics' own.
        axes.plot(recall[:-1], precision[:-1], drawstyle="steps-post", color=color, linewidth=2, label=text)
        share = float(own.double().mean())
        axes.axhline(share, color=color, linestyle="--", linewidth=1, label=f"{names[label]}: baseline {share:.3f}")
    axes.set(xlabel="recall", ylabel="precision", title="precision-recall curve of each class")
    _square(axes, "lower left")


def _calibration(
    axes: Axes, probabilities: Tensor, labels: Tensor, one: Mapping[str, Any], names: Sequence[str]
) -> None:
    """Share of class 1 against its probability; the bars at the bottom are the photos of each bin."""
    bins = reliability(probabilities.numpy(), labels.numpy())
    filled = bins["photos"] > 0
    photos, means, ones = (bins[name][filled] for name in ("photos", "probabilities", "labels"))
    intervals = [wilson_interval(int(one), int(count)) for one, count in zip(ones, photos, strict=True)]
    shares, (low, high) = ones / photos, np.array(intervals).T
    bars = axes.twinx()
    bars.bar((np.flatnonzero(filled) + 0.5) / BINS, photos, width=0.9 / BINS, color="0.85")
    bars.set(ylim=(0, 5 * photos.max()), yticks=[])
    axes.set_zorder(bars.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.plot([0, 1], [0, 1], "--", color="gray", label="perfect calibration")
    errors = np.clip([shares - low, high - shares], 0, None)
    axes.errorbar(means / photos, shares, errors, fmt="o", color=TRAIN_COLOR, capsize=2, label="share, 95 % interval")
    axes.plot([], [], "s", color="0.85", label=f"photos in the bin, at most {photos.max():,.0f}")
    expected = one["calibration_error_if_calibrated"]
    axes.set_title(
        f"calibration: expected error {one['calibration_error']:.3f}\n"
        f"by chance alone {expected['mean']:.3f}, in 95 % at most {expected['quantile_95']:.3f}",
        fontsize="medium",
    )
    axes.set(xlabel=f"probability of {names[1]}, in {BINS} bins", ylabel=f"share of {names[1]}")
    _square(axes, "upper left")


def _square(axes: Axes, legend: Any) -> None:
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(loc=legend, fontsize="small")


def _short(name: str) -> str:
    return _plain(name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…")


def _plain(text: str) -> str:
    """Keep matplotlib from reading dollar signs as a formula."""
    return text.replace("$", r"\$")

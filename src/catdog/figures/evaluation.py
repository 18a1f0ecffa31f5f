"""Figure of an evaluation: confusion matrix, ROC and precision-recall curves, calibration."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from catdog.figures.curves import TRAIN_COLOR, VAL_COLOR
from catdog.inference.measures import precision_recall_curve, roc_curve, with_interval
from catdog.model.metrics import mean_logits
from catdog.names import shown
from catdog.statistics import wilson_interval

LONGEST_NAME = 18  # letters of a class's name that the figure has room for
MOST_THIN_LINES = 20
CLASS_COLORS = (TRAIN_COLOR, VAL_COLOR)  # of class 0 and class 1, as on the other pages
THIN: dict[str, Any] = {"color": TRAIN_COLOR, "alpha": 0.25, "linewidth": 0.9}


def draw(logits: Tensor, labels: Tensor, measured: Mapping[str, Any], class_names: Sequence[str], title: str) -> Figure:
    """Four panels on one net; of several replicas on their ensemble, with a thin line for each of them.

    Args:
        logits: of class 1, float64 (replicas, photos).
        labels: 0 or 1, (photos,).
        measured: what `catdog.inference.measures.measure` gives for these.
        class_names: names of class 0 and class 1.
        title: what was evaluated.
    """
    one = measured["ensemble"] or measured["nets"][0]
    names = [_short(shown(name)) for name in class_names]
    figure = Figure(figsize=(11, 10), layout="constrained")
    title = title.replace("$", r"\$")  # which is no formula
    figure.suptitle(f"{title}\n{_headline(measured)}", fontsize=11, wrap=True)
    (confusion, roc), (precision, calibration) = figure.subplots(2, 2)
    whose = "of the ensemble" if measured["ensemble"] else ""
    _confusion(confusion, np.array(one["confusion_matrix"]), names, whose)
    if one["roc_auc"] is None:
        for axes, name in ((roc, "ROC curve"), (precision, "precision-recall curve")):
            _empty(axes, f"{name}: not defined,\nall photos are of one class")
    else:
        lines = list(logits[:MOST_THIN_LINES]) if len(logits) > 1 else []
        _roc(roc, lines, mean_logits(logits, dim=0), labels, measured, names)
        _precision_recall(precision, lines, mean_logits(logits, dim=0), labels, one, names)
    _calibration(calibration, one, names, whose)
    return figure


def _headline(measured: Mapping[str, Any]) -> str:
    mean = with_interval(measured["mean"], "accuracy")
    if measured["ensemble"] is None:
        return f"accuracy {mean}"
    ensemble = with_interval(measured["ensemble"], "accuracy")
    return f"mean accuracy of {len(measured['nets'])} nets {mean}; of their ensemble {ensemble}"


def _confusion(axes: Axes, matrix: np.ndarray[Any, Any], names: Sequence[str], whose: str) -> None:
    """Counts, and which share of the photos of their class they are; the shade is that share."""
    photos = matrix.sum(axis=1, keepdims=True)
    shares = matrix / np.maximum(photos, 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row in (0, 1):
        for column in (0, 1):
            share = f"\n{shares[row, column]:.1%} of {photos[row, 0]:,}" if photos[row] else ""
            color = "white" if shares[row, column] > 0.55 else "black"
            text = f"{matrix[row, column]:,}{share}"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=12)
    axes.set(xticks=(0, 1), yticks=(0, 1), xticklabels=names, xlabel="taken for", ylabel="is")
    axes.set_yticklabels(names, rotation=90, va="center")
    axes.set_title(f"confusion matrix {whose}".strip())


def _roc(
    axes: Axes, lines: Sequence[Tensor], logits: Tensor, labels: Tensor, measured: Mapping[str, Any],
    names: Sequence[str],
) -> None:  # fmt: skip
    for own in lines:
        axes.plot(*roc_curve(own, labels), **THIN)
    if lines:
        axes.plot([], [], **THIN, label=f"each net: mean area {with_interval(measured['mean'], 'roc_auc')}")
    label = f"ensemble: area {with_interval(measured['ensemble'], 'roc_auc')}" if lines else None
    label = label or f"area {with_interval(measured['nets'][0], 'roc_auc')}"
    axes.plot(*roc_curve(logits, labels), color=TRAIN_COLOR, linewidth=2, label=label)
    axes.plot([0, 1], [0, 1], "--", color="gray", label="chance 0.5")
    axes.set(xlabel=f"share of {names[0]} taken for {names[1]}", ylabel=f"share of {names[1]} found")
    axes.set_title("ROC curve")
    _square(axes, "lower right")


def _precision_recall(
    axes: Axes, lines: Sequence[Tensor], logits: Tensor, labels: Tensor, one: Mapping[str, Any], names: Sequence[str]
) -> None:
    """Either class against the other: unlike the ROC curve, the two differ."""
    for label in (1, 0):
        color = CLASS_COLORS[label]
        sign, own = (1, labels) if label else (-1, 1 - labels)
        for thin in lines:
            recall, precision = precision_recall_curve(sign * thin, own)
            axes.plot(recall, precision, drawstyle="steps-post", **(THIN | {"color": color}))
        recall, precision = precision_recall_curve(sign * logits, own)
        area = one["classes"][label]["average_precision"]
        text = f"{names[label]}: average precision {area:.3f}"
        axes.plot(recall, precision, drawstyle="steps-post", color=color, linewidth=2, label=text)
        share = float(own.double().mean())
        axes.axhline(share, color=color, linestyle="--", linewidth=1, label=f"{names[label]}: chance {share:.3f}")
    axes.set(xlabel="recall: share of a class that is found", ylabel="precision: share of its verdicts that are right")
    axes.set_title("precision-recall curve of each class" + (", bold: ensemble" if lines else ""))
    _square(axes, "lower left")


def _calibration(axes: Axes, one: Mapping[str, Any], names: Sequence[str], whose: str) -> None:
    """Share of class 1 against its probability; the bars at the bottom are the photos of each bin."""
    bins = one["reliability"]
    counts = np.array([bin_["photos"] for bin_ in bins])
    shares = np.array([bin_["of_class_1"] for bin_ in bins]) / counts
    low, high = np.array([wilson_interval(bin_["of_class_1"], bin_["photos"]) for bin_ in bins]).T
    means = [bin_["mean_probability"] for bin_ in bins]
    centers = [(bin_["low"] + bin_["high"]) / 2 for bin_ in bins]
    bars = axes.twinx()
    bars.bar(centers, counts, width=0.9 / 15, color="0.85")
    for center, count in zip(centers, counts, strict=True):
        bars.text(center, count, f"{count:,}", ha="center", va="bottom", fontsize=7, color="0.35")
    bars.set(ylim=(0, 5 * counts.max()), yticks=[])
    axes.set_zorder(bars.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.plot([0, 1], [0, 1], "--", color="gray", label="perfect calibration")
    errors = np.clip([shares - low, high - shares], 0, None)
    axes.errorbar(means, shares, errors, fmt="o", color=TRAIN_COLOR, capsize=2, label="seen, Wilson 95 %")
    axes.plot([], [], "s", color="0.85", label="photos in the bin")
    chance = one["calibration_error_of_a_calibrated_net"]
    axes.set_title(
        f"calibration {whose}".strip() + f": expected error {one['calibration_error']:.3f}\n"
        f"a perfectly calibrated net has {chance['mean']:.3f}, in 95 % at most {chance['quantile_95']:.3f}",
        fontsize="medium",
    )
    axes.set(xlabel=f"probability of {names[1]}, in 15 bins", ylabel=f"share of {names[1]}")
    _square(axes, "upper left")


def _square(axes: Axes, legend: Literal["lower right", "lower left", "upper left"]) -> None:
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(loc=legend, fontsize="small")


def _empty(axes: Axes, text: str) -> None:
    axes.axis("off")
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=12)


def _short(name: str) -> str:
    """A name that fits below an axis, and whose dollar signs are no formula."""
    name = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
    return name.replace("$", r"\$")

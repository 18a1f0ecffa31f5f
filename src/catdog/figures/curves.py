"""Learning curves: of one run, and of the settings of a study."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

History = Sequence[dict[str, Any]]  # a row for every step at which an epoch or a validation ended
TRAIN_COLOR, VAL_COLOR = "tab:blue", "tab:orange"


def curves(replicas: Sequence[dict[str, Any]], title: str, baseline: float) -> Figure:
    """Draw loss and accuracy against epochs, side by side; the mean of several replicas in a band of ±1 sd.

    A star for each replica marks the step whose weights were tested. What was never logged is left out.

    Args:
        replicas: of each its `history` and its `tested_step`.
        title: what was trained, and its result.
        baseline: share of the larger class among the validation photos.
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    figure.suptitle(title)
    histories = [replica["history"] for replica in replicas]
    tested = [row for replica in replicas for row in replica["history"] if row["step"] == replica["tested_step"]]
    loss, accuracy = figure.subplots(1, 2)
    for axes, name, label in ((loss, "loss", "binary cross-entropy"), (accuracy, "acc", "accuracy")):
        for part, color, word in (("train", TRAIN_COLOR, "training"), ("val", VAL_COLOR, "validation")):
            if any(f"{part}/{name}" in row for history in histories for row in history):
                _plot_mean(axes, histories, f"{part}/{name}", color=color, label=word)
        stars = [(_epoch(row, histories[0]), row[f"val/{name}"]) for row in tested if f"val/{name}" in row]
        size = 12 if len(tested) == 1 else 7
        axes.plot(*np.reshape(stars, (-1, 2)).T, "*", color=VAL_COLOR, markersize=size, label="tested weights")
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.3)
    accuracy.axhline(baseline, color="gray", linestyle="--", label=f"majority class {baseline:.2f}")
    loss.legend()
    accuracy.legend()
    return figure


def comparison(settings: Sequence[tuple[str, int, Sequence[History]]], baseline: float) -> Figure:
    """Draw training loss and validation accuracy against epochs: each setting's mean over runs, in a band of ±1 sd.

    Args:
        settings: of each its net, its epochs, and its runs' histories.
        baseline: share of the larger class among the validation photos.
    """
    figure = Figure(figsize=(13, 5), layout="constrained")
    nets = list(dict.fromkeys(net for net, *_ in settings))
    words = {"train/loss": "training loss", "val/acc": "validation accuracy"}
    for axes, (name, word) in zip(figure.subplots(1, 2), words.items(), strict=True):
        for net, epochs, histories in settings:
            longest = max(count for other, count, _ in settings if other == net)
            label = f"{net}, {epochs} epochs, {len(histories)} runs"
            style = "-" if epochs == longest else ":"
            _plot_mean(axes, histories, name, linestyle=style, color=f"C{nets.index(net)}", label=label)
        axes.axvline(10, color="gray", linestyle=":", linewidth=1)
        axes.set(xlabel="epoch", ylabel=word)
        axes.grid(alpha=0.3)
    axes.axhline(baseline, color="gray", linestyle="--", label=f"majority class {baseline:.2f}")
    axes.legend(fontsize="small")
    return figure


def _plot_mean(axes: Axes, histories: Sequence[History], name: str, *, color: str, **line: Any) -> None:
    """Plot the mean of a metric as far as all runs have got, in a band of ±1 standard deviation."""
    rows = list(zip(*([row for row in history if name in row] for history in histories), strict=False))
    epochs = [_epoch(row, histories[0]) for row, *_ in rows]
    values = np.reshape([row[name] for same in rows for row in same], (-1, len(histories)))
    mean, spread = values.mean(axis=1), values.std(axis=1)
    axes.plot(epochs, mean, color=color, marker="o" if len(rows) == 1 else "", **line)
    axes.fill_between(epochs, mean - spread, mean + spread, color=color, alpha=0.12, linewidth=0)


def _epoch(row: dict[str, Any], history: History) -> float:
    """Place a row on the axis of epochs, between whole numbers if it is of a validation within one."""
    whole = next((other for other in history if "seconds" in other), history[-1])
    return row["step"] * whole["epoch"] / whole["step"]

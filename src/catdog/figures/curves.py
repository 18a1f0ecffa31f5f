"""Learning curves: of one run, and of the settings of a study."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

TRAIN_COLOR, VAL_COLOR = "tab:blue", "tab:orange"


def curves(replicas: Sequence[dict[str, Any]], title: str, chance: float) -> Figure:
    """Loss and accuracy against epochs, side by side; the mean of several replicas in a band of ±1 sd.

    A star for each replica marks the epoch whose weights were tested.

    Args:
        replicas: of each its `history`, the records of its epochs, and its `tested_epoch`.
        title: what was trained, and its result.
        chance: share of the larger class among all photos.
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    figure.suptitle(title)
    histories = [replica["history"] for replica in replicas]
    numbers = [epoch["epoch"] for epoch in histories[0]]
    tested = [history[replica["tested_epoch"] - 1] for replica, history in zip(replicas, histories, strict=True)]
    loss, accuracy = figure.subplots(1, 2)
    for axes, name, label in ((loss, "loss", "binary cross-entropy"), (accuracy, "acc", "accuracy")):
        for part, color, word in (("train", TRAIN_COLOR, "training"), ("val", VAL_COLOR, "validation")):
            values = np.array([[epoch[f"{part}/{name}"] for epoch in history] for history in histories])
            _mean_and_spread(axes, numbers, values, color=color, marker="o" if len(numbers) == 1 else "", label=word)
        stars = [epoch["epoch"] for epoch in tested], [epoch[f"val/{name}"] for epoch in tested]
        axes.plot(*stars, "*", color=VAL_COLOR, markersize=12 if len(tested) == 1 else 7, label="tested weights")
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.3)
    accuracy.axhline(chance, color="gray", linestyle="--", label=f"chance {chance:.2f}")
    loss.legend()
    accuracy.legend()
    return figure


def comparison(settings: Sequence[tuple[str, int, NDArray[np.float64], NDArray[np.float64]]], chance: float) -> Figure:
    """Training loss and validation accuracy against epochs: the mean of each setting's runs, in a band of ±1 sd.

    Args:
        settings: of each its net, its epochs, and (runs, epochs) of training loss and of validation accuracy.
        chance: share of the larger class among all photos.
    """
    figure = Figure(figsize=(13, 5), layout="constrained")
    nets = list(dict.fromkeys(net for net, *_ in settings))
    words = ("training loss", "validation accuracy")
    for column, (axes, word) in enumerate(zip(figure.subplots(1, 2), words, strict=True)):
        for net, epochs, *curves in settings:
            values = curves[column]
            numbers = np.arange(1, values.shape[1] + 1)
            style = "-" if epochs == max(other for name, other, *_ in settings if name == net) else ":"
            label = f"{net}, {epochs} epochs, {len(values)} runs"
            _mean_and_spread(axes, numbers, values, style, color=f"C{nets.index(net)}", label=label)
        axes.axvline(10, color="gray", linestyle=":", linewidth=1)
        axes.set(xlabel="epoch", ylabel=word)
        axes.grid(alpha=0.3)
    axes.axhline(chance, color="gray", linestyle="--", label=f"chance {chance:.2f}")
    axes.legend(fontsize="small")
    return figure


def _mean_and_spread(
    axes: Axes, epochs: ArrayLike, values: NDArray[np.float64], style: str = "-", *, color: str, **line: Any
) -> None:
    """The mean of values, (runs, epochs), as a line in a band of ±1 standard deviation."""
    mean, spread = values.mean(axis=0), values.std(axis=0)
    axes.plot(epochs, mean, style, color=color, **line)
    axes.fill_between(epochs, mean - spread, mean + spread, color=color, alpha=0.12, linewidth=0)

"""Pictures: learning curves, hidden units, mistakes."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

TRAIN_COLOR, VAL_COLOR = "tab:blue", "tab:orange"


def curves(epochs: Sequence[dict[str, float]], title: str, chance: float) -> Figure:
    """Loss and accuracy against epochs, side by side, with the epoch of the best checkpoint marked.

    Args:
        epochs: the records of `History`.
        title: what was trained, and its result.
        chance: accuracy of always naming the larger class of the validation photos.
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    figure.suptitle(title)
    numbers = [epoch["epoch"] for epoch in epochs]
    best = min(epochs, key=lambda epoch: epoch["val/loss"])
    loss, accuracy = figure.subplots(1, 2)
    for axes, name, label in ((loss, "loss", "binary cross-entropy"), (accuracy, "acc", "accuracy")):
        marker = "o" if len(epochs) == 1 else ""
        for part, color, word in (("train", TRAIN_COLOR, "training"), ("val", VAL_COLOR, "validation")):
            values = [epoch[f"{part}/{name}"] for epoch in epochs]
            axes.plot(numbers, values, color=color, marker=marker, label=word)
        axes.plot(best["epoch"], best[f"val/{name}"], "*", color=VAL_COLOR, markersize=12, label="best checkpoint")
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.3)
    accuracy.axhline(chance, color="gray", linestyle="--", label=f"chance {chance:.2f}")
    loss.legend()
    accuracy.legend()
    return figure


def weight_pictures(weights: Tensor, image_size: int) -> Tensor:
    """Each first-layer unit's weights as a picture: float32 (units, 3, image_size, image_size) in [0, 1].

    Grey is a weight of 0; each unit is scaled by its own largest absolute weight.

    Args:
        weights: float32 (units, 3 · image_size²).
        image_size: height and width in pixels.
    """
    largest = weights.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    return (0.5 + 0.5 * weights / largest).reshape(-1, 3, image_size, image_size)


def mistakes(
    pixels: Tensor, labels: Tensor, probabilities: Tensor, class_names: Sequence[str], most: int = 16
) -> Figure:
    """The wrongly classified photos, most confident first, each with what it is and what it was taken for.

    Args:
        pixels: uint8 (photos, 3, height, width).
        labels: 0 or 1, (photos,).
        probabilities: of class 1, (photos,).
        class_names: names of class 0 and class 1.
        most: how many photos to show.
    """
    wrong = ((probabilities > 0.5) != (labels > 0.5)).nonzero().squeeze(1)
    confidence = (probabilities[wrong] - 0.5).abs()
    shown = wrong[confidence.argsort(descending=True, stable=True)[:most]]
    columns = 4
    rows = max(1, -(-len(shown) // columns))
    figure = Figure(figsize=(2.4 * columns, 2.6 * rows), layout="constrained")
    figure.suptitle(f"the most confident of {len(wrong)} mistakes in {len(labels)} test photos")
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in grid:
        axes.axis("off")
    for axes, row in zip(grid, shown.tolist(), strict=False):
        taken_for = int(probabilities[row] > 0.5)
        probability = probabilities[row].item() if taken_for else 1 - probabilities[row].item()
        axes.imshow(pixels[row].permute(1, 2, 0).numpy())
        axes.set_title(f"{class_names[int(labels[row])]} as {class_names[taken_for]}, {probability:.0%}", fontsize=9)
    return figure


def comparison(settings: Sequence[tuple[str, int, NDArray[np.float64], NDArray[np.float64]]], chance: float) -> Figure:
    """Training loss and validation accuracy against epochs: the mean of each setting's runs, in a band of ±1 sd.

    Args:
        settings: of each its net, its epochs, and (runs, epochs) of training loss and of validation accuracy.
        chance: accuracy of always naming the larger class.
    """
    figure = Figure(figsize=(13, 5), layout="constrained")
    nets = list(dict.fromkeys(net for net, *_ in settings))
    for column, (axes, label) in enumerate(
        zip(figure.subplots(1, 2), ("training loss", "validation accuracy"), strict=True)
    ):
        for net, epochs, *curves in settings:
            values = curves[column]
            numbers = np.arange(1, values.shape[1] + 1)
            mean, spread = values.mean(axis=0), values.std(axis=0)
            style = "-" if epochs == max(other for name, other, *_ in settings if name == net) else ":"
            color = f"C{nets.index(net)}"
            axes.plot(numbers, mean, style, color=color, label=f"{net}, {epochs} epochs, {len(values)} runs")
            axes.fill_between(numbers, mean - spread, mean + spread, color=color, alpha=0.12, linewidth=0)
        axes.axvline(10, color="gray", linestyle=":", linewidth=1)
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.3)
    axes.axhline(chance, color="gray", linestyle="--", label=f"chance {chance:.2f}")
    axes.legend(fontsize="small")
    return figure

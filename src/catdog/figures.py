"""Pictures: learning curves, hidden units, mistakes."""

from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

TRAIN_COLOR, VAL_COLOR = "tab:blue", "tab:orange"

LAYER_GAP = 3.6  # between the columns of a network's diagram, where its circles are 1.1 apart


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


def _mean_and_spread(
    axes: Axes, epochs: ArrayLike, values: NDArray[np.float64], style: str = "-", *, color: str, **line: Any
) -> None:
    """The mean of values, (runs, epochs), as a line in a band of ±1 standard deviation."""
    mean, spread = values.mean(axis=0), values.std(axis=0)
    axes.plot(epochs, mean, style, color=color, **line)
    axes.fill_between(epochs, mean - spread, mean + spread, color=color, alpha=0.12, linewidth=0)


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
) -> Image.Image:
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
    captions = []
    for label, probability in zip(labels[shown].int().tolist(), probabilities[shown].tolist(), strict=True):
        certainty = max(probability, 1 - probability)
        captions.append(f"{class_names[label]} as {class_names[1 - label]}, {certainty:.0%}")
    title = f"the most confident of {len(wrong)} mistakes in {len(labels)} test photos"
    return contact_sheet(pixels[shown], captions, title)


def contact_sheet(pixels: Tensor, captions: Sequence[str], title: str, columns: int = 4) -> Image.Image:
    """Photos in rows, each with its caption below. Drawn by Pillow: Matplotlib takes a second for sixteen.

    Args:
        pixels: uint8 (photos, 3, height, width).
        captions: one per photo.
        title: written above them.
        columns: photos in a row.
    """
    side, gap, line = 180, 12, 20  # pixels
    rows = -(-len(captions) // columns)
    sheet = Image.new("RGB", (columns * (side + gap) + gap, rows * (side + line + gap) + line + 2 * gap), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    draw.text((gap, gap), title, fill="black", font=font)
    for number, (photo, caption) in enumerate(zip(pixels, captions, strict=True)):
        left = gap + number % columns * (side + gap)
        top = line + 2 * gap + number // columns * (side + line + gap)
        image = Image.fromarray(photo.permute(1, 2, 0).numpy()).resize((side, side), Image.Resampling.BICUBIC)
        sheet.paste(image, (left, top))
        draw.text((left, top + side + 2), caption, fill="black", font=font)
    return sheet


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


def network_diagram(widths: Sequence[int]) -> Figure:
    """A fully connected network as textbooks draw it: a column of circles per layer, arrows, and parameter counts.

    A column of more than six is abbreviated with dots.

    Args:
        widths: of every layer from input to output, such as `[49152, 5, 5, 3, 1]`.
    """
    last = len(widths) - 1
    counts = [(n_prev + 1) * n for n_prev, n in pairwise(widths)]
    figure = Figure(figsize=(0.6 * (LAYER_GAP * last + 5.2), 0.6 * 9.4))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-2, LAYER_GAP * last + 3.2), ylim=(-5, 4.4))
    axes.axis("off")
    columns = [_draw_layer(axes, layer, width, last) for layer, width in enumerate(widths)]
    for layer, (before, after) in enumerate(pairwise(columns), start=1):
        for start, end in product(before, after):
            _arrow(axes, start, end)
        text = f"$W^{{[{layer}]}}$: {widths[layer]:,} × {widths[layer - 1]:,}\n$b^{{[{layer}]}}$: {widths[layer]:,}"
        text += f"\n{counts[layer - 1]:,} parameters"
        axes.text(LAYER_GAP * (layer - 0.5), -3.5, text, ha="center", va="top")
    _arrow(axes, (LAYER_GAP * last, 0), (LAYER_GAP * last + 1.9, 0))
    axes.text(LAYER_GAP * last + 1.5, 0, "$\\sigma(z)$", va="center", fontsize=13)
    axes.text(LAYER_GAP * last + 1.2, -3.5, f"in all\n{sum(counts):,} parameters", ha="center", va="top", weight="bold")
    return figure


def _draw_layer(axes: Axes, layer: int, width: int, last: int) -> list[tuple[float, float]]:
    """One column of circles below its heading; returns their centres."""
    x = LAYER_GAP * layer
    symbol, color, heading = f"a^{{[{layer}]}}", "tab:blue", f"hidden layer {layer}\n{width:,} × ReLU"
    if layer in (0, last):
        symbol, color, heading = ("x", "tab:gray", "input") if layer == 0 else ("z", "tab:orange", "output")
        heading += f"\n{width:,} number" + "s" * (width > 1)
    axes.text(x, 3.4, heading, ha="center", va="bottom", fontsize=11)
    numbers = list(range(1, width + 1)) if width <= 6 else [1, 2, 3, 0, width - 1, width]  # 0: the dots
    centers = [(x, 1.1 * ((len(numbers) - 1) / 2 - row)) for row in range(len(numbers))]
    for number, center in zip(numbers, centers, strict=True):
        if number:
            axes.add_patch(Circle(center, 0.42, facecolor="white", edgecolor=color, linewidth=1.6, zorder=2))
        label = "$\\vdots$" if number == 0 else f"${symbol}$" if width == 1 else f"${symbol}_{{{number}}}$"
        place = (x - 0.6, center[1], "right") if layer == 0 and number else (*center, "center")
        axes.text(*place[:2], label, ha=place[2], va="center", fontsize=12, zorder=3)
    return [center for number, center in zip(numbers, centers, strict=True) if number]


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>,head_length=0.35,head_width=0.15", "color": "0.6", "linewidth": 0.7, "shrinkB": 19}
    axes.annotate("", end, start, arrowprops=style, zorder=1)

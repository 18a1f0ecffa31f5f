"""A network as a drawing, and what its first layer looks for."""

from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor


def weight_pictures(weights: Tensor, image_size: int) -> Tensor:
    """Each first-layer unit's weights as a picture: float32 (units, 3, image_size, image_size) in [0, 1].

    Grey is a weight of 0; each unit is scaled by its own largest absolute weight.

    Args:
        weights: float32 (units, 3 · image_size²).
        image_size: height and width in pixels.
    """
    largest = weights.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    return (0.5 + 0.5 * weights / largest).reshape(-1, 3, image_size, image_size)


def network_diagram(widths: Sequence[int], fixed: tuple[str, int] | None = None) -> Figure:
    """A fully connected network as textbooks draw it: a column of circles per layer, lines, and parameter counts.

    A column of more than six is abbreviated with dots.

    Args:
        widths: of every layer from input to output, such as `[49152, 5, 5, 3, 1]`.
        fixed: name and width of a first layer that is not trained, such as `("PCA whitening", 256)`.
    """
    columns = _columns(widths, fixed)
    figure = Figure(figsize=(2.1 * len(columns) + 0.5, 5.6), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.5, len(columns) - 0.1), ylim=(-3.9, 3.5))
    axes.axis("off")
    heights = [_draw_column(axes, place, *column) for place, column in enumerate(columns)]
    counts = []
    for place, ((before, *_), (after, *_)) in enumerate(pairwise(columns)):
        if place or fixed is None:
            counts.append((before + 1) * after)
            layer = f"^{{[{len(counts)}]}}$"
            text = f"$W{layer}: {after:,} × {before:,}\n$b{layer}: {after:,}\n{counts[-1]:,} parameters"
        else:
            text = "set before training,\nnot counted"
        axes.text(place + 0.5, -3, text, ha="center", va="top")
        ends = np.transpose(list(product(*heights[place : place + 2])))
        axes.plot([place, place + 1], ends, "-" if counts else "--", color="0.6", linewidth=0.7, zorder=0)
    axes.text(len(columns) - 0.5, -3, f"total\n{sum(counts):,} parameters", ha="center", va="top", weight="bold")
    return figure


def _columns(widths: Sequence[int], fixed: tuple[str, int] | None) -> list[tuple[int, str, str, str]]:
    """Of every column its width, heading, symbol and color."""
    inputs, *hidden, outputs = widths
    columns = [(inputs, f"input\n{inputs:,} numbers", "x", "tab:gray")]
    if fixed is not None:
        name, width = fixed
        columns.append((width, f"{name}\n{width:,} number{'s' * (width > 1)}", "u", "tab:gray"))
    for layer, width in enumerate(hidden, start=1):
        columns.append((width, f"hidden layer {layer}\n{width:,} × ReLU", f"a^{{[{layer}]}}", "tab:blue"))
    return [*columns, (outputs, "output\n1 number, then $\\sigma(z_1)$", "z", "tab:orange")]


def _draw_column(axes: Axes, place: int, width: int, heading: str, symbol: str, color: str) -> list[float]:
    """One column of circles below its heading; returns their heights."""
    axes.text(place, 3, heading, ha="center", fontsize=11)
    numbers = list(range(1, width + 1)) if width <= 6 else [1, 2, 3, 0, width - 1, width]  # 0: the dots
    heights = {number: (len(numbers) - 1) / 2 - row for row, number in enumerate(numbers)}
    for number, height in heights.items():
        label = f"${symbol}_{{{number}}}$" if number else "$\\vdots$"
        axes.text(place, height, label, ha="center", va="center", fontsize=10)
    centers = [height for number, height in heights.items() if number]
    axes.scatter([place] * len(centers), centers, s=1200, facecolor="white", edgecolor=color, linewidth=1.6)
    return centers

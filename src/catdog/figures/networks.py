"""A network as a drawing, and what its first layer looks for."""

from collections.abc import Sequence
from itertools import pairwise, product

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

LAYER_GAP = 3.6  # between the columns of a network's diagram, where its circles are 1.1 apart


def weight_pictures(weights: Tensor, image_size: int) -> Tensor:
    """Each first-layer unit's weights as a picture: float32 (units, 3, image_size, image_size) in [0, 1].

    Grey is a weight of 0; each unit is scaled by its own largest absolute weight.

    Args:
        weights: float32 (units, 3 · image_size²).
        image_size: height and width in pixels.
    """
    largest = weights.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    return (0.5 + 0.5 * weights / largest).reshape(-1, 3, image_size, image_size)


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

"""A network as a drawing, and what its first layer looks for."""

from collections.abc import Sequence
from itertools import pairwise, product

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

GAP = 3.6  # between the columns of a network's diagram, where its circles are 1.1 apart


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
    """A fully connected network as textbooks draw it: a column of circles per layer, arrows, and parameter counts.

    A column of more than six is abbreviated with dots.

    Args:
        widths: of every layer from input to output, such as `[49152, 5, 5, 3, 1]`.
        fixed: name and width of a first layer that is not trained, such as `("PCA whitening", 256)`.
    """
    columns = _columns(widths, fixed)
    right = GAP * (len(columns) - 1)
    figure = Figure(figsize=(0.6 * (right + 5.2), 0.6 * 9.4))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-2, right + 3.2), ylim=(-5, 4.4))
    axes.axis("off")
    circles = [_draw_column(axes, GAP * place, *column) for place, column in enumerate(columns)]
    total = 0
    for place, ((before, *_), (after, *_)) in enumerate(pairwise(columns)):
        layer = place + (fixed is None)
        for start, end in product(circles[place], circles[place + 1]):
            _arrow(axes, start, end, "-" if layer else "--")
        text = "set before training,\nnot counted"
        if layer:
            count = (before + 1) * after
            total += count
            text = f"$W^{{[{layer}]}}$: {after:,} × {before:,}\n$b^{{[{layer}]}}$: {after:,}\n{count:,} parameters"
        axes.text(GAP * (place + 0.5), -3.5, text, ha="center", va="top")
    _arrow(axes, (right, 0), (right + 1.9, 0))
    axes.text(right + 1.5, 0, "$\\sigma(z)$", va="center", fontsize=13)
    axes.text(right + 1.2, -3.5, f"in all\n{total:,} parameters", ha="center", va="top", weight="bold")
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
    return [*columns, (outputs, f"output\n{outputs} number", "z", "tab:orange")]


def _draw_column(axes: Axes, x: float, width: int, heading: str, symbol: str, color: str) -> list[tuple[float, float]]:
    """One column of circles below its heading; returns their centers."""
    axes.text(x, 3.4, heading, ha="center", va="bottom", fontsize=11)
    numbers = list(range(1, width + 1)) if width <= 6 else [1, 2, 3, None, width - 1, width]
    centers = []
    for row, number in enumerate(numbers):
        y = 1.1 * ((len(numbers) - 1) / 2 - row)
        if number is None:
            axes.text(x, y, "$\\vdots$", ha="center", va="center", fontsize=12)
            continue
        centers.append((x, y))
        axes.add_patch(Circle((x, y), 0.42, facecolor="white", edgecolor=color, linewidth=1.6, zorder=2))
        label = f"${symbol}_{{{number}}}$" if width > 1 else f"${symbol}$"
        left, align = (x - 0.6, "right") if symbol == "x" else (x, "center")
        size = 10 if number > 99 and symbol != "x" else 12  # three digits and more are wider than a circle
        axes.text(left, y, label, ha=align, va="center", fontsize=size, zorder=3)
    return centers


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], line: str = "-") -> None:
    style = {"arrowstyle": "-|>,head_length=0.35,head_width=0.15", "color": "0.6", "linewidth": 0.7, "shrinkB": 19}
    axes.annotate("", end, start, arrowprops=style | {"linestyle": line}, zorder=1)

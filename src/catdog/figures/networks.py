"""A network as a drawing, and what its first layer looks for."""

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Column:
    """A column of circles: a layer's values."""

    width: int
    heading: str
    symbol: str
    color: str
    labelled_beside: bool = False


def network_diagram(widths: Sequence[int], fixed: tuple[str, int] | None = None) -> Figure:
    """A fully connected network as textbooks draw it: a column of circles per layer, arrows, and parameter counts.

    A column of more than six is abbreviated with dots.

    Args:
        widths: of every layer from input to output, such as `[49152, 5, 5, 3, 1]`.
        fixed: name and width of a first layer that is not trained, such as `("PCA whitening", 256)`.
    """
    columns = _columns(widths, fixed)
    last = len(columns) - 1
    figure = Figure(figsize=(0.6 * (LAYER_GAP * last + 5.2), 0.6 * 9.4))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-2, LAYER_GAP * last + 3.2), ylim=(-5, 4.4))
    axes.axis("off")
    circles = [_draw_column(axes, LAYER_GAP * place, column) for place, column in enumerate(columns)]
    counts = []
    for place, (before, after) in enumerate(pairwise(columns)):
        is_fixed = fixed is not None and place == 0
        for start, end in product(*circles[place : place + 2]):
            _arrow(axes, start, end, "--" if is_fixed else "-")
        text, layer = "set before training,\nnot counted", place + (fixed is None)
        if not is_fixed:
            counts.append((before.width + 1) * after.width)
            text = f"$W^{{[{layer}]}}$: {after.width:,} × {before.width:,}\n$b^{{[{layer}]}}$: {after.width:,}"
            text += f"\n{counts[-1]:,} parameters"
        axes.text(LAYER_GAP * (place + 0.5), -3.5, text, ha="center", va="top")
    _arrow(axes, (LAYER_GAP * last, 0), (LAYER_GAP * last + 1.9, 0))
    axes.text(LAYER_GAP * last + 1.5, 0, "$\\sigma(z)$", va="center", fontsize=13)
    axes.text(LAYER_GAP * last + 1.2, -3.5, f"in all\n{sum(counts):,} parameters", ha="center", va="top", weight="bold")
    return figure


def _columns(widths: Sequence[int], fixed: tuple[str, int] | None) -> list[_Column]:
    inputs, *hidden, outputs = widths
    columns = [_Column(inputs, f"input\n{_numbers(inputs)}", "x", "tab:gray", labelled_beside=True)]
    if fixed is not None:
        name, width = fixed
        columns.append(_Column(width, f"{name}\n{_numbers(width)}", "u", "tab:gray"))
    for layer, width in enumerate(hidden, start=1):
        heading = f"hidden layer {layer}\n{width:,} × ReLU"
        columns.append(_Column(width, heading, f"a^{{[{layer}]}}", "tab:blue"))
    return [*columns, _Column(outputs, f"output\n{_numbers(outputs)}", "z", "tab:orange")]


def _numbers(width: int) -> str:
    return f"{width:,} number" + "s" * (width > 1)


def _draw_column(axes: Axes, x: float, column: _Column) -> list[tuple[float, float]]:
    """One column of circles below its heading; returns their centres."""
    axes.text(x, 3.4, column.heading, ha="center", va="bottom", fontsize=11)
    width = column.width
    numbers = list(range(1, width + 1)) if width <= 6 else [1, 2, 3, 0, width - 1, width]  # 0: the dots
    centers = [(x, 1.1 * ((len(numbers) - 1) / 2 - row)) for row in range(len(numbers))]
    for number, center in zip(numbers, centers, strict=True):
        if number:
            axes.add_patch(Circle(center, 0.42, facecolor="white", edgecolor=column.color, linewidth=1.6, zorder=2))
        label = "$\\vdots$" if number == 0 else f"${column.symbol}$"
        if number and width > 1:
            label = f"${column.symbol}_{{{number}}}$"
        beside = number and column.labelled_beside
        place = (x - 0.6, center[1], "right") if beside else (*center, "center")
        small = not beside and number > 99  # three digits and more are wider than a circle
        axes.text(*place[:2], label, ha=place[2], va="center", fontsize=10 if small else 12, zorder=3)
    return [center for number, center in zip(numbers, centers, strict=True) if number]


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], line: str = "-") -> None:
    style = {"arrowstyle": "-|>,head_length=0.35,head_width=0.15", "color": "0.6", "linewidth": 0.7, "shrinkB": 19}
    axes.annotate("", end, start, arrowprops=style | {"linestyle": line}, zorder=1)

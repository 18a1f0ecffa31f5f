"""Figures: learning curves, network diagrams, contact sheets of photos."""

import base64
import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise, permutations, product
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.functional import to_pil_image

from catdog.names import describe, describe_weights, shown

History = Sequence[dict[str, Any]]  # one row per step at which an epoch or a validation ended
TRAIN_COLOR, VAL_COLOR = CLASS_COLORS = "#1f77b4", "#ff7f0e"  # blue and orange
SIDE, GAP = 180, 12  # pixels: a photo's side, the space between photos
LETTER, LINE = 7, 16  # pixels: a character's width, the line height


def curves(record: Mapping[str, Any], narrow: bool = False) -> Figure:
    """Plot loss and accuracy of a run's record against epochs: the mean of the replicas and ±1 sd.

    Side by side and with the result as title; `narrow`: one above the other, for a page that has the result.

    A filled star per replica marks the epoch of the tested weights, an open one that of the other weights; right of the
    accuracy curves stands the test accuracy of either with its 95 % interval. Metrics that were not logged are omitted.
    """
    figure = Figure(figsize=(4.6, 7.4) if narrow else (11, 5), layout="constrained")
    figure.suptitle("" if narrow else describe(record))
    histories = [replica["history"] for replica in record["replicas"]]
    tested = {"epochs": [replica["tested_epoch"] or record["epochs"] for replica in record["replicas"]]}
    several = ", mean ± sd" * (len(histories) > 1)
    loss, accuracy = figure.subplots(2, 1) if narrow else figure.subplots(1, 2)
    for axes, name, label in ((loss, "loss", "binary cross-entropy"), (accuracy, "acc", "accuracy")):
        for part, color, word in (("train", TRAIN_COLOR, "training"), ("val", VAL_COLOR, "validation")):
            if any(f"{part}/{name}" in row for history in histories for row in history):
                _plot_mean(axes, histories, f"{part}/{name}", color=color, label=word + several)
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.3)
    accuracy.axhline(record["baseline"]["val"], color="gray", linestyle="--", label="always naming the larger class")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    for other, result in enumerate([{**record, **tested}, *record["other_weights"]]):
        style = {"fmt": "*", "color": "black", "mfc": "white" if other else "black"}
        best = result["weights"] == "best"  # of several validations in an epoch, the one with the lowest loss
        rows = [min(own, key=lambda row: row.get("val/loss", np.inf)) if best else own[-1] for own in histories]
        for axes, name in ((loss, "val/loss"), (accuracy, "val/acc")):
            stars = [(_epoch(row, histories[0]), row[name]) for row in rows if name in row]
            axes.errorbar(*np.reshape(stars, (-1, 2)).T, markersize=8 if several else 13, zorder=3, **style)
        found, place = result.get("test/acc", np.nan), record["epochs"] * (1.12 if other else 1.06)
        spread = np.abs(np.reshape(result["test/acc_interval"] or [found] * 2, (2, 1)) - found)
        label = f"{'other' if other else 'tested'} weights, {describe_weights(**result)} of the test photos"
        accuracy.errorbar(place, found, spread, capsize=4, markersize=13, label=label, **style)
    accuracy.set_xticks([tick for tick in accuracy.get_xticks() if 0 <= tick <= record["epochs"]])  # none for the test
    accuracy.axvspan(record["epochs"] * 1.03, record["epochs"] * 1.15, color="0.94", zorder=0)
    accuracy.text(record["epochs"] * 1.09, 1.01, "test", transform=accuracy.get_xaxis_transform(), ha="center")
    handles, labels = accuracy.get_legend_handles_labels()
    labels = [textwrap.fill(label, 50) for label in labels] if narrow else labels
    figure.legend(handles, labels, loc="outside lower center", ncols=1 if narrow else 2)
    return figure


def _plot_mean(axes: Axes, histories: Sequence[History], name: str, *, color: str, label: str) -> None:
    """Plot the mean of a metric and a band of ±1 standard deviation, up to the end of the shortest history."""
    rows = list(zip(*([row for row in history if name in row] for history in histories), strict=False))
    epochs = [_epoch(row, histories[0]) for row, *_ in rows]
    values = np.reshape([row[name] for same in rows for row in same], (-1, len(histories)))
    mean, spread = values.mean(axis=1), values.std(axis=1)
    axes.plot(epochs, mean, color=color, marker="o" if len(rows) == 1 else "", label=label)
    axes.fill_between(epochs, mean - spread, mean + spread, color=color, alpha=0.12, linewidth=0)


def _epoch(row: dict[str, Any], history: History) -> float:
    """Compute a row's position on the epoch axis; a validation within an epoch lies between whole numbers."""
    whole = next((other for other in history if "seconds" in other), history[-1])
    return row["step"] * whole["epoch"] / whole["step"]


def weight_pictures(weights: Tensor, image_size: int) -> Tensor:
    """Map weights (units, 3 · image_size²) to images in [0, 1]: grey is 0, black or white a unit's largest weight."""
    largest = weights.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    return (0.5 + 0.5 * weights / largest).reshape(-1, 3, image_size, image_size)


def network_diagram(widths: Sequence[int], fixed: tuple[str, int] | None = None) -> Figure:
    """Draw a fully connected network: a column of circles per layer, their connections and parameter counts.

    `widths` lists all layers from input to output, such as [49152, 5, 5, 3, 1]; columns of more than six units are
    shortened with dots. `fixed` is an untrained first layer, such as ("PCA whitening", 256).
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
    """List each column's width, heading, symbol and color."""
    inputs, *hidden, outputs = widths
    columns = [(inputs, f"input\n{inputs:,} numbers", "x", "tab:gray")]
    if fixed is not None:
        name, width = fixed
        columns.append((width, f"{name}\n{width:,} number{'s' * (width > 1)}", "u", "tab:gray"))
    for layer, width in enumerate(hidden, start=1):
        columns.append((width, f"hidden layer {layer}\n{width:,} × ReLU", f"a^{{[{layer}]}}", "tab:blue"))
    return [*columns, (outputs, "output\n1 number, then $\\sigma(z_1)$", "z", "tab:orange")]


def _draw_column(axes: Axes, place: int, width: int, heading: str, symbol: str, color: str) -> list[float]:
    """Draw one column of circles below its heading; return their heights."""
    axes.text(place, 3, heading, ha="center", fontsize=11)
    numbers = list(range(1, width + 1)) if width <= 6 else [1, 2, 3, 0, width - 1, width]  # 0: the dots
    heights = {number: (len(numbers) - 1) / 2 - row for row, number in enumerate(numbers)}
    for number, height in heights.items():
        label = f"${symbol}_{{{number}}}$" if number else "$\\vdots$"
        axes.text(place, height, label, ha="center", va="center", fontsize=10)
    centers = [height for number, height in heights.items() if number]
    axes.scatter([place] * len(centers), centers, s=1200, facecolor="white", edgecolor=color, linewidth=1.6)
    return centers


def mistakes(
    read: Callable[[int], Any], names: Sequence[str], labels: Tensor, probabilities: Tensor, class_names: Sequence[str],
    most: int = 8,
) -> Image.Image:  # fmt: skip
    """Draw up to `most` misclassified photos of each class, the largest loss first, captioned with name and loss.

    File names, labels and probabilities of class 1 are (photos,). `read` returns the photo at a position, uint8: a
    tensor (3, height, width) or an array (height, width, 3).
    """
    losses = functional.binary_cross_entropy(probabilities, labels.to(probabilities), reduction="none")
    wrong, sheets = (probabilities > 0.5) != (labels > 0.5), []
    for label, (true, false) in enumerate(permutations(map(shown, class_names))):
        own = labels == label
        found = (wrong & own).nonzero().squeeze(1)
        worst = found[losses[found].argsort(descending=True, stable=True)[:most]].tolist()
        sure = [f"{int(100 * abs(label - probabilities[n]))} % sure, loss {losses[n]:.2f}" for n in worst]
        captions = [f"{Path(names[n]).name}\n{text}" for n, text in zip(worst, sure, strict=True)]
        title = f"{true} taken for {false}: {len(found):,} of {int(own.sum()):,}, the largest loss first"
        sheets.append(np.asarray(contact_sheet([to_pil_image(read(n)) for n in worst], captions, title)))
    return Image.fromarray(np.vstack(sheets))


def contact_sheet(photos: Sequence[Image.Image], captions: Sequence[str], title: str, columns: int = 4) -> Image.Image:
    """Draw photos of one shape in rows, resized to one width, each above its wrapped caption."""
    # Matplotlib's font, because Pillow's lacks many scripts' letters; BASIC layout keeps all LETTER pixels wide.
    path = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSansMono.ttf"
    font = ImageFont.truetype(path, size=12, layout_engine=ImageFont.Layout.BASIC)
    width = GAP + columns * (SIDE + GAP)
    heading, texts = _wrapped(title, width - 2 * GAP), [_wrapped(caption, SIDE) for caption in captions]
    top = 2 * GAP + LINE * len(heading)
    height = SIDE * photos[0].height // photos[0].width if photos else 0
    step = height + 2 * GAP + LINE * max(map(len, texts), default=0)  # from row to row
    sheet = Image.new("RGB", (width, top + step * -(-len(photos) // columns)), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), "\n".join(heading), "black", font)
    for number, (photo, text) in enumerate(zip(photos, texts, strict=True)):
        row, column = divmod(number, columns)
        left, upper = GAP + column * (SIDE + GAP), top + row * step
        sheet.paste(photo.resize((SIDE, height)), (left, upper))
        draw.text((left, upper + height + 4), "\n".join(text), "black", font)
    return sheet


def _wrapped(text: str, width: int) -> list[str]:
    """Wrap text to lines of at most `width` pixels, between words where possible."""
    lines = map(shown, text.split("\n"))  # an unpaired surrogate cannot be drawn
    return [part for line in lines for part in textwrap.wrap(line, width // LETTER)]


def data_url(kind: str, save: Callable[..., object], **options: Any) -> str:
    """Encode what `save` writes to a file, with these options, as a data URL of a MIME type such as "image/webp"."""
    file = io.BytesIO()
    save(file, **options)
    return f"data:{kind};base64,{base64.b64encode(file.getvalue()).decode()}"

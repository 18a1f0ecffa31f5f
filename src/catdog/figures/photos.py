"""Photos in rows with their captions below."""

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from catdog.names import shown

SIDE, GAP = 180, 12  # pixels: the side of a photo, between photos
LETTER, LINE = 7, 16  # pixels: the width of a letter, from line to line


def mistakes(
    read: Callable[[int], Any], labels: Tensor, probabilities: Tensor, class_names: Sequence[str], most: int = 16
) -> Image.Image:
    """The wrongly classified photos, most confident first, each with what it is and what it was taken for.

    Args:
        read: gives the photo at a position: uint8, a tensor (3, height, width) or an array (height, width, 3).
        labels: 0 or 1, (photos,).
        probabilities: of class 1, (photos,).
        class_names: names of class 0 and class 1.
        most: how many photos to show.
    """
    predicted, names = (probabilities > 0.5).long(), [shown(name) for name in class_names]
    confidence = probabilities.where(predicted == 1, 1 - probabilities)
    wrong = (predicted != labels).nonzero().squeeze(1)
    worst = wrong[confidence[wrong].argsort(descending=True, stable=True)[:most]].tolist()
    captions = [f"{names[1 - predicted[n]]} as {names[predicted[n]]}, {confidence[n]:.0%}" for n in worst]
    title = f"the most confident of {len(wrong)} mistakes in {len(labels):,} photos"
    return contact_sheet([to_pil_image(read(position)) for position in worst], captions, title)


def contact_sheet(photos: Sequence[Image.Image], captions: Sequence[str], title: str, columns: int = 4) -> Image.Image:
    """Photos in rows, each with its caption below. Matplotlib takes a second for sixteen.

    Args:
        photos: square, of any size.
        captions: one per photo; of several lines, each is wrapped to the photo's width.
        title: written above them.
        columns: photos in a row.
    """
    # Matplotlib's font, because names of files have letters that Pillow's own lacks; BASIC: each is LETTER pixels wide.
    path = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSansMono.ttf"
    font = ImageFont.truetype(path, size=12, layout_engine=ImageFont.Layout.BASIC)
    width = GAP + columns * (SIDE + GAP)
    heading, texts = _wrapped(title, width - 2 * GAP), [_wrapped(caption, SIDE) for caption in captions]
    top = 2 * GAP + LINE * len(heading)
    step = SIDE + 2 * GAP + LINE * max(map(len, texts), default=0)  # from row to row
    sheet = Image.new("RGB", (width, top + step * -(-len(photos) // columns)), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), "\n".join(heading), "black", font)
    for number, (photo, text) in enumerate(zip(photos, texts, strict=True)):
        row, column = divmod(number, columns)
        left, upper = GAP + column * (SIDE + GAP), top + row * step
        sheet.paste(photo.resize((SIDE, SIDE)), (left, upper))
        draw.text((left, upper + SIDE + 4), "\n".join(text), "black", font)
    return sheet


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` pixels, broken between words or else within one."""
    lines = map(shown, text.split("\n"))  # an unpaired surrogate cannot be drawn
    return [part for line in lines for part in textwrap.wrap(line, width // LETTER)]

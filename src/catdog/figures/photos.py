"""Photos in rows with their captions below."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from catdog.names import shown

SIDE, GAP, LINE = 180, 12, 18  # pixels: the longer side of a photo, between photos, from line to line


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
    worst = worst_mistakes(labels, probabilities)
    photos = [as_photo(pixels[position]) for position in worst[:most].tolist()]
    return mistakes_sheet(photos, worst, labels, probabilities, class_names)


def worst_mistakes(labels: Tensor, probabilities: Tensor) -> Tensor:
    """Positions of the wrongly classified photos, most confident first, for (photos,) as in `mistakes`."""
    wrong = ((probabilities > 0.5) != (labels > 0.5)).nonzero().squeeze(1)
    return wrong[(probabilities[wrong] - 0.5).abs().argsort(descending=True, stable=True)]


def mistakes_sheet(
    photos: Sequence[Image.Image], worst: Tensor, labels: Tensor, probabilities: Tensor, class_names: Sequence[str]
) -> Image.Image:
    """The first of the worst mistakes, for those who have their photos at hand; otherwise as `mistakes`."""
    captions = []
    names = [shown(name) for name in class_names]
    for position in worst[: len(photos)].tolist():
        label, probability = int(labels[position]), float(probabilities[position])
        captions.append(f"{names[label]} as {names[1 - label]}, {max(probability, 1 - probability):.0%}")
    title = f"the most confident of {len(worst)} mistakes in {len(labels):,} photos"
    return contact_sheet(photos, captions, title)


def as_photo(pixels: Tensor) -> Image.Image:
    """Pixels as a picture: uint8 (3, height, width)."""
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def contact_sheet(photos: Sequence[Image.Image], captions: Sequence[str], title: str, columns: int = 4) -> Image.Image:
    """Photos in rows, each in its own proportions with its caption below. Matplotlib takes a second for sixteen.

    Args:
        photos: of any size.
        captions: one per photo; of several lines, each is wrapped and at last shortened to the photo's column.
        title: written above them.
        columns: photos in a row.
    """
    photos = [_fitted(photo) for photo in photos]
    texts = [_wrapped(caption, SIDE) for caption in captions]
    width = columns * (SIDE + GAP) + GAP
    heading = _wrapped(title, width - 2 * GAP)
    rows = [slice(first, first + columns) for first in range(0, len(photos), columns)]
    heights = [max(photo.height for photo in photos[row]) for row in rows]
    below = [LINE * max(map(len, texts[row])) + 2 * GAP for row in rows]
    sheet = Image.new("RGB", (width, LINE * len(heading) + 3 * GAP + sum(heights) + sum(below)), "white")
    draw = ImageDraw.Draw(sheet)
    _write(draw, heading, (GAP, GAP))
    bottom = LINE * len(heading) + 2 * GAP
    for row, height, space in zip(rows, heights, below, strict=True):
        bottom += height
        for column, (photo, text) in enumerate(zip(photos[row], texts[row], strict=True)):
            left = GAP + column * (SIDE + GAP)
            sheet.paste(photo, (left, bottom - photo.height))
            _write(draw, text, (left, bottom + 3))
        bottom += space
    return sheet


@cache
def _font() -> ImageFont.FreeTypeFont:
    # Matplotlib's, because names of files have letters that Pillow's own font lacks.
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size=12)


def _fitted(photo: Image.Image) -> Image.Image:
    scale = SIDE / max(photo.size)
    width, height = (max(round(length * scale), 1) for length in photo.size)
    return photo.resize((width, height), Image.Resampling.BICUBIC)


def _write(draw: ImageDraw.ImageDraw, lines: Sequence[str], place: tuple[int, int]) -> None:
    for number, text in enumerate(lines):
        draw.text((place[0], place[1] + number * LINE), text, fill="black", font=_font())


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` pixels, broken between words; a longer word is shortened in its middle."""
    lines: list[str] = []
    for paragraph in map(shown, text.split("\n")):  # what is not printable makes some text layouts fail
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}" if line else word
            if line and _font().getlength(longer) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return [_shortened(line, width) for line in lines]


def _shortened(text: str, width: int) -> str:
    """The text, or its beginning and end with dots between, which are what tells names of files apart."""
    kept = len(text)
    shortened = text
    while _font().getlength(shortened) > width and kept > 1:
        kept -= 1
        shortened = text[: kept - kept // 2] + "…" + text[len(text) - kept // 2 :]
    return shortened

"""Photos in rows with their captions below."""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont, ImageText
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from catdog.names import shown

SIDE, GAP = 180, 12  # pixels: the side of a photo, between photos


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
    photos = [to_pil_image(pixels[position]) for position in worst[:most].tolist()]
    return mistakes_sheet(photos, worst, labels, probabilities, class_names)


def worst_mistakes(labels: Tensor, probabilities: Tensor) -> Tensor:
    """Positions of the wrongly classified photos, most confident first, for (photos,) as in `mistakes`."""
    wrong = ((probabilities > 0.5) != (labels > 0.5)).nonzero().squeeze(1)
    return wrong[(probabilities[wrong] - 0.5).abs().argsort(descending=True, stable=True)]


def mistakes_sheet(
    photos: Sequence[Image.Image], worst: Tensor, labels: Tensor, probabilities: Tensor, class_names: Sequence[str]
) -> Image.Image:
    """The first of the worst mistakes, for those who have their photos at hand; otherwise as `mistakes`."""
    names = [shown(name) for name in class_names]
    captions = []
    for position in worst[: len(photos)].tolist():
        label, probability = int(labels[position]), float(probabilities[position])
        captions.append(f"{names[label]} as {names[1 - label]}, {max(probability, 1 - probability):.0%}")
    title = f"the most confident of {len(worst)} mistakes in {len(labels):,} photos"
    return contact_sheet(photos, captions, title)


def contact_sheet(photos: Sequence[Image.Image], captions: Sequence[str], title: str, columns: int = 4) -> Image.Image:
    """Photos in rows, each with its caption below. Matplotlib takes a second for sixteen.

    Args:
        photos: square, of any size.
        captions: one per photo; of several lines, each is wrapped to the photo's width.
        title: written above them.
        columns: photos in a row.
    """
    width = columns * (SIDE + GAP) + GAP
    heading = _wrapped(title, width - 2 * GAP)
    texts = [_wrapped(caption, SIDE) for caption in captions]
    top = 2 * GAP + _height(heading)
    step = SIDE + 2 * GAP + max(map(_height, texts), default=0)  # from row to row
    sheet = Image.new("RGB", (width, top + step * math.ceil(len(photos) / columns)), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), heading, "black")
    for number, (photo, text) in enumerate(zip(photos, texts, strict=True)):
        row, column = divmod(number, columns)
        left, upper = GAP + column * (SIDE + GAP), top + row * step
        sheet.paste(photo.resize((SIDE, SIDE)), (left, upper))
        draw.text((left, upper + SIDE + 4), text, "black")
    return sheet


@cache
def _font() -> ImageFont.FreeTypeFont:
    # Matplotlib's, because names of files have letters that Pillow's own font lacks.
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size=12)


def _wrapped(text: str, width: int) -> ImageText.Text[str]:
    """Lines of at most `width` pixels, broken between words; a longer word is shortened."""
    lines = map(shown, text.split("\n"))  # what is not printable makes some text layouts fail
    short = "\n".join(" ".join(_shortened(word, width) for word in line.split(" ")) for line in lines)
    wrapped = ImageText.Text(short, _font())
    wrapped.wrap(width)
    return wrapped


def _shortened(word: str, width: int) -> str:
    """The word, or its beginning and end with dots between, which are what tells names of files apart."""
    kept = len(word)
    shortened = word
    while kept > 1 and _font().getbbox(shortened)[2] > width:
        kept -= 1
        shortened = word[: kept - kept // 2] + "…" + word[len(word) - kept // 2 :]
    return shortened


def _height(text: ImageText.Text[str]) -> int:
    return math.ceil(text.get_bbox()[3])

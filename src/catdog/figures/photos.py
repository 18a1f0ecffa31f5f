"""Photos in rows with a line below each."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor


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

"""Draw the picture in docs that no other command makes: `python scripts/lab/pictures.py` writes docs/drawn.jpg.

Its rows are the first drawn cats and dogs.
"""

from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from catdog.data import SyntheticSource

COLUMNS, SIDE, MARGIN = 8, 128, 72  # photos in a row; pixels: a photo's side, the labels' width


def main() -> None:
    """Draw a row of photos per class, with the class's name to the left."""
    source = SyntheticSource()
    sheet = Image.new("RGB", (MARGIN + COLUMNS * SIDE, 2 * SIDE), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size=22)
    for row, name in enumerate(source.class_names):
        draw.text((MARGIN - 10, row * SIDE + SIDE // 2), name, "black", font, anchor="rm")
        for column in range(COLUMNS):
            photo = Image.fromarray(source.read(source.labels.index(row) + column, SIDE))
            sheet.paste(photo, (MARGIN + column * SIDE, row * SIDE))
    sheet.save("docs/drawn.jpg", quality=88)


if __name__ == "__main__":
    main()

"""An exhibition as one picture. Drawn by Pillow: Matplotlib takes a minute for so many photos."""

import io
from collections.abc import Sequence
from functools import cache

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from catdog.inspection.exhibits import Bars, Card, Cards, Content, Drawing, Exhibition, Picture, Row, Table

WIDTH, MARGIN, GAP = 1600, 70, 24  # pixels
INNER = WIDTH - 2 * MARGIN
GROUND, CARD, INK, QUIET, LINE = "#f6f5f2", "#ffffff", "#1f2328", "#626a73", "#dedbd5"
BAR, DEAD, DEAD_GROUND, ALWAYS = "#8a94a0", "#c03a2b", "#f3cdc7", "#4b5563"
SIDES = (("#1d6fb8", "#e4effa"), ("#b4560f", "#fbeadb"))  # of class 0 and class 1: ink and ground
SMALL = 64  # pixels: images up to this size are enlarged without blurring
SHOWN = 180  # side of a photo in a row


def poster(exhibition: Exhibition) -> Image.Image:
    """The picture, WIDTH pixels wide."""
    strips = [_header(exhibition)]
    for section in exhibition.sections:
        strips += [_text(section.heading, 30, "Bold", top=46), _text(section.explanation, 19, color=QUIET)]
        strips.append(_flow([_content(content) for content in section.contents], 60))
        strips += [_text(f"•  {note}", 16, color=QUIET, gap=2, longest=INNER) for note in section.notes]
    strips.append(_text(exhibition.closing, 16, color=QUIET, top=40))
    return _stack(strips, WIDTH, MARGIN)


def _header(exhibition: Exhibition) -> Image.Image:
    legend = _blank(INNER, 60)
    draw, x = ImageDraw.Draw(legend), 0.0
    for side, name in enumerate(exhibition.class_names):
        x = _badge(draw, x, 20, name, side) + 12
    width = (INNER - GAP) // 2
    facts = [
        _stack([_text(term, 16, color=QUIET, gap=0, longest=width), _text(value, 19, gap=14, longest=width)], width)
        for term, value in exhibition.facts
    ]
    title = [_text(exhibition.title, 46, "Bold", longest=INNER), _text(exhibition.subtitle, 24, gap=26)]
    return _stack([*title, _flow(facts, GAP), legend], INNER)


def _content(content: Content) -> Image.Image:
    match content:
        case Cards():
            return _cards(content)
        case Row():
            return _row(content)
        case Bars():
            return _bars(content)
        case Table():
            return _table(content)
        case Drawing():
            return _drawing(content)


def _drawing(drawing: Drawing) -> Image.Image:
    file = io.BytesIO()
    drawing.figure.savefig(file, format="png", dpi=100)
    image = Image.open(file).convert("RGB")
    room = INNER - 2 * GAP
    if image.width > room:
        image = image.resize((room, image.height * room // image.width), Image.Resampling.LANCZOS)
    strip = _blank(INNER, image.height + 2 * GAP)
    ImageDraw.Draw(strip).rounded_rectangle((0, 0, INNER - 1, strip.height - 1), 14, CARD, LINE)
    strip.paste(image, ((INNER - image.width) // 2, GAP))
    return strip


def _bars(bars: Bars) -> Image.Image:
    top, foot = (24, 34) if bars.are_labelled else (4, 14)
    base, step = top + 100, min(INNER / len(bars.shares), 62)
    remark = _text(bars.remark, 16, color=QUIET, gap=4)
    strip = _blank(max(round(step * len(bars.shares)), remark.width), base + foot)
    draw = ImageDraw.Draw(strip)
    if not bars.are_labelled:
        draw.rectangle((0, top, strip.width, base), CARD)
    for number, share in enumerate(bars.shares):
        left = number * step
        right = max(left, left + step - 1)
        if bars.are_labelled:
            left, right = left + 9, right - 9
            color, weight = (DEAD if share == 0 else INK), ("Bold" if share in (0, 1) else "")
            draw.text(((left + right) / 2, base - 100 * share - 4), f"{share:.0%}", color, _font(14, weight), "ms")
            draw.text(((left + right) / 2, base + 8), str(number + 1), QUIET, _font(14), "mt")
        elif share == 0:
            draw.rectangle((left, top, right, base), DEAD_GROUND)
        draw.rectangle((left, base - 100 * share, right, base), ALWAYS if share == 1 else BAR)
    draw.line((0, base, step * len(bars.shares), base), BAR, 2)
    return _stack([_text(bars.heading, 19, "Bold", top=8, gap=0), remark, strip], strip.width)


def _table(table: Table) -> Image.Image:
    columns = list(zip(table.header, *table.rows, strict=True))
    widths = [max(_font(18, "Bold").getlength(cell) for cell in column) + 48 for column in columns]
    strip = _blank(INNER, 36 * (len(table.rows) + 1) + 8)
    draw = ImageDraw.Draw(strip)
    draw.rounded_rectangle((0, 0, min(sum(widths), INNER - 1), strip.height - 1), 14, CARD, LINE)
    for row, cells in enumerate((table.header, *table.rows)):
        x = 24.0
        font = _font(18, "Bold" if row - 1 == table.marked else "")
        for cell, width in zip(cells, widths, strict=True):
            draw.text((x, 36 * row + 22), cell, INK if row else QUIET, font, anchor="lm")
            x += width
    return strip


def _row(row: Row) -> Image.Image:
    strips = []
    for picture in row.photos:
        strip = _blank(SHOWN, SHOWN + 44)
        _paste(strip, picture, 0, 0, SHOWN)
        ImageDraw.Draw(strip).text((0, SHOWN + 12), picture.caption, QUIET, _font(17))
        strips.append(strip)
    below = _flow(strips, GAP) if strips else _text(row.otherwise, 18, color=QUIET)
    return _stack([_text(row.heading, 19, "Bold", top=8), below], INNER)


def _cards(cards: Cards) -> Image.Image:
    columns, look = (3, 160) if cards.are_narrow else (2, 186)
    width = (INNER - (columns - 1) * GAP) // columns
    return _flow([_card(card, width, look, not cards.are_narrow) for card in cards.cards], GAP)


def _card(card: Card, width: int, side: int, has_captions: bool) -> Image.Image:
    top = 92  # of the pictures
    image = _blank(width, top + side + (34 if has_captions else 18) + GAP)
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((0, 0, width - 1, image.height - GAP - 1), 14, CARD, LINE)
    draw.text((18, 26), card.title, INK, _font(19, "Bold"), anchor="lm")
    _badge(draw, 32 + _font(19, "Bold").getlength(card.title), 26, card.badge, card.side)
    for line, note in enumerate(card.notes):
        draw.text((18, 53 + 21 * line), _shortened(note, _font(15), width - 36), QUIET, _font(15), anchor="lm")
    x = 18
    for look in card.looks:
        _paste(image, look, x, top, side)
        draw.text((x, top + side + 5), look.caption, QUIET, _font(14))
        x += side + 10
    photo = (side - 18) // 2  # in two rows, as high as the weights
    for number, picture in enumerate(card.photos):
        _paste(image, picture, x + 6 + number % 3 * (photo + 8), top + number // 3 * (photo + 13), photo)
    return image


def _paste(strip: Image.Image, picture: Picture, left: int, top: int, side: int) -> None:
    filter = Image.Resampling.NEAREST if picture.image.width <= SMALL else Image.Resampling.BICUBIC
    strip.paste(picture.image.resize((side, side), filter), (left, top))
    if picture.side is not None:
        ImageDraw.Draw(strip).rectangle((left, top + side, left + side - 1, top + side + 4), SIDES[picture.side][0])


def _badge(draw: ImageDraw.ImageDraw, left: float, middle: float, text: str, side: int | None) -> float:
    """A label in a class's colours; returns where it ends."""
    ink, ground = (INK, LINE) if side is None else SIDES[side]
    font = _font(16, "Bold")
    text = _shortened(text, font, 320)  # what a card has room for
    right = left + font.getlength(text) + 22
    draw.rounded_rectangle((left, middle - 14, right, middle + 14), 14, ground)
    draw.text((left + 11, middle), text, ink, font, anchor="lm")
    return right


def _text(
    text: str, size: int, weight: str = "", *, color: str = INK, top: int = 0, gap: int = 12, longest: int = 1000
) -> Image.Image:
    """Text in lines of at most `longest` pixels."""
    font, height = _font(size, weight), round(1.45 * size)
    lines = _wrapped(text, font, longest)
    strip = _blank(round(max(map(font.getlength, lines))) + 2, top + height * len(lines) + gap)
    for number, line in enumerate(lines):
        ImageDraw.Draw(strip).text((0, top + height * number), line, color, font)
    return strip


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = _shortened(longer, font, width)
        else:
            lines.append(_shortened(word, font, width))
    return lines


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """A text, cut off with dots where it is too long."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


@cache
def _font(size: int, weight: str = "") -> ImageFont.FreeTypeFont:
    """Matplotlib's own DejaVu Sans, which is there on every machine."""
    properties = font_manager.FontProperties(family="DejaVu Sans", weight=weight.lower() or "normal")
    return ImageFont.truetype(font_manager.findfont(properties), size)


def _blank(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), GROUND)


def _stack(strips: Sequence[Image.Image], width: int, margin: int = 0) -> Image.Image:
    """Strips below each other, with a margin around them."""
    sheet = _blank(width, sum(strip.height for strip in strips) + 2 * margin)
    top = margin
    for strip in strips:
        sheet.paste(strip, (margin, top))
        top += strip.height
    return sheet


def _flow(strips: Sequence[Image.Image], gap: int) -> Image.Image:
    """Strips beside each other, in as many rows as it takes."""
    rows: list[list[Image.Image]] = [[]]
    for strip in strips:
        if rows[-1] and sum(other.width + gap for other in rows[-1]) + strip.width > INNER:
            rows.append([])
        rows[-1].append(strip)
    sheets = [_blank(INNER, max(strip.height for strip in row)) for row in rows]
    for sheet, row in zip(sheets, rows, strict=True):
        left = 0
        for strip in row:
            sheet.paste(strip, (left, 0))
            left += strip.width + gap
    return _stack(sheets, INNER)

"""An exhibition as one HTML file that needs nothing else: no network, no script, no browser newer than a few years."""

import base64
import io
from collections.abc import Iterable
from html import escape
from importlib.resources import files

import matplotlib
from matplotlib.figure import Figure
from PIL import Image

from catdog.inspection.exhibits import Bars, Card, Cards, Content, Drawing, Exhibition, Picture, Row, Section, Table

LOSSLESS = 64  # pixels: photos up to this size are small anyway, and blurred by compression


def page(exhibition: Exhibition) -> str:
    """The HTML. Everything that comes from the outside is escaped, and a policy forbids the page to load anything."""
    style = files("catdog.inspection").joinpath("page.css").read_text(encoding="utf-8")
    title = escape(exhibition.title)
    facts = "".join(f"<div><dt>{escape(term)}</dt><dd>{escape(value)}</dd></div>" for term, value in exhibition.facts)
    legend = "".join(
        f'<span class="badge side-{side}">{escape(name)}</span>' for side, name in enumerate(exhibition.class_names)
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
<header>
<h1>{title}</h1>
<p class="result">{escape(exhibition.subtitle)}</p>
<dl>{facts}</dl>
<p class="legend">In these colours: {legend}</p>
</header>
{"".join(_section(section) for section in exhibition.sections)}<footer>{escape(exhibition.closing)}</footer>
</main>
</body>
</html>
"""


def _section(section: Section) -> str:
    contents = "\n".join(f"<div>{_content(content)}</div>" for content in section.contents)
    notes = "".join(f"<li>{escape(note)}</li>" for note in section.notes)
    notes = f'<ul class="notes">{notes}</ul>' if notes else ""
    head = f"<h2>{escape(section.heading)}</h2>\n<p>{escape(section.explanation)}</p>"
    return f'<section>\n{head}\n<div class="contents">{contents}</div>\n{notes}</section>\n'


def _content(content: Content) -> str:
    match content:
        case Cards():
            narrow = " narrow" if content.are_narrow else ""
            return f'<div class="cards{narrow}">{"".join(map(_card, content.cards))}</div>'
        case Row():
            photos = _figures(content.photos) or f'<p class="none">{escape(content.otherwise)}</p>'
            return f'<h3>{escape(content.heading)}</h3><div class="row">{photos}</div>'
        case Bars():
            return _bars(content)
        case Table():
            return _table(content)
        case Drawing():
            return f'<div class="drawing">{_svg(content.figure, content.alternative)}</div>'


def _card(card: Card) -> str:
    side = "" if card.side is None else f" side-{card.side}"
    photos = f'<div class="photos">{_figures(card.photos)}</div>' if card.photos else ""
    return (
        f'<article><h3>{escape(card.title)} <span class="badge{side}">{escape(card.badge)}</span></h3>'
        f'<p class="note">{"<br>".join(map(escape, card.notes))}</p>'
        f'<div class="unit"><div class="looks">{_figures(card.looks)}</div>{photos}</div></article>'
    )


def _figures(pictures: Iterable[Picture]) -> str:
    return "".join(map(_figure, pictures))


def _figure(picture: Picture) -> str:
    side = "" if picture.side is None else f' class="side-{picture.side}"'
    caption = f"<figcaption>{escape(picture.caption)}</figcaption>" if picture.caption else ""
    return f"<figure{side}>{_img(picture)}{caption}</figure>"


def _img(picture: Picture) -> str:
    image, tooltip = picture.image, escape(picture.tooltip)
    pixelated = ' class="pixelated"' if image.width <= LOSSLESS else ""
    size = f'width="{image.width}" height="{image.height}"'
    source = _data(image, is_photo=picture.side is not None)
    return f'<img{pixelated} src="{source}" {size} alt="{tooltip}" title="{tooltip}">'


def _data(image: Image.Image, is_photo: bool) -> str:
    """An image as the address of itself: photos as WebP, weights, which are mostly grain, as PNG."""
    file = io.BytesIO()
    if is_photo:
        image.save(file, "webp", quality=82, lossless=image.width <= LOSSLESS)
        return _address("image/webp", file)
    image.save(file, "png", optimize=True)
    return _address("image/png", file)


def _address(kind: str, file: io.BytesIO) -> str:
    return f"data:{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _svg(figure: Figure, alternative: str) -> str:
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "catdog"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return f'<img src="{_address("image/svg+xml", file)}" alt="{escape(alternative)}">'


def _bars(bars: Bars) -> str:
    columns = ""
    for number, (share, tooltip) in enumerate(zip(bars.shares, bars.tooltips, strict=True), start=1):
        above, below = (f"<b>{share:.0%}</b>", f"<em>{number}</em>") if bars.are_labelled else ("", "")
        bar = f'<i style="height:{64 * share:.1f}px"></i>'
        columns += f'<span{_bar_class(share)} title="{escape(tooltip)}">{above}{bar}{below}</span>'
    heading, remark = escape(bars.heading), escape(bars.remark)
    kind = "labelled" if bars.are_labelled else "many"
    chart = f'<div class="bars {kind}" role="img" aria-label="{heading}: {remark}">{columns}</div>'
    return f'<h3>{heading}</h3><p class="note">{remark}</p>{chart}'


def _bar_class(share: float) -> str:
    return ' class="dead"' if share == 0 else ' class="always"' if share == 1 else ""


def _table(table: Table) -> str:
    header = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    rows = ""
    for number, row in enumerate(table.rows):
        opening = '<tr class="marked">' if number == table.marked else "<tr>"
        rows += opening + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
    return f'<div class="table"><table><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table></div>'

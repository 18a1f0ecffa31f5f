"""Content of a page on a network, in words and pictures, before it is laid out."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from PIL import Image

MOST_LABELLED = 16  # bars of a layer


@dataclass(frozen=True)
class Picture:
    """A photo, or weights as a picture.

    Attributes:
        image: at the network's size, or smaller.
        tooltip: what it is.
        caption: the line below it.
        side: class 0 or 1, whose colour frames it; None: no frame.
    """

    image: Image.Image
    tooltip: str
    caption: str = ""
    side: int | None = None


@dataclass(frozen=True)
class Card:
    """A unit: what it looks for, and the photos that excite it.

    Attributes:
        title: which one.
        badge: what it votes for.
        side: the class it votes for, 0 or 1, which gives the badge its colour; None: grey.
        notes: its numbers, a line each.
        looks: its weights.
        photos: the photos.
    """

    title: str
    badge: str
    side: int | None
    notes: list[str]
    looks: list[Picture]
    photos: list[Picture]


@dataclass(frozen=True)
class Cards:
    """Units side by side."""

    cards: list[Card]

    @property
    def are_narrow(self) -> bool:
        """True if no unit has more than one picture of what it looks for."""
        return all(len(card.looks) < 2 for card in self.cards)


@dataclass(frozen=True)
class Row:
    """Photos side by side below a heading; where there are none, `otherwise` is said."""

    heading: str
    photos: list[Picture]
    otherwise: str


@dataclass(frozen=True)
class Bars:
    """A bar for every unit of a layer.

    Attributes:
        heading: which layer.
        remark: what stands out.
        shares: the bars' heights, 0 to 1.
        tooltips: one for each bar.
    """

    heading: str
    remark: str
    shares: list[float]
    tooltips: list[str]

    @property
    def are_labelled(self) -> bool:
        """True if there is room for numbers at each bar."""
        return len(self.shares) <= MOST_LABELLED


@dataclass(frozen=True)
class Table:
    """Rows below a header; the marked one, counted from 0, is set off."""

    header: Sequence[str]
    rows: list[list[str]]
    marked: int


@dataclass(frozen=True)
class Drawing:
    """A figure, and what it shows for those who cannot see it."""

    figure: Figure
    alternative: str


Content = Cards | Row | Bars | Table | Drawing


@dataclass(frozen=True)
class Section:
    """A heading, a sentence that explains what is below it, that, and notes on how to read it."""

    heading: str
    explanation: str
    contents: Sequence[Content]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Exhibition:
    """All of it.

    Attributes:
        title: the page's.
        subtitle: the run's result.
        facts: what was trained on what: terms and their values.
        class_names: of class 0 and class 1, for the colours' legend.
        sections: from top to bottom.
        closing: the last line.
    """

    title: str
    subtitle: str
    facts: list[tuple[str, str]]
    class_names: tuple[str, str]
    sections: list[Section]
    closing: str

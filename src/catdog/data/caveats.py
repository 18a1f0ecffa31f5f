"""What a result on these photos has to be read with: one sentence with numbers each."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from catdog.data.pixels import PixelStore
from catdog.data.split import PARTS, first_copies
from catdog.names import shown
from catdog.statistics import detectable_difference

MOST_OF_ONE_CLASS = 0.6  # share of all photos
FEWEST_OF_A_CLASS = 10  # photos in a part


def of_split(
    store: PixelStore, class_names: Sequence[str], rows: Sequence[Tensor], undisturbed: Sequence[Tensor], sought: float
) -> list[str]:
    """All that there are.

    Args:
        store: the photos.
        class_names: of class 0 and class 1.
        rows: of the photos of train, val and test.
        undisturbed: the same, if copies of photos were not kept together.
        sought: the difference between two nets' test accuracies that is sought, a share (0.1 is ten points).
    """
    labels = {part: store.labels[own] for part, own in zip(PARTS, rows, strict=True)}
    count = len(store.names)
    found = (
        imbalance(store.labels, class_names),
        copies(first_copies(store.digests), store.labels, _sides(undisturbed, count), _sides(rows, count)),
        near_empty(labels, class_names),
        small_test(len(labels["test"]), sought),
    )
    return [sentence for sentence in found if sentence is not None]


def _sides(rows: Sequence[Tensor], photos: int) -> Tensor:
    """Of each photo the number of its part, int64 (photos,)."""
    sides = torch.empty(photos, dtype=torch.int64)
    for side, own in enumerate(rows):
        sides[own] = side
    return sides


def imbalance(labels: Tensor, class_names: Sequence[str]) -> str | None:
    """More than 60 % of the photos are of one class. Labels are 0 or 1, float32 (photos,)."""
    counts = _counts(labels)
    larger = int(counts[1] > counts[0])
    share = counts[larger] / max(len(labels), 1)
    if share <= MOST_OF_ONE_CLASS:
        return None
    return (
        f"imbalance: {_listed(counts, class_names)}; always naming {shown(class_names[larger])} is right for "
        f"{share:.1%}, so compare accuracies with that and not with 50 %"
    )


def copies(first: Tensor, labels: Tensor, undisturbed: Tensor, sides: Tensor) -> str | None:
    """Photos have the same bytes as others.

    Args:
        first: of each photo the first one with the same bytes, int64 (photos,).
        labels: 0 or 1, (photos,).
        undisturbed: where each photo would be if it had no copies: 0, 1, 2 for train, val, test, (photos,).
        sides: where it is.
    """
    copied = (first != torch.arange(len(first))).nonzero().squeeze(1)
    if not len(copied):
        return None
    parted, still = (int((where[copied] != where[first[copied]]).sum()) for where in (undisturbed, sides))
    contrary = int((labels[copied] != labels[first[copied]]).sum())
    kept = (
        "kept with the first of their kind" if not still else "left there, as too few photos differ to fill all parts"
    )
    return (
        f"copies: {_photos(len(copied))} with the same bytes as another; {parted} fall on another side of the split "
        f"and are {kept}; {contrary} with the other class's label than that"
    )


def near_empty(parts: Mapping[str, Tensor], class_names: Sequence[str]) -> str | None:
    """A part of the split has under ten photos of a class. Parts are given by their labels."""
    counts = {name: _counts(labels) for name, labels in parts.items()}
    small = {name: both for name, both in counts.items() if min(both) < FEWEST_OF_A_CLASS}
    if not small:
        return None
    listed = "; ".join(f"{name} has {_listed(both, class_names)}" for name, both in small.items())
    return f"near-empty: {listed}; what so few photos measure is mostly chance"


def small_test(photos: int, sought: float) -> str | None:
    """The test part cannot show the difference that is sought, a share (0.1 is ten points)."""
    seen = detectable_difference(photos)
    if seen <= sought:
        return None
    return (
        f"small test part: {_photos(photos)}; between two runs it shows differences from {100 * seen:.0f} points on, "
        f"not the {100 * sought:.0f} of data.sought_difference; more seeds, folds or photos show smaller ones"
    )


def _counts(labels: Tensor) -> tuple[int, int]:
    ones = int(labels.sum())
    return len(labels) - ones, ones


def _listed(counts: tuple[int, int], class_names: Sequence[str]) -> str:
    return " and ".join(f"{count:,} {shown(name)}" for count, name in zip(counts, class_names, strict=True))


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count:,} photos"

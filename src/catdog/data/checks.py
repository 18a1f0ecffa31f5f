"""Checks of the photos: too many unreadable ones end a run, other weaknesses of the data are warnings."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from catdog.data.split import Part, find_originals
from catdog.data.store import PixelStore
from catdog.errors import InputError
from catdog.names import shown

LARGEST_SHARE = 0.6  # of one class among all photos
FEWEST_OF_A_CLASS = 10  # photos in a part of the split


def check_unreadable(store: PixelStore, most: float) -> None:
    """Raise an InputError if more than the fraction `most` of all photos is unreadable."""
    if len(store.unreadable) > most * len(store.names):
        name, reason = next(iter(store.unreadable.items()))
        raise InputError(
            f"{len(store.unreadable)} of {len(store.names)} photos are unreadable, more than "
            f"data.max_unreadable={most} allows; the first is {name!r} ({reason})"
        )


def data_warnings(store: PixelStore, class_names: Sequence[str], parts: Sequence[Part]) -> Iterator[str]:
    """Yield what weakens results on these photos, one sentence with numbers each.

    Args:
        store: the photos.
        class_names: of class 0 and class 1.
        parts: train, val and test.
    """
    counts = [_counts(part.labels) for part in parts]
    both = [sum(column) for column in zip(*counts, strict=True)]
    if (share := max(both) / sum(both)) > LARGEST_SHARE:
        yield (
            f"imbalance: {_listed(both, class_names)}; always naming {shown(class_names[both.index(max(both))])} is "
            f"right for {share:.1%}, so compare accuracies with that and not with 50 %"
        )
    originals = find_originals(store.digests)
    if copies := int((originals != torch.arange(len(originals))).sum()):
        contrary = int((store.labels != store.labels[originals]).sum())
        yield (
            f"copies: {copies:,} with the same pixels as another photo, kept on its side of the split; {contrary:,} "
            "with the other class's label"
        )
    if small := [
        f"{name} has {_listed(of_part, class_names)}"
        for name, of_part in zip(("train", "val", "test"), counts, strict=True)
        if min(of_part) < FEWEST_OF_A_CLASS
    ]:
        yield f"near-empty: {'; '.join(small)}; what so few photos measure is mostly chance"


def _counts(labels: Tensor) -> list[int]:
    return [int((labels == label).sum()) for label in (0, 1)]


def _listed(counts: Sequence[int], class_names: Sequence[str]) -> str:
    return " and ".join(f"{count:,} {shown(name)}" for count, name in zip(counts, class_names, strict=True))

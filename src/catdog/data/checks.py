"""Checks of the photos: too many unreadable ones end a run, other weaknesses of the data are warnings."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from catdog.data.split import SPLITS, find_originals, number_parts
from catdog.data.store import PixelStore
from catdog.errors import InputError
from catdog.names import shown
from catdog.statistics import detectable_difference

LARGEST_SHARE = 0.6  # of one class among all photos
FEWEST_OF_A_CLASS = 10  # photos in a part of the split


def check_unreadable(store: PixelStore, most: float) -> None:
    """Raise an InputError if more than the fraction `most` of all photos is unreadable."""
    total = len(store.names) + len(store.unreadable)
    if len(store.unreadable) > most * total:
        name, reason = next(iter(store.unreadable.items()))
        raise InputError(
            f"{len(store.unreadable)} of {total} photos are unreadable, more than data.max_unreadable={most} allows; "
            f"the first is {name!r} ({reason})"
        )


def data_warnings(
    store: PixelStore, class_names: Sequence[str], rows: Sequence[Tensor], plain: Sequence[Tensor], minimum: float
) -> Iterator[str]:
    """Yield what weakens results on these photos, one sentence with numbers each.

    Args:
        store: the photos.
        class_names: of class 0 and class 1.
        rows: rows of train, val and test; see `split_store`.
        plain: the same, if all photos differed.
        minimum: the difference between two nets' test accuracies that the photos should be enough to detect.
    """
    counts = _counts(store.labels)
    if (share := max(counts) / max(sum(counts), 1)) > LARGEST_SHARE:
        yield (
            f"imbalance: {_listed(counts, class_names)}; always naming {shown(class_names[counts.index(max(counts))])} "
            f"is right for {share:.1%}, so compare accuracies with that and not with 50 %"
        )
    yield from _copies(store, rows, plain)
    of_parts = [(name, _counts(store.labels[part])) for name, part in zip(SPLITS, rows, strict=True)]
    small = [f"{name} has {_listed(both, class_names)}" for name, both in of_parts if min(both) < FEWEST_OF_A_CLASS]
    if small:
        yield f"near-empty: {'; '.join(small)}; what so few photos measure is mostly chance"
    if (detectable := detectable_difference(len(rows[2]))) > minimum:
        yield (
            f"small test part: {_photos(len(rows[2]))}; two runs on them show differences from {100 * detectable:.0f} "
            f"points on, not the {100 * minimum:.0f} of data.minimum_difference; more seeds, folds or photos show "
            "smaller ones"
        )


def _copies(store: PixelStore, rows: Sequence[Tensor], plain: Sequence[Tensor]) -> Iterator[str]:
    originals = find_originals(store.digests)
    copied = (originals != torch.arange(len(originals))).nonzero().squeeze(1)
    left, moved, contrary = (
        int((values[copied] != values[originals[copied]]).sum())
        for values in (number_parts(rows), number_parts(plain), store.labels)
    )
    kept = "left there, as too few photos differ to fill all splits" if left else "kept with the first of their kind"
    if len(copied):
        yield (
            f"copies: {_photos(len(copied))} with the same bytes as another; {moved} fall on another side of the split "
            f"and are {kept}; {contrary} with the other class's label than that"
        )


def _counts(labels: Tensor) -> list[int]:
    return [int((labels == label).sum()) for label in (0, 1)]


def _listed(counts: Sequence[int], class_names: Sequence[str]) -> str:
    return " and ".join(f"{count:,} {shown(name)}" for count, name in zip(counts, class_names, strict=True))


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count:,} photos"

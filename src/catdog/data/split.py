"""The seeded split into train, val and test."""

from collections.abc import Sequence

import torch
from torch import Tensor

from catdog.data.store import PixelStore
from catdog.errors import InputError, check_whole_number

SPLITS = ("train", "val", "test")


def split_indices(
    count: int, seed: int, fold: int = 0, originals: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Split `count` photos into train, val and test: int(0.8 n), int(0.1 n) and the rest.

    One permutation of the photos' sorted order, a function of `count` and `seed` alone, is cut into ten tenths. Fold 0
    trains on the first eight, validates on the ninth and tests on the last; every further fold moves both by one
    tenth, so that the ten folds together test every photo exactly once. Where n is not a multiple of 10, their
    parts differ in size by a few photos.

    Args:
        count: number of photos.
        seed: of the permutation.
        fold: which tenth is tested, 0 to 9.
        originals: of each photo the first one with the same bytes, where it goes too, int64 (count,); None: all differ.

    Returns:
        Three int64 tensors of positions, without overlap, together every position once.

    Raises:
        InputError: there are under ten photos, or the fold is not one of 0 to 9.
    """
    check_whole_number("data.fold", fold, least=0, most=9)
    train, val = int(0.8 * count), int(0.1 * count)
    if not val:
        raise InputError(f"{count} photos are too few to split into train, val and test; give at least 10")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    tenths = [*order[:train].tensor_split(8), order[train : train + val], order[train + val :]]
    if originals is not None:
        tenth_of = number_parts(tenths)[originals]
        tenths = [order[tenth_of[order] == number] for number in range(10)]
    tenths = tenths[10 - fold :] + tenths[: 10 - fold]
    return torch.cat(tenths[:8]), tenths[8], tenths[9]


def number_parts(parts: Sequence[Tensor]) -> Tensor:
    """Find for every position the number of the part that holds it, int64 (positions,)."""
    numbers = torch.empty(sum(map(len, parts)), dtype=torch.int64)
    for number, positions in enumerate(parts):
        numbers[positions] = number
    return numbers


def find_originals(digests: Sequence[str]) -> Tensor:
    """Find for every photo the position of the first one with the same digest of its bytes, int64 (photos,)."""
    first: dict[str, int] = {}
    found = [first.setdefault(digest, position) for position, digest in enumerate(digests)]
    return torch.tensor(found, dtype=torch.int64)


def split_store(store: PixelStore, names: Sequence[str], seed: int, fold: int) -> tuple[list[Tensor], list[Tensor]]:
    """Split the rows of a store into train, val and test; see `split_indices`.

    Splits `names`, those of unreadable photos too, so that a photo that breaks moves no other one.

    Returns:
        The rows of each part, copies of a photo in one part, unless that would leave another one empty; and the rows
        if all photos differed.

    Raises:
        InputError: a part has no photo.
    """
    readable = torch.tensor([name not in store.unreadable for name in names])
    positions, originals = readable.nonzero().squeeze(1), torch.arange(len(names))
    originals[positions] = positions[find_originals(store.digests)]
    row_of = readable.cumsum(0) - 1
    together, plain = (
        [row_of[part[readable[part]]] for part in split_indices(len(names), seed, fold, first)]
        for first in (originals, None)
    )
    if not all(map(len, plain)):
        raise InputError(f"a part of the split has no photo: {len(positions)} of {len(names)} photos are readable")
    return together if all(map(len, together)) else plain, plain

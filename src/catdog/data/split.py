"""Which photos are trained on, validated on and tested on."""

from collections.abc import Container, Sequence

import torch
from torch import Tensor

from catdog.errors import InputError, check_whole_number

PARTS = ("train", "val", "test")


def split_indices(
    count: int, seed: int, fold: int = 0, first_copies: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Deal out `count` photos as train, val and test: int(0.8 n), int(0.1 n) and the rest.

    One permutation of the photos' sorted order, a function of `count` and `seed` alone, is cut into ten tenths. Fold 0
    trains on the first eight, validates on the ninth and tests on the last; every further fold moves both by one
    tenth, so that the ten folds together test every photo exactly once. Where n is not a multiple of 10, their
    parts differ in size by a few photos. A copy of a photo goes where the photo goes.

    Args:
        count: how many photos.
        seed: of the permutation.
        fold: which tenth is tested, 0 to 9.
        first_copies: of each photo the first one with the same bytes, int64 (count,); None: all photos differ.

    Returns:
        Three int64 tensors of positions, without overlap, together every position once.

    Raises:
        InputError: a part would be empty, or the fold is not one of 0 to 9.
    """
    check_whole_number("data.fold", fold, least=0)
    if fold > 9:
        raise InputError(f"data.fold must be at most 9, got {fold}")
    train, val = int(0.8 * count), int(0.1 * count)
    if not val:
        raise InputError(f"{count} photos are too few to split into train, val and test; give at least 10")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    tenths = [*order[:train].tensor_split(8), order[train : train + val], order[train + val :]]
    if first_copies is not None:
        tenth_of = torch.empty(count, dtype=torch.int64)
        for number, positions in enumerate(tenths):
            tenth_of[positions] = number
        tenths = [order[tenth_of[first_copies[order]] == number] for number in range(10)]
    tenths = tenths[10 - fold :] + tenths[: 10 - fold]
    return torch.cat(tenths[:8]), tenths[8], tenths[9]


def first_copies(digests: Sequence[str]) -> Tensor:
    """For every photo the position of the first one with the same digest of its bytes, int64 (photos,)."""
    first: dict[str, int] = {}
    found = [first.setdefault(digest, position) for position, digest in enumerate(digests)]
    return torch.tensor(found, dtype=torch.int64)


def split_rows(
    names: Sequence[str], unreadable: Container[str], digests: Sequence[str] | None, seed: int, fold: int
) -> list[Tensor]:
    """The rows of a pixel store that are train, val and test; see `split_indices`.

    All names are dealt out, so that a photo that breaks moves no other one.

    Args:
        names: of all photos, sorted.
        unreadable: names that the store leaves out.
        digests: of the bytes of the store's photos, to keep copies of a photo together; None: wherever they fall.
        seed: of the permutation.
        fold: which tenth is tested, 0 to 9.
    """
    readable = torch.tensor([name not in unreadable for name in names])
    positions, first = readable.nonzero().squeeze(1), torch.arange(len(names))
    if digests is not None:
        first[positions] = positions[first_copies(digests)]
    row_of = readable.cumsum(0) - 1
    return [row_of[part[readable[part]]] for part in split_indices(len(names), seed, fold, first)]

"""The seeded split into train, val and test."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from catdog.data.store import PixelStore
from catdog.errors import InputError, check_whole_number


@dataclass(frozen=True)
class Part:
    """A part of the split."""

    rows: Tensor  # of its photos in the store, int64 (photos,)
    names: list[str]
    labels: Tensor  # float32 (photos,), 0 or 1

    def __len__(self) -> int:
        return len(self.rows)


def split_store(store: PixelStore, seed: int, fold: int) -> tuple[Part, Part, Part]:
    """Split the readable photos of a store; see `split_indices`. A photo that breaks moves no other one.

    Raises:
        InputError: a part has no photo.
    """
    readable = torch.tensor([name not in store.unreadable for name in store.names])
    split = split_indices(len(readable), seed, fold, find_originals(store.digests))
    train, val, test = (
        Part(rows, [store.names[row] for row in rows.tolist()], store.labels[rows])
        for rows in (rows[readable[rows]] for rows in split)
    )
    if not train or not val or not test:
        raise InputError(
            f"a part of the split has no photo: {int(readable.sum())} of {len(readable)} photos are readable, "
            f"{len(set(store.digests) - set(store.unreadable))} of them different"
        )
    return train, val, test


def split_indices(
    count: int, seed: int, fold: int = 0, originals: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Split `count` photos into train, val and test: int(0.8 n), int(0.1 n) and the rest.

    One permutation of the photos' sorted order, a function of `count` and `seed` alone, is cut into ten tenths. Fold 0
    trains on the first eight, validates on the ninth and tests on the last; every further fold moves both by one
    tenth, so that the ten folds together test every photo exactly once. Where n is not a multiple of 10, their
    parts differ in size by a few photos. A copy goes where its original does: `originals`, int64 (count,), has the
    position of each photo's first copy; None: all differ.

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
        tenths = [order[torch.isin(originals[order], positions)] for positions in tenths]
    tenths = tenths[10 - fold :] + tenths[: 10 - fold]
    return torch.cat(tenths[:8]), tenths[8], tenths[9]


def find_originals(digests: Sequence[str]) -> Tensor:
    """Find for every photo the position of the first one with the same digest, int64 (photos,)."""
    first: dict[str, int] = {}
    return torch.tensor([first.setdefault(digest, position) for position, digest in enumerate(digests)])

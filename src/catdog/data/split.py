"""The seeded split into train, val and test, and warnings about what weakens results on it."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from catdog.data.store import PixelStore
from catdog.errors import InputError
from catdog.names import shown

LARGEST_SHARE = 0.6  # of one class among all photos
FEWEST_OF_A_CLASS = 10  # photos in a part of the split


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
    split = (rows[readable[rows]] for rows in split_indices(store.digests, seed, fold))
    train, val, test = (Part(rows, [store.names[row] for row in rows.tolist()], store.labels[rows]) for rows in split)
    if not train or not val or not test:
        raise InputError(
            f"a part of the split has no photo: {int(readable.sum())} of {len(readable)} photos are readable, "
            f"{len(set(store.digests) - set(store.unreadable))} of them different"
        )
    return train, val, test


def split_indices(photos: Sequence[Hashable], seed: int, fold: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Split n photos into train, val and test: int(0.8 n), int(0.1 n) and the rest, int64 positions each.

    One permutation of the photos' sorted order, a function of n and `seed` alone, is cut into ten tenths. Fold 0
    trains on the first eight, validates on the ninth and tests on the last; every further fold up to 9 moves both by
    one tenth, so that the ten folds together test every photo exactly once. Where n is not a multiple of 10, their
    parts differ in size by a few photos. Copies, which are equal in `photos`, then go where the first of them is.

    Raises:
        InputError: there are under ten photos.
    """
    train, val = int(0.8 * len(photos)), int(0.1 * len(photos))
    if not val:
        raise InputError(f"{len(photos)} photos are too few to split into train, val and test; give at least 10")
    order = torch.randperm(len(photos), generator=torch.Generator().manual_seed(seed))
    originals = find_originals(photos)[order]
    tenths = [*order[:train].tensor_split(8), order[train : train + val], order[train + val :]]
    tenths = [order[torch.isin(originals, tenth)] for tenth in tenths]
    tenths = tenths[10 - fold :] + tenths[: 10 - fold]
    return torch.cat(tenths[:8]), tenths[8], tenths[9]


def find_originals(photos: Sequence[Hashable]) -> Tensor:
    """Find for every photo the position of the first one that equals it, int64 (photos,)."""
    first: dict[Hashable, int] = {}
    return torch.tensor([first.setdefault(photo, position) for position, photo in enumerate(photos)])


def data_warnings(store: PixelStore, class_names: Sequence[str], parts: Sequence[Part]) -> Iterator[str]:
    """Yield what weakens results on these photos, one sentence with numbers each; `parts` are train, val and test."""

    def listed(counts: Sequence[int]) -> str:
        return " and ".join(f"{count:,} {shown(name)}" for count, name in zip(counts, class_names, strict=True))

    counts = [[int((part.labels == label).sum()) for label in (0, 1)] for part in parts]
    both = [sum(column) for column in zip(*counts, strict=True)]
    if (share := max(both) / sum(both)) > LARGEST_SHARE:
        yield (
            f"imbalance: {listed(both)}; always naming {shown(class_names[both.index(max(both))])} is right for "
            f"{share:.1%}, so compare accuracies with that and not with 50 %"
        )
    originals = find_originals(store.digests)
    if copies := int((originals != torch.arange(len(originals))).sum()):
        contrary = int((store.labels != store.labels[originals]).sum())
        yield (
            f"copies: {copies:,} with the same pixels as another photo, kept on its side of the split; {contrary:,} "
            "with the other class's label"
        )
    named = zip(("train", "val", "test"), counts, strict=True)
    if small := [f"{name} has {listed(own)}" for name, own in named if min(own) < FEWEST_OF_A_CLASS]:
        yield f"near-empty: {'; '.join(small)}; what so few photos measure is mostly chance"

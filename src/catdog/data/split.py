"""Seeded split into train, val and test, and warnings about the data."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from catdog.data.store import PixelStore
from catdog.errors import InputError, TooFewPhotosError
from catdog.names import shown


@dataclass(frozen=True)
class Part:
    """One part of the split: train, val or test."""

    rows: Tensor  # positions of its photos in the store, int64 (photos,)
    names: list[str]
    labels: Tensor  # float32 (photos,), 0 or 1

    def __len__(self) -> int:
        return len(self.rows)

    def subset(self, photos: int, number: int) -> "Part":
        """Select the `number`-th disjoint set of this many photos, counted from 0.

        The sets are consecutive pieces of the split's random order, so a smaller set lies within a larger one whose
        size is a multiple of its own. Copies of a photo may be in different sets. Raises TooFewPhotosError if there is
        no such set.
        """
        if photos > len(self):
            most = f"{len(self)}, the training photos of the split"
            raise TooFewPhotosError(f"data.train_photos must be at most {most}; got {photos}")
        if (sets := len(self) // photos) <= number:
            made = f"the split's {len(self)} training photos make {sets} of data.train_photos={photos}, counted from 0"
            raise TooFewPhotosError(f"data.train_set must be at most {sets - 1}, as {made}; got {number}")
        chosen = slice(number * photos, (number + 1) * photos)
        return Part(self.rows[chosen], self.names[chosen], self.labels[chosen])


def split_store(store: PixelStore, seed: int, fold: int) -> tuple[Part, Part, Part]:
    """Split the readable photos of a store; see `split_indices`. An unreadable photo moves no other photo."""
    readable = torch.tensor([name not in store.unreadable for name in store.names])
    split = (rows[readable[rows]] for rows in split_indices(store.digests, seed, fold))
    train, val, test = (Part(rows, [store.names[row] for row in rows.tolist()], store.labels[rows]) for rows in split)
    if not train or not val or not test:
        have = f"{int(readable.sum())} of {len(readable)} photos are readable"
        different = len(set(store.digests) - set(store.unreadable))
        raise InputError(f"a part of the split has no photo: {have}, {different} of them different")
    return train, val, test


def split_indices(photos: Sequence[Hashable], seed: int, fold: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Split n photos into train, val and test: int(0.8 n), int(0.1 n) and the rest, int64 positions each.

    A permutation that depends only on n and `seed` is cut into ten tenths. Fold 0 trains on the first eight, validates
    on the ninth and tests on the last. Each further fold, up to 9, rotates the tenths by one, so the ten folds together
    test every photo exactly once. If n is not a multiple of 10, the folds' parts differ in size by a few photos.
    Duplicates, which are equal elements of `photos`, all move to the part of the first. Raises InputError if there are
    fewer than ten photos.
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
    """Find the position of the first photo equal to each photo, int64 (photos,)."""
    first: dict[Hashable, int] = {}
    return torch.tensor([first.setdefault(photo, position) for position, photo in enumerate(photos)])


def data_warnings(store: PixelStore, class_names: Sequence[str], parts: Sequence[Part]) -> Iterator[str]:
    """Yield a sentence on each of imbalance, duplicates, and parts (train, val, test) with few photos of a class."""

    def listed(counts: Sequence[int]) -> str:
        return " and ".join(f"{count:,} {shown(name)}" for count, name in zip(counts, class_names, strict=True))

    counts = [[int((part.labels == label).sum()) for label in (0, 1)] for part in parts]
    both = [sum(column) for column in zip(*counts, strict=True)]
    if (share := max(both) / sum(both)) > 0.6:
        larger = shown(class_names[both.index(max(both))])
        yield f"imbalance: {listed(both)}; always naming {larger} is right for {share:.1%}, so compare with that"
    originals = find_originals(store.digests)
    if copies := int((originals != torch.arange(len(originals))).sum()):
        mislabelled = int((store.labels != store.labels[originals]).sum())
        yield (
            f"copies: {copies:,} with the same pixels as another photo, kept in its part of the split; {mislabelled:,} "
            "with the other class's label"
        )
    named = zip(("train", "val", "test"), counts, strict=True)
    if small := [f"{name} has {listed(pair)}" for name, pair in named if min(pair) < 10]:
        yield f"near-empty: {'; '.join(small)}; what so few photos measure is mostly chance"

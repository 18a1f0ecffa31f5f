"""Warnings about the photos: what weakens the results on them."""

from collections.abc import Iterator, Sequence

import torch

from catdog.data.split import Part, find_originals
from catdog.data.store import PixelStore
from catdog.names import shown

LARGEST_SHARE = 0.6  # of one class among all photos
FEWEST_OF_A_CLASS = 10  # photos in a part of the split


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

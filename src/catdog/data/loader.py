"""PhotoLoader: batches gathered straight from the pixel store."""

import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import BatchSampler

from catdog.data.augmentation import RandomViews
from catdog.data.store import PixelStore

HUGE_PAGE = 2**21  # bytes
MINUS_ONE = torch.tensor(-1.0)  # a tensor, because torch.add scales its second operand


class PhotoLoader:
    """Batches (images, labels) of some photos: an iterable that takes the place of a DataLoader.

    Images are float32 (batch, 3, image_size, image_size) in [-1, 1], labels float32 (batch,). A DataLoader would fetch
    photo by photo and stack them, which takes longer than such a small net's training step.

    Args:
        store: the pixels.
        rows: rows of the photos in the store, int64 (photos,).
        batch_sampler: lists of positions in `rows`, one per batch; Lightning calls its sampler's `set_epoch`, if any.
        device: where the batches are made.
        views: shown instead of the photos, if any; a DistributedSampler's seed, epoch and rank determine them.
    """

    def __init__(
        self,
        store: PixelStore,
        rows: Tensor,
        batch_sampler: BatchSampler,
        device: torch.device,
        views: RandomViews | None,
    ) -> None:
        self.store, self.rows, self.batch_sampler = store, rows, batch_sampler
        self.device, self.views = device, views
        shape = batch_sampler.batch_size, *store.pixels.shape[1:]
        self._pixels = torch.empty(shape, dtype=torch.uint8, device=store.pixels.device)
        self._memory = _allocate(self._pixels.numel())

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch."""
        order = self.rows[torch.tensor(list(self.batch_sampler.sampler))]
        for number, rows in enumerate(order.split(self.batch_sampler.batch_size)):
            yield self._load(rows, number)  # bound to no name here, so that its memory is free again

    def _load(self, rows: Tensor, number: int) -> tuple[Tensor, Tensor]:
        pixels, labels = self.store.gather(rows.to(self.store.labels.device), out=self._pixels[: len(rows)])
        images = self._images(len(rows)).copy_(pixels)
        to_images(images, out=images)
        if self.views is not None:
            sampler: Any = self.batch_sampler.sampler
            self.views.seed(sampler.seed, sampler.epoch, sampler.rank, number)
            images = self.views(images)
        return images, labels.to(self.device)

    def _images(self, count: int) -> Tensor:
        """Allocate a batch; on the processor in the memory of the last one, unless somebody still holds that.

        Fresh memory for each would leave holes between what is kept of an epoch, gigabytes with many photos.
        """
        shape = count, *self._pixels.shape[1:]
        if self.device.type != "cpu":
            return torch.empty(shape, device=self.device)
        if sys.getrefcount(self._memory) > 2:  # this attribute and the call; each tensor on it is one more
            self._memory = _allocate(self._pixels.numel())
        return torch.from_numpy(self._memory)[: math.prod(shape)].view(shape)


def _allocate(count: int) -> NDArray[np.float32]:
    """Allocate float32 (count,) from the start of a huge page, which NumPy asks for: a tenth off an epoch's time."""
    memory = np.empty(4 * count + HUGE_PAGE, np.uint8)
    start = -memory.ctypes.data % HUGE_PAGE
    return memory[start : start + 4 * count].view(np.float32)


def to_images(values: Tensor, out: Tensor | None = None) -> Tensor:
    """Scale pixel values from 0 to 255, of any shape, to float32 in [-1, 1], in one pass; `out` may be `values`."""
    return torch.add(MINUS_ONE, values, alpha=1 / 127.5, out=out)

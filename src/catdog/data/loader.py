"""PhotoLoader: batches gathered straight from the pixel store."""

import sys
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler

from catdog.data.store import PixelStore

MINUS_ONE = torch.tensor(-1.0)  # a tensor, because torch.add scales its second operand


class PhotoLoader:
    """Batches (images, labels) of some photos: an iterable that takes the place of a DataLoader.

    Images are float32 (batch, 3, image_size, image_size) in [-1, 1], labels float32 (batch,). A DataLoader's own work
    alone takes a tenth of the exercise's epoch.

    Args:
        store: the pixels.
        rows: of the photos in the store, int64 (photos,).
        batch_sampler: positions in `rows`, in batches; Lightning calls its sampler's `set_epoch`, if any.
        device: where the batches are made.
    """

    def __init__(self, store: PixelStore, rows: Tensor, batch_sampler: BatchSampler, device: torch.device) -> None:
        self.store, self.rows, self.batch_sampler, self.device = store, rows, batch_sampler, device
        self._memory = np.empty((batch_sampler.batch_size, *store.pixels.shape[1:]), np.float32)

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch."""
        order = self.rows[list(self.batch_sampler.sampler)].to(self.store.labels.device)
        for rows in order.split(self.batch_sampler.batch_size):
            pixels, labels = (values.index_select(0, rows) for values in (self.store.pixels, self.store.labels))
            yield self._scale(pixels), labels.to(self.device)

    def _scale(self, pixels: Tensor) -> Tensor:
        """Make a batch of images; on the processor in the memory of the last one, unless somebody still holds that.

        Fresh memory for each would leave holes between what is kept of an epoch, gigabytes with many photos.
        """
        if self.device.type != "cpu":
            return to_images(pixels.to(self.device).float())
        if sys.getrefcount(self._memory) > 2:  # this attribute and the call; each tensor on it is one more
            self._memory = np.empty_like(self._memory)
        images = torch.from_numpy(self._memory)[: len(pixels)]
        return to_images(images.copy_(pixels), out=images)


def to_images(values: Tensor, out: Tensor | None = None) -> Tensor:
    """Scale pixel values from 0 to 255, of any shape, to float32 in [-1, 1], in one pass; `out` may be `values`."""
    return torch.add(MINUS_ONE, values, alpha=1 / 127.5, out=out)

"""Batches of images: gathered from the pixel store, scaled, and varied at random."""

import math
import sys
from collections.abc import Iterator

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import Tensor
from torch.nn import functional
from torch.utils.data import BatchSampler

from catdog.data.store import PixelStore

SCALE = (0.6, 1.1)  # smallest and largest fraction of the photo's side that is seen
SHIFT = 0.25  # maximum translation, as a fraction of half the image side, both across and down
ROTATION = math.radians(15)  # maximum, either way


class PhotoLoader:
    """Batches (images, labels) of a store's photos in `rows`, int64 (photos,), in the place of a DataLoader.

    Images are float32 (batch, 3, image_size, image_size) in [-1, 1], labels float32 (batch,), both on `device`.
    `batch_sampler` gives positions in `rows`; Lightning calls its sampler's `set_epoch`, if any. A DataLoader's own
    work alone takes a tenth of the exercise's epoch.
    """

    def __init__(self, store: PixelStore, rows: Tensor, batch_sampler: BatchSampler, device: torch.device) -> None:
        self.store, self.rows, self.batch_sampler, self.device = store, rows, batch_sampler, device
        self._memory = np.empty((batch_sampler.batch_size, *store.pixels.shape[1:]), np.float32)

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
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
    return torch.add(torch.tensor(-1.0), values, alpha=1 / 127.5, out=out)  # which scales the second operand only


def random_views(images: Tensor, *seeds: int) -> Tensor:
    """Mirror, zoom, shift and turn photos at random, each its own way, in one bilinear resampling of the batch.

    `images` are float32 (batch, 3, height, width), and so is what is returned; all `seeds` together seed the draws.
    What lies outside of a photo is its reflection. torchvision's transforms would treat all photos of a batch alike.
    """
    # Hashed into one, because PyTorch's generators keep 32 bits of a seed and drop the rest.
    generator = torch.Generator().manual_seed(int(SeedSequence(seeds).generate_state(1)[0]))
    draws = torch.rand(5, len(images), generator=generator)
    scale = SCALE[0] + (SCALE[1] - SCALE[0]) * draws[0]
    mirror = torch.where(draws[1] < 0.5, -1.0, 1.0)
    angle, across, down = ROTATION * (2 * draws[2] - 1), SHIFT * (2 * draws[3] - 1), SHIFT * (2 * draws[4] - 1)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    theta = torch.stack([mirror * cos, -sin, across, mirror * sin, cos, down], dim=1).view(-1, 2, 3).to(images)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)

"""Batches of images: read from the pixel store, scaled to [-1, 1], augmented."""

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

SCALE = (0.6, 1.1)  # smallest and largest part of the photo's side in view; above 1 it is padded
SHIFT = 0.25  # maximum translation along each axis, as a fraction of half the image side
ROTATION = math.radians(15)  # maximum angle, in either direction


class PhotoLoader:
    """Loader of batches (images, labels) from a pixel store, used in place of a DataLoader.

    Images are float32 (batch, 3, image_size, image_size) in [-1, 1], labels float32 (batch,), both on `device`.
    `rows`, int64 (photos,), selects photos of the store; `batch_sampler` yields positions in `rows`. Lightning calls
    the sampler's `set_epoch`, if it has one. A DataLoader's overhead would be a tenth of the exercise's epoch.
    """

    def __init__(self, store: PixelStore, rows: Tensor, batch_sampler: BatchSampler, device: torch.device) -> None:
        self.store, self.rows, self.batch_sampler, self.device = store, rows, batch_sampler, device
        self._buffer = np.empty((min(batch_sampler.batch_size, len(rows)), *store.pixels.shape[1:]), np.float32)

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = self.rows[list(self.batch_sampler.sampler)].to(self.store.labels.device)
        for rows in order.split(self.batch_sampler.batch_size):
            pixels, labels = (values.index_select(0, rows) for values in (self.store.pixels, self.store.labels))
            yield self._scale(pixels), labels.to(self.device)

    def _scale(self, pixels: Tensor) -> Tensor:
        """Scale a batch; on the CPU in one buffer for all, as new ones would fragment the heap by gigabytes."""
        if self.device.type != "cpu":
            return to_images(pixels.to(self.device).float())
        if sys.getrefcount(self._buffer) > 2:  # the attribute and this call's argument; a tensor adds one
            self._buffer = np.empty_like(self._buffer)
        images = torch.from_numpy(self._buffer)[: len(pixels)]
        return to_images(images.copy_(pixels), out=images)


def to_images(values: Tensor, out: Tensor | None = None) -> Tensor:
    """Scale pixel values of any shape from [0, 255] to float32 in [-1, 1]; `out` may be `values`."""
    return torch.add(torch.tensor(-1.0), values, alpha=1 / 127.5, out=out)  # values / 127.5 - 1, in one pass


def random_views(images: Tensor, *seeds: int) -> Tensor:
    """Flip, zoom, shift and rotate each photo of a batch independently, in one bilinear resampling.

    `images` and the result are float32 (batch, 3, height, width); borders are padded by reflection. `seeds` together
    seed the random numbers. torchvision's transforms would transform all photos of a batch alike.
    """
    # The seeds are hashed into one, because PyTorch's generators use only 32 bits of a seed.
    generator = torch.Generator().manual_seed(int(SeedSequence(seeds).generate_state(1)[0]))
    draws = torch.rand(5, len(images), generator=generator)
    scale = SCALE[0] + (SCALE[1] - SCALE[0]) * draws[0]
    mirror = torch.where(draws[1] < 0.5, -1.0, 1.0)
    angle, across, down = ROTATION * (2 * draws[2] - 1), SHIFT * (2 * draws[3] - 1), SHIFT * (2 * draws[4] - 1)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    theta = torch.stack([mirror * cos, -sin, across, mirror * sin, cos, down], dim=1).view(-1, 2, 3).to(images)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)

"""Random flips and resized crops for a whole batch at once, each photo with its own draw."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2


class RandomFlipAndCrop(v2.Transform):
    """`v2.RandomHorizontalFlip` and `v2.RandomResizedCrop` in one sampling of the batch.

    torchvision's own transforms draw once per call and so treat all photos of a batch alike; this one draws per
    photo, from its own `generator`, which may be seeded at any time.

    Takes and gives float32 images of shape (batch, channels, height, width).

    Args:
        area: smallest and largest share of the photo's area that is kept.
        ratio: narrowest and widest stretch of the crop, width to height.
    """

    def __init__(self, area: tuple[float, float] = (0.5, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3)) -> None:
        super().__init__()
        self.area = area
        self.ratio = ratio
        self.generator = torch.Generator()

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """One affine map per photo, from places in the result to places in the photo: `theta`, (batch, 2, 3)."""
        count = len(flat_inputs[0])
        area = self._uniform(count, *self.area)
        stretch = self._uniform(count, math.log(self.ratio[0]), math.log(self.ratio[1])).exp()
        extent = torch.stack([(area * stretch).sqrt(), (area / stretch).sqrt()], dim=1).clamp(max=1)  # width, height
        shift = (1 - extent) * self._uniform((count, 2), -1, 1)
        flip = self._uniform(count, -1, 1).sign()
        theta = torch.zeros(count, 2, 3)
        theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = extent[:, 0] * flip, extent[:, 1], shift
        return {"theta": theta}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Sample every photo at its own places, bilinearly."""
        theta = params["theta"].to(inpt.device)
        grid = functional.affine_grid(theta, list(inpt.shape), align_corners=False)
        return functional.grid_sample(inpt, grid, mode="bilinear", padding_mode="border", align_corners=False)

    def _uniform(self, size: int | tuple[int, ...], low: float, high: float) -> Tensor:
        return torch.empty(size).uniform_(low, high, generator=self.generator)

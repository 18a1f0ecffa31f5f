"""Random views of training photos."""

import math
from typing import Any

import torch
from numpy.random import SeedSequence
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2


class RandomViews(v2.Transform):
    """Mirrors, zooms, shifts and turns photos at random, in one resampling of the batch.

    torchvision's own transforms draw once per call and so treat all photos of a batch alike; this one draws per
    photo, from its own generator. What lies outside of the photo is its reflection.

    Takes and gives float32 images of shape (batch, channels, height, width).

    Args:
        scale: smallest and largest fraction of the photo's side that is seen.
        shift: maximum translation, as a fraction of half the image side, both across and down.
        rotation: maximum rotation, in degrees, either way.
    """

    def __init__(self, scale: tuple[float, float] = (0.6, 1.1), shift: float = 0.25, rotation: float = 15.0) -> None:
        super().__init__()
        self.scale, self.shift, self.rotation = scale, shift, rotation
        self.generator = torch.Generator()

    def seed(self, *numbers: int) -> None:
        """Seed the generator with several numbers: PyTorch's generators keep 32 bits of a seed and drop the rest."""
        self.generator.manual_seed(int(SeedSequence(numbers).generate_state(1)[0]))

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw an affine map per photo, from places in the view to places in the photo: `theta`, (batch, 2, 3)."""
        count = len(flat_inputs[0])
        scale = self._uniform(count, *self.scale)
        mirror = self._uniform(count, -1, 1).sign()
        angle = self._uniform(count, -self.rotation, self.rotation) * (math.pi / 180)
        cos, sin = scale * angle.cos(), scale * angle.sin()
        across, down = self._uniform((2, count), -self.shift, self.shift)
        theta = torch.stack([mirror * cos, -sin, across, mirror * sin, cos, down], dim=1).reshape(count, 2, 3)
        return {"theta": theta}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Sample every photo at its own places, bilinearly."""
        theta, size = params["theta"].to(inpt), inpt.shape[2:]
        # All maps in one product with the places in the view: affine_grid's product per photo takes six times as long.
        whole = functional.affine_grid(theta.new_tensor([[[1, 0, 0], [0, 1, 0]]]), [1, 1, *size], align_corners=False)
        turned = torch.addmm(theta[:, :, 2].reshape(-1, 1), theta[:, :, :2].flatten(0, 1), whole.flatten(0, 2).T)
        grid = turned.unflatten(0, (-1, 2)).unflatten(2, size).permute(0, 2, 3, 1)
        return functional.grid_sample(inpt, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    def _uniform(self, size: int | tuple[int, ...], low: float, high: float) -> Tensor:
        return torch.empty(size).uniform_(low, high, generator=self.generator)

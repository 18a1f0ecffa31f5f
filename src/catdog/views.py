"""The same photo looked at from elsewhere: random views to learn from, fixed ones to average over."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2

ZOOM, SHIFT = 0.9, 0.1  # of the slight views; shifts in halves of the side


class RandomViews(v2.Transform):
    """Mirrors, zooms, shifts and turns photos at random, in one sampling of the batch.

    torchvision's own transforms draw once per call and so treat all photos of a batch alike; this one draws per
    photo, from its own `generator`, which may be seeded at any time. What lies outside of the photo is its reflection.

    Takes and gives float32 images of shape (batch, channels, height, width).

    Args:
        scale: smallest and largest share of the photo's side that is seen.
        shift: farthest way of the middle, in halves of the side, both across and down.
        rotation: largest turn, in degrees, either way.
    """

    def __init__(self, scale: tuple[float, float] = (0.6, 1.1), shift: float = 0.25, rotation: float = 15.0) -> None:
        super().__init__()
        self.scale = scale
        self.shift = shift
        self.rotation = rotation
        self.generator = torch.Generator()

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """One affine map per photo, from places in the result to places in the photo: `theta`, (batch, 2, 3)."""
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
        return _sample(inpt, params["theta"].to(inpt.device))

    def _uniform(self, size: int | tuple[int, ...], low: float, high: float) -> Tensor:
        return torch.empty(size).uniform_(low, high, generator=self.generator)


def slight_views(images: Tensor) -> list[Tensor]:
    """Ten views of every photo: itself, zoomed in towards its four corners by a little, and the mirror images of these.

    Takes and gives float32 images of shape (batch, channels, height, width).
    """
    # Below, images.shape[0] and not len(images), which would fix the batch size of exported networks.
    steps = (-SHIFT, SHIFT)
    corners = [(ZOOM, across, down) for across in steps for down in steps]
    thetas = [[[zoom, 0.0, across], [0.0, zoom, down]] for zoom, across, down in corners]
    views = [images, *(_sample(images, images.new_tensor(theta).expand(images.shape[0], 2, 3)) for theta in thetas)]
    return [*views, *(view.flip(3) for view in views)]


def _sample(images: Tensor, theta: Tensor) -> Tensor:
    """Images (batch, channels, height, width) at the places that affine maps, (batch, 2, 3), lead to."""
    size = images.shape[2:]
    # All maps in one product with the places in the result: affine_grid's product per photo takes six times as long.
    whole = functional.affine_grid(theta.new_tensor([[[1, 0, 0], [0, 1, 0]]]), [1, 1, *size], align_corners=False)
    turned = torch.addmm(theta[:, :, 2].reshape(-1, 1), theta[:, :, :2].flatten(0, 1), whole.flatten(0, 2).T)
    grid = turned.unflatten(0, (-1, 2)).unflatten(2, size).permute(0, 2, 3, 1)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

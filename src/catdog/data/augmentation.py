"""Random views of training photos."""

import math

import torch
from numpy.random import SeedSequence
from torch import Tensor
from torch.nn import functional

SCALE = (0.6, 1.1)  # smallest and largest fraction of the photo's side that is seen
SHIFT = 0.25  # maximum translation, as a fraction of half the image side, both across and down
ROTATION = math.radians(15)  # maximum, either way


def random_views(images: Tensor, *seeds: int) -> Tensor:
    """Mirror, zoom, shift and turn photos at random, each its own way, in one bilinear resampling of the batch.

    torchvision's transforms draw once per call and so treat all photos of a batch alike. What lies outside of a photo
    is its reflection.

    Args:
        images: float32 (batch, 3, height, width), and so is what is returned.
        seeds: together the seed of the draws.
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

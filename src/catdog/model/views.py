"""Test-time augmentation: slightly different views of a photo, to average predictions over."""

from torch import Tensor
from torch.nn import functional

ZOOM, SHIFT = 0.9, 0.1  # of the views; shifts are fractions of half the image side


def slight_views(images: Tensor) -> list[Tensor]:
    """Make ten views of every photo: itself, zoomed slightly towards each corner, and their mirror images.

    Takes and gives float32 images of shape (batch, channels, height, width).
    """
    # Below, images.shape and not len(images), which would fix the batch size of exported networks.
    views = [images]
    for across in (-SHIFT, SHIFT):
        for down in (-SHIFT, SHIFT):
            theta = images.new_tensor([[ZOOM, 0.0, across], [0.0, ZOOM, down]])
            grid = functional.affine_grid(theta.unsqueeze(0), [1, 1, *images.shape[2:]], align_corners=False)
            grid = grid.expand(images.shape[0], -1, -1, -1)
            views.append(
                functional.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
            )
    return [*views, *(view.flip(3) for view in views)]

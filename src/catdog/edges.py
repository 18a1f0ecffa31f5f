"""What edges a photo has, where, and which way they run: numbers that no single pixel holds."""

import math

import torch
from torch import Tensor
from torch.nn import functional

DIRECTIONS = 8  # of edges, over half a turn
CELL = 4  # pixels: height and width of the squares that edges are counted in
FAINT = 0.02  # strength of edges, in image units, that normalization leaves faint
ROUNDING = 0.01  # added to shares, because near 0 a square root makes much of little


def edge_count(image_size: int) -> int:
    """How many numbers `edges` gives for an image."""
    return DIRECTIONS * (image_size // CELL) ** 2


def edges(images: Tensor) -> Tensor:
    """Histograms of oriented gradients, float32 (batch, edge_count(image_size)), from 0.1 to about 1.

    In every cell of 4 × 4 pixels, how strong the edges of each direction are, as a share of all in the 3 × 3 cells
    around it; Dalal & Triggs (2005), with the square root of the shares, as there recommended. A pixel's gradient is
    that of its grey, and counts for the two nearest of eight directions. All steps are continuous, so that programs
    that round otherwise, such as exported ones, come to the same.

    Args:
        images: float32 (batch, 3, image_size, image_size).
    """
    framed = functional.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    across = framed[:, :, 1:-1, 2:] - framed[:, :, 1:-1, :-2]
    down = framed[:, :, 2:, 1:-1] - framed[:, :, :-2, 1:-1]
    turn = torch.atan2(down, across) * (DIRECTIONS / math.pi)  # in steps between directions
    directions = torch.arange(DIRECTIONS, device=images.device).view(1, -1, 1, 1)
    apart = (turn - directions + DIRECTIONS / 2).remainder(DIRECTIONS) - DIRECTIONS / 2
    votes = (across.square() + down.square()).sqrt() * (1 - apart.abs()).clamp(min=0)
    cells = functional.avg_pool2d(votes, CELL)
    strongest = functional.pad(cells.square().sum(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    around = functional.avg_pool2d(strongest, 3, stride=1).sqrt()
    return (cells / (around + FAINT) + ROUNDING).sqrt().flatten(1)

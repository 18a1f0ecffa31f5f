import math

import pytest
import torch

from catdog.edges import CELL, DIRECTIONS, edge_count, edges


def ramp(angle: float, size: int = 16, strength: float = 0.05) -> torch.Tensor:
    """An image that grows brighter in one direction, (1, 3, size, size)."""
    steps = torch.arange(size, dtype=torch.float32)
    grey = strength * (math.cos(angle) * steps + math.sin(angle) * steps[:, None])
    return grey.expand(1, 3, size, size)


def histograms(images: torch.Tensor) -> torch.Tensor:
    cells = images.shape[-1] // CELL
    return edges(images).reshape(-1, DIRECTIONS, cells, cells)


@pytest.mark.parametrize("direction", range(2 * DIRECTIONS))
def test_an_edge_counts_for_its_direction_whichever_side_is_bright(direction: int) -> None:
    found = histograms(ramp(direction * math.pi / DIRECTIONS))[0, :, 1:-1, 1:-1]  # the border sees half a difference
    assert (found.argmax(0) == direction % DIRECTIONS).all()
    others = found.clone()
    others[direction % DIRECTIONS] = 0
    assert others.max() < 0.11
    assert found.max() > 0.5


def test_a_direction_between_two_counts_for_both_alike() -> None:
    found = histograms(ramp(1.5 * math.pi / DIRECTIONS))[0, :, 1:-1, 1:-1]
    torch.testing.assert_close(found[1], found[2], atol=1e-3, rtol=1e-3)
    assert found[1].min() > 0.4
    assert found[[0, 3, 4, 5, 6, 7]].max() < 0.11


def test_brightness_does_not_matter_and_contrast_hardly() -> None:
    images = torch.rand(5, 3, 16, 16)
    torch.testing.assert_close(edges(images), edges(images + 0.5), atol=1e-4, rtol=1e-4)
    assert (edges(images) - edges(images * 0.5)).abs().max() < 0.1
    assert edges(torch.zeros(1, 3, 16, 16)).max() == pytest.approx(0.1)


def test_a_mirror_image_has_the_mirrored_edges() -> None:
    images = torch.rand(3, 3, 16, 16)
    turned = histograms(images)[:, [0, *range(DIRECTIONS - 1, 0, -1)]].flip(3)
    torch.testing.assert_close(histograms(images.flip(3)), turned, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [1, 3, 4, 10, 32])
def test_every_size_has_its_count(size: int) -> None:
    if edge_count(size):
        assert edges(torch.rand(2, 3, size, size)).shape == (2, edge_count(size))
    assert edge_count(size) == 8 * (size // 4) ** 2


def test_only_grey_tells() -> None:
    image = torch.zeros(1, 3, 16, 16)
    image[:, 1] = 3 * ramp(0.0)[:, 0]
    torch.testing.assert_close(edges(image), edges(ramp(0.0)), atol=1e-4, rtol=1e-3)

import math
from collections.abc import Callable

import pytest
import torch

from catdog.data import augmentation
from catdog.data.augmentation import random_views


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the limits of views: scale, shift, and rotation in degrees."""

    def limit(scale: tuple[float, float], shift: float, rotation: float) -> None:
        for name, value in (("SCALE", scale), ("SHIFT", shift), ("ROTATION", math.radians(rotation))):
            monkeypatch.setattr(augmentation, name, value)

    return limit


def gradient_images(count: int, size: int = 32) -> torch.Tensor:
    """Images whose first channel is x and second is y, from -1 to 1, so that pixels tell where they came from."""
    steps = (torch.arange(size) + 0.5) / size * 2 - 1
    x, y = steps.expand(size, size), steps[:, None].expand(size, size)
    return torch.stack([x, y, torch.zeros(size, size)]).expand(count, 3, size, size)


def test_without_zoom_shift_and_turn_a_view_is_the_photo_or_its_mirror_image(limit: Callable[..., None]) -> None:
    images = torch.rand(64, 3, 8, 8)
    limit(scale=(1, 1), shift=0, rotation=0)
    result = random_views(images, 0)
    same = torch.isclose(result, images, atol=1e-5).flatten(1).all(1)
    mirrored = torch.isclose(result, images.flip(3), atol=1e-5).flatten(1).all(1)
    assert (same | mirrored).all()
    assert 16 < mirrored.sum() < 48


def test_views_keep_the_asked_zoom_shift_and_turn(limit: Callable[..., None]) -> None:
    limit(scale=(0.5, 0.7), shift=0.1, rotation=20)
    result = random_views(gradient_images(300), 0)
    middle, step = result[:, :2, 15:17, 15:17].mean((2, 3)), result[:, :2, 16, 20] - result[:, :2, 16, 12]
    scale = step.norm(dim=1) / (8 / 16)
    angle = torch.atan2(step[:, 1], step[:, 0].abs()) * 180 / math.pi  # of a mirror image too
    for values, low, high in (
        (scale, 0.5, 0.7),
        (angle, -20, 20),
        (middle[:, 0], -0.1, 0.1),
        (middle[:, 1], -0.1, 0.1),
    ):
        margin = 0.02 * (high - low)
        assert values.min() == pytest.approx(low, abs=4 * margin)
        assert values.max() == pytest.approx(high, abs=4 * margin)


def test_what_lies_outside_of_the_photo_is_its_reflection(limit: Callable[..., None]) -> None:
    limit(scale=(1, 1), shift=0.5, rotation=0)
    result = random_views(gradient_images(50), 0)
    assert result.abs().max() <= 1
    assert (result[:, 0].diff(dim=2).abs().amax((1, 2)) < 0.1).all()  # and no edge is seen


def test_every_photo_has_its_own_draw_and_seeds_give_them_again() -> None:
    def draw(*seeds: int) -> torch.Tensor:
        return random_views(gradient_images(4), *seeds)

    assert len({tuple(corner.tolist()) for corner in draw(0)[:, :2, 0, 0]}) == 4
    assert draw(1, 2).equal(draw(1, 2))
    assert not any(draw(1, 2).equal(draw(*other)) for other in ((2, 1), (1, 3), (1, 2**32 + 2), (1,)))

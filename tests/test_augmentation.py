import pytest
import torch
from torch import Tensor

from catdog.data.augmentation import ROTATION, SCALE, SHIFT, random_views


def views(count: int, *seeds: int) -> Tensor:
    """Views of images whose first channel is x and second is y, from -1 to 1: pixels tell where they came from."""
    steps = (torch.arange(32) + 0.5) / 16 - 1
    x, y = steps.expand(32, 32), steps[:, None].expand(32, 32)
    return random_views(torch.stack([x, y, torch.zeros(32, 32)]).expand(count, 3, 32, 32), *seeds)


def test_views_are_mirrored_zoomed_shifted_and_turned_as_far_as_allowed() -> None:
    seen = views(600, 0)
    middle = seen[:, :2, 15:17, 15:17].mean((2, 3))
    across, down = seen[:, :2, 16, 20] - seen[:, :2, 16, 12], seen[:, :2, 20, 16] - seen[:, :2, 12, 16]
    assert 200 < (across[:, 0] < 0).sum() < 400  # mirrored
    assert (down[:, 1] > 0).all()  # and never upside down
    angle = torch.atan2(across[:, 1], across[:, 0].abs())
    sizes = (across.norm(dim=1) / 0.5, SCALE), (angle, (-ROTATION, ROTATION))
    for values, (low, high) in (*sizes, *((shift, (-SHIFT, SHIFT)) for shift in middle.T)):
        assert values.min() == pytest.approx(low, abs=0.04 * (high - low))
        assert values.max() == pytest.approx(high, abs=0.04 * (high - low))


def test_what_lies_outside_of_the_photo_is_its_reflection() -> None:
    seen = views(50, 0)
    assert seen.abs().max() <= 1
    assert (seen[:, 0].diff(dim=2).abs().amax((1, 2)) < 0.1).all()  # and no edge is seen


def test_every_photo_has_its_own_draw_and_seeds_give_them_again() -> None:
    assert len({tuple(corner.tolist()) for corner in views(4, 0)[:, :2, 0, 0]}) == 4
    assert views(4, 1, 2).equal(views(4, 1, 2))
    assert not any(views(4, 1, 2).equal(views(4, *other)) for other in ((2, 1), (1, 3), (1, 2**32 + 2), (1,)))

import math

import pytest
import torch
from torch.nn import functional

from catdog.data.augmentation import RandomViews
from catdog.model.views import slight_views
from conftest import MakeData


def gradient_images(count: int, size: int = 32) -> torch.Tensor:
    """Images whose first channel is x and second is y, from -1 to 1, so that pixels tell where they came from."""
    steps = (torch.arange(size) + 0.5) / size * 2 - 1
    x, y = steps.expand(size, size), steps[:, None].expand(size, size)
    return torch.stack([x, y, torch.zeros(size, size)]).expand(count, 3, size, size)


def test_without_zoom_shift_and_turn_a_view_is_the_photo_or_its_mirror_image() -> None:
    images = torch.rand(64, 3, 8, 8)
    result = RandomViews(scale=(1, 1), shift=0, rotation=0)(images)
    same = torch.isclose(result, images, atol=1e-5).flatten(1).all(1)
    mirrored = torch.isclose(result, images.flip(3), atol=1e-5).flatten(1).all(1)
    assert (same | mirrored).all()
    assert 16 < mirrored.sum() < 48


def test_views_keep_the_asked_zoom_shift_and_turn() -> None:
    result = RandomViews(scale=(0.5, 0.7), shift=0.1, rotation=20)(gradient_images(300))
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


def test_photos_are_sampled_as_pytorch_does() -> None:
    images, theta = torch.rand(5, 3, 8, 6), torch.randn(5, 2, 3)
    grid = functional.affine_grid(theta, [5, 3, 8, 6], align_corners=False)
    expected = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    torch.testing.assert_close(RandomViews().transform(images, {"theta": theta}), expected, atol=1e-5, rtol=0)


def test_what_lies_outside_of_the_photo_is_its_reflection() -> None:
    result = RandomViews(scale=(1, 1), shift=0.5, rotation=0)(gradient_images(50))
    assert result.abs().max() <= 1
    assert (result[:, 0].diff(dim=2).abs().amax((1, 2)) < 0.1).all()  # and no edge is seen


def test_every_photo_has_its_own_draw_and_seeds_give_them_again() -> None:
    augmentation = RandomViews()

    def draw(*seed: int) -> torch.Tensor:
        augmentation.seed(*seed)
        return augmentation(gradient_images(4))

    assert len({tuple(corner.tolist()) for corner in draw(0)[:, :2, 0, 0]}) == 4
    assert draw(1, 2).equal(draw(1, 2))
    assert not any(draw(1, 2).equal(draw(*other)) for other in ((2, 1), (1, 3), (1, 2**32 + 2), (1,)))


def test_slight_views_are_the_photo_and_zooms_towards_its_corners_and_their_mirror_images() -> None:
    images = torch.rand(3, 3, 16, 16)
    views = slight_views(images)
    assert len(views) == 10
    assert views[0].equal(images)
    assert all(mirrored.equal(view.flip(3)) for view, mirrored in zip(views[:5], views[5:], strict=True))
    middles = [view[:, :2].mean((2, 3)) for view in slight_views(gradient_images(1))[1:5]]
    assert {tuple(middle[0].mul(10).round().int().tolist()) for middle in middles} == {
        (-1, -1), (-1, 1), (1, -1), (1, 1)
    }  # fmt: skip


def test_only_training_photos_are_augmented(make_data: MakeData) -> None:
    data, plain = make_data(augment=True), make_data()
    for each in (data, plain):
        each.setup()
    for split in ("train", "val", "test"):
        (seen, labels), (photos, same) = (next(iter(getattr(each, f"{split}_dataloader")())) for each in (data, plain))
        assert labels.equal(same)
        assert seen.equal(photos) == (split != "train")

import torch

from catdog.data.augmentation import RandomFlipAndCrop
from conftest import MakeData


def gradient_images(count: int, size: int = 32) -> torch.Tensor:
    """Images whose first channel is x and second is y, from -1 to 1, so that pixels tell where they came from."""
    steps = (torch.arange(size) + 0.5) / size * 2 - 1
    x, y = steps.expand(size, size), steps[:, None].expand(size, size)
    return torch.stack([x, y, torch.zeros(size, size)]).expand(count, 3, size, size)


def test_the_whole_area_without_stretch_is_the_photo_or_its_mirror_image() -> None:
    images = torch.rand(64, 3, 8, 8)
    result = RandomFlipAndCrop(area=(1, 1), ratio=(1, 1))(images)
    same = torch.isclose(result, images, atol=1e-5).flatten(1).all(1)
    mirrored = torch.isclose(result, images.flip(3), atol=1e-5).flatten(1).all(1)
    assert (same | mirrored).all()
    assert 16 < mirrored.sum() < 48


def test_crops_keep_the_asked_area_and_lie_inside_the_photo() -> None:
    result = RandomFlipAndCrop(area=(0.5, 0.8))(gradient_images(200))
    inner = result[:, :, 1:-1, 1:-1]  # the outermost pixels may sample the border
    width = (inner[:, 0, 0, -1] - inner[:, 0, 0, 0]).abs() / 2 * 32 / 29
    height = (inner[:, 1, -1, 0] - inner[:, 1, 0, 0]) / 2 * 32 / 29
    area = width * height
    assert inner.abs().max() <= 1
    assert area.min() > 0.45
    assert area.max() < 0.85
    assert width.std() > 0.05


def test_every_photo_has_its_own_draw() -> None:
    result = RandomFlipAndCrop()(gradient_images(10))
    assert len({tuple(corner.tolist()) for corner in result[:, :2, 0, 0]}) == 10


def test_the_generators_seed_gives_the_draws() -> None:
    augmentation = RandomFlipAndCrop()

    def draw(seed: int) -> torch.Tensor:
        augmentation.generator.manual_seed(seed)
        return augmentation(gradient_images(4))

    assert draw(1).equal(draw(1))
    assert not draw(1).equal(draw(2))


def test_only_training_photos_are_augmented(make_data: MakeData) -> None:
    data = make_data(augment=True)
    data.setup()
    rows = next(iter(data.val_dataloader()))
    images, _ = next(data.on_after_batch_transfer(rows, 0))  # outside of training
    torch.testing.assert_close(images, data.store.pixels[rows[:8]] / 127.5 - 1, atol=1e-6, rtol=0)

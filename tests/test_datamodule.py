import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional

from catdog import CatDogDataModule
from catdog.data import SyntheticSource, to_images
from catdog.data.augmentation import ROTATION, SCALE, SHIFT, random_views
from catdog.errors import InputError
from conftest import MakeData

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec")  # Lightning 2.6 with PyTorch 2.14
Batch = tuple[Tensor, Tensor]


def load(data: CatDogDataModule, epoch: int = 0, split: str = "train") -> list[Batch]:
    """All batches of an epoch."""
    data.setup()
    loader = getattr(data, f"{split}_dataloader")()
    if split == "train":
        loader.batch_sampler.sampler.set_epoch(epoch)  # as Lightning does
    return list(loader)


def hashes(images: Tensor) -> list[int]:
    return [hash(image.numpy().tobytes()) for image in images]


def seen(data: CatDogDataModule, epoch: int = 0, split: str = "train") -> list[int]:
    """Hashes of an epoch's images, in order."""
    return hashes(torch.cat([images for images, _ in load(data, epoch, split)]))


def on_process(data: CatDogDataModule, rank: int, world_size: int = 2, batches: int = 0) -> CatDogDataModule:
    """The data module as one of several processes has it, after some batches."""
    loop, cpu = SimpleNamespace(total_batch_idx=batches - 1), SimpleNamespace(root_device=torch.device("cpu"))
    state = {"training": True, "overfit_batches": 0.0, "strategy": cpu, "fit_loop": loop}
    trainer: Any = SimpleNamespace(world_size=world_size, global_rank=rank, **state)
    data.trainer = trainer
    return data


class Plain(LightningModule):
    """Somebody's module that knows nothing of catdog; keeps the images it was trained and validated on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 16 * 16, 1)
        self.trained: list[list[int]] = [[], []]  # in two epochs
        self.validated: list[int] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.trained[self.current_epoch] += hashes(batch[0])
        return functional.binary_cross_entropy_with_logits(self.layer(batch[0].flatten(1)).squeeze(1), batch[1])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.validated += hashes(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(data: CatDogDataModule, **flags: Any) -> Plain:
    """Train for two epochs."""
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    model = Plain()
    Trainer(accelerator="cpu", max_epochs=2, **dict.fromkeys(quiet, False) | flags).fit(model, data)
    return model


def test_any_source_trains_any_lightning_module(make_data: MakeData) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (100, 16, 16, 3), dtype=np.uint8)
    source = SimpleNamespace(
        class_names=("cats", "dogs"),
        names=[f"{number:03d}" for number in range(100)],
        labels=[0, 1] * 50,
        fingerprint=lambda: iter(["my photos"]),
        read=lambda index, image_size: pixels[index],
    )
    data = make_data(source=source)
    trained = fit(data).trained
    expected = hashes(to_images(torch.from_numpy(pixels).permute(0, 3, 1, 2)[data.train.rows].float()))
    assert [sorted(epoch) for epoch in trained] == [sorted(expected)] * 2


def test_overfit_batches_gives_the_same_batches_in_every_epoch(make_data: MakeData) -> None:
    first, second = fit(make_data(), overfit_batches=2).trained
    assert len(first) == 16
    assert first == second


def test_batches_are_the_photos_scaled_to_plus_minus_one(make_data: MakeData) -> None:
    data = make_data(batch_size=32)
    for split, sizes in (("train", [32, 32, 16]), ("val", [10]), ("test", [10]), ("predict", [10])):
        batches = load(data, split=split)
        part, loader = getattr(data, split, data.test), getattr(data, f"{split}_dataloader")()
        assert [len(labels) for _, labels in batches] == sizes
        assert len(loader) == len(sizes)
        images, labels = (torch.cat(values) for values in zip(*batches, strict=True))
        assert images.dtype == labels.dtype == torch.float32
        order = list(loader.batch_sampler.sampler)
        expected = data.store.pixels[part.rows[order]].double() / 127.5 - 1
        torch.testing.assert_close(images, expected.float(), atol=1e-6, rtol=0)
        assert labels.equal(part.labels[order])


def test_the_order_depends_on_seed_and_epoch_alone_so_that_a_run_can_be_resumed(make_data: MakeData) -> None:
    data, order = make_data(), seen(make_data(), epoch=1)
    assert seen(data, epoch=0) != order
    torch.rand(3)  # another state of the global generator
    assert seen(data, epoch=1) == order
    assert seen(make_data(shuffle_seed=1), epoch=1) != order


def test_the_batches_of_two_processes_are_together_those_of_one(make_data: MakeData) -> None:
    both = zip(*(load(on_process(make_data(), rank)) for rank in (0, 1)), strict=True)
    for parts, (images, _) in zip(both, load(make_data()), strict=True):
        assert [len(labels) for _, labels in parts] == [4, 4]
        assert {number for part, _ in parts for number in hashes(part)} == set(hashes(images))
    with pytest.raises(InputError, match="data.batch_size=8 cannot be divided evenly among 3 processes"):
        load(on_process(make_data(), 0, world_size=3))


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
    assert seen.abs().max() <= 1  # what lies outside of the photo is its reflection
    assert (seen[:, 0].diff(dim=2).abs().amax((1, 2)) < 0.1).all()  # and no edge is seen


def test_augmented_views_differ_between_batches_and_processes_and_come_again(make_data: MakeData) -> None:
    data, batch = make_data(augment=True), (torch.rand(1, 3, 16, 16).expand(8, 3, 16, 16), torch.zeros(8))

    def view(rank: int, batches: int) -> list[int]:
        return hashes(on_process(data, rank, batches=batches).on_after_batch_transfer(batch, 0)[0])

    assert len({*view(0, 0), *view(0, 1), *view(1, 0), *view(1, 1)}) == 32
    assert view(1, 1) == view(1, 1)


def test_a_module_is_trained_on_views_and_validated_on_photos(make_data: MakeData) -> None:
    model = fit(make_data(augment=True))
    assert set(model.validated) == set(seen(make_data(), split="val"))
    assert len({*model.trained[0], *model.trained[1], *seen(make_data())}) == 240


def test_defaults_are_enough(photo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for data in (CatDogDataModule(root=photo_root), CatDogDataModule(SyntheticSource(count=40))):
        assert load(data)[0][0].shape == (32, 3, 128, 128)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"batch_size": 0}, "data.batch_size must be a whole number of at least 1, got 0"),
        ({"fold": 10}, "data.fold must be .* at most 9, got 10"),
        ({"max_unreadable": 2}, "data.max_unreadable must be a number at least 0, at most 1, got 2"),
        ({"root": 2024}, "data.root must be a path, got 2024; .*: data.root=\"'2024'\""),
        ({"root": "photos", "source": SyntheticSource()}, "data.root=photos is for sources that read a folder"),
        ({"root": None}, "data.root must be given: a folder with two class sub-folders"),
    ],
)
def test_arguments_without_sense_are_refused(make_data: MakeData, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make_data(**arguments)


def test_unreadable_photos_are_left_out_up_to_the_fraction_allowed(
    make_data: MakeData, photo_root: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(photo_root, tmp_path / "photos")
    (root / "cats/00.jpg").write_text("no photo")
    (root / "cats/05.jpg").write_text("no photo")
    data = make_data(root=root, max_unreadable=0.05)
    data.setup()
    assert len(data.train) + len(data.val) + len(data.test) == 38
    with pytest.raises(InputError, match="2 of 40 .* more than data.max_unreadable=0.01 allows; the first is 'cats/00"):
        make_data(root=root).setup()
    for path in root.glob("*/*"):
        path.write_text("no photo")
    with pytest.raises(InputError, match="a part of the split has no photo: 0 of 40 photos are readable"):
        make_data(root=root, max_unreadable=1).setup()

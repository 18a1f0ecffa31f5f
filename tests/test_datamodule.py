import hashlib
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from catdog import CatDogDataModule
from catdog.data import SyntheticSource, to_images
from catdog.errors import InputError
from conftest import MakeData

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec")  # Lightning 2.6 with PyTorch 2.14
Batches = list[tuple[Tensor, Tensor]]


def load(data: CatDogDataModule, epoch: int = 0, split: str = "train") -> Batches:
    """All batches of an epoch."""
    data.setup()
    loader = getattr(data, f"{split}_dataloader")()
    if split == "train":
        loader.batch_sampler.sampler.set_epoch(epoch)  # as Lightning does
    return list(loader)


def joined(batches: Batches) -> tuple[Tensor, Tensor]:
    return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches])


def are_equal(batches: Batches, others: Batches) -> bool:
    return all(one.equal(other) for one, other in zip(joined(batches), joined(others), strict=True))


def on_process(data: CatDogDataModule, rank: int, world_size: int) -> CatDogDataModule:
    """The data module as one of several processes has it."""
    cpu = SimpleNamespace(root_device=torch.device("cpu"))
    trainer: Any = SimpleNamespace(world_size=world_size, global_rank=rank, overfit_batches=0.0, strategy=cpu)
    data.trainer = trainer
    return data


class MemorySource:
    """Photos in an array, as somebody may bring them."""

    class_names = ("cats", "dogs")

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels
        self.names = [f"{number:03d}" for number in range(len(pixels))]
        self.labels = [number % 2 for number in range(len(pixels))]

    def fingerprint(self) -> Iterator[str]:
        yield hashlib.sha256(self.pixels.tobytes()).hexdigest()

    def read(self, index: int, image_size: int) -> NDArray[np.uint8]:
        assert image_size == self.pixels.shape[1]
        return self.pixels[index]


class Plain(LightningModule):
    """Somebody's module that knows nothing of catdog; keeps the images it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 16 * 16, 1)
        self.seen: list[list[Tensor]] = []

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.flatten(1)).squeeze(1)

    def on_train_epoch_start(self) -> None:
        self.seen.append([])

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        self.seen[-1].append(batch[0].clone())
        return functional.binary_cross_entropy_with_logits(self(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val/loss", functional.binary_cross_entropy_with_logits(self(batch[0]), batch[1]))

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("test/acc", ((self(batch[0]) > 0) == batch[1].bool()).float().mean())

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def make_trainer(**options: Any) -> Trainer:
    quiet: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    return Trainer(**quiet | {"accelerator": "cpu", "max_epochs": 2, "log_every_n_steps": 1} | options)


def test_an_ordinary_lightning_module_trains_tests_and_predicts(make_data: MakeData) -> None:
    data, model, trainer = make_data(), Plain(), make_trainer()
    trainer.fit(model, data)
    assert trainer.global_step == 20
    assert all(len(torch.cat(epoch).unique(dim=0)) == 80 for epoch in model.seen)
    (metrics,) = trainer.test(model, data, verbose=False)
    predictions = torch.cat(trainer.predict(model, data))  # type: ignore[arg-type]
    assert ((predictions > 0) == data.test.labels.bool()).float().mean() == pytest.approx(metrics["test/acc"])


def test_overfit_batches_gives_the_same_batches_in_every_epoch(make_data: MakeData) -> None:
    model = Plain()
    make_trainer(overfit_batches=2, max_epochs=3).fit(model, make_data())
    first, *others = model.seen
    assert len(first) == 2
    assert all(torch.cat(first).equal(torch.cat(other)) for other in others)


def test_batches_are_the_photos_scaled_to_plus_minus_one(make_data: MakeData) -> None:
    data = make_data(batch_size=32)
    before = data.store.pixels.clone()
    for split, sizes in (("train", [32, 32, 16]), ("val", [10]), ("test", [10]), ("predict", [10])):
        batches = load(data, split=split)
        part, loader = getattr(data, split, data.test), getattr(data, f"{split}_dataloader")()
        assert [len(labels) for _, labels in batches] == sizes
        assert len(loader) == len(sizes)
        images, labels = joined(batches)
        assert images.dtype == labels.dtype == torch.float32
        assert images.shape == (len(part), 3, 16, 16)
        order = list(loader.batch_sampler.sampler)
        expected = data.store.pixels[part.rows[order]].to(torch.float64) / 127.5 - 1
        torch.testing.assert_close(images, expected.float(), atol=1e-6, rtol=0)
        assert labels.equal(part.labels[order])
    assert data.store.pixels.equal(before)


def test_a_batchs_memory_is_used_again_only_when_nobody_holds_it(make_data: MakeData) -> None:
    data = make_data()
    data.setup()
    batches = iter(data.train_dataloader())
    place = next(batches)[0].data_ptr()
    held, _ = next(batches)
    assert held.data_ptr() == place
    content, row = held.clone(), held[0]
    del held
    others = list(batches)
    assert row.equal(content[0])
    assert len({images.data_ptr() for images, _ in others} | {place}) == 9


def test_the_order_depends_on_seed_and_epoch_alone(make_data: MakeData) -> None:
    data, batches = make_data(), load(make_data(), epoch=1)
    assert are_equal(load(data, epoch=1), batches)
    torch.rand(3)  # another state of the global generator
    assert are_equal(load(data, epoch=1), batches)
    assert sorted(map(hash_of, joined(batches)[0])) == sorted(map(hash_of, joined(load(data))[0]))
    assert not are_equal(load(data, epoch=0), batches)
    assert not are_equal(load(make_data(shuffle_seed=1), epoch=1), batches)


def hash_of(image: Tensor) -> int:
    return hash(image.numpy().tobytes())


def test_the_batches_of_two_processes_are_together_those_of_one(make_data: MakeData) -> None:
    both = zip(*(load(on_process(make_data(), rank, world_size=2)) for rank in (0, 1)), strict=True)
    for parts, (images, _) in zip(both, load(make_data()), strict=True):
        assert [len(labels) for _, labels in parts] == [4, 4]
        assert set(map(hash_of, joined(list(parts))[0])) == set(map(hash_of, images))
    with pytest.raises(InputError, match="data.batch_size=8 cannot be divided evenly among 3 processes"):
        load(on_process(make_data(), 0, world_size=3))


def test_augmented_views_differ_between_batches_and_processes_and_come_again(make_data: MakeData) -> None:
    data, images = make_data(augment=True), torch.rand(1, 3, 16, 16).expand(8, 3, 16, 16)

    def views(batches: int, rank: int, training: bool = True) -> Tensor:
        loop = SimpleNamespace(total_batch_idx=batches - 1)
        trainer: Any = SimpleNamespace(training=training, global_rank=rank, fit_loop=loop)
        data.trainer = trainer
        seen, _ = data.on_after_batch_transfer((images, torch.zeros(8)), 0)
        assert isinstance(seen, Tensor)
        return seen

    seen = torch.cat([views(batches, rank) for batches in (0, 1) for rank in (0, 1)])
    assert len(set(map(hash_of, seen))) == 32
    assert views(1, 1).equal(views(1, 1))
    assert views(1, 1, training=False) is images


def test_a_module_is_trained_on_views_and_validated_on_photos(make_data: MakeData) -> None:
    class Validated(Plain):
        def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
            photos.extend(map(hash_of, batch[0]))

    photos: list[int] = []
    data, model = make_data(augment=True), Validated()
    make_trainer(max_epochs=2).fit(model, data)
    plain = {part: set(map(hash_of, joined(load(make_data(), split=part))[0])) for part in ("train", "val")}
    views = [set(map(hash_of, torch.cat(epoch))) for epoch in model.seen]
    assert set(photos) == plain["val"]
    assert not views[0] & plain["train"]
    assert not views[0] & views[1]


def test_an_own_source_is_trained_on(make_data: MakeData) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    data, model = make_data(source=MemorySource(pixels)), Plain()
    make_trainer(max_epochs=1).fit(model, data)
    rows = data.train.rows
    assert {hash_of(image) for image in torch.cat(model.seen[0])} == {
        hash_of(image) for image in to_images(torch.from_numpy(pixels).permute(0, 3, 1, 2)[rows].float())
    }


def test_defaults_are_enough(photo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for data in (CatDogDataModule(root=photo_root), CatDogDataModule(SyntheticSource(count=40))):
        data.prepare_data()
        images, _ = load(data)[0]
        assert images.shape == (32, 3, 128, 128)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"batch_size": 0}, "data.batch_size must be a whole number of at least 1, got 0"),
        ({"batch_size": "abc"}, "data.batch_size must be .* got 'abc'"),
        ({"image_size": 0}, "data.image_size must be a whole number of at least 1, got 0"),
        ({"augment": 1}, "data.augment must be true or false, got 1"),
        ({"split_seed": -1}, "data.split_seed must be a whole number of at least 0, got -1"),
        ({"fold": 10}, "data.fold must be .* at most 9, got 10"),
        ({"max_unreadable": 2}, "data.max_unreadable must be a number at least 0, at most 1, got 2"),
        ({"root": 2024}, "data.root must be a path, got 2024; .*: data.root=\"'2024'\""),
        ({"cache_dir": None}, "data.cache_dir must be a path, got None"),
        ({"root": "photos", "source": SyntheticSource()}, "data.root=photos is for sources that read a folder"),
        ({"root": None}, "data.root must be given: a folder with two class sub-folders"),
    ],
)
def test_arguments_without_sense_are_refused(make_data: MakeData, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make_data(**arguments)


@pytest.mark.parametrize(
    ("broken", "most", "sentence"),
    [
        (2, 0.05, ""),
        (2, 0.01, "2 of 40 photos are unreadable, more than data.max_unreadable=0.01 allows; the first is 'cats/00"),
        (40, 1, "a part of the split has no photo: 0 of 40 photos are readable"),
    ],
)
def test_unreadable_photos_are_left_out_up_to_the_fraction_allowed(
    make_data: MakeData, photo_root: Path, tmp_path: Path, broken: int, most: float, sentence: str
) -> None:
    root = shutil.copytree(photo_root, tmp_path / "photos")
    for path in sorted(root.glob("*/*"))[:broken]:
        path.write_text("no photo")
    data = make_data(root=root, max_unreadable=most)
    with pytest.raises(InputError, match=sentence) if sentence else nullcontext():
        data.setup()
        assert len(data.store.unreadable) == 2
        assert len(data.train) + len(data.val) + len(data.test) == 38


def test_pixels_are_kept_on_a_gpu_where_they_fit(make_data: MakeData, monkeypatch: pytest.MonkeyPatch) -> None:
    store, moves = make_data().store, Mock(side_effect=lambda values, device: values)
    size = store.pixels.nbytes
    monkeypatch.setattr(Tensor, "to", lambda values, device: moves(values, device))
    for free, moved in ((2 * size, True), (2 * size - 1, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, free))
        moves.reset_mock()
        store.on(torch.device("cuda"))
        assert moves.called == moved
    assert store.on(torch.device("cpu")) is store

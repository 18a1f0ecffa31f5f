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
from catdog.data import FolderSource, SyntheticSource, to_images
from catdog.data.batches import random_views
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
    assert data.train.labels.equal((data.train.rows % 2).float())


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


def test_views_are_mirrored_but_never_upside_down_and_reflect_what_lies_outside() -> None:
    steps = (torch.arange(32) + 0.5) / 16 - 1
    x, y = steps.expand(32, 32), steps[:, None].expand(32, 32)  # so that pixels tell where they came from
    views = random_views(torch.stack([x, y, torch.zeros(32, 32)]).expand(600, 3, 32, 32), 0)
    assert views.abs().max() <= 1
    assert (views[:, 0].diff(dim=2).abs().amax((1, 2)) < 0.1).all()  # no edge is seen
    across, down = views[:, 0, 16, 20] - views[:, 0, 16, 12], views[:, 1, 20, 16] - views[:, 1, 12, 16]
    assert 200 < (across < 0).sum() < 400
    assert (down > 0).all()
    assert down.max() > 1.5 * down.min()  # zoomed


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


PHOTOS = ["a/b.jpeg", "a/c.bmp", "a/sub/d.GIF", "a/z.webp", "b/2.JPG", "b/sub/1.png"]
IGNORED = [
    "a/.hidden.jpg", "a/._1.jpg", "a/Thumbs.db", "a/notes.txt", "a/jpg", "a/__MACOSX/1.jpg", "b/.git/1.jpg",
    "b/@eaDir/1.jpg", "__MACOSX/1.jpg", ".git/1.jpg", "in-no-class.jpg",
]  # fmt: skip


def test_a_folder_gives_sorted_names_with_their_labels_and_ignores_what_is_no_photo(tmp_path: Path) -> None:
    for name in PHOTOS[::-1] + IGNORED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    source = FolderSource(tmp_path)
    assert source.class_names == ("a", "b")
    assert source.names == PHOTOS
    assert source.labels == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("folders", "sentence"),
    [
        (None, "no folder at '.*photos'"),
        ([], "exactly two class sub-folders, each with photos .*found none"),
        (["birds", "cats", "dogs"], "exactly two .*, found 'birds', 'cats', 'dogs'"),
        (["cats", "dogs"], "two class sub-folders, each with photos \\(.bmp, .*\\), found 'cats', 'dogs'"),
    ],
)
def test_a_folder_that_is_not_two_classes_is_refused(tmp_path: Path, folders: list[str] | None, sentence: str) -> None:
    for name in [] if folders is None else ["", *folders]:
        (tmp_path / "photos" / name).mkdir()
    with pytest.raises(InputError, match=f"data.root.*{sentence}"):
        FolderSource(tmp_path / "photos")


def test_a_drawn_photo_depends_on_seed_and_number_alone() -> None:
    few, many, other = SyntheticSource(4, 3), SyntheticSource(6, 3), SyntheticSource(4, 4)
    many.read(1, 32)  # drawing another one before changes nothing
    np.testing.assert_array_equal(few.read(1, 32), many.read(1, 32))
    assert (few.read(1, 32) != other.read(1, 32)).any()
    assert (few.read(1, 32) != few.read(0, 32)).any()


def test_drawn_cats_and_dogs_differ_in_shape_and_not_on_average() -> None:
    source = SyntheticSource(count=400)
    assert source.names == sorted(set(source.names))
    assert source.labels == [0] * 200 + [1] * 200
    photos = np.stack([source.read(index, 16) for index in range(400)])
    assert photos.dtype == np.uint8
    assert photos.shape == (400, 16, 16, 3)
    cat, dog = photos[:200].mean(axis=0), photos[200:].mean(axis=0)
    assert np.abs(cat - dog).mean() < 12  # grey levels
    assert photos.std(axis=0).mean() > 40  # of the photos themselves


def test_a_batch_may_be_meant_for_all_photos(make_data: MakeData) -> None:
    data = make_data(batch_size=10**9)
    data.setup()
    ((images, _),) = data.train_dataloader()
    assert len(images) == len(data.train)

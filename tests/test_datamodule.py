import itertools
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning import Callback

from catdog.data import CatDogDataModule, DrawnSource, FolderSource
from catdog.data.shuffling import LocalShuffle
from catdog.errors import InputError
from conftest import MakeData, Train


def test_the_split_depends_on_its_seed_alone(make_data: MakeData) -> None:
    def test_names(**arguments: Any) -> list[str]:
        torch.rand(3)  # another state of the global generator
        data = make_data(**arguments)
        data.setup()
        return data.test.names

    assert test_names() == test_names(shuffle_seed=5, batch_size=3, image_size=8)
    assert test_names() != test_names(split_seed=1)


def epoch_order(data: Any, epoch: int) -> list[int]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader.sampler)


def test_every_epoch_has_an_order_of_its_own_that_the_seed_gives(make_data: MakeData) -> None:
    data, same, other = make_data(), make_data(), make_data(shuffle_seed=1)
    for each in (data, same, other):
        each.setup()
    first, second = epoch_order(data, 0), epoch_order(data, 1)
    assert sorted(first) == sorted(second) == list(range(80))
    assert first != second
    assert epoch_order(same, 1) == second
    assert epoch_order(other, 1) != second


def batches(data: CatDogDataModule, loader: Iterable[torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """All batches of a loader, as the classifier gets them."""
    loaded = (batch for rows in loader for batch in data.on_after_batch_transfer(rows, 0))
    return [(images.clone(), labels) for images, labels in loaded]


class CountSteps(Callback):
    """Counts the optimizer's steps."""

    def __init__(self) -> None:
        self.steps = 0

    def on_before_optimizer_step(self, *args: Any) -> None:
        self.steps += 1


def test_batches_are_whole_tensors_scaled_to_plus_minus_one(make_data: MakeData) -> None:
    data = make_data()
    data.setup()
    for part, loader in (
        (data.train, data.train_dataloader()),
        (data.val, data.val_dataloader()),
        (data.test, data.test_dataloader()),
    ):
        images, labels = (torch.cat(column) for column in zip(*batches(data, loader), strict=True))
        assert images.dtype == labels.dtype == torch.float32
        assert images.shape == (len(part), 3, 16, 16)
        order = list(loader.sampler)
        expected = data.store.pixels[part.rows[order]].to(torch.float64) / 127.5 - 1
        torch.testing.assert_close(images, expected.float(), atol=1e-6, rtol=0)
        assert labels.equal(part.labels[order])


def test_the_training_batches_have_the_size_asked_for(make_data: MakeData) -> None:
    for steps_per_execution in (1, 2, 50):
        data = make_data(batch_size=32, steps_per_execution=steps_per_execution)
        data.setup()
        assert [len(labels) for _, labels in batches(data, data.train_dataloader())] == [32, 32, 16]


def test_how_many_batches_are_handed_over_does_not_change_them(make_data: MakeData) -> None:
    data, other = make_data(steps_per_execution=1), make_data(steps_per_execution=4)
    for each in (data, other):
        each.setup()
    for one, two in zip(batches(data, data.train_dataloader()), batches(other, other.train_dataloader()), strict=True):
        assert one[0].equal(two[0])
        assert one[1].equal(two[1])


def test_a_trainer_that_counts_batches_is_handed_single_ones(train: Train) -> None:
    for options, steps in (({"limit_train_batches": 3}, 6), ({"max_steps": 13}, 13)):
        train(str(options), max_epochs=2, trainer=options, callbacks=(count := CountSteps(),))
        assert count.steps == steps


def test_scaling_leaves_the_store_as_it_was(make_data: MakeData) -> None:
    data = make_data()
    data.setup()
    before = data.store.pixels.clone()
    batches(data, data.train_dataloader())
    assert data.store.pixels.equal(before)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"batch_size": 0}, "data.batch_size must be a whole number of at least 1, got 0"),
        ({"batch_size": "abc"}, "data.batch_size must be .* got 'abc'"),
        ({"image_size": 0}, "data.image_size must be a whole number of at least 1, got 0"),
        ({"steps_per_execution": 0}, "data.steps_per_execution must be a whole number of at least 1, got 0"),
        ({"device_cache": "always"}, "data.device_cache must be true, false or auto, got 'always'"),
        ({"local_shuffle": 2}, "data.local_shuffle must be true, false or auto, got 2"),
        ({"split_seed": -1}, "data.split_seed must be a whole number of at least 0, got -1"),
        ({"max_unreadable": 2}, "data.max_unreadable is a share between 0 and 1, got 2"),
        ({"sought_difference": 0}, "data.sought_difference is a share above 0, at most 1, got 0"),
        ({"root": 2024}, "data.root must be a path, got 2024; .*: data.root=\"'2024'\""),
        ({"cache_dir": None}, "data.cache_dir must be a path, got None"),
    ],
)
def test_arguments_without_sense_are_refused(make_data: MakeData, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make_data(**arguments)


def test_a_split_with_an_empty_part_is_refused_before_training(make_data: MakeData) -> None:
    data = make_data(source=partial(DrawnSource, count=8, seed=0))
    with pytest.raises(InputError, match="8 photos are too few to split"):
        data.prepare_data()


def test_unreadable_photos_are_skipped_up_to_the_share_allowed(
    make_data: MakeData, photo_root: Path, tmp_path: Path
) -> None:
    for path in itertools.chain(photo_root.glob("*/*")):
        copy = tmp_path / path.relative_to(photo_root)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    (tmp_path / "dogs" / "00.jpg").write_text("no photo")
    (tmp_path / "dogs" / "02.png").write_text("")

    with pytest.raises(InputError, match=r"2 of 40 photos are unreadable, more than data.max_unreadable=0.01 allows"):
        make_data(source=FolderSource, root=tmp_path).prepare_data()

    data = make_data(source=FolderSource, root=tmp_path, max_unreadable=0.05)
    data.prepare_data()
    data.setup()
    assert set(data.store.unreadable) == {"dogs/00.jpg", "dogs/02.png"}
    assert len(data.train) + len(data.val) + len(data.test) == 38


def test_no_readable_photo_at_all_is_refused(make_data: MakeData, tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_text("no photo")
    with pytest.raises(InputError, match="2 of 2 photos are unreadable"):
        make_data(source=FolderSource, root=tmp_path).prepare_data()
    with pytest.raises(InputError, match="2 photos are too few to split"):
        make_data(source=FolderSource, root=tmp_path, max_unreadable=1).prepare_data()


@given(
    rows=st.lists(st.integers(0, 10_000), min_size=1, max_size=300, unique=True),
    processes=st.integers(1, 3),
    block=st.integers(1, 20),
    window=st.integers(1, 100),
)
def test_a_local_order_deals_out_every_photo_among_the_processes(
    rows: list[int], processes: int, block: int, window: int
) -> None:
    photos: Any = range(len(rows))
    ranks = [LocalShuffle(photos, torch.tensor(rows), processes, rank, 0, block, window) for rank in range(processes)]
    shares = [list(sampler) for sampler in ranks]
    assert {len(share) for share in shares} == {len(ranks[0])}
    assert set().union(*shares) == set(photos)
    assert sum(map(len, shares)) - len(rows) < processes


def test_a_local_order_is_random_but_stays_within_windows() -> None:
    rows, photos = torch.randperm(4096), cast(Any, range(4096))
    sampler = LocalShuffle(photos, rows, 1, 0, seed=0, block=64, window=512)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert first != second
    for window in torch.tensor(first).split(512):
        blocks = (rows[window] // 64).unique()
        assert len(blocks) == 8  # whole blocks of the file
        assert blocks.diff().max() > 1  # that do not follow each other
    assert (torch.tensor(first).diff() == 1).float().mean() < 0.01


def test_a_local_order_is_used_where_asked_for(make_data: MakeData) -> None:
    for local_shuffle in (True, False, "auto"):
        data = make_data(local_shuffle=local_shuffle)
        data.setup()
        assert isinstance(data.train_dataloader().sampler, LocalShuffle) == (local_shuffle is True)


def test_pixels_are_kept_on_a_gpu_where_they_fit(make_data: MakeData, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, processor = torch.device("cuda"), torch.device("cpu")
    for device_cache in (True, False, "auto"):
        data = make_data(device_cache=device_cache)
        size = data.store.pixels.nbytes
        for free, fits in ((2 * size, True), (2 * size - 1, False)):
            monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, free))
            assert data._caches_on(gpu) == (fits if device_cache == "auto" else device_cache)
        if device_cache == "auto":
            assert not data._caches_on(processor)


def test_a_cache_elsewhere_gives_the_same_batches(make_data: MakeData) -> None:
    data, cached = make_data(device_cache=False), make_data(device_cache=True)
    for each in (data, cached):
        each.setup()
    for one, other in zip(
        batches(data, data.train_dataloader()), batches(cached, cached.train_dataloader()), strict=True
    ):
        assert one[0].equal(other[0])
        assert one[1].equal(other[1])

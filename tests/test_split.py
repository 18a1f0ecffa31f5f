import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from catdog.data.split import Part, data_warnings, find_originals, split_indices
from catdog.errors import InputError, TooFewPhotosError
from conftest import MakeData, Train

SEEDS = st.integers(0, 2**32)


@given(count=st.integers(10, 600), seed=SEEDS)
@settings(deadline=None)
def test_ten_folds_of_the_exercises_sizes_test_and_validate_every_photo_once(count: int, seed: int) -> None:
    folds = [split_indices(range(count), seed, fold) for fold in range(10)]
    assert [len(part) for part in folds[0][:2]] == [int(0.8 * count), int(0.1 * count)]
    for parts in folds:
        assert sorted(torch.cat(parts).tolist()) == list(range(count))
    for part in (1, 2):
        assert sorted(torch.cat([parts[part] for parts in folds]).tolist()) == list(range(count))


@given(digests=st.lists(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), min_size=10, max_size=60), seed=SEEDS)
@settings(deadline=None)
def test_copies_are_on_the_firsts_side_and_every_photo_is_still_tested_once(digests: list[str], seed: int) -> None:
    originals = find_originals(digests)
    folds = [split_indices(digests, seed, fold) for fold in range(10)]
    assert sorted(torch.cat([test for _, _, test in folds]).tolist()) == list(range(len(digests)))
    for fold, parts in enumerate(folds):
        assert sorted(torch.cat(parts).tolist()) == list(range(len(digests)))
        for part, all_different in zip(parts, split_indices(range(len(digests)), seed, fold), strict=True):
            firsts = {position for position in all_different.tolist() if originals[position] == position}
            assert set(originals[part].tolist()) == firsts


@given(photos=st.integers(1, 60), train=st.integers(1, 60))
def test_training_sets_are_disjoint_nested_and_refused_with_the_numbers(photos: int, train: int) -> None:
    part = Part(torch.randperm(train), [str(number) for number in range(train)], torch.zeros(train))
    sets = [part.subset(photos, number) for number in range(train // photos)]
    rows = torch.cat([part.rows[:0], *(chosen.rows for chosen in sets)]).tolist()
    assert rows == part.rows[: len(sets) * photos].tolist()
    assert all(len(chosen) == len(chosen.names) == len(chosen.labels) == photos for chosen in sets)
    if 2 * photos <= train:
        assert part.subset(2 * photos, 0).names == sets[0].names + sets[1].names
    expected = f"most {len(sets) - 1}, as.* {train} .* make {len(sets)} of .*={photos}," if sets else f"most {train}, "
    with pytest.raises(TooFewPhotosError, match=f"{expected}.* got {len(sets) if sets else photos}$"):
        part.subset(photos, len(sets))


def test_a_data_module_trains_on_the_set_that_is_asked_for(make_data: MakeData) -> None:
    whole, second = make_data(fold=3), make_data(fold=3, train_photos=30, train_set=1)
    whole.setup()
    second.setup()
    assert second.train.names == whole.train.names[30:60]
    assert (second.val.names, second.test.names) == (whole.val.names, whole.test.names)


def test_too_few_photos_are_refused() -> None:
    with pytest.raises(InputError, match=r"9 photos are too few to split.*at least 10"):
        split_indices(range(9), seed=0)


def sides(make_data: MakeData, root: Path, **arguments: Any) -> dict[str, str]:
    """The part that each photo is in."""
    data = make_data(root=root, max_unreadable=1, **arguments)
    data.setup()
    return {name: part for part in ("train", "val", "test") for name in getattr(data, part).names}


def test_the_split_depends_on_names_and_its_seed_and_nothing_else(
    make_data: MakeData, photo_root: Path, tmp_path: Path
) -> None:
    before = sides(make_data, photo_root)
    assert sides(make_data, photo_root, image_size=9, batch_size=3, shuffle_seed=8, augment=True) == before
    assert sides(make_data, photo_root, split_seed=1) != before
    for name, other in zip(sorted(before), sorted(before, reverse=True), strict=True):  # other contents
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(photo_root / other, tmp_path / name)
        os.utime(tmp_path / name, (0, 0))
    assert sides(make_data, tmp_path) == before
    broken = next(name for name in before if before[name] == "train")
    (tmp_path / broken).write_text("no photo")
    assert sides(make_data, tmp_path) == {name: side for name, side in before.items() if name != broken}


@pytest.mark.parametrize(
    ("cats", "dogs", "copied", "tested", "sentence"),
    [
        (2371, 4978, 0, 999, "imbalance: 2,371 cats and 4,978 dogs; always naming dogs is right for 67.7%.*"),
        (60, 60, 2, 40, "copies: 2 with the same pixels as another photo, .*; 1 with the other class's label"),
        (60, 60, 0, 18, "near-empty: val has 9 cats and 9 dogs; test has 9 cats and 9 dogs; .*"),
        (600, 400, 0, 25, ""),
    ],
)
def test_each_weakness_of_the_data_is_a_warning_with_numbers(
    cats: int, dogs: int, copied: int, tested: int, sentence: str
) -> None:
    """The first `copied + 1` photos are the same; the last ones are tested, those before for validation."""
    numbers = torch.arange(cats + dogs)
    labels = (numbers * dogs % len(numbers) < dogs).float()  # alternating
    store: Any = SimpleNamespace(labels=labels, digests=[str(max(number, copied)) for number in numbers.tolist()])
    parts = [Part(rows, [], labels[rows]) for rows in numbers.tensor_split([-2 * tested, -tested])]
    assert re.fullmatch(sentence, " ".join(data_warnings(store, ("cats", "dogs"), parts)))


def test_copies_are_kept_together_and_all_warnings_are_in_the_record_and_logged_once(
    train: Train, make_data: MakeData, photo_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = shutil.copytree(photo_root, tmp_path / "photos")
    for number in range(25):
        shutil.copyfile(root / "dogs/02.png", root / f"dogs/copy{number}.png")
    assert len({side for name, side in sides(make_data, root).items() if name == "dogs/02.png" or "copy" in name}) == 1
    record = train(data={"root": root})
    assert [sentence.split(":")[0] for sentence in record["warnings"]] == ["imbalance", "copies", "near-empty"]
    assert [caplog.messages.count(sentence) for sentence in record["warnings"]] == [1, 1, 1]

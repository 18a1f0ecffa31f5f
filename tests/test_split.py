import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from catdog.data import split_indices
from catdog.data.split import find_originals
from catdog.errors import InputError
from conftest import MakeData


@given(count=st.integers(10, 3000), seed=st.integers(0, 2**32))
def test_the_split_takes_every_photo_once_in_the_exercises_sizes(count: int, seed: int) -> None:
    train, val, test = split_indices(count, seed)
    assert (len(train), len(val)) == (int(0.8 * count), int(0.1 * count))
    assert sorted(torch.cat([train, val, test]).tolist()) == list(range(count))


@given(count=st.integers(10, 500), seed=st.integers(0, 2**32))
def test_ten_folds_test_and_validate_every_photo_once(count: int, seed: int) -> None:
    folds = [split_indices(count, seed, fold) for fold in range(10)]
    for parts in folds:
        assert sorted(torch.cat(parts).tolist()) == list(range(count))
        assert all(len(part) > 0 for part in parts)
    for part in (1, 2):
        assert sorted(torch.cat([parts[part] for parts in folds]).tolist()) == list(range(count))


@pytest.mark.parametrize(
    ("count", "fold", "sentence"),
    [
        (100, 10, "data.fold must be a whole number of at least 0, at most 9, got 10"),
        (9, 0, "9 photos are too few to split.*at least 10"),
        (0, 0, "0 photos are too few"),
    ],
)
def test_what_cannot_be_split_is_refused(count: int, fold: int, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        split_indices(count, 0, fold)


@given(
    digests=st.lists(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), min_size=10, max_size=60), fold=st.integers(0, 9)
)
def test_copies_are_on_one_side_and_every_photo_is_still_tested_once(digests: list[str], fold: int) -> None:
    originals = find_originals(digests)
    parts = split_indices(len(digests), 0, fold, originals)
    assert sorted(torch.cat(parts).tolist()) == list(range(len(digests)))
    sides = [{digests[position] for position in part.tolist()} for part in parts]
    assert sum(map(len, sides)) == len(set(digests))  # no digest on two sides
    tested = torch.cat([split_indices(len(digests), 0, each, originals)[2] for each in range(10)])
    assert sorted(tested.tolist()) == list(range(len(digests)))


@given(count=st.integers(10, 100), seed=st.integers(0, 2**32), fold=st.integers(0, 9))
def test_photos_without_copies_are_where_they_were(count: int, seed: int, fold: int) -> None:
    parts, same = split_indices(count, seed, fold), split_indices(count, seed, fold, torch.arange(count))
    assert all(one.equal(other) for one, other in zip(parts, same, strict=True))


def sides(make_data: MakeData, root: Path, **arguments: Any) -> dict[str, str]:
    """Which part each photo is in."""
    data = make_data(root=root, max_unreadable=1, **arguments)
    data.setup()
    return {name: part for part in ("train", "val", "test") for name in getattr(data, part).names}


def test_the_split_depends_on_names_and_its_seed_and_nothing_else(
    make_data: MakeData, photo_root: Path, tmp_path: Path
) -> None:
    before = sides(make_data, photo_root)
    assert sides(make_data, photo_root, image_size=9, batch_size=3, shuffle_seed=8, augment=True) == before
    assert sides(make_data, photo_root, split_seed=1) != before

    moved = tmp_path / "elsewhere"
    names = sorted(before)
    for name, other in zip(names, reversed(names), strict=True):  # the same names with other contents
        (moved / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(photo_root / other, moved / name)
        os.utime(moved / name, (0, 0))
    assert sides(make_data, moved) == before

    broken = [name for name in before if before[name] == "train"][5]
    (moved / broken).write_text("no photo")
    assert sides(make_data, moved) == {name: side for name, side in before.items() if name != broken}


def test_copies_of_photos_are_kept_together(make_data: MakeData, photo_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    shutil.copytree(photo_root, root)
    for number in range(12):
        shutil.copyfile(root / "cats/03.bmp", root / f"cats/copy{number}.bmp")
    found = sides(make_data, root)
    assert len(found) == 52
    assert len({side for name, side in found.items() if name == "cats/03.bmp" or "copy" in name}) == 1


def test_too_few_different_photos_are_refused(make_data: MakeData, tmp_path: Path, photo_root: Path) -> None:
    for number in range(10):
        for name in ("cats", "dogs"):
            (tmp_path / name).mkdir(exist_ok=True)
            shutil.copyfile(photo_root / name / "03.bmp", tmp_path / name / f"{number}.bmp")
    with pytest.raises(InputError, match="has no photo: 20 of 20 photos are readable, 2 of them different"):
        make_data(root=tmp_path).setup()

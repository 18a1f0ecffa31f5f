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

SEEDS = st.integers(0, 2**32)


@given(count=st.integers(10, 600), seed=SEEDS)
def test_ten_folds_of_the_exercises_sizes_test_and_validate_every_photo_once(count: int, seed: int) -> None:
    folds = [split_indices(count, seed, fold) for fold in range(10)]
    assert [len(part) for part in folds[0][:2]] == [int(0.8 * count), int(0.1 * count)]
    for parts in folds:
        assert sorted(torch.cat(parts).tolist()) == list(range(count))
        assert all(len(part) > 0 for part in parts)
    for part in (1, 2):
        assert sorted(torch.cat([parts[part] for parts in folds]).tolist()) == list(range(count))


@given(digests=st.lists(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), min_size=10, max_size=60), seed=SEEDS)
def test_copies_are_on_the_firsts_side_and_every_photo_is_still_tested_once(digests: list[str], seed: int) -> None:
    originals = find_originals(digests)
    folds = [split_indices(len(digests), seed, fold, originals) for fold in range(10)]
    assert sorted(torch.cat([test for _, _, test in folds]).tolist()) == list(range(len(digests)))
    for fold, parts in enumerate(folds):
        assert sorted(torch.cat(parts).tolist()) == list(range(len(digests)))
        for part, without_copies in zip(parts, split_indices(len(digests), seed, fold), strict=True):
            firsts = {position for position in without_copies.tolist() if originals[position] == position}
            assert set(originals[part].tolist()) == firsts


def test_too_few_photos_are_refused() -> None:
    with pytest.raises(InputError, match=r"9 photos are too few to split.*at least 10"):
        split_indices(9, seed=0)


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


def test_copies_of_photos_are_kept_together(make_data: MakeData, photo_root: Path, tmp_path: Path) -> None:
    root = shutil.copytree(photo_root, tmp_path / "photos")
    for number in range(12):
        shutil.copyfile(root / "cats/03.bmp", root / f"cats/copy{number}.bmp")
    found = sides(make_data, root)
    assert len(found) == 52
    assert len({side for name, side in found.items() if name == "cats/03.bmp" or "copy" in name}) == 1

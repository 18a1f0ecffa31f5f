import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch

from catdog.data import DrawnSource, FolderSource, caveats
from catdog.statistics import detectable_difference
from conftest import Train

NAMES = ("cats", "dogs")


def labels(zeros: int, ones: int) -> torch.Tensor:
    return torch.cat([torch.zeros(zeros), torch.ones(ones)])


def test_more_than_sixty_percent_of_one_class_is_said() -> None:
    assert caveats.imbalance(labels(600, 400), NAMES) is None
    assert caveats.imbalance(labels(400, 600), NAMES) is None
    assert caveats.imbalance(labels(2371, 4978), NAMES) == (
        "imbalance: 2,371 cats and 4,978 dogs; always naming dogs is right for 67.7%, so compare accuracies with that "
        "and not with 50 %"
    )


def test_copies_are_counted() -> None:
    nowhere = torch.zeros(5)
    assert caveats.copies(torch.arange(5), labels(3, 2), nowhere, nowhere) is None
    first, sides = torch.tensor([0, 0, 2, 0, 0]), torch.tensor([0, 1, 0, 0, 0])
    assert caveats.copies(first, labels(3, 2), sides, nowhere) == (
        "copies: 3 photos with the same bytes as another; 1 fall on another side of the split and are kept with the "
        "first of their kind; 2 with the other class's label than that"
    )
    assert "left there, as too few photos differ" in (caveats.copies(first, labels(3, 2), sides, sides) or "")


def test_parts_with_under_ten_photos_of_a_class_are_named() -> None:
    parts = {"train": labels(80, 80), "val": labels(10, 10), "test": labels(9, 11)}
    assert caveats.near_empty(parts, NAMES) == (
        "near-empty: test has 9 cats and 11 dogs; what so few photos measure is mostly chance"
    )
    assert caveats.near_empty({"val": parts["val"]}, NAMES) is None


def test_a_test_part_too_small_for_the_difference_sought_says_what_it_shows() -> None:
    assert caveats.small_test(200, 0.15) is None
    sentence = caveats.small_test(50, 0.15) or ""
    assert sentence.startswith(
        "small test part: 50 photos; between two runs it shows differences from 23 points on, not"
    )
    assert "the 15 of data.sought_difference" in sentence


def test_more_photos_show_smaller_differences() -> None:
    seen = [detectable_difference(photos) for photos in (50, 200, 1000, 10**7)]
    assert seen == sorted(seen, reverse=True)
    assert seen[1] == pytest.approx(0.138, abs=0.006)  # docs/statistics.md: one split, one seed, 200 photos


def test_all_of_them_are_in_the_record_and_said_once(
    train: Train, photo_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(photo_root, tmp_path / "photos")
    for number in range(25):
        shutil.copyfile(photo_root / "dogs/02.png", tmp_path / f"photos/dogs/copy{number}.png")
    record = train(source=FolderSource, root=tmp_path / "photos")
    kinds = [sentence.split(":")[0] for sentence in record["warnings"]]
    assert kinds == ["imbalance", "copies", "near-empty", "small test part"]
    assert "25 photos with the same bytes" in record["warnings"][1]
    assert json.loads((tmp_path / "run/metrics.json").read_text())["warnings"] == record["warnings"]
    assert [caplog.messages.count(sentence) for sentence in record["warnings"]] == [1, 1, 1, 1]


def test_a_balanced_set_of_different_photos_has_none(train: Train) -> None:
    source = partial(DrawnSource, count=400, seed=0)
    assert train(source=source, image_size=4, max_epochs=1, sought_difference=0.3)["warnings"] == []

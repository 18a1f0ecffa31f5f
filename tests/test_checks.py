import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from catdog.data import SyntheticSource
from catdog.data.checks import data_warnings
from catdog.data.split import Part
from conftest import Train

NAMES = ("cats", "dogs")


def warn(cats: int, dogs: int, copied: int = 0, test: int = 1) -> list[str]:
    """Warnings on photos of which the first `copied + 1` are the same, the last `test` tested."""
    count = cats + dogs
    labels = torch.cat([torch.zeros(cats), torch.ones(dogs)])
    digests = ["copied" if number <= copied else str(number) for number in range(count)]
    rows = torch.arange(0, count - test), torch.arange(0), torch.arange(count - test, count)
    store: Any = SimpleNamespace(labels=labels, digests=digests)
    return list(data_warnings(store, NAMES, [Part(part, [], labels[part]) for part in rows]))


@pytest.mark.parametrize(
    ("photos", "sentence"),
    [
        (
            {"cats": 2371, "dogs": 4978},
            "imbalance: 2,371 cats and 4,978 dogs; always naming dogs is right for 67.7%, so compare accuracies with "
            "that and not with 50 %",
        ),
        (
            {"cats": 3, "dogs": 2, "copied": 3},
            "copies: 3 with the same pixels as another photo, kept on its side of the split; 1 with the other class's "
            "label",
        ),
        (
            {"cats": 30, "dogs": 30, "test": 9},
            "near-empty: val has 0 cats and 0 dogs; test has 0 cats and 9 dogs; what so few photos measure is mostly "
            "chance",
        ),
    ],
)
def test_each_weakness_of_the_data_is_a_warning_with_numbers(photos: dict[str, Any], sentence: str) -> None:
    assert sentence in warn(**photos)


def test_at_the_limits_there_is_no_warning() -> None:
    kinds = [sentence.split(":")[0] for sentence in warn(600, 400, test=200)]
    assert kinds == ["near-empty"]  # of validation photos there are none


def test_all_warnings_are_in_the_record_and_logged_once(
    train: Train, photo_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(photo_root, tmp_path / "photos")
    for number in range(25):
        shutil.copyfile(photo_root / "dogs/02.png", tmp_path / f"photos/dogs/copy{number}.png")
    record = train(data={"root": tmp_path / "photos"})
    kinds = [sentence.split(":")[0] for sentence in record["warnings"]]
    assert kinds == ["imbalance", "copies", "near-empty"]
    assert "copies: 25 with the same pixels" in record["warnings"][1]
    assert json.loads((tmp_path / "run/metrics.json").read_text())["warnings"] == record["warnings"]
    assert [caplog.messages.count(sentence) for sentence in record["warnings"]] == [1, 1, 1]


def test_a_balanced_set_of_different_photos_has_none(train: Train) -> None:
    data = {"source": SyntheticSource(count=400)}
    assert train(data=data, trainer={"max_epochs": 1})["warnings"] == []

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from catdog.data.checks import data_warnings
from catdog.data.split import Part
from conftest import Train


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


def test_all_warnings_are_in_the_record_and_logged_once(
    train: Train, photo_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(photo_root, tmp_path / "photos")
    for number in range(25):
        shutil.copyfile(photo_root / "dogs/02.png", tmp_path / f"photos/dogs/copy{number}.png")
    record = train(data={"root": tmp_path / "photos"})
    assert [sentence.split(":")[0] for sentence in record["warnings"]] == ["imbalance", "copies", "near-empty"]
    assert json.loads((tmp_path / "run/metrics.json").read_text())["warnings"] == record["warnings"]
    assert [caplog.messages.count(sentence) for sentence in record["warnings"]] == [1, 1, 1]

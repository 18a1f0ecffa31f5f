import json
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT


def benchmark(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "scripts/lab/benchmark.py", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_benchmark_measures_its_contenders_in_turn(photo_root: Path, tmp_path: Path) -> None:
    done = benchmark("epoch", "--photos", str(photo_root), "--rounds", "1", "--output", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "benchmark.json").read_text())["results"]
    assert [row["contender"].split(",")[0] for row in results] == [
        "plain PyTorch script", "bare loop over cached tensors", "catdog", "catdog",
    ]  # fmt: skip
    for row in results:
        assert row["values"][0] > 0
        assert row["ratios"] == [results[0]["values"][0] / row["values"][0]]
        assert f"| epoch | {row['contender']} |" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["benchmark.json"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["speed"], "no section speed; there are epoch, process"),
        (["epoch", "--photos", "nowhere"], "no folder at 'nowhere'"),
        (["epoch", "--rounds", "0"], "--rounds must be a whole number of at least 1, got 0"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], sentence: str) -> None:
    done = benchmark(*arguments)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr

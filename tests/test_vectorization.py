"""The script on loops as it is typed, with small sizes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT


def vectorization(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts/vectorization.py"), *arguments],
        cwd=folder, env=os.environ | {"PYTHONWARNINGS": "default"}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("hidden", [["4", "3"], []])
def test_it_names_six_loops_and_measures_equal_results_without_three_of_them(tmp_path: Path, hidden: list[str]) -> None:
    done = vectorization(tmp_path, "--image-size", "6", "--batch-size", "5", "--seconds", "0", "--hidden", *hidden)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    table = rows(done.stdout)
    loops = {row[0]: row[3] for row in table[:8] if row[3].startswith(("yes", "no"))}
    assert [name for name, answer in loops.items() if answer.startswith("yes: ")] == ["sample", "neuron", "feature"]
    assert [name for name, answer in loops.items() if answer.startswith("no: ")] == ["epoch", "batch", "layer"]
    (layers,) = [row[2] for row in table if row[0] == "layer"]
    assert int(layers) == len(hidden) + 1
    measured = table[-4:]
    assert [row[0] for row in measured] == ["sample, neuron, feature", "sample, neuron", "sample", "none"]
    assert all(row[1].endswith((" s", " ms")) for row in measured)
    assert "loss and gradients agree to 1e-12" in done.stdout
    assert (tmp_path / "outputs/vectorization.png").read_bytes().startswith(b"\x89PNG")


def test_a_size_without_sense_gets_one_sentence(tmp_path: Path) -> None:
    done = vectorization(tmp_path, "--hidden", "4", "0")
    assert done.returncode == 1
    assert done.stderr == "catdog: every width of --hidden must be a whole number of at least 1, got 0\n"
    assert done.stdout == ""

"""The script on loops as it is typed, with small sizes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT


def vectorization(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONWARNINGS": "default"}
    command = [sys.executable, str(ROOT / "scripts/vectorization.py"), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("hidden", [["4", "3"], []])
def test_it_names_six_loops_and_measures_equal_results_without_three_of_them(tmp_path: Path, hidden: list[str]) -> None:
    done = vectorization(tmp_path, "--image-size", "6", "--batch-size", "5", "--seconds", "0", "--hidden", *hidden)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    answers = {row[0]: row[3].split(":")[0] for row in table[:8] if row[3].startswith(("yes", "no"))}
    assert answers == dict.fromkeys(("epoch", "batch", "layer"), "no") | dict.fromkeys(
        ("sample", "neuron", "feature"), "yes"
    )
    assert [row[2] for row in table if row[0] == "layer"] == [str(len(hidden) + 1)]
    assert [row[0] for row in table[-4:]] == ["sample, neuron, feature", "sample, neuron", "sample", "none"]
    assert "loss and gradients agree to 1e-12" in done.stdout
    assert (tmp_path / "outputs/vectorization.png").read_bytes().startswith(b"\x89PNG")


def test_a_size_without_sense_gets_one_sentence(tmp_path: Path) -> None:
    done = vectorization(tmp_path, "--hidden", "4", "0")
    sentence = "catdog: every width of --hidden must be a whole number of at least 1, got 0\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", sentence)

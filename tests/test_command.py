"""The command as it is typed, each in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

SMALL = ("data.source.count=60", "data.image_size=16")


def command(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONWARNINGS": "default"} | variables
    return subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_main_command_trains_and_says_where_everything_is(tmp_path: Path) -> None:
    done = command(tmp_path, "model=deep", "trainer.max_epochs=100", "trainer=cpu", *SMALL)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (run,) = (tmp_path / "outputs/runs").iterdir()
    record = json.loads((run / "metrics.json").read_text())
    assert record["epochs"] == 100
    assert record["config"]["model"]["hidden"] == [5, 5, 3]
    lines = done.stdout.splitlines()
    assert sum(line.startswith("epoch ") for line in lines) == 100
    low, high = record["test/acc_interval"]
    assert f"test accuracy {record['test/acc']:.3f} [{low:.3f}, {high:.3f}]" in done.stdout
    for path in (run / "curves.png", run / "checkpoints"):
        assert str(path) in done.stdout
        assert path.exists()
    assert f"tensorboard --logdir {run}" in done.stdout


def test_help_tells_the_groups_and_the_five_overrides(tmp_path: Path) -> None:
    done = command(tmp_path, "--help")
    assert done.returncode == 0
    for text in (
        "data: drawn, folder, microsoft, oxford_pets", "model: deep, edges, logistic, shallow, whitened",
        "trainer: auto, cpu, ddp, gpu, mps, smoke", "study: accelerators, depth_vs_epochs, ingredients, widths",
        "model=deep", "model.hidden=[64,32]", "trainer.max_epochs=100", "data=folder data.root=PATH", "seed=1",
    ):  # fmt: skip
        assert text in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("data=folder", "data.root=nowhere"), "catdog: data.root: no folder at 'nowhere'; it must be a folder"),
        (("model.hidden=[0]",), "catdog: model.hidden must be a list of whole numbers of at least 1"),
    ],
)
def test_bad_input_gets_one_sentence_and_a_failing_exit(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    done = command(tmp_path, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(sentence)
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize("argument", ["model=dep", "model.width=3"])
def test_unknown_options_and_keys_are_named(tmp_path: Path, argument: str) -> None:
    done = command(tmp_path, argument)
    assert done.returncode == 1
    assert argument.split("=")[0].split(".")[-1] in done.stderr
    assert "Traceback" not in done.stderr

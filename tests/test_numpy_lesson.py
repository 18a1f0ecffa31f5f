"""The script beside Lightning as it is typed, with a small folder of photos."""

import os
import runpy
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from conftest import ROOT

SCRIPT = str(ROOT / "scripts/numpy_lesson.py")


def _copy_as(prefix: str, source: str, target: str) -> None:
    shutil.copy(source, Path(target).with_name(f"{prefix}-{Path(target).name}"))


def test_both_nets_lose_alike(tmp_path: Path, photo_root: Path) -> None:
    for copy in ("one", "two"):  # two batches, so that their order matters
        shutil.copytree(photo_root, tmp_path / "photos", dirs_exist_ok=True, copy_function=partial(_copy_as, copy))
    arguments = ("--photos", "photos", "--image-size", "16", "--epochs", "3", "--hidden", "6", "4")
    done = subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        cwd=tmp_path, env=os.environ | {"PYTHONWARNINGS": "default"}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "768 → 6 → 4 → 1 on 64 photos"
    start = next(number for number, line in enumerate(lines) if line.startswith("epoch ")) + 1
    epochs = [[float(number) for number in line.split()] for line in lines[start : start + 3]]
    assert [number for number, *_ in epochs] == [1, 2, 3]
    for _, by_hand, lightning, val_by_hand, val_lightning in epochs:
        assert abs(by_hand - lightning) < 1e-6
        assert abs(val_by_hand - val_lightning) < 1e-6
    assert len({losses[1] for losses in epochs}) == 3  # something was learnt
    (difference,) = [float(line.split()[-1]) for line in lines if line.startswith("largest difference")]
    assert difference < 1e-6
    for name in ("network", "losses"):
        assert (tmp_path / f"outputs/numpy_lesson/{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_that_is_not_there_gets_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [SCRIPT, "--photos", "nowhere", "--output", str(tmp_path)])
    with pytest.raises(SystemExit, match="^catdog: data.root: no folder at 'nowhere'; it must be a folder"):
        runpy.run_path(SCRIPT, run_name="__main__")

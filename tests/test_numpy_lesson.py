"""The script that trains the hand-written net and Lightning's side by side, as it is typed."""

import os
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

SCRIPT = str(ROOT / "scripts/numpy_lesson.py")


def lesson(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONWARNINGS": "default"}
    command = [sys.executable, SCRIPT, "--photos", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_both_nets_have_the_same_losses(tmp_path: Path, photo_root: Path) -> None:
    for copy in ("one", "two"):  # two batches, so that their order matters
        for path in photo_root.glob("*/*"):
            (tmp_path / "photos" / path.parent.name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "photos" / path.parent.name / f"{copy}-{path.name}").write_bytes(path.read_bytes())
    done = lesson(tmp_path, "photos", "--image-size", "16", "--epochs", "3", "--hidden", "6", "4")
    assert (done.returncode, done.stderr) == (0, "")
    title, *lines = done.stdout.splitlines()
    assert title == "768 → 6 → 4 → 1 on 64 photos"
    epochs = [[float(number) for number in line.split()] for line in lines if line.strip()[:1].isdigit()]
    assert [number for number, *_ in epochs] == [1, 2, 3]
    for _, by_hand, lightning, val_by_hand, val_lightning in epochs:
        assert abs(by_hand - lightning) < 1e-6
        assert abs(val_by_hand - val_lightning) < 1e-6
    assert len({losses[1] for losses in epochs}) == 3  # something was learnt
    for name in ("network", "losses"):
        assert (tmp_path / f"outputs/numpy_lesson/{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_that_is_not_there_gets_one_sentence(tmp_path: Path) -> None:
    done = lesson(tmp_path, "nowhere")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert done.stderr.startswith("catdog: data.root: no folder at 'nowhere'; it must be a folder")

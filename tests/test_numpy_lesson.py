"""The hand-written net beside Lightning's: whole trainings, and the script that shows one as it is typed."""

import os
import runpy
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from catdog import CatDogClassifier
from catdog.numpy_mlp import bce, forward, train_step
from conftest import ROOT, MakeData, Train

Floats = NDArray[np.float64]
SCRIPT = str(ROOT / "scripts/numpy_lesson.py")


def assert_same_training(train: Train, make_data: MakeData, lr: float, **photos: Any) -> None:
    """Three epochs of CatDogClassifier and of `train_step`, from the same weights, in the same batches."""
    data = make_data(**photos)
    model = CatDogClassifier([5, 5, 3], data.image_size, lr=lr)
    values = [value.detach().double().numpy().copy() for value in model.network.parameters()]
    parameters = [(W[0], b.T) for W, b in zip(values[::2], values[1::2], strict=True)]
    history = train(model=model, data=photos, trainer={"max_epochs": 3})["history"]
    data.setup()

    def photos_at(rows: Tensor) -> tuple[Floats, Floats]:
        pixels, labels = data.store.pixels[rows].flatten(1).double().numpy(), data.store.labels[rows].double().numpy()
        return pixels.T / 127.5 - 1, labels[np.newaxis]

    for epoch, row in enumerate(history):
        order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(epoch))
        batches = [photos_at(data.train.rows[positions]) for positions in order.split(data.batch_size)]
        total = 0.0
        for X, y in batches:
            loss, parameters = train_step(X, y, parameters, lr)
            total += loss * y.size
        assert total / len(data.train) == pytest.approx(row["train/loss"], rel=0, abs=1e-5)
        X, y = photos_at(data.val.rows)
        assert bce(forward(X, parameters)[0], y) == pytest.approx(row["val/loss"], rel=0, abs=1e-5)
    assert len(history) == 3


def test_a_training_equals_that_of_lightning(train: Train, make_data: MakeData) -> None:
    assert_same_training(train, make_data, lr=0.2)


def test_a_training_equals_that_of_lightning_on_real_photos(
    train: Train, make_data: MakeData, real_photos: Path
) -> None:
    assert_same_training(train, make_data, lr=0.01, root=real_photos, image_size=128, batch_size=32)


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
    assert not done.stderr
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

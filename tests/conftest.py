"""Photos made on the spot, and short ways to the objects under test."""

import logging
import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from filelock import FileLock
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning import Callback, LightningModule, Trainer, seed_everything
from matplotlib.figure import Figure
from omegaconf import OmegaConf

from catdog import CatDogClassifier, CatDogDataModule, training
from catdog.cli import silenced_libraries
from catdog.data import SyntheticSource
from catdog.data.synthetic import draw_photo
from mirror import Mirror

ROOT = Path(__file__).parents[1]

RECIPE: dict[str, Any] = {  # everything that experiments ask for
    "whitening": 20, "hog": 10, "optimizer": "AdamW", "weight_decay": 0.05, "schedule": "cosine",
    "test_time_augmentation": True,
}  # fmt: skip
MakeData = Callable[..., CatDogDataModule]
Train = Callable[..., dict[str, Any]]
RunOf = Callable[[int], Path]
Script = Callable[..., "Done"]
TrainPy = Script


def make_classifier(**arguments: Any) -> CatDogClassifier:
    """Untrained networks for small images; any argument can be given instead."""
    defaults: dict[str, Any] = {"hidden": [], "image_size": 8}
    return CatDogClassifier(**defaults | arguments)


@pytest.fixture(scope="session")
def photo_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 40 drawn photos of several sizes and formats: 20 in `cats/`, 20 in `dogs/`."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for label, name in enumerate(("cats", "dogs")):
        (root / name).mkdir()
        for number, suffix in enumerate([".jpg", ".JPEG", ".png", ".bmp", ".webp"] * 4):
            photo = draw_photo(rng, is_dog=bool(label), image_size=48)
            photo.resize((48 + 3 * number, 40)).save(root / name / f"{number:02d}{suffix}")
    return root


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def make_data(cache_dir: Path) -> MakeData:
    """Makes a data module of small drawn photos; any argument can be given instead."""

    def make(**arguments: Any) -> CatDogDataModule:
        defaults: dict[str, Any] = {"image_size": 16, "batch_size": 8, "cache_dir": cache_dir}
        source = {} if "root" in arguments else {"source": SyntheticSource(count=100)}
        return CatDogDataModule(**(defaults | source | arguments))

    return make


def make_trainer(folder: Path, callbacks: Sequence[Callback] = (), **flags: Any) -> Trainer:
    """A trainer for a run in a folder, as a job makes one."""
    own = {"callbacks": [training.RunCheckpoint(), *callbacks], "default_root_dir": folder}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    return Trainer(logger=[training.Dashboard(folder)], **(quiet | flags | own))


@pytest.fixture
def blank_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves curves.png empty, for tests of other files: drawing takes longer than training does here."""
    monkeypatch.setattr("catdog.plots.curves", lambda record: Figure())


@pytest.fixture
def train(make_data: MakeData, tmp_path: Path) -> Train:
    """Trains a small network as `train.py` does, without the command line; returns its record."""

    def run(
        folder: str = "run",
        *,
        model: dict[str, Any] | LightningModule | None = None,
        data: dict[str, Any] | None = None,
        trainer: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
        callbacks: Sequence[Callback] = (),
        **how: Any,
    ) -> dict[str, Any]:
        photos = make_data(**(data or {}))
        if not isinstance(model, LightningModule):
            seed_everything(0, verbose=False)
            model = make_classifier(**{"hidden": [5, 5, 3], "image_size": photos.image_size} | (model or {}))
        flags = {"accelerator": "cpu", "max_epochs": 2} | (trainer or {})
        with silenced_libraries():
            trained = make_trainer(tmp_path / folder, callbacks, **flags)
            return training.run(trained, model, photos, config or {}, **how) or {}

    return run


class Done(NamedTuple):
    """What a command left: its exit status or message, and what it printed."""

    status: int | str
    stdout: str
    stderr: str


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Script:
    """Runs a script in this process, in the test's folder; a process of its own takes ten times as long."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        capsys.readouterr()
        try:
            runpy.run_path(str(ROOT / name), run_name="__main__")
            status: int | str = 0
        except SystemExit as end:
            status = end.code or 0
        return Done(status, *capsys.readouterr())

    return run


@pytest.fixture
def train_py(script: Script, monkeypatch: pytest.MonkeyPatch) -> TrainPy:
    """Runs `train.py` as a script, and leaves logging as it was."""
    monkeypatch.setattr(logging.getLogger("lightning.pytorch"), "propagate", True)  # as where Hydra is there first
    handlers, level = logging.root.handlers[:], logging.root.level

    def run(*arguments: str) -> Done:
        try:
            return script("train.py", *arguments)
        finally:
            for handler in set(logging.root.handlers).difference(handlers):
                handler.close()
            logging.root.handlers[:], logging.root.level = handlers, level

    return run


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start `train.py` in a process of its own, in a folder."""
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="session")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> RunOf:
    """The folder of a finished run on 60 drawn photos in files, 6 of them for testing: one per number of replicas.

    The workers of pytest-xdist share it: of two that start a run in one folder, the second waits for the record.
    """
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "finished"
    rng = np.random.default_rng(1)
    with FileLock(f"{root}.lock"):
        for folder in () if root.exists() else (root / "photos/cats", root / "photos/dogs"):
            folder.mkdir(parents=True)
            for number in range(30):
                draw_photo(rng, is_dog=folder.name == "dogs", image_size=40).save(folder / f"{number:02d}.png")

    @cache
    def run(replicas: int) -> Path:
        overrides = ["model.hidden=[6,4]", f"model.replicas={replicas}", "trainer=cpu", "trainer.max_epochs=15"]
        places = [f"data.root={root / 'photos'}", f"data.cache_dir={root / 'cache'}"]
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            config = compose("train", ["data=folder", "data.image_size=16", *places, *overrides])
        data, model = (instantiate(config[group], _convert_="all") for group in ("data", "model"))
        plain: Any = OmegaConf.to_container(config, resolve=True)
        folder = root / f"{replicas}-replicas"
        with silenced_libraries():
            training.run(make_trainer(folder, accelerator="cpu", max_epochs=15), model, data, plain)
        return folder

    return run


@pytest.fixture(scope="session")
def oxford_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the Oxford archives hold, with their oddities: 19 photos of cats and 41 of dogs, two lists of them."""
    root = tmp_path_factory.mktemp("oxford") / "oxford-iiit-pet"
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    rng = np.random.default_rng(0)
    lines = []
    for number in range(60):
        is_dog = number >= 19
        name = f"{'beagle' if is_dog else 'Egyptian_Mau'}_{number}"
        photo = draw_photo(rng, is_dog, image_size=40)
        if number == 3:  # some are of other formats than their names say
            photo.quantize(16).save(root / "images" / f"{name}.jpg", "gif")
        else:
            photo.convert("CMYK" if number == 4 else "RGB").save(root / "images" / f"{name}.jpg")
        lines.append(f"{name} {20 if is_dog else 10} {1 + is_dog} 1\n")
    order = rng.permutation(60)
    for part, members in (("trainval", order[:31]), ("test", order[31:])):
        (root / "annotations" / f"{part}.txt").write_text("".join(lines[member] for member in members))
    (root / "annotations" / "._trainval.txt").write_bytes(b"\0\5\26\7")
    (root / "images" / "Egyptian_Mau_0.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    (root / "images" / "Egyptian_Mau_999.jpg").write_bytes(b"in neither list")
    return root


@pytest.fixture(scope="session")
def microsoft_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the Microsoft archive holds, with its oddities: 100 photos of each class and an empty one, Thumbs.db."""
    root = tmp_path_factory.mktemp("microsoft")
    rng = np.random.default_rng(0)
    for label, (name, broken) in enumerate((("Cat", 666), ("Dog", 11702))):
        (root / "PetImages" / name).mkdir(parents=True)
        for number in range(100):
            draw_photo(rng, bool(label), image_size=40).save(root / "PetImages" / name / f"{number}.jpg")
        (root / "PetImages" / name / f"{broken}.jpg").touch()
        (root / "PetImages" / name / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    return root


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with Mirror() as mirror:
        thread = threading.Thread(target=mirror.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield mirror
        mirror.shutdown()
        thread.join()

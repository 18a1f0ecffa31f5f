"""The command as it is typed; a process of its own where that is what counts."""

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from catdog.cli import explain
from catdog.errors import InputError
from conftest import ROOT, Script, TrainPy

SMALL = ("data.source.count=60", "data.image_size=16")


def command(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONWARNINGS": "default"} | variables
    return subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_main_command_trains_and_says_where_everything_is(script: Script, tmp_path: Path) -> None:
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
    title, best, baseline, picture, command_line = lines[-5:]
    accuracy = f"{100 * record['test/acc']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
    assert title == f"deep [5, 5, 3], epoch 100: {accuracy} of 6 test photos right"
    assert re.fullmatch(r"  with the lowest validation loss \(epoch \d+\): [\d.]+ % \[[\d.]+, [\d.]+\]", best)
    assert (
        baseline == f"  always naming {record['majority']} would be right for {100 * record['baseline']['test']:.1f} %"
    )
    assert (tmp_path / picture.removeprefix("  see  ")).samefile(run / "curves.png")
    (photo := tmp_path / "a photo.png").write_bytes((run / "curves.png").read_bytes())
    python, *pasted = shlex.split(command_line.removeprefix("  try  ").replace("PHOTO", f"'{photo.name}'"))
    assert Path(str(shutil.which(python))).absolute() == Path(sys.executable)
    assert "cats" in script(*pasted).stdout


def test_a_folder_of_photos_may_have_any_name(train_py: TrainPy, tmp_path: Path, photo_root: Path) -> None:
    name = "\u7167\u7247's, (alt)=$x \u00e9"
    shutil.copytree(photo_root, tmp_path / name)
    done = train_py("data=folder", f"data.root={name}", "trainer=cpu", "trainer.max_epochs=1", *SMALL[1:])
    assert (done.status, done.stderr) == (0, "")
    (record,) = (json.loads(path.read_text()) for path in tmp_path.glob("outputs/runs/*/metrics.json"))
    assert record["config"]["data"]["root"] == name


def test_a_folder_may_be_named_from_home() -> None:
    quoted = runpy.run_path(str(ROOT / "train.py"))["quoted"]
    assert quoted("data.root=~/x") == f"data.root='{Path.home()}/x'"
    assert quoted("data.root=nowhere") == "data.root=nowhere"


def test_help_tells_the_groups_and_the_five_overrides(tmp_path: Path) -> None:
    done = command(tmp_path, "--help")
    assert done.returncode == 0
    for text in (
        "folder, microsoft, oxford_pets", "model: deep, logistic, shallow, wide", "experiment: hog, whitened",
        "trainer: auto, cpu, ddp, gpu, mps, smoke", "study: accelerators, depth_or_width, depth_vs_data,",
        "study=depth_vs_epochs", "scripts/predict.py RUN PHOTO",
        "model=deep", "'model.hidden=[64,32]'", "trainer.max_epochs=100", "data=folder data.root=PATH", "seed=1",
    ):  # fmt: skip
        assert text in done.stdout


def test_bad_input_gets_one_sentence_and_a_failing_exit(train_py: TrainPy, tmp_path: Path) -> None:
    done = command(tmp_path, "model=depe")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert done.stderr.startswith("catdog: model=depe: conf/model/ has deep, ")
    later = train_py("data=folder", "data.root=nowhere")  # in the job, with PyTorch imported
    assert str(later.status).startswith("catdog: data.root: no folder at 'nowhere'; it must be a folder")
    assert (len(str(later.status).splitlines()), later.stdout, later.stderr) == (1, "", "")


OWN_CLASSES = """
import hashlib

import numpy as np
import torch
from PIL import Image

from catdog import CatDogClassifier


class ArraySource:
    class_names = ("dark", "light")

    def __init__(self, count):
        rng = np.random.default_rng(0)
        self.labels = [int(number >= count // 2) for number in range(count)]
        self.names = [f"{number:04d}" for number in range(count)]
        light = 100 * np.array(self.labels)[:, None, None, None]
        self.images = (rng.uniform(0, 128, (count, 20, 20, 3)) + light).astype("u1")

    def fingerprint(self):
        yield hashlib.sha256(self.images.tobytes()).hexdigest()

    def read(self, index, image_size):
        pixels = np.asarray(Image.fromarray(self.images[index]).resize((image_size, image_size)))
        return pixels


class OwnNet(CatDogClassifier):
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams["lr"])
"""
OWN_CONF = {
    "data/arrays.yaml": "defaults: [base]\nsource: {_target_: own.ArraySource, count: 200}\n",
    "model/own.yaml": "defaults: [logistic]\n_target_: own.OwnNet\nhidden: [3]\n",
    "experiment/mine.yaml": "# @package _global_\ndefaults: [override /data: arrays, override /model: own]\n"
    "trainer: {max_epochs: 3}\n",
}


def test_own_classes_and_configurations_work(
    train_py: TrainPy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.py").write_text(OWN_CLASSES)
    for name, text in OWN_CONF.items():
        (tmp_path / "my_conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "my_conf" / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    own = ("--config-dir", "my_conf", "experiment=mine")
    done = train_py(*own, "trainer=cpu", "data.image_size=8", "hydra.run.dir=run")
    assert done.status == 0, done
    record = json.loads((tmp_path / "run/metrics.json").read_text())
    assert (record["photos"]["train"], record["class_names"], record["hidden"]) == (160, ["dark", "light"], [3])
    assert (tmp_path / "outputs/cache").is_dir()


@pytest.mark.parametrize(
    "file", ["outputs", "run/checkpoints", "run/train.log/", "run/metrics.json/", "run/identity.json/"]
)
def test_a_folder_that_cannot_be_worked_in_is_one_sentence(train_py: TrainPy, tmp_path: Path, file: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / file).mkdir() if file.endswith("/") else (tmp_path / file).write_text("a file")
    own = () if file == "outputs" else ("hydra.run.dir=run", f"data.cache_dir={tmp_path / 'cache'}")
    done = train_py("trainer.max_epochs=1", *own, *SMALL)
    assert str(done.status).startswith("catdog: ")
    assert len(str(done.status).splitlines()) == 1
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError("of a library, without a number"), "of a library, without a number"),
        (OSError(), "OSError"),
        (OSError(28, "No space left", "a/file"), "a/file: No space left; make room and repeat the command"),
    ],
)
def test_errors_of_the_system_are_one_sentence(error: Exception, sentence: str) -> None:
    assert str(explain(error)).startswith(sentence)
    refusal = InputError("a sentence")
    refusal.__cause__ = error
    assert explain(refusal) == "a sentence"


@pytest.mark.filterwarnings("ignore")  # Lightning's
def test_the_library_page_runs_as_it_is_written(
    tmp_path: Path, photo_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/library.md").read_text(), flags=re.DOTALL)
    assert len(code.splitlines()) <= 30
    (tmp_path / "photos").symlink_to(photo_root)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert "cats/" in capsys.readouterr().out


def test_importing_the_package_is_quick() -> None:
    code = "import sys, catdog; assert 'torch' not in sys.modules; print(catdog.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == version("catdog")

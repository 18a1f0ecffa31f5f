import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from catdog.errors import InputError
from catdog.inference.predictor import Predictor
from catdog.inference.runs import FinishedRun, checkpoint_of
from conftest import RunOf


@pytest.mark.parametrize("replicas", [1, 3])
def test_a_checkpoint_alone_gives_the_probabilities_that_the_run_wrote_down(run_of: RunOf, replicas: int) -> None:
    folder = run_of(replicas)
    model, data = Predictor.load(checkpoint_of(folder)), FinishedRun.open(folder).data()
    assert (model.class_names, model.image_size) == (("cats", "dogs"), 16)
    pixels = data.store.pixels[data.test.rows]
    written = pd.read_csv(folder / "predictions.csv")
    assert written["path"].to_list() == data.test.names * replicas
    expected = torch.tensor(written["probability"].to_numpy(), dtype=torch.float32).reshape(replicas, -1)
    torch.testing.assert_close(model.probabilities(pixels, batch_size=4), expected)
    assert model.probabilities(pixels[:0]).shape == (replicas, 0)


def test_a_checkpoint_knows_the_run_that_left_it(run_of: RunOf, tmp_path: Path) -> None:
    folder = run_of(1)
    run = FinishedRun.of_checkpoint(folder / "checkpoints/best.ckpt")
    assert run is not None
    assert run.folder.samefile(folder)
    assert FinishedRun.of_checkpoint(shutil.copy(run.checkpoint, tmp_path / "carried.ckpt")) is None


def test_what_is_no_checkpoint_or_run_gets_a_sentence(run_of: RunOf, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file at '.*nowhere.ckpt'; give a checkpoint"):
        Predictor.load(tmp_path / "nowhere.ckpt")
    (tmp_path / "photo.jpg").write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match=r"photo.jpg' is no whole checkpoint of catdog"):
        Predictor.load(tmp_path / "photo.jpg")
    with pytest.raises(InputError, match="holds no finished run"):
        checkpoint_of(tmp_path)


@pytest.mark.parametrize("change", [{"depth": 3}, {"hidden": [7, 4]}, {"hidden": [0]}])
def test_a_checkpoint_of_other_networks_gets_a_sentence(run_of: RunOf, tmp_path: Path, change: dict[str, int]) -> None:
    checkpoint = torch.load(run_of(1) / "checkpoints/best.ckpt", weights_only=True)
    checkpoint["hyper_parameters"] |= change
    torch.save(checkpoint, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="other.ckpt' holds networks that this version of catdog does not know"):
        Predictor.load(tmp_path / "other.ckpt")


def test_a_run_whose_photos_have_changed_does_not_give_others_for_them(run_of: RunOf, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run_of(1), tmp_path / "run"))
    record = json.loads((folder / "metrics.json").read_text())
    (tmp_path / "photos").mkdir()
    shutil.copytree(record["config"]["data"]["root"], tmp_path / "photos", dirs_exist_ok=True)
    (tmp_path / "photos/cats/00.png").unlink()
    record["config"]["data"]["root"] = str(tmp_path / "photos")
    (folder / "metrics.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="the photos have changed since"):
        FinishedRun.open(folder).data()


def test_a_run_that_does_not_know_its_photos_gets_a_sentence(run_of: RunOf, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run_of(1), tmp_path / "run"))
    (folder / "identity.json").unlink()
    with pytest.raises(InputError, match="lacks its identity.json"):
        FinishedRun.open(folder).data()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"root": "nowhere"}, "data.root: no folder at 'nowhere'"),
        ({"colour": "red"}, "cannot be had: data has a key that is not known, 'colour'"),
    ],
)
def test_a_run_whose_photos_are_gone_or_are_told_of_otherwise_gets_a_sentence(
    run_of: RunOf, tmp_path: Path, change: dict[str, str], sentence: str
) -> None:
    folder = Path(shutil.copytree(run_of(1), tmp_path / "run"))
    record = json.loads((folder / "metrics.json").read_text())
    record["config"]["data"] |= change
    (folder / "metrics.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=sentence):
        FinishedRun.open(folder).data()


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"], 7])
def test_a_checkpoint_without_two_classes_gets_a_sentence(run_of: RunOf, tmp_path: Path, names: object) -> None:
    checkpoint = torch.load(run_of(1) / "checkpoints/best.ckpt", weights_only=True)
    checkpoint["hyper_parameters"]["class_names"] = names
    torch.save(checkpoint, tmp_path / "odd.ckpt")
    with pytest.raises(InputError, match="odd.ckpt' holds networks that this version of catdog does not know"):
        Predictor.load(tmp_path / "odd.ckpt")


LIMITED = """
import resource, sys
from catdog.errors import InputError
from catdog.inference.predictor import Predictor
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, 2 * [pages * resource.getpagesize() + 2**27])
for path in sys.argv[1:]:
    try:
        Predictor.load(path)
    except InputError as error:
        print(type(error.__cause__).__name__, error)
"""


def test_sizes_that_a_file_only_claims_take_no_memory(run_of: RunOf, tmp_path: Path) -> None:
    content = torch.load(run_of(1) / "checkpoints/best.ckpt", weights_only=True)
    options, state = content["hyper_parameters"], content["state_dict"]
    claims = [{"hidden": [3_000_000]}, {"replicas": 10**9}, {"replicas": 10**30}, {"image_size": 10**6}]
    forged = [(options | claim, state) for claim in [*claims, {"lr": torch.ones(3)}, {"seed": [[0]]}]]
    many = options | {"hidden": [], "replicas": 10**6}  # 3 GB of weights, of which the file holds one or none
    shapes = {"network.layers.0.weight": (10**6, 1, 768), "network.layers.0.bias": (10**6, 1)}
    forged.append((many, {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}))
    forged.append((many, {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}))
    for number, (own, weights) in enumerate(forged):
        torch.save({"hyper_parameters": own, "state_dict": weights}, tmp_path / f"{number}.ckpt")
    assert max(path.stat().st_size for path in tmp_path.iterdir()) < 50_000
    command = [sys.executable, "-c", LIMITED, *sorted(map(str, tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = done.stdout.splitlines()
    assert len(lines) == len(forged), done.stderr
    assert {line.split()[0] for line in lines} == {"ValueError", "OverflowError"}  # and not that there is no memory
    assert all("holds networks that this version of catdog does not know" in line for line in lines)

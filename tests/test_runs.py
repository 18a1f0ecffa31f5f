"""Records and checkpoints, also of strangers: data that is checked, and nothing that is run."""

import json
import os
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from catdog.data import FolderSource, SyntheticSource
from catdog.errors import InputError
from catdog.inference.predictor import Predictor
from catdog.inference.runs import FinishedRun, build_data, locate
from catdog.names import beats_baseline
from conftest import RunOf
from test_store import PROCESSES

HANDLER = "torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler"
SYNTHETIC = {"_target_": "catdog.data.SyntheticSource", "count": 20, "seed": 3}
FOLDER = {"_target_": "catdog.data.FolderSource", "_partial_": True}
ATTACK = {"_target_": "os.system", "command": "touch executed"}  # in the working directory
PROCESS: dict[str, Any] = {
    "_target_": HANDLER, "entrypoint": "touch", "args": ["executed"], "env": {}, "stdout": None, "stderr": None,
    "local_rank_id": 0,
}  # fmt: skip


def data_of(**changes: Any) -> dict[str, Any]:
    return {"_target_": "catdog.data.CatDogDataModule", "source": SYNTHETIC, "image_size": 8, "fold": 2} | changes


def test_a_checkpoint_knows_the_run_that_left_it(run_of: RunOf, tmp_path: Path) -> None:
    checkpoint, run = locate(run_of(1) / "checkpoints/last.ckpt")
    assert run is not None
    assert (checkpoint.name, run.folder.samefile(run_of(1))) == ("last.ckpt", True)
    assert locate(shutil.copy(checkpoint, tmp_path / "carried.ckpt")) == (tmp_path / "carried.ckpt", None)


def test_the_photos_of_a_record_are_built_from_plain_values(photo_root: Path) -> None:
    data = build_data(data_of())
    assert isinstance(data.source, SyntheticSource)
    assert (len(data.source.names), data.source.seed, data.image_size, data.fold) == (20, 3, 8, 2)
    data = build_data(data_of(source=FOLDER, root=str(photo_root)))
    assert isinstance(data.source, FolderSource)
    assert len(data.source.names) == 40


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (ATTACK, "they must be a catdog.data.CatDogDataModule of .*, got 'os.system'"),
        (PROCESS, "they must be a catdog.data.CatDogDataModule"),
        ({"source": ATTACK}, r"they must be .* catdog.data.FolderSource, .* of 'os.system'"),
        ({"source": PROCESS}, rf"they must be .*{HANDLER}"),
        ({"source": [SYNTHETIC]}, ""),
        ({"source": "catdog.data.SyntheticSource"}, ""),
        ({"source": SYNTHETIC | {"seed": ATTACK}}, "data.source.seed must be a whole number of at least 0, got {'_t"),
        ({"source": SYNTHETIC | {"_args_": [ATTACK]}}, ".*unexpected keyword argument '_args_'"),
        ({"root": ATTACK}, "data.root must be a path"),
        ({"cache_dir": [[{"deep": [ATTACK]}]]}, "data.cache_dir must be a path"),
        ({"fold": "${seed}"}, "data.fold must be a whole number"),
        ({"_convert_": "object"}, ".*unexpected keyword argument '_convert_'"),
        ({"image_size": None}, "data.image_size must be a whole number"),
        ({"root": "nowhere", "source": FOLDER}, "data.root: no folder at 'nowhere'"),
        ({"source": {"_target_": "catdog.data.MicrosoftSource"}}, "no photos at None"),  # and none are downloaded
    ],
)  # fmt: skip
def test_a_record_that_asks_for_more_is_refused_and_nothing_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    record = {"config": {"data": data_of(**changes)}, "weights": "best", "replicas": [{}]}
    Path("metrics.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=f"^the photos of '.*' cannot be read: {sentence}") as refusal:
        FinishedRun.open(tmp_path).data()
    assert len(str(refusal.value).splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", '"finished"', '{"replicas": [1], "config": {}}', '{"replicas": [1], "weights": "best", "config": ""}',
        '{"config":' * 100_000, '{"replicas": [1], "weights": "../x", "config": {}}',
    ],
)  # fmt: skip
def test_another_record_is_no_finished_run(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(InputError, match="^'.*' holds no finished run: no metrics.json of catdog"):
        FinishedRun.open(tmp_path)


def test_latest_names_the_newest_run_and_a_missing_one_lists_the_last_five(
    run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="^'latest' holds no finished run: .*catdog's$"):
        locate("latest")
    for number in range(6):
        run = Path(f"outputs/runs/{number}" if number % 2 else f"outputs/studies/depth/drawn/{number}")
        shutil.copytree(run_of(1), run)
        os.utime(run / "metrics.json", (number, number))
    Path("outputs/runs/unfinished").mkdir()
    assert locate("latest")[0] == Path("outputs/runs/5/checkpoints/last.ckpt")
    assert FinishedRun.open("latest").folder == Path("outputs/runs/5")
    with pytest.raises(InputError, match="^'outputs/runs/unfinished' holds no finished run") as refusal:
        locate("outputs/runs/unfinished")
    assert [line[-2:] for line in str(refusal.value).splitlines()[1:]] == ["/5", "/4", "/3", "/2", "/1"]


@pytest.mark.parametrize("low", [0.45, 0.55])
def test_two_nets_whose_mean_has_no_interval_are_judged_by_their_own(low: float) -> None:
    replicas = [{"test/acc_interval": (0.6, 0.8)}, {"test/acc_interval": (low, 0.7)}]
    record = {"test/acc_interval": None, "baseline": {"test": 0.5}, "replicas": replicas}
    assert beats_baseline(record) == (low > 0.5)


@pytest.mark.parametrize("change", ["a photo", "identity.json", "endless identity.json"])
def test_a_run_whose_photos_have_changed_does_not_give_others_for_them(
    run_of: RunOf, tmp_path: Path, change: str
) -> None:
    folder = Path(shutil.copytree(run_of(1), tmp_path / "run"))
    record = json.loads((folder / "metrics.json").read_text())
    shutil.copytree(record["config"]["data"]["root"], tmp_path / "photos")
    if change == "a photo":
        (tmp_path / "photos/cats/00.png").unlink()
        record["config"]["data"]["root"] = str(tmp_path / "photos")
        (folder / "metrics.json").write_text(json.dumps(record))
    elif change == "identity.json":
        (folder / "identity.json").unlink()
    else:
        (folder / "identity.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="the photos have changed since"):
        FinishedRun.open(folder).data()


def test_what_is_no_checkpoint_gets_a_sentence(run_of: RunOf, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file at '.*nowhere.ckpt'; give a checkpoint"):
        Predictor.load(tmp_path / "nowhere.ckpt")
    (tmp_path / "photo.jpg").write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match=r"photo.jpg' is no whole checkpoint of catdog"):
        Predictor.load(tmp_path / "photo.jpg")
    checkpoint = torch.load(run_of(1) / "checkpoints/best.ckpt", weights_only=True)
    next(iter(checkpoint["state_dict"].values())).fill_(float("nan"))
    torch.save(checkpoint, tmp_path / "nan.ckpt")
    with pytest.raises(InputError, match="nan.ckpt' holds weights that are not finite numbers"):
        Predictor.load(tmp_path / "nan.ckpt")


@pytest.mark.parametrize(
    "change", [{"depth": 3}, {"hidden": [7, 4]}, {"hidden": [0]}, {"class_names": ["a"]}, {"class_names": 7}]
)
def test_a_checkpoint_of_other_networks_gets_a_sentence(run_of: RunOf, tmp_path: Path, change: dict[str, Any]) -> None:
    checkpoint = torch.load(run_of(1) / "checkpoints/best.ckpt", weights_only=True)
    checkpoint["hyper_parameters"] |= change
    torch.save(checkpoint, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="other.ckpt' holds networks that this version of catdog does not know"):
        Predictor.load(tmp_path / "other.ckpt")


def load_in_little_memory(paths: list[Path], told: Path) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 2**27
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with open(told, "w") as file:
        for path in paths:
            with pytest.raises(InputError) as refusal:
                Predictor.load(path)
            print(type(refusal.value.__cause__).__name__, file=file, flush=True)


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
    arguments = sorted(tmp_path.iterdir()), tmp_path / "told"
    process = PROCESSES.Process(target=load_in_little_memory, args=arguments)
    process.start()
    process.join(60)
    kinds = (tmp_path / "told").read_text().split()
    assert (process.exitcode, len(kinds)) == (0, len(forged))
    assert set(kinds) <= {"InputError", "OverflowError", "TypeError", "ValueError"}  # and not that there is no memory

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Callback
from lightning.pytorch.trainer.connectors import checkpoint_connector

from catdog.errors import InputError
from catdog.training import run_folder
from catdog.training.run_folder import prepared
from conftest import Train


class PowerCutError(Exception):
    pass


class PowerCut(Callback):
    """Ends training in the middle of the third epoch."""

    def on_train_batch_end(self, trainer: object, *rest: object) -> None:
        if trainer.current_epoch == 2:  # type: ignore[attr-defined]
            raise PowerCutError


def test_a_finished_run_is_not_run_again(train: Train, tmp_path: Path) -> None:
    first = train("run")
    written = (tmp_path / "run/metrics.json").stat().st_mtime_ns
    second = train("run")
    assert second == json.loads(json.dumps(first))
    assert (tmp_path / "run/metrics.json").stat().st_mtime_ns == written


def test_an_unfinished_run_goes_on_from_its_last_checkpoint(train: Train, tmp_path: Path) -> None:
    whole = train("whole", trainer={"max_epochs": 4})
    with pytest.raises(PowerCutError):
        train("run", trainer={"max_epochs": 4}, callbacks=[PowerCut()])
    resumed = train("run", trainer={"max_epochs": 4})
    seen = [[(epoch["epoch"], epoch["train/loss"]) for epoch in record["history"]] for record in (whole, resumed)]
    assert seen[0] == seen[1]
    states = [
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "run")
    ]
    assert all(states[0][key].equal(states[1][key]) for key in states[0])


def test_a_run_that_was_cut_off_after_its_last_epoch_is_tested_only(train: Train, tmp_path: Path) -> None:
    first = train("run", trainer={"max_epochs": 3})
    weights = (tmp_path / "run/checkpoints/last.ckpt").stat().st_mtime_ns
    (tmp_path / "run/metrics.json").unlink()
    second = train("run", trainer={"max_epochs": 3})
    assert (tmp_path / "run/checkpoints/last.ckpt").stat().st_mtime_ns == weights
    for name in ("history", "test/acc", "test/loss", "replicas"):
        assert second[name] == first[name]


def test_a_run_that_slurm_ended_goes_on_from_its_last_epoch(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning leaves hpc_ckpt_N.ckpt in mid-epoch and, on SLURM, would load it unasked, in testing too."""
    monkeypatch.setattr(checkpoint_connector, "SLURMEnvironment", SimpleNamespace(detect=lambda: True))
    whole = train("whole", trainer={"max_epochs": 4})
    with pytest.raises(PowerCutError):
        train("run", trainer={"max_epochs": 4}, callbacks=[PowerCut()])
    interrupted = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    for weights in interrupted["state_dict"].values():
        weights.zero_()
    torch.save(interrupted, tmp_path / "run/hpc_ckpt_1.ckpt")
    resumed = train("run", trainer={"max_epochs": 4})
    for name in ("test/loss", "val/loss"):
        assert resumed[name] == whole[name]


def test_a_checkpoint_in_the_runs_own_folder_is_not_removed(train: Train, tmp_path: Path) -> None:
    train("run", config={"max_epochs": 2})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="ckpt_path: '.*last.ckpt' lies in the run's own folder"):
        train("run", config={"max_epochs": 3}, ckpt_path=f"{tmp_path}/run/../run/checkpoints/last.ckpt")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("change", [{"config": {"lr": 0.02}}, {"config": {"lr": 0.01}, "data": {"image_size": 8}}])
def test_a_folder_of_another_configuration_or_other_photos_is_refused(
    train: Train, tmp_path: Path, change: dict[str, Any]
) -> None:
    train("run", config={"lr": 0.01})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="run' holds a run of another configuration or other photos: give it another"):
        train("run", **change)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_two_that_start_in_one_folder_train_once(tmp_path: Path) -> None:
    order: list[str] = []

    def work(name: str) -> None:
        with prepared(tmp_path, {}, is_first=True):
            order.append(f"{name} begins")
            time.sleep(0.2)
            order.append(f"{name} ends")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, ("one", "other")))
    assert [step.split()[1] for step in order] == ["begins", "ends"] * 2


def test_a_killed_process_holds_no_folder(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        with prepared(tmp_path, {}, is_first=True):
            os.write(writer, b"held")
            time.sleep(60)
    assert os.read(reader, 4) == b"held"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with prepared(tmp_path, {}, is_first=True):
        pass


def begin(folder: Path, identity: dict[str, Any], is_first: bool = True) -> dict[str, Any] | None:
    with prepared(folder, identity, is_first) as finished:
        return finished


def test_only_the_first_process_prepares_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "PATIENCE", 0.1)
    assert begin(tmp_path, {"seed": 1}) is None
    (tmp_path / "metrics.json").write_text('{"test/acc": 0.5}')
    assert begin(tmp_path, {"seed": 1}, is_first=False) == {"test/acc": 0.5}
    with pytest.raises(TimeoutError, match="did not prepare"):
        begin(tmp_path, {"seed": 2}, is_first=False)
    assert (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize("text", ["", "{", "no json"])
def test_a_record_that_is_not_whole_does_not_count(tmp_path: Path, text: str) -> None:
    begin(tmp_path / "run", {"seed": 1})
    (tmp_path / "run/metrics.json").write_text(text)
    assert begin(tmp_path / "run", {"seed": 1}) is None
    (tmp_path / "run/identity.json").write_text(text)
    with pytest.raises(InputError, match="holds a run of another configuration"):
        begin(tmp_path / "run", {"seed": 1})

import errno
import json
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from lightning.pytorch.trainer.connectors import checkpoint_connector

from catdog.errors import InputError
from catdog.training import run_folder
from catdog.training.callbacks import RunCheckpoint
from catdog.training.run_folder import open_run_folder
from conftest import Train
from test_interruption import Stop
from test_training import without_times

pytestmark = pytest.mark.usefixtures("blank_curves")


def test_a_run_that_slurm_ended_is_resumed(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning leaves hpc_ckpt_N.ckpt in mid-epoch and, on SLURM, would load it unasked, in testing too."""
    monkeypatch.setattr(checkpoint_connector, "SLURMEnvironment", SimpleNamespace(detect=lambda: True))
    whole = train("whole", trainer={"max_epochs": 4})
    with pytest.raises(RuntimeError, match="power cut"):
        train("run", trainer={"max_epochs": 4}, callbacks=[Stop(2)])
    interrupted = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    for weights in interrupted["state_dict"].values():
        weights.zero_()
    torch.save(interrupted, tmp_path / "run/hpc_ckpt_1.ckpt")
    assert without_times(train("run", trainer={"max_epochs": 4})) == without_times(whole)


def test_a_folder_of_another_run_is_refused_and_a_finished_one_left_as_it_is(train: Train, tmp_path: Path) -> None:
    first = train("run", config={"lr": 0.01})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert train("run", config={"lr": 0.01}) == json.loads(json.dumps(first))
    another = "run' holds a run of another configuration or other photos: give it another"
    changes: list[tuple[dict[str, Any], str]] = [
        ({"config": {"lr": 0.02}}, another),
        ({"data": {"image_size": 8}}, another),
        ({"ckpt_path": tmp_path / "run/../run/checkpoints/last.ckpt"}, "ckpt_path: '.*' lies in the run's own folder"),
    ]
    for change, sentence in changes:
        with pytest.raises(InputError, match=sentence):
            train("run", **{"config": {"lr": 0.01}} | change)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


def test_two_that_start_in_one_folder_train_once(tmp_path: Path) -> None:
    order: list[str] = []

    def work(name: str) -> None:
        with open_run_folder(tmp_path, {}, is_first=True):
            order.append(f"{name} begins")
            time.sleep(0.2)
            order.append(f"{name} ends")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, ("one", "other")))
    assert [step.split()[1] for step in order] == ["begins", "ends"] * 2


def begin(folder: Path, identity: dict[str, Any], is_first: bool = True) -> dict[str, Any] | None:
    with open_run_folder(folder, identity, is_first) as finished:
        return finished


def test_only_the_first_process_prepares_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "PREPARE_TIMEOUT", 0.1)
    assert begin(tmp_path, {"seed": 1}) is None
    (tmp_path / "metrics.json").write_text('{"test/acc": 0.5}')
    assert begin(tmp_path, {"seed": 1}, is_first=False) == {"test/acc": 0.5}
    with pytest.raises(TimeoutError, match="did not prepare"):
        begin(tmp_path, {"seed": 2}, is_first=False)


@pytest.mark.parametrize("text", ["", "{", "no json"])
def test_a_record_that_is_not_whole_does_not_count(tmp_path: Path, text: str) -> None:
    begin(tmp_path, {"seed": 1})
    (tmp_path / "metrics.json").write_text(text)
    assert begin(tmp_path, {"seed": 1}) is None
    (tmp_path / "identity.json").write_text(text)
    with pytest.raises(InputError, match="holds a run of another configuration"):
        begin(tmp_path, {"seed": 1})


def test_a_kill_or_full_disk_leaves_a_whole_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = RunCheckpoint()  # once: tqdm's lock would stay with a child that is killed as it takes it

    (tmp_path / "checkpoints").mkdir()

    def save(value: float) -> None:
        content = {"weights": torch.full((500_000,), value)}
        trainer = Mock(default_root_dir=tmp_path, save_checkpoint=lambda path, weights_only: torch.save(content, path))
        checkpoint.on_train_end(trainer, Mock())

    save(0.0)
    rng = random.Random(0)
    for _ in range(25):
        if (child := os.fork()) == 0:
            with open_run_folder(tmp_path, {}, is_first=True):
                for value in range(1, 1000):
                    save(float(value))
            os._exit(0)
        time.sleep(rng.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        weights = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["weights"]
        assert (weights == weights[0]).all()
    assert begin(tmp_path, {}) is None
    monkeypatch.setattr(os, "replace", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError, match="No space left on device"):
        save(-1.0)
    assert torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["weights"].equal(weights)


def test_processes_of_a_run_save_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saving waits for all: a process that saves alone, by its own clock, would hold up the run for ever."""
    saved: list[bool] = []
    for clock in (0.5, 1.5):  # seconds since the last time, as the first process and another see it
        trainer = Mock(global_step=0, current_epoch=0, max_epochs=1, is_global_zero=False)
        trainer.strategy.broadcast = lambda mine: [*saved, mine][0]
        monkeypatch.setattr(time, "monotonic", lambda clock=clock: clock)
        RunCheckpoint().on_train_epoch_end(trainer, Mock(replica_metrics={}))
        saved.append(trainer.save_checkpoint.called)
    assert saved == [False, False]

import json
import os
import signal
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from lightning import Callback
from lightning.pytorch.callbacks import LambdaCallback

from catdog.data import SyntheticSource
from catdog.interruption import SIGNALS, InterruptedRunError, Interruption
from catdog.job import save_outcome
from catdog.training import callbacks
from conftest import RECIPE, Train, start
from test_training import assert_same_run, without_times

pytestmark = pytest.mark.usefixtures("blank_curves")


class Stop(Callback):
    """Ends training in the middle of an epoch, counted from 0: with a signal, or without one as a crash would."""

    def __init__(self, epoch: int, number: int = 0) -> None:
        self.epoch, self.number, self.went_on = epoch, number, False

    def on_train_batch_start(self, trainer: Any, pl_module: object, batch: object, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) != (self.epoch, 5):
            return
        if not self.number:
            raise RuntimeError("power cut")
        os.kill(os.getpid(), self.number)
        self.went_on = True  # what a signal cuts in half, such as a queue of TensorBoard's, could hang at exit


@pytest.fixture
def train(train: Train, tmp_path: Path) -> Train:
    """Trains as the command does: signals end the run in order."""

    def run(folder: str = "run", **arguments: Any) -> dict[str, Any]:
        with Interruption(tmp_path / folder) as interruption:
            callbacks = [interruption.callback(), *arguments.pop("callbacks", ())]
            return train(folder, callbacks=callbacks, **arguments)

    return run


@pytest.mark.parametrize(
    ("number", "epoch", "augment", "model", "trainer", "save_interval", "folder"),  # saved every epoch, or at the start
    [
        (signal.SIGTERM, 0, False, {"replicas": 2}, {}, 0, "cut"),
        (signal.SIGINT, 1, True, {"replicas": 3}, {"val_check_interval": 4}, 0, "new"),
        (0, 2, True, {"replicas": 2, **RECIPE}, {}, 0, "cut"),
        (signal.SIGUSR1, 3, True, {}, {"check_val_every_n_epoch": 2}, 0, "new"),
        (0, 4, False, {"replicas": 3, "lr": 0.3}, {"val_check_interval": 4}, 0, "cut"),  # best before the cut
        (0, 2, True, {"replicas": 2, **RECIPE}, {"val_check_interval": 4}, 3600, "new"),
        (signal.SIGINT, 1, False, {}, {"max_steps": 34}, 0, "cut"),  # starts again
    ],
)
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, epoch: int, augment: bool,
    model: dict[str, Any], trainer: dict[str, Any], save_interval: float, folder: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(callbacks, "SAVE_INTERVAL", save_interval)
    arguments: dict[str, Any] = {"trainer": {"max_epochs": 5} | trainer, "data": {"augment": augment}, "model": model}
    whole = train("whole", **arguments)
    reason = f"interrupted by {signal.Signals(number).name}; .* or ckpt_path=.*/last.ckpt" if number else "power cut"
    with pytest.raises(InterruptedRunError if number else RuntimeError, match=reason):
        train("cut", **arguments, callbacks=[stop := Stop(epoch, number)])
    assert stop.went_on == bool(number)
    assert not (tmp_path / "cut/metrics.json").exists()
    path = tmp_path / "cut/checkpoints/last.ckpt" if folder == "new" else None
    assert without_times(train(folder, **arguments, ckpt_path=path)) == without_times(whole)
    assert_same_run(tmp_path / "whole", tmp_path / folder)


def test_a_signal_before_training_ends_the_run_at_once(train: Train, tmp_path: Path) -> None:
    class SignallingSource(SyntheticSource):
        def read(self, index: int, image_size: int) -> Any:
            if index == 20:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().read(index, image_size)

    with pytest.raises(InterruptedRunError, match="interrupted by SIGTERM; no checkpoint yet"):
        train(data={"source": SignallingSource(count=30, seed=1), "cache_dir": tmp_path / "cache"})
    assert not list((tmp_path / "cache").glob("[!.]*"))  # no half-built store


def test_a_signal_while_testing_leaves_a_run_that_is_only_tested_again(train: Train, tmp_path: Path) -> None:
    whole = train("whole")
    with pytest.raises(InterruptedRunError):
        train("run", callbacks=[LambdaCallback(on_test_batch_start=lambda *_: os.kill(os.getpid(), signal.SIGINT))])
    saved = (tmp_path / "run/checkpoints/last.ckpt").stat().st_mtime_ns
    assert without_times(train("run")) == without_times(whole)
    assert (tmp_path / "run/checkpoints/last.ckpt").stat().st_mtime_ns == saved


def test_handlers_are_as_before_after_a_run(train: Train) -> None:
    nobody, seen = Mock(), list[Any]()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGUSR1, nobody)  # as a launcher of jobs does
    try:
        train(callbacks=[LambdaCallback(on_train_batch_end=lambda *_: seen.append(signal.getsignal(signal.SIGUSR1)))])
        after = {number: signal.getsignal(number) for number in SIGNALS}
    finally:
        signal.signal(signal.SIGUSR1, before[signal.SIGUSR1])
    assert set(seen) == {nobody}
    assert after == before | {signal.SIGUSR1: nobody}


@pytest.mark.parametrize("trains", [False, True])
def test_the_command_says_interrupted_in_its_record_and_exit_status(tmp_path: Path, trains: bool) -> None:
    """While PyTorch is imported, and in training."""
    arguments = ["trainer=cpu", "trainer.max_epochs=5000", "data.source.count=60", "data.image_size=16"]
    process = start(tmp_path, *arguments, "hydra.run.dir=run")
    assert process.stdout is not None
    if trains:
        assert any(line.startswith("epoch 2/") for line in process.stdout)
        how = f"the same command in its folder, or ckpt_path={tmp_path}/run/checkpoints/last.ckpt, resumes it"
    else:
        while not (tmp_path / "run/.hydra/overrides.yaml").exists():  # the last thing Hydra does before
            time.sleep(0.01)
        time.sleep(0.3)
        how = "no checkpoint yet"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert errors == f"catdog: interrupted by SIGTERM; {how}\n"
    outcome = json.loads((tmp_path / "run/outcome.json").read_text())
    assert (outcome["status"], outcome["reason"]) == ("interrupted", f"interrupted by SIGTERM; {how}")


def test_of_several_processes_the_first_one_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"trainer": {"accelerator": "cpu"}}
    save_outcome(tmp_path, config, "interrupted", "a signal has ended it")
    monkeypatch.setenv("LOCAL_RANK", "1")
    save_outcome(tmp_path, config, "failed", "the first process is gone")
    assert json.loads((tmp_path / "outcome.json").read_text())["status"] == "interrupted"

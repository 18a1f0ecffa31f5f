import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from lightning import Callback

from catdog.data import SyntheticSource
from catdog.errors import InterruptedRunError
from catdog.interruption import SIGNALS, Interruption
from catdog.job import save_outcome
from conftest import ROOT, Train
from test_training import assert_same_weights, without_times


class Signal(Callback):
    """Sends this process a signal in the middle of an epoch."""

    def __init__(self, number: int, epoch: int) -> None:
        self.number, self.epoch, self.went_on = number, epoch, False

    def on_train_batch_start(self, trainer: Any, pl_module: object, batch: object, batch_idx: int) -> None:
        if trainer.current_epoch == self.epoch and batch_idx == 1:
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
    ("number", "epoch", "augment", "replicas"),
    [
        (signal.SIGTERM, 2, False, 1),
        (signal.SIGINT, 2, True, 3),
        (signal.SIGUSR1, 2, True, 1),
        (signal.SIGTERM, 0, False, 2),
    ],
)
def test_a_run_that_a_signal_ended_ends_where_an_uninterrupted_one_does(
    train: Train, tmp_path: Path, number: signal.Signals, epoch: int, augment: bool, replicas: int
) -> None:
    arguments: dict[str, Any] = {
        "trainer": {"max_epochs": 4}, "data": {"augment": augment}, "model": {"replicas": replicas}
    }  # fmt: skip
    whole = train("whole", **arguments)
    with pytest.raises(InterruptedRunError, match=f"interrupted by {number.name}; .* or ckpt_path=.*/last.ckpt") as end:
        train("run", **arguments, callbacks=[sender := Signal(number, epoch)])
    assert sender.went_on
    assert end.value.number == number
    assert not (tmp_path / "run/metrics.json").exists()
    resumed = train("resumed", **arguments, ckpt_path=tmp_path / "run/checkpoints/last.ckpt")
    again = train("run", **arguments)  # in its own folder
    assert without_times(whole) == without_times(resumed) == without_times(again)
    for name in ("last", "best"):
        assert_same_weights(tmp_path / "whole", tmp_path / "resumed", name)
        assert_same_weights(tmp_path / "whole", tmp_path / "run", name)


class SignallingSource(SyntheticSource):
    """Sends this process SIGTERM while its photos are read."""

    def read(self, index: int, image_size: int) -> Any:
        if index == 20:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().read(index, image_size)


def test_a_signal_before_training_ends_the_run_at_once(train: Train, tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError, match="interrupted by SIGTERM; no checkpoint yet"):
        train(data={"source": SignallingSource(count=30, seed=1), "cache_dir": tmp_path / "cache"})
    assert not list((tmp_path / "cache").glob("[!.]*"))  # no half-built store


class SignalInTest(Callback):
    def on_test_batch_start(self, *args: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_while_testing_leaves_a_run_that_is_only_tested_again(train: Train, tmp_path: Path) -> None:
    whole = train("whole")
    with pytest.raises(InterruptedRunError):
        train("run", callbacks=[SignalInTest()])
    saved = (tmp_path / "run/checkpoints/last.ckpt").stat().st_mtime_ns
    assert without_times(train("run")) == without_times(whole)
    assert (tmp_path / "run/checkpoints/last.ckpt").stat().st_mtime_ns == saved


def test_handlers_are_as_before_after_a_run(train: Train) -> None:
    def nobody(*args: object) -> None:
        raise AssertionError

    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGUSR1, nobody)  # as a launcher of jobs does
    try:
        seen: list[Any] = []

        class Look(Callback):
            def on_train_batch_end(self, *args: object) -> None:
                seen.append(signal.getsignal(signal.SIGUSR1))

        train(callbacks=[Look()])
        assert set(seen) == {nobody}
        assert signal.getsignal(signal.SIGUSR1) is nobody
    finally:
        signal.signal(signal.SIGUSR1, before[signal.SIGUSR1])
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


def test_signals_while_pytorch_is_imported_end_the_run(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), "hydra.run.dir=run"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (tmp_path / "run/.hydra/overrides.yaml").exists():  # the last thing Hydra does before
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert errors == "catdog: interrupted by SIGTERM; no checkpoint yet\n"
    assert json.loads((tmp_path / "run/outcome.json").read_text())["status"] == "interrupted"


def test_the_command_says_interrupted_in_its_record_and_exit_status(tmp_path: Path) -> None:
    arguments = ["trainer=cpu", "trainer.max_epochs=5000", "data.source.count=60", "data.image_size=16"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *arguments, "hydra.run.dir=run"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 2/"):
            break
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    last = f"{tmp_path}/run/checkpoints/last.ckpt"
    sentence = f"interrupted by SIGTERM; the same command in its folder, or ckpt_path={last}, resumes it"
    assert errors == f"catdog: {sentence}\n"
    outcome = json.loads((tmp_path / "run/outcome.json").read_text())
    assert (outcome["status"], outcome["reason"]) == ("interrupted", sentence)


def test_of_several_processes_the_first_one_says_why_the_run_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"trainer": {"accelerator": "cpu"}}
    save_outcome(tmp_path, config, "interrupted", "a signal has ended it")
    monkeypatch.setenv("LOCAL_RANK", "1")
    save_outcome(tmp_path, config, "failed", "the first process is gone")
    assert json.loads((tmp_path / "outcome.json").read_text())["status"] == "interrupted"

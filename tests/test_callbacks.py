import os
import random
import signal
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from catdog.training.callbacks import SAVE_INTERVAL, RunCheckpoint


class Saver:
    """Saves checkpoints as a run does, without one."""

    def __init__(self, folder: Path) -> None:
        self.checkpoint = RunCheckpoint(folder)
        self.trainer = Mock(fast_dev_run=False, is_global_zero=True, global_step=0)

    def save(self, value: float) -> None:
        content = {"weights": torch.full((500_000,), value)}
        self.trainer.save_checkpoint = lambda path, weights_only: torch.save(content, path)
        self.trainer.global_step += 1
        self.checkpoint.on_train_end(self.trainer, Mock())


def test_a_kill_while_saving_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    saver = Saver(tmp_path)
    saver.save(0.0)
    rng = random.Random(0)
    for _ in range(25):
        if (child := os.fork()) == 0:
            for value in range(1, 1000):
                saver.save(float(value))
            os._exit(0)
        time.sleep(rng.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        weights = torch.load(tmp_path / "last.ckpt", weights_only=True)["weights"]
        assert weights.shape == (500_000,)
        assert (weights == weights[0]).all()


def test_processes_of_a_run_save_together_whatever_their_clocks_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saving waits for all: a process that saves alone would hold up the run for ever."""
    for first, other in ((0.5, 1.5), (1.5, 0.5)):  # seconds since the last time, as each sees it
        first_says: list[Any] = []

        def broadcast(mine: Any, first_says: list[Any] = first_says) -> Any:
            first_says.append(mine)
            return first_says[0]

        for clock in (first, other):
            trainer = Mock(global_step=0, current_epoch=0, max_epochs=1)
            trainer.save_checkpoint = Mock(side_effect=lambda path, weights_only: path.touch())
            trainer.strategy.broadcast = broadcast
            monkeypatch.setattr(time, "monotonic", lambda clock=clock: clock)
            RunCheckpoint(tmp_path).on_train_epoch_end(trainer, Mock(replica_metrics={}))
            assert trainer.save_checkpoint.call_count == (first >= SAVE_INTERVAL)

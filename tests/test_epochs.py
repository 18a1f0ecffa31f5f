import os
import random
import signal
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from catdog.epochs import AtomicCheckpointIO, RunCheckpoint


def save(value: float, path: Path) -> None:
    AtomicCheckpointIO().save_checkpoint({"weights": torch.full((500_000,), value)}, path)


def test_a_kill_while_saving_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    save(0.0, path)
    rng = random.Random(0)
    for _ in range(25):
        if (child := os.fork()) == 0:
            for value in range(1, 1000):
                save(float(value), path)
            os._exit(0)
        time.sleep(rng.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        weights = torch.load(path, weights_only=True)["weights"]
        assert weights.shape == (500_000,)
        assert (weights == weights[0]).all()


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    save(1.0, path)

    def write_half(self: Path, content: memoryview) -> int:
        with open(self, "wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", write_half)
        with pytest.raises(OSError, match="No space left"):
            save(2.0, path)
    assert torch.load(path, weights_only=True)["weights"][0] == 1
    assert list(tmp_path.iterdir()) == [path]


def test_processes_of_a_run_save_together_though_the_first_one_is_faster(tmp_path: Path) -> None:
    """Saving waits for all: one that found the file of the first there, and did not save, held up both for ever."""
    for saves in (1, 0):  # a run that begins, one that goes on
        first_says: list[Any] = []

        def broadcast(mine: Any, first_says: list[Any] = first_says) -> Any:
            first_says.append(mine)
            return first_says[0]

        for _process in range(2):
            trainer = Mock(current_epoch=0, save_checkpoint=Mock(side_effect=Path.touch))
            trainer.strategy.broadcast = broadcast
            RunCheckpoint(tmp_path).on_train_start(trainer, Mock())
            assert trainer.save_checkpoint.call_count == saves

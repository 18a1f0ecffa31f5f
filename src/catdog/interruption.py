"""Signals that end a run in order."""

import multiprocessing
import os
import signal
import threading
import time
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, Self, cast

from catdog.errors import InterruptedRunError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # Ctrl-C; `kill` and schedulers; SLURM before a time limit


@cache
def end_with_parent() -> None:
    """Let this process end when its parent does, if it is a launcher's worker: a killed launcher cannot stop it."""
    parent = os.getppid()

    def watch() -> None:
        while True:
            time.sleep(0.5)
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGTERM)  # again and again, as queued jobs would follow

    if multiprocessing.parent_process() is not None:
        threading.Thread(target=watch, daemon=True).start()


class Interruption:
    """A context in which a signal raises an InterruptedRunError; checkpoints are atomic, so that may be anywhere.

    A second Ctrl-C raises KeyboardInterrupt, other signals after the first change nothing. Signals that somebody
    handles already, as submitit does in its jobs, are left alone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.trainer, self.received = folder, cast(Any, None), 0
        numbers = SIGNALS if threading.current_thread() is threading.main_thread() else ()
        unset = (signal.SIG_DFL, signal.default_int_handler)
        self.replaced = {number: old for number in numbers if (old := signal.getsignal(number)) in unset}

    def __enter__(self) -> Self:
        self._listen()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        for number, handler in self.replaced.items():
            signal.signal(number, handler)
        if error is None or isinstance(error, Exception):  # whatever else the signal has led to
            self._raise()

    def callback(self) -> Any:
        """Make a Lightning callback that takes the signals back when a trainer starts.

        Lightning's own answer to SIGTERM waits for the other processes, and would come first.
        """
        from lightning.pytorch.callbacks import LambdaCallback  # here, as signals are heard before PyTorch is imported

        starts = ("on_train_start", "on_train_epoch_start", "on_test_start", "on_predict_start")
        return LambdaCallback(**dict.fromkeys(starts, lambda trainer, module: self._listen(trainer)))

    def _listen(self, trainer: Any = None) -> None:
        self.trainer = trainer
        self._raise()  # if Python has ignored the exception, as the signal came within a finalizer
        for number in self.replaced:
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            return
        self.received = number
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS[1:])  # until the process ends: they would cost the record
        launcher = self.trainer and self.trainer.strategy.launcher
        if launcher and number != signal.SIGINT:  # a terminal sends Ctrl-C to all processes itself
            launcher.kill(number)
        self._raise()

    def _raise(self) -> None:
        if not self.received:
            return
        last = self.folder / "checkpoints" / "last.ckpt"
        resumed = f"the same command in its folder, or ckpt_path={last}, resumes it"
        how = resumed if last.exists() else "no checkpoint yet"
        raise InterruptedRunError(f"interrupted by {signal.Signals(self.received).name}; {how}", self.received)

"""Ending a run in order when a signal asks for it."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any, Self, cast

from lightning import Callback, LightningModule, Trainer

from catdog.errors import SIGNALS, InterruptedRunError

UNSET = (signal.SIG_DFL, signal.default_int_handler)


class Interruption(Callback):
    """Listens for SIGINT, SIGTERM and SIGUSR1, and ends the run with an InterruptedRunError.

    Listens as long as it is entered as a context. In training and testing a run ends after the batches at hand, where
    no file is half-written and no lock held; elsewhere at once. A second Ctrl-C does not wait for either; other signals
    after the first change nothing. Signals that somebody else handles already, as submitit does in its jobs, are left
    to them.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._last = folder / "checkpoints" / "last.ckpt"
        self._received: signal.Signals | None = None
        self._replaced: dict[signal.Signals, Any] = {}
        self._trainer: Trainer | None = None  # while it is between batches often enough to wait for that

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python knows no signals elsewhere
            self._replaced = {number: signal.getsignal(number) for number in SIGNALS}
            self._replaced = {number: old for number, old in self._replaced.items() if old in UNSET}
        self._listen()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # train.py holds them back while it imports
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        for number, handler in self._replaced.items():
            signal.signal(number, handler)
        if self._received is not None and kind is not InterruptedRunError:  # whatever else it has led to
            raise self._error() from error

    def _listen(self) -> None:
        for number in self._replaced:
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None:  # and the run is ending
            return
        self._received = signal.Signals(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._trainer is None:
            raise self._error()
        launcher = cast(Any, self._trainer.strategy.launcher)
        if launcher is not None and number != signal.SIGINT:  # a terminal sends Ctrl-C to all processes itself
            launcher.kill(number)

    def _error(self) -> InterruptedRunError:
        received = cast(signal.Signals, self._received)
        how = f"goes on with ckpt_path={self._last}" if self._last.exists() else "left no checkpoint yet"
        return InterruptedRunError(f"interrupted by {received.name}; the run {how}", received)

    def _start(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._listen()  # again, because Lightning has just put its own handlers in

    def _end_if_asked(self) -> None:
        if self._received is not None:
            raise self._error()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on, wait for the end of a batch."""
        self._start(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on, wait for the end of a batch."""
        self._start(trainer)

    def on_train_batch_end(self, *args: Any) -> None:
        """End the run here, if a signal has come."""
        self._end_if_asked()

    def on_validation_batch_end(self, *args: Any) -> None:
        """End the run here, if a signal has come."""
        self._end_if_asked()

    def on_test_batch_end(self, *args: Any) -> None:
        """End the run here, if a signal has come."""
        self._end_if_asked()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait no longer."""
        self._trainer = None
        self._end_if_asked()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait no longer."""
        self._trainer = None
        self._end_if_asked()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Wait no longer."""
        self._trainer = None

"""Signals that end a run in order."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

from catdog.errors import InterruptedRunError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # Ctrl-C; `kill` and schedulers; SLURM before a time limit


def at_starts(listen: Callable[[Any], None]) -> Any:
    """Make a Lightning callback that calls `listen` when a trainer starts to train, an epoch, to test or to predict."""
    from lightning.pytorch.callbacks import LambdaCallback  # here, because signals are heard before PyTorch is imported

    starts = ("on_train_start", "on_train_epoch_start", "on_test_start", "on_predict_start")
    return LambdaCallback(**dict.fromkeys(starts, lambda trainer, module: listen(trainer)))


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


@contextmanager
def interruptible(folder: Path) -> Iterator[Callable[[Any], None]]:
    """Let a signal raise an InterruptedRunError; checkpoints are atomic, so that may be anywhere.

    A second Ctrl-C raises KeyboardInterrupt, other signals after the first change nothing. Signals that somebody
    handles already, as submitit does in its jobs, are left alone. Yields what is to be called when a trainer starts:
    Lightning's own answer to SIGTERM, which waits for the other processes, would come first.
    """
    received: list[int] = []
    trainers: list[Any] = []

    def receive(number: int, frame: FrameType | None) -> None:
        if received:
            return
        received.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS[1:])  # until the process ends: they would cost the record
        launcher = trainers[-1].strategy.launcher if trainers else None
        if launcher is not None and number != signal.SIGINT:  # a terminal sends Ctrl-C to all processes itself
            launcher.kill(number)
        raise interrupted()

    def interrupted() -> InterruptedRunError:
        last = folder / "checkpoints" / "last.ckpt"
        how = (
            f"the same command in its folder, or ckpt_path={last}, resumes it" if last.exists() else "no checkpoint yet"
        )
        return InterruptedRunError(f"interrupted by {signal.Signals(received[0]).name}; {how}", received[0])

    def listen(*trainer: Any) -> None:
        trainers[:] = trainer
        if received:  # Python has ignored the exception: the signal came within a finalizer
            raise interrupted()
        for number in replaced:
            signal.signal(number, receive)

    numbers = SIGNALS if threading.current_thread() is threading.main_thread() else ()
    unset = (signal.SIG_DFL, signal.default_int_handler)
    replaced = {number: old for number in numbers if (old := signal.getsignal(number)) in unset}
    listen()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        yield listen
    except Exception as error:
        if received:  # whatever else it has led to
            raise interrupted() from error
        raise
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
    if received:
        raise interrupted()

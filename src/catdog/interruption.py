"""Signal handling: an interrupted run ends cleanly and can be resumed."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any, Self, cast

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # Ctrl-C; `kill` and schedulers; SLURM before its time limit


class InterruptedRunError(BaseException):
    """A run that signal `number` has ended. Like KeyboardInterrupt, it passes through `except Exception`."""

    def __init__(self, sentence: str, number: int) -> None:
        super().__init__(sentence)
        self.number = number


class Interruption:
    """Context manager that turns a signal into an InterruptedRunError, in a running trainer before the next batch.

    Raised there at once, it could leave a queue of TensorBoard's that hangs at exit. A second Ctrl-C raises
    KeyboardInterrupt; other signals after the first are ignored. A signal that has a handler, as submitit's, keeps it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.trainer, self.received = folder, cast(Any, None), 0
        numbers = SIGNALS if threading.current_thread() is threading.main_thread() else ()
        unset = (signal.SIG_DFL, signal.default_int_handler)
        self.replaced = {number: old for number in numbers if (old := signal.getsignal(number)) in unset}

    def __enter__(self) -> Self:
        self._install()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        for number, handler in self.replaced.items():
            signal.signal(number, handler)
        if error is None or isinstance(error, Exception):  # even if the signal has caused another error
            self._raise_if_received()

    def callback(self) -> Any:
        """Build a Lightning callback that raises before a batch, and installs the handlers before Lightning's own."""
        from lightning.pytorch.callbacks import LambdaCallback  # here: handlers precede PyTorch's import

        loops = ("train", "validation", "test", "predict")
        hooks = [f"on_{loop}{start}" for loop in loops for start in ("_start", "_batch_start")]
        return LambdaCallback(**dict.fromkeys(hooks, lambda trainer, *_: self._install(trainer)))

    def _install(self, trainer: Any = None) -> None:
        self.trainer = trainer
        self._raise_if_received()
        for number in self.replaced:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            return
        self.received = number
        if signal.SIGINT in self.replaced:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS[1:])  # for good: another could prevent outcome.json
        launcher = self.trainer and self.trainer.strategy.launcher
        if launcher and number != signal.SIGINT:  # a terminal sends Ctrl-C to all processes itself
            launcher.kill(number)
        if not self.trainer or self.trainer.state.status != "running":
            self._raise_if_received()

    def _raise_if_received(self) -> None:
        if not self.received:
            return
        last = self.folder / "checkpoints" / "last.ckpt"
        resumed = f"the same command in its folder, or ckpt_path={last}, resumes it"
        how = resumed if last.exists() else "no checkpoint yet"
        raise InterruptedRunError(f"interrupted by {signal.Signals(self.received).name}; {how}", self.received)

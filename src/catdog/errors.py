"""The exceptions a user can cause, the checks that most often raise one, and how a command tells of them."""

import io
import os
import signal
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

# What ends a run in order: Ctrl-C, `kill` and schedulers, SLURM before a time limit.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class InputError(ValueError):
    """Input that cannot be worked with; its one sentence names what came and what is allowed."""


class UnavailableError(InputError):
    """An accelerator that this machine does not have; a sweep skips the run."""


class InterruptedRunError(Exception):
    """A run that a signal has ended; its one sentence says how to go on.

    Attributes:
        number: the signal's.
    """

    def __init__(self, sentence: str, number: int) -> None:
        super().__init__(sentence)
        self.number = number


def check_whole_number(key: str, value: object, least: int, most: int | None = None) -> None:
    """Raise an InputError unless the value of this configuration key is a whole number from `least` to `most`."""
    if type(value) is not int or value < least or (most is not None and value > most):
        limit = "" if most is None or type(value) is not int or value < least else f", at most {most}"
        raise InputError(f"{key} must be a whole number of at least {least}{limit}, got {value!r}")


def check_number(key: str, value: object, least: float, below: float) -> None:
    """Raise an InputError unless the value of this configuration key is a number from `least` to below `below`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < below:
        limit = "" if below == float("inf") else f", below {below}"
        raise InputError(f"{key} must be a number of at least {least}{limit}, got {value!r}")


def check_choice(key: str, value: object, choices: Collection[object]) -> None:
    """Raise an InputError unless the value of this configuration key is one of some choices."""
    if value not in list(choices):
        *others, last = (str(choice).lower() for choice in choices)
        raise InputError(f"{key} must be {', '.join(others)} or {last}, got {value!r}")


def check_path(key: str, value: object) -> None:
    """Raise an InputError unless the value of this configuration key is a path: Hydra makes numbers of some names."""
    if not isinstance(value, str | Path):
        raise InputError(f"{key} must be a path, got {value!r}; a name like a number needs quotes: {key}=\"'2024'\"")


def check_packages(purpose: str, extra: str, names: Iterable[str]) -> None:
    """Raise an InputError unless these optional packages are installed, which catdog's `extra` brings."""
    if missing := [name for name in names if find_spec(name) is None]:
        raise InputError(f"{purpose} needs {', '.join(missing)}: pip install --editable '.[{extra}]'")


@contextmanager
def told_in_a_sentence() -> Iterator[None]:
    """What a command runs in: bad input and Ctrl-C end it with one sentence and a failing exit status.

    What it prints may hold letters that the terminal has not: they are shown as escapes. When nobody reads on, as after
    `| head`, it ends without a word.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()
    except InputError as error:
        sys.exit(f"catdog: {error}")
    except KeyboardInterrupt:
        sys.exit("catdog: interrupted")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python fails once more as it flushes
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:  # a full disk, a name too long, a closed stream
        sys.exit(f"catdog: {error.filename or 'the output'}: {error.strerror}")

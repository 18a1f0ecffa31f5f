"""Error reporting of the commands: one line per input error, with the most similar valid key or option."""

import errno
import io
import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from shutil import which
from traceback import walk_tb
from typing import Any, cast

from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from catdog.errors import InputError, reason, suggestion
from catdog.interruption import SIGNALS

os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises its errors, and `one_line_errors` reports them

NO_DEVICE = r"`(\w+)Accelerator` can not run"  # Lightning's error message
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk, quota, and limit on a file's size
REFUSED = {
    "trainer.callbacks": "callbacks=NAME or 'callbacks=[NAME,NAME]' adds to the run's own, see conf/callbacks/",
    "trainer.logger": "logger=NAME or 'logger=[NAME,NAME]' adds to TensorBoard, see conf/logger/",
    "trainer.default_root_dir": "hydra.run.dir=FOLDER is the run's folder",
    "trainer.limit_predict_batches": "trainer.limit_test_batches sets what is predicted",
    "trainer.plugins": "plugins are for Python; see docs/library.md",
}

IGNORED_WARNINGS = (  # of Lightning and PyTorch; they do not concern the user
    ".*Checkpoint directory .* exists and is not empty",  # a run is resumed in its folder
    ".*`srun` command is available",  # a cluster's login node
    ".*LeafSpec.* is deprecated",  # Lightning 2.6 with PyTorch 2.14
    ".*Detected pickle protocol",  # ckpt_path is not a checkpoint; an InputError says it better
    ".*torch.jit.* is deprecated",  # TensorBoard's graph with PyTorch 2.14
    ".*smaller than the logging interval",  # metrics are logged once per epoch
)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Report bad input and Ctrl-C as one line with a failing exit status.

    Characters that the terminal cannot encode become escapes. A closed pipe, as after `| head`, ends it silently.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    for number in SIGNALS:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)  # so that a sweep also stops its workers
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit("catdog: interrupted")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise Python's flush at exit fails again
        sys.exit(128 + signal.SIGPIPE)
    except Exception as error:
        if (line := explain(error)) is None:
            raise
        sys.exit(f"catdog: {line}")


@contextmanager
def silenced_libraries() -> Iterator[None]:
    """Silence IGNORED_WARNINGS, and Lightning's log messages on hardware, limits and signals."""
    for name in ("pytorch.utilities.rank_zero", "fabric.utilities.rank_zero", "pytorch.trainer.connectors"):
        logging.getLogger(f"lightning.{name}").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in IGNORED_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        yield


def near(path: str | Path) -> str:
    """Format a path for a shell: relative to the working directory if it lies there, with unusual names quoted."""
    absolute = Path(path).absolute()
    return quote(str(absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute))


def interpreter() -> str:
    """Name the Python interpreter in use for a shell: "python" if that finds it, else its path."""
    found = which("python")
    return "python" if found and Path(found).absolute() == Path(sys.executable) else near(sys.executable)


def explain(error: BaseException) -> str | None:
    """Explain an error in the input or of the machine in one line; return None for any other, which is a bug.

    Errors that Lightning raises about its flags, and configured classes about their arguments, count as input errors.
    """
    configured, cause = isinstance(error, InstantiationException) and error.__cause__ is not None, error
    if configured or (isinstance(error.__cause__, OSError) and not isinstance(error, InputError)):
        cause = error.__cause__ or error  # logging, too, wraps the error of a log that it cannot write
    text = " ".join(str(cause).split()) or type(cause).__name__
    if isinstance(cause, InputError):
        return str(cause)
    if isinstance(cause, HydraException | OmegaConfBaseException):  # some of these are OSErrors
        return _explain_configuration(cause)
    if isinstance(cause, OSError):
        advice = "; make room and repeat the command: what was saved before is whole" if cause.errno in FULL else ""
        return f"{cause.filename}: {reason(cause)}{advice}" if cause.filename else f"{reason(cause)}{advice}"
    if missing := re.search(NO_DEVICE, text):
        return f"no {missing[1]} device (trainer=auto and trainer=cpu run on any machine)"
    if [frame.f_globals["__name__"] for frame, _ in walk_tb(cause.__traceback__)][-1].startswith("lightning."):
        return f"trainer: {text}"
    if "Config group override" in text:
        return f"{text}; an empty list is written as 'callbacks=[]'"
    return text if configured and isinstance(cause, TypeError | ImportError | ValueError) else None


def _explain_configuration(error: HydraException | OmegaConfBaseException) -> str:
    """Name the unknown key or option, with the most similar valid one."""
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        return f"{group}={name}: conf/{group}/ has {', '.join(error.options)}{suggestion(name, error.options)}"
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and cause.full_key:
        if cause.full_key in REFUSED:
            return f"{cause.full_key} is set by catdog: {REFUSED[cause.full_key]}"
        parent, _, name = cause.full_key.rpartition(".")
        keys = [str(key) for key in cast(Any, cause.parent_node or {})] + ([] if parent else ["experiment", "study"])
        return f"there is no key {cause.full_key}{suggestion(name, keys, f'{parent}.' if parent else '')}"
    argument = f"{error.override}: " if isinstance(error, OverrideParseException) else ""
    return argument + " ".join(str(error).split())

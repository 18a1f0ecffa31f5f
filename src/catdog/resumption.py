"""What a run's folder already holds, so that a repeated command does only what is missing."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from catdog.locking import alone
from catdog.record import METRICS, OUTCOME, write_atomically

IDENTITY = "identity.json"  # what the run depends on: its configuration and its photos
INTERRUPTED = "hpc_ckpt_*"  # what Lightning saves in the middle of an epoch when SLURM ends a job
PRODUCTS = (
    "checkpoints", METRICS, "predictions.csv", "curves.png", "unreadable.csv", "hparams.yaml", "events.*",
    "evaluation*", "inspection.html", "inspection.png",
)  # fmt: skip


@contextmanager
def alone_in(folder: Path, is_first: bool = True) -> Iterator[None]:
    """Work in a run's folder while no other run does: wait for one that was started there before.

    Of the processes of one run, the first one holds it for all.
    """
    if not is_first:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder / ".lock", waiting=f"waiting for another process that is at work in {folder}"):
        yield


def begin(folder: Path, identity: dict[str, Any], is_first: bool = True, patience: float = 60) -> dict[str, Any] | None:
    """Make a run's folder ready; returns the record of a run that was finished in it before, if any.

    A run is the same if its identity is. What another one left is removed, so that nothing of it is ever mixed in.

    Args:
        folder: the run's folder.
        identity: all that the result depends on; compared as JSON.
        is_first: whether this is the process that prepares the folder; the others wait for it.
        patience: how long they wait, in seconds.
    """
    identity = json.loads(json.dumps(identity))
    if not is_first:
        _wait_until_prepared(folder, identity, patience)
    elif _read(folder / IDENTITY) != identity:
        (folder / IDENTITY).unlink(missing_ok=True)  # first, so that a half-emptied folder is nobody's
        for path in (path for pattern in PRODUCTS for path in folder.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        write_atomically(folder / IDENTITY, json.dumps(identity, indent=2))
    (folder / OUTCOME).unlink(missing_ok=True)
    return _read(folder / METRICS)


def checkpoint(folder: Path) -> str | None:
    """The checkpoint that an unfinished run of this folder goes on from."""
    last = folder / "checkpoints" / "last.ckpt"
    return str(last) if last.is_file() else None


def forget_interruption(folder: Path) -> None:
    """Remove Lightning's checkpoints of the middle of an epoch, which it would load unasked, in testing too.

    A run goes on from the end of its last epoch instead, so that it sees the batches it would have seen.
    """
    for path in folder.glob(INTERRUPTED):
        path.unlink(missing_ok=True)  # every process does this


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        return content
    except (OSError, ValueError):  # not there, or not ours
        return None


def _wait_until_prepared(folder: Path, identity: dict[str, Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while _read(folder / IDENTITY) != identity:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the first process did not prepare '{folder}' within {seconds:.0f} s")
        time.sleep(0.05)

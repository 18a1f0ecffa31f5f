"""The folder of a run: prepared, resumed, and its checkpoints read."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import torch

from catdog.errors import InputError
from catdog.files import OUTCOME, hold, write_atomically

logger = logging.getLogger(__name__)

METRICS = "metrics.json"
IDENTITY = "identity.json"  # what the result depends on: the configuration and the photos
PRODUCTS = (
    IDENTITY, METRICS, OUTCOME, "checkpoints", "predictions.csv", "curves.png", "unreadable.csv", "events.*",
    "hparams.yaml", "evaluation*", "inspection.html", "inspection.png",
)  # fmt: skip
MID_EPOCH = "hpc_ckpt_*"  # what Lightning saves when SLURM ends a job
PATIENCE = 60.0  # seconds that other ranks wait for the first one to prepare the folder


@contextmanager
def prepared(folder: Path, identity: dict[str, Any], is_first: bool) -> Iterator[dict[str, Any] | None]:
    """Hold a run's folder while working in it; give the record of a run that was finished in it before, or None.

    A run is the same if its identity is. What another one left is moved aside, so that nothing is mixed or lost.

    Args:
        folder: the run's folder.
        identity: all that the result depends on; compared as JSON.
        is_first: whether this is the process that prepares the folder for all of the run.
    """
    identity = json.loads(json.dumps(identity, default=str))
    if not is_first:
        _wait_for(folder, identity)
        yield read_json(folder / METRICS)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with hold(folder / ".lock", waiting=f"another process is at work in {folder}"):
        if read_json(folder / IDENTITY) != identity:
            _move_aside(folder)
            write_atomically(folder / IDENTITY, json.dumps(identity, indent=2))
        (folder / OUTCOME).unlink(missing_ok=True)
        yield read_json(folder / METRICS)


def last_checkpoint(folder: Path) -> Path | None:
    """Find the checkpoint that an unfinished run of this folder is resumed from."""
    last = folder / "checkpoints" / "last.ckpt"
    return last if last.is_file() else None


def remove_mid_epoch_checkpoints(folder: Path) -> None:
    """Remove what Lightning would load unasked, in testing too.

    A run is resumed from the end of an epoch instead, so that it sees the batches it would have seen.
    """
    for path in folder.glob(MID_EPOCH):
        path.unlink(missing_ok=True)  # every process does this


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None if there is no whole one."""
    try:
        content = json.loads(path.read_text())
        return content if isinstance(content, dict) else None
    except (OSError, ValueError, RecursionError):  # the last from JSON that is nested without end
        return None


def _move_aside(folder: Path) -> None:
    """Move what another configuration left to a hidden folder beside this one."""
    left = [path for pattern in PRODUCTS for path in folder.glob(pattern)]
    if not left:
        return
    aside = next(path for number in count(1) if not (path := folder.with_name(f".{folder.name}.{number}")).exists())
    aside.mkdir()
    for path in left:
        path.rename(aside / path.name)
    logger.warning("'%s' held a run of another configuration or other photos; it is now in '%s'", folder, aside)


def _wait_for(folder: Path, identity: dict[str, Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while read_json(folder / IDENTITY) != identity:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the first process did not prepare '{folder}' within {PATIENCE:.0f} s")
        time.sleep(0.05)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Load a checkpoint of catdog into the processor's memory.

    Raises:
        InputError: there is no such file, or it is no whole checkpoint of catdog.
    """
    if not Path(path).is_file():
        raise InputError(f"no file at '{path}'; give a checkpoint, such as RUN/checkpoints/best.ckpt")
    try:
        # Weights only: a pickle that would run code is refused by the loader, before it runs any.
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        _ = checkpoint["hyper_parameters"], checkpoint["state_dict"]
        if "optimizer_states" in checkpoint:  # which best.ckpt has not
            _ = len(checkpoint["callbacks"]["RunCheckpoint"]["rows"])
    except Exception as error:  # whatever a file that is no checkpoint makes the loader raise
        raise InputError(
            f"'{path}' is no whole checkpoint of catdog ({type(error).__name__}); if it was cut short, delete it and "
            "repeat the run's command"
        ) from error
    return checkpoint

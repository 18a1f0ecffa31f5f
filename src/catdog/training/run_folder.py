"""Folder of a run: its lock, its identity and its checkpoints."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from catdog.errors import InputError, OtherRunError
from catdog.files import IDENTITY, METRICS, OUTCOME, read_json, write_atomically

PREPARE_TIMEOUT = 60.0  # seconds that other processes wait for the first one to prepare the folder


@contextmanager
def open_run_folder(folder: Path, identity: dict[str, Any], is_first: bool) -> Iterator[dict[str, Any] | None]:
    """Lock and prepare a run's folder; yield the record if this run was finished in it before, else None.

    Two runs are the same if their identities are equal as JSON. Only the first process locks and prepares; the others
    wait for it. Raises OtherRunError if the folder holds a run with another identity.
    """
    identity = json.loads(json.dumps(identity, default=str))
    if not is_first:
        deadline = time.monotonic() + PREPARE_TIMEOUT
        while read_json(folder / IDENTITY) != identity:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the first process did not prepare '{folder}' within {PREPARE_TIMEOUT:.0f} s")
            time.sleep(0.05)
        yield read_json(folder / METRICS)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if read_json(folder / IDENTITY) != identity:
            if (folder / IDENTITY).exists():
                other = f"'{folder}' holds a run of another configuration or other photos"
                keys = "hydra.run.dir=FOLDER, or hydra.sweep.dir=FOLDER for a sweep"
                raise OtherRunError(f"{other}: give it another folder ({keys}), or move that one away")
            write_atomically(folder / IDENTITY, json.dumps(identity, indent=2))
        (folder / OUTCOME).unlink(missing_ok=True)
        yield read_json(folder / METRICS)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Load a checkpoint on the CPU; InputError if the file is missing, damaged or not a checkpoint of catdog."""
    if not Path(path).is_file():
        raise InputError(f"no file at '{path}'; give a checkpoint, such as RUN/checkpoints/best.ckpt")
    try:
        # weights_only: the loader refuses a pickle that would run code.
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        _ = checkpoint["state_dict"]
    except Exception as error:  # the loader raises many kinds for a file that is no checkpoint
        advice = "if it was cut short, delete it and repeat the run's command"
        raise InputError(f"'{path}' is no whole checkpoint of catdog ({type(error).__name__}); {advice}") from error
    return checkpoint

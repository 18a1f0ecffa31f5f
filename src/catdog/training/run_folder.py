"""The folder of a run: prepared, resumed, and its checkpoints read."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from catdog.errors import InputError
from catdog.files import OUTCOME, read_json, write_atomically

METRICS = "metrics.json"
IDENTITY = "identity.json"  # what the result depends on: the configuration and the photos
PATIENCE = 60.0  # seconds that other processes wait for the first one to prepare the folder


@contextmanager
def prepared(folder: Path, identity: dict[str, Any], is_first: bool) -> Iterator[dict[str, Any] | None]:
    """Hold a run's folder while working in it; give the record of a run that was finished in it before, or None.

    A run is the same if its identity, all that the result depends on, is the same JSON. The first of several processes
    prepares the folder for all.

    Raises:
        InputError: the folder holds another run, with which nothing is to be mixed.
    """
    identity = json.loads(json.dumps(identity, default=str))
    if not is_first:
        deadline = time.monotonic() + PATIENCE
        while read_json(folder / IDENTITY) != identity:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the first process did not prepare '{folder}' within {PATIENCE:.0f} s")
            time.sleep(0.05)
        yield read_json(folder / METRICS)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if read_json(folder / IDENTITY) != identity:
            if (folder / IDENTITY).exists():
                raise InputError(
                    f"'{folder}' holds a run of another configuration or other photos: give it another folder "
                    "(hydra.run.dir=FOLDER, or hydra.sweep.dir=FOLDER for a sweep), or move that one away"
                )
            write_atomically(folder / IDENTITY, json.dumps(identity, indent=2))
        (folder / OUTCOME).unlink(missing_ok=True)
        yield read_json(folder / METRICS)


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
    except Exception as error:  # whatever a file that is no checkpoint makes the loader raise
        raise InputError(
            f"'{path}' is no whole checkpoint of catdog ({type(error).__name__}); if it was cut short, delete it and "
            "repeat the run's command"
        ) from error
    return checkpoint

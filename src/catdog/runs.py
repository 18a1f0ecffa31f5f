"""A finished run's folder, opened again: its record, the weights it tested, its photos."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from hydra.utils import instantiate

from catdog.data import CatDogDataModule
from catdog.errors import InputError
from catdog.record import METRICS
from catdog.resumption import IDENTITY
from catdog.targets import check_config


@dataclass(frozen=True)
class FinishedRun:
    """What a finished run left.

    Attributes:
        folder: where.
        record: what `metrics.json` holds.
    """

    folder: Path
    record: dict[str, Any]

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """The run in a folder.

        Raises:
            InputError: no run has finished there.
        """
        try:
            record = json.loads((Path(folder) / METRICS).read_text())
            _ = record["config"]["data"], record["config"]["test_weights"], record["replicas"]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise InputError(f"{str(folder)!r} holds no finished run: none has left its {METRICS} there") from error
        return cls(Path(folder), record)

    @classmethod
    def of_checkpoint(cls, path: str | Path) -> Self | None:
        """The finished run that left a checkpoint; None for one that lies elsewhere."""
        folder = Path(path).absolute().parent
        try:
            return cls.open(folder.parent) if folder.name == "checkpoints" else None
        except InputError:
            return None

    @property
    def checkpoint(self) -> Path:
        """The file of the weights that were tested."""
        return self.folder / "checkpoints" / f"{self.record['config']['test_weights']}.ckpt"

    def data(self) -> CatDogDataModule:
        """Its photos, dealt out as they were: `data.test` is what it was tested on.

        Raises:
            InputError: the photos are no longer there, or no longer the same.
        """
        config = self.record["config"]["data"]
        check_config(config)
        build = instantiate(config, _partial_=True, _convert_="all")
        try:
            data: CatDogDataModule = build()
        except TypeError as error:
            raise InputError(f"'{self.folder}' is of a version of catdog with other settings; run it again") from error
        if data.fingerprint() != self._photos():
            raise InputError(f"the photos have changed since '{self.folder}' was trained on them")
        data.prepare_data()
        data.setup()
        return data

    def _photos(self) -> str:
        """The fingerprint of the photos that it was trained on."""
        try:
            return str(json.loads((self.folder / IDENTITY).read_text())["photos"])
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise InputError(
                f"'{self.folder}' lacks its {IDENTITY}, so nobody knows whether the photos are the same; run it again"
            ) from error


def checkpoint_of(path: str | Path) -> Path:
    """The checkpoint that a command's argument means: a file as it is, of a finished run's folder the tested one."""
    return FinishedRun.open(path).checkpoint if Path(path).is_dir() else Path(path)

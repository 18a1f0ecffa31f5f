"""FinishedRun: a run's folder, read back. Its record is untrusted: no name in it is imported."""

from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any, Self

from catdog.data import CatDogDataModule, FolderSource, MicrosoftSource, OxfordPetsSource, SyntheticSource, store_key
from catdog.errors import InputError
from catdog.files import IDENTITY, METRICS, read_json

KINDS = (FolderSource, MicrosoftSource, OxfordPetsSource, SyntheticSource)
SOURCES: dict[str, Any] = {f"catdog.data.{kind.__name__}": kind for kind in KINDS}
UNPACKED = {MicrosoftSource: ("PetImages",), OxfordPetsSource: ("images", "annotations")}  # of downloaded archives
LATEST = "latest"  # stands for the newest finished run below outputs/runs and outputs/studies


@dataclass(frozen=True)
class FinishedRun:
    """Folder and record of a finished run."""

    folder: Path
    record: dict[str, Any]  # content of metrics.json

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Open a finished run by its folder, or "latest", the newest; InputError if there is none."""
        folder = next(iter(finished_runs()), Path(folder)) if str(folder) == LATEST else Path(folder)
        record = read_json(folder / METRICS) or {}
        weights, config = record.get("weights"), record.get("config")
        if weights not in ("best", "last") or not record.get("replicas") or not isinstance(config, dict):
            others = "".join(f"\n  {quote(str(other))}" for other in finished_runs()[:5])
            hint = f"; the newest, of which {LATEST!r} names the first, are{others}" if others else ""
            raise InputError(f"{str(folder)!r} holds no finished run: no {METRICS} of catdog's{hint}")
        return cls(folder, record)

    @property
    def checkpoint(self) -> Path:
        """Path of the checkpoint with the tested weights."""
        return self.folder / "checkpoints" / f"{self.record['weights']}.ckpt"

    def data(self) -> CatDogDataModule:
        """Build the run's data module, with its split; InputError for other sources, or if the photos have changed."""
        try:
            data = build_data(self.record["config"]["data"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the photos of '{self.folder}' cannot be read: {error}") from error
        if store_key(data.source, data.image_size) != (read_json(self.folder / IDENTITY) or {}).get("photos"):
            raise InputError(f"the photos have changed since '{self.folder}' was trained on them")
        data.prepare_data()
        data.setup()
        return data


def finished_runs() -> list[Path]:
    """List the folders of all finished runs and of those of studies, the newest first."""
    records = [path for folder in ("outputs/runs", "outputs/studies") for path in Path(folder).rglob(METRICS)]
    return [path.parent for path in sorted(records, key=lambda path: path.stat().st_mtime, reverse=True)]


def locate(path: str | Path) -> tuple[Path, FinishedRun | None]:
    """Find the checkpoint of a finished run's folder, or the run in whose folder a checkpoint's file lies, if any."""
    if Path(path).suffix != ".ckpt" and not Path(path).is_file():
        run = FinishedRun.open(path)
        return run.checkpoint, run
    try:
        return Path(path), FinishedRun.open(Path(path).absolute().parent.parent)
    except InputError:
        return Path(path), None


def build_data(config: dict[str, Any]) -> CatDogDataModule:
    """Build the data module that a record describes, from plain arguments; no name in it is imported.

    InputError, KeyError, TypeError or ValueError if it names another class or argument, or its photos are missing.
    """
    arguments = dict(config)
    options = dict(arguments.pop("source"))
    target, name = arguments.pop("_target_"), str(options.pop("_target_"))
    if target != "catdog.data.CatDogDataModule" or name not in SOURCES:
        wanted = f"a catdog.data.CatDogDataModule of {', '.join(SOURCES)}"
        raise InputError(f"they must be {wanted}, got {target!r} of {name!r}")
    source = SOURCES[name]
    if not all(Path(str(arguments.get("root")), name).is_dir() for name in UNPACKED.get(source, ())):
        raise InputError(f"no photos at {arguments.get('root')!r}")  # reading a record must not start a download
    return CatDogDataModule(source(**options) if source is SyntheticSource else source, **arguments)

"""A finished run's folder, opened again: its record, the weights it tested, its photos.

Records are data: nothing in one names what is built or looked up, so that a stranger's can be opened.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, Self

from catdog.data import CatDogDataModule, FolderSource, MicrosoftSource, OxfordPetsSource, SyntheticSource, store_key
from catdog.errors import InputError
from catdog.files import read_json
from catdog.training.run_folder import IDENTITY, METRICS

NONE = type(None)
FORM: Any = {
    "net": str, "hidden": [int], "parameters": int, "epochs": int, "chance": float,
    "test/acc": float, "test/acc_interval": ([float], NONE), "test/acc_sd": (float, NONE),
    "config": {"data": dict, "test_weights": str},
    "photos": {"train": int, "val": int, "test": int},
    "replicas": [
        {"seed": int, "tested_epoch": (int, NONE), "val/dead": (float, NONE), "test/acc": float,
         "test/acc_interval": ([float], NONE)},
    ],
    "versions": {"catdog": str},
}  # of a record, as far as anybody who opens a run reads it  # fmt: skip
# What a record may name, and the keys that it may have then.
MODULES = {"catdog.data.CatDogDataModule": (CatDogDataModule, set(signature(CatDogDataModule).parameters))}
SOURCES = {
    "catdog.data.FolderSource": (FolderSource, {"_partial_"}),
    "catdog.data.MicrosoftSource": (MicrosoftSource, {"_partial_"}),
    "catdog.data.OxfordPetsSource": (OxfordPetsSource, {"_partial_"}),
    "catdog.data.SyntheticSource": (SyntheticSource, {"count", "seed"}),
}


@dataclass(frozen=True)
class FinishedRun:
    """Files of a finished run.

    Attributes:
        folder: of the run.
        record: content of `metrics.json`.
    """

    folder: Path
    record: dict[str, Any]

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Open the run in a folder.

        Raises:
            InputError: no run has finished there.
        """
        record = read_json(Path(folder) / METRICS) or {}
        sound = _fits(record, FORM) and record["replicas"] and record["config"]["test_weights"] in ("best", "last")
        if not sound:
            raise InputError(
                f"{str(folder)!r} holds no finished run: its {METRICS} is missing, or no record of catdog's"
            )
        return cls(Path(folder), record)

    @classmethod
    def of_checkpoint(cls, path: str | Path) -> Self | None:
        """Open the finished run that left a checkpoint; None for one that lies elsewhere."""
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
        """Build its photos, split as they were: `data.test` is what it was tested on.

        Raises:
            InputError: the record names other things than photos of catdog's own sources; or the photos are no longer
                there, or no longer the same.
        """
        try:
            data = build_data(self.record["config"]["data"])
        except InputError as error:
            raise InputError(f"the photos of '{self.folder}' cannot be had: {error}") from error
        if store_key(data.source, data.image_size) != self._photos():
            raise InputError(f"the photos have changed since '{self.folder}' was trained on them")
        data.prepare_data()
        data.setup()
        return data

    def _photos(self) -> str:
        """Read the fingerprint of the photos that it was trained on."""
        identity = read_json(self.folder / IDENTITY) or {}
        if "photos" not in identity:
            raise InputError(
                f"'{self.folder}' lacks its {IDENTITY}, so nobody knows whether the photos are the same; run it again"
            )
        return str(identity["photos"])


def checkpoint_of(path: str | Path) -> Path:
    """Find the checkpoint that a command's argument means: a file itself, of a finished run's folder the tested one."""
    return FinishedRun.open(path).checkpoint if Path(path).is_dir() else Path(path)


def build_data(config: dict[str, Any]) -> CatDogDataModule:
    """Build the data module that a record tells of; no name in it is imported, no interpolation resolved.

    Raises:
        InputError: it tells of anything but plain arguments of catdog's own data module and sources.
    """
    _, arguments = _look_up("data", {key: value for key, value in config.items() if key != "source"}, MODULES)
    source, options = _look_up("data.source", config.get("source"), SOURCES)
    unpacked = {MicrosoftSource: "PetImages", OxfordPetsSource: "images"}.get(source, "")
    if unpacked and not (Path(str(arguments.get("root"))) / unpacked).is_dir():
        raise InputError(f"there are no photos at {arguments.get('root')!r}")  # a record is no reason to download them
    return CatDogDataModule(source(**options) if source is SyntheticSource else source, **arguments)


def _look_up(where: str, node: Any, table: Mapping[str, tuple[Any, set[str]]]) -> tuple[Any, dict[str, Any]]:
    """Find a node's `_target_` in a table; give what that has, and the node's arguments, which must be plain."""
    if not isinstance(node, dict) or node.get("_target_") not in list(table):
        raise InputError(f"{where} must have a _target_ of {', '.join(table)}, got {node!r:.200}")
    found, known = table[node["_target_"]]
    for key, value in node.items():
        if key not in known | {"_target_"}:
            raise InputError(f"{where} has a key that is not known, {key!r:.80}")
        if isinstance(value, dict | list) or "${" in str(value):
            raise InputError(f"{where}.{key} must be a plain value, got {value!r:.80}")
    return found, {key: value for key, value in node.items() if not key.startswith("_")}


def _fits(value: object, form: Any) -> bool:
    """Tell whether a value has the types of a form, where a key that is missing has None; other keys do not matter."""
    if isinstance(form, dict):
        return isinstance(value, dict) and all(_fits(value.get(key), own) for key, own in form.items())
    if isinstance(form, tuple):
        return any(_fits(value, own) for own in form)
    if isinstance(form, list):
        return isinstance(value, list) and all(_fits(one, form[0]) for one in value)
    return isinstance(value, form)

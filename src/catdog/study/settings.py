"""Records of many runs, grouped into settings."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from catdog.errors import InputError
from catdog.files import METRICS, OUTCOME
from catdog.names import net_name

# Keys in which runs of one setting may differ, and model.image_size, which repeats data.image_size. All other keys,
# except the loggers', define the setting.
RUN_KEYS = (
    "seed", "model.seed", "model.replicas", "data.fold", "data.split_seed", "data.shuffle_seed", "data.train_set",
    "data.cache_dir", "ckpt_path", "model.image_size",
)  # fmt: skip
TRAINING_SET = ("split_seed", "fold", "train_set")  # what a run's training set depends on, within a setting
RUN = (*TRAINING_SET, "seed", "shuffle_seed")


@dataclass(frozen=True)
class Setting:
    """Runs that differ only in seed and training set; each replica counts as a run."""

    keys: dict[str, str]  # the common configuration, flattened, with values as JSON
    net: str  # name of the network, with the keys that distinguish settings of the same name
    photos: int  # training photos of the first finished run; without one the configured number, or 0
    epochs: int  # configured; if there is no such number, those of the first run, or 0
    accelerator: str  # that the first finished run used; without one the configured name
    runs: list[dict[str, Any]]  # records of finished runs, with `correct`: 1.0 or 0.0 for each test photo
    others: list[dict[str, Any]]  # records of skipped, interrupted and failed runs

    @property
    def label(self) -> str:
        """Name the setting, such as "deep, 100 epochs, 1,600 training photos"."""
        return f"{self.net}, {self.epochs} epoch{'s' * (self.epochs != 1)}, {self.photos:,} training photos"

    @property
    def overlap(self) -> float:
        """Test photos per training photo if training sets overlap, as those of folds do; 0 if they are disjoint."""
        folds = {(run["split_seed"], run["fold"]) for run in self.runs}
        return self.runs[0]["tested"] / self.photos if len(folds) > 1 else 0.0

    @cached_property
    def correct(self) -> pd.DataFrame:
        """Correctness, 1.0 or 0.0: a row per run (one if there twice), indexed by RUN; a column per test photo."""
        return pd.DataFrame({tuple(run[key] for key in RUN): run["correct"] for run in self.runs}).T.rename_axis(RUN)

    @property
    def is_rehearsal(self) -> bool:
        """Tell whether the trainer's limits left out a part of each epoch."""
        limits = (self.keys.get(f"trainer.{name}", "null") for name in ("limit_train_batches", "overfit_batches"))
        return not {*limits} <= {"null", "0", "0.0", "1.0"}

    def is_side(self, side: str) -> bool:
        """Tell whether this is the "first" or "second" of the study's primary comparison; see conf/study/."""
        primary = self.runs[0]["config"].get("primary") or {}
        values = primary.get(side, {}) | primary.get("both", {})
        return side in primary and all(self.keys.get(key) == json.dumps(value) for key, value in values.items())


def training_sets(runs: pd.Index) -> NDArray[np.int64]:
    """Number the training set of each run, (runs,), from an index with the levels of TRAINING_SET."""
    return pd.factorize(pd.MultiIndex.from_frame(runs.to_frame()[[*TRAINING_SET]]))[0]


def collect(folders: Sequence[Path]) -> list[Setting]:
    """Group the records below the folders into settings, sorted by depth and name; InputError if there are none."""
    groups: dict[str, tuple[dict[str, str], list[dict[str, Any]]]] = {}
    for record in (record for folder in folders for record in _records(folder)):
        flat = pd.json_normalize(record["config"], sep=".").iloc[0].drop([*RUN_KEYS], errors="ignore").to_dict().items()
        keys = {str(k): json.dumps(v, default=str) for k, v in flat if not str(k).startswith(("logger.", "primary"))}
        groups.setdefault(json.dumps(keys, sort_keys=True), (keys, []))[1].append(record)
    if not groups:
        raise InputError(f"no {METRICS} of a run below {', '.join(map(str, folders))}")
    settings = [_setting(keys, records) for keys, records in groups.values()]
    named = [_with_label(setting, settings) for setting in settings]
    return sorted(named, key=lambda s: (len(_hidden(s.keys) or ()), s.net, s.photos, s.epochs, s.accelerator))


def differing(configurations: Sequence[dict[str, str]]) -> list[str]:
    """List the keys in which flattened configurations differ; for objects of different classes, the class alone."""
    keys = {key for configuration in configurations for key in configuration}
    differ = {key for key in keys if len({configuration.get(key) for configuration in configurations}) > 1}
    targets = {key.removesuffix("_target_") for key in differ if key.endswith("._target_")}
    return sorted(k for k in differ if k.endswith("._target_") or f"{k.rpartition('.')[0]}." not in targets)


def _setting(keys: dict[str, str], records: Sequence[dict[str, Any]]) -> Setting:
    finished, others = ([r for r in records if (r["status"] == "finished") == whole] for whole in (True, False))
    first, hidden = (finished or others)[0], _hidden(keys)
    if hidden is not None:
        net = net_name(hidden, *(json.loads(keys.get(f"model.{name}", "0")) for name in ("whitening", "hog")))
    else:  # another kind of model
        net = first.get("net") or json.loads(keys.get("model._target_", '"model"')).rpartition(".")[2]
    values = (keys.get(key, "") for key in ("data.train_photos", "trainer.max_epochs"))
    photos, epochs = (int(value) if value.isdigit() else 0 for value in values)
    photos, epochs = finished[0]["photos"]["train"] if finished else photos, epochs or first.get("epochs", 0)
    return Setting(keys, net, photos, epochs, first["accelerator"], finished, others)


def _hidden(keys: dict[str, str]) -> list[int] | None:
    """Return the hidden widths; None for a model without them."""
    hidden = json.loads(keys.get("model.hidden", "null"))
    return hidden if isinstance(hidden, list) else None


def _with_label(setting: Setting, settings: Sequence[Setting]) -> Setting:
    """Add to the net's name the values that distinguish this setting, except those that most namesakes share."""

    def head(one: Setting) -> list[str | None]:
        return [one.net, *map(one.keys.get, ("trainer.max_epochs", "data.train_photos"))]

    same = [one for one in settings if head(one) == head(setting)]
    meant = {one.keys.get("trainer.accelerator") for one in same if one.accelerator == setting.accelerator}
    told = {"trainer.accelerator"} if len(meant) == 1 else set()  # by the device that was used
    namesakes = [one.keys for one in same]
    labels = [setting.accelerator] if told & {*differing([one.keys for one in same if one.runs])} else []
    for key in sorted({*differing(namesakes)} - told):
        value = setting.keys.get(key, "absent")
        if 2 * Counter(keys.get(key, "absent") for keys in namesakes)[value] <= len(namesakes):
            name = value.strip('"').rpartition(".")[2] if key.endswith("._target_") else value
            labels.append(f"{key.removesuffix('._target_')}={name}")
    return replace(setting, net=f"{setting.net} ({', '.join(labels)})") if labels else setting


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    """Read the records of all runs below a folder, one per replica; metrics.json takes precedence over outcome.json."""
    if not folder.is_dir():
        raise InputError(f"no folder at '{folder}'; give folders with runs below them")
    paths = {path.parent: path for name in (OUTCOME, METRICS) for path in folder.rglob(name)}
    for run, path in sorted(paths.items()):
        record = json.loads(path.read_text())
        if record["status"] != "finished":
            yield record
            continue
        if not record.keys() >= {"replicas", "train_set", "other_weights"}:
            raise InputError(f"'{run}' holds a run of an older catdog; run it again")
        table = pd.read_csv(run / "predictions.csv", keep_default_na=False, encoding_errors="surrogateescape")
        table["correct"] = ((table["probability"] > 0.5) == (table["label"] == 1)).astype(float)
        correct = table.pivot(index="path", columns="seed", values="correct")
        replicas = record["replicas"]
        times = {name: record[name] / len(replicas) for name in ("seconds", "seconds_per_epoch")}
        for replica in replicas:
            right = correct[replica["seed"]] if replica["seed"] in correct else pd.Series(dtype=float)
            yield record | times | replica | {"replicas": len(replicas), "correct": right}

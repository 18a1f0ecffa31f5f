"""Records of many runs, grouped into settings."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from catdog.errors import InputError
from catdog.files import OUTCOME
from catdog.names import net_name
from catdog.training.run_folder import METRICS

# Keys in which runs of one setting may differ, and model.image_size, which repeats data.image_size. All other keys,
# except the loggers', define the setting.
RUN_KEYS = (
    "seed", "model.seed", "model.replicas", "data.fold", "data.split_seed", "data.shuffle_seed", "data.cache_dir",
    "ckpt_path", "model.image_size",
)  # fmt: skip
# Hardware keys: settings that differ only in one of these get no verdict on accuracy.
MACHINE_KEYS = {"trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy"}


@dataclass(frozen=True)
class Setting:
    """Runs that differ only in seed and split; each replica counts as a run."""

    keys: dict[str, str]  # the common configuration, flattened, with values as JSON
    net: str  # name of the network, with the keys that distinguish settings of the same name
    epochs: int  # configured; if there is no such number, those of the first run, or 0
    accelerator: str  # of the first run: the one used, or the configured one if it did not finish
    runs: list[dict[str, Any]]  # records of finished runs, with `correct`: 1.0 or 0.0 for each test photo
    others: list[dict[str, Any]]  # records of skipped, interrupted and failed runs

    def correct(self) -> pd.DataFrame:
        """Return 1.0 for correct, 0.0 for wrong: a row per run (seed, fold, split, order), a column per test photo."""
        keys = ("seed", "fold", "split_seed", "shuffle_seed")
        return pd.DataFrame({tuple(run[key] for key in keys): run["correct"] for run in self.runs}).T


def collect(folders: Sequence[Path]) -> list[Setting]:
    """Group the records below the folders into settings, sorted by depth, name, epochs and accelerator.

    Raises:
        InputError: there is no run below the folders.
    """
    settings: dict[str, Setting] = {}
    for record in (record for folder in folders for record in _records(folder)):
        flat = pd.json_normalize(record["config"], sep=".").iloc[0].drop([*RUN_KEYS], errors="ignore").to_dict()
        values = {str(key): json.dumps(value, default=str) for key, value in flat.items()}
        keys = {key: value for key, value in values.items() if not key.startswith("logger.")}
        setting = settings.setdefault(json.dumps(keys, sort_keys=True), _setting(keys, record))
        (setting.runs if record["status"] == "finished" else setting.others).append(record)
    if not settings:
        raise InputError(f"no {METRICS} of a run below {', '.join(map(str, folders))}")
    named = [_with_label(setting, list(settings.values())) for setting in settings.values()]
    return sorted(named, key=lambda s: (len(_hidden(s.keys) or ()), s.net, s.epochs, s.accelerator))


def differing(configurations: Sequence[dict[str, str]]) -> list[str]:
    """List the keys in which flattened configurations differ; for objects of different classes, the class alone."""
    keys = {key for configuration in configurations for key in configuration}
    differ = {key for key in keys if len({configuration.get(key) for configuration in configurations}) > 1}
    return sorted(
        key for key in differ if key.endswith("._target_") or f"{key.rpartition('.')[0]}._target_" not in differ
    )


def _setting(keys: dict[str, str], record: dict[str, Any]) -> Setting:
    hidden = _hidden(keys)
    if hidden is not None:
        net = net_name(hidden, *(json.loads(keys.get(f"model.{name}", "0")) for name in ("whitening", "hog")))
    else:  # another kind of model
        net = record.get("net") or json.loads(keys.get("model._target_", '"model"')).rpartition(".")[2]
    epochs = json.loads(keys.get("trainer.max_epochs", "null")) or -1
    return Setting(keys, net, epochs if epochs > 0 else record.get("epochs", 0), record["accelerator"], [], [])


def _hidden(keys: dict[str, str]) -> list[int] | None:
    """Return the hidden widths; None for a model without them."""
    hidden = json.loads(keys.get("model.hidden", "null"))
    return hidden if isinstance(hidden, list) else None


def _with_label(setting: Setting, settings: Sequence[Setting]) -> Setting:
    """Add to the net's name the values that distinguish this setting, except those that most namesakes share."""

    def head(other: Setting) -> tuple[str, int, str]:
        return other.net, other.epochs, other.accelerator

    namesakes = [other.keys for other in settings if head(other) == head(setting)]
    labels = []
    for key in differing(namesakes):
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
        if not record.keys() >= {"replicas", "baseline"}:
            raise InputError(f"'{run}' holds a run of an older catdog; run it again")
        table = pd.read_csv(run / "predictions.csv", keep_default_na=False, encoding_errors="surrogateescape")
        table["correct"] = ((table["probability"] > 0.5) == (table["label"] == 1)).astype(float)
        correct = table.pivot(index="path", columns="seed", values="correct")
        replicas = record["replicas"]
        times = {name: record[name] / len(replicas) for name in ("seconds", "seconds_per_epoch")}
        for replica in replicas:
            right = correct[replica["seed"]] if replica["seed"] in correct else pd.Series(dtype=float)
            yield record | times | replica | {"replicas": len(replicas), "correct": right}

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

# The keys that tell runs of one setting apart, or only repeat data.image_size. All others but the loggers' make the
# setting.
RUN_KEYS = (
    "seed", "model.seed", "model.replicas", "data.fold", "data.split_seed", "data.shuffle_seed", "data.cache_dir",
    "ckpt_path", "model.image_size",
)  # fmt: skip
# Keys that do not change what is learnt: no verdict on accuracy is asked of them.
MACHINE_KEYS = {"trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy"}


@dataclass(frozen=True)
class Setting:
    """All runs that differ in seed and split alone; replicas count as runs."""

    keys: dict[str, str]  # the configuration that they share, flat, each value as JSON
    net: str  # name of the network, with the keys that tell this setting from others of the same name
    epochs: int  # asked for; where no number was, those of the first run, 0 without any
    accelerator: str  # that was used, or asked for where no run finished
    runs: list[dict[str, Any]]  # records of the finished ones, with `correct`: 1.0 or 0.0 for each test photo
    others: list[dict[str, Any]]  # records of those that were skipped, interrupted or failed

    def correct(self) -> pd.DataFrame:
        """Give 1.0 for correct and 0.0 for wrong: a row per run (seed, fold, split, order), a column per test photo."""
        keys = ("seed", "fold", "split_seed", "shuffle_seed")
        return pd.DataFrame({tuple(run[key] for key in keys): run["correct"] for run in self.runs}).T


def collect(folders: Sequence[Path]) -> list[Setting]:
    """Group the records below the folders into settings: more layers, then more epochs later.

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
    """List the keys in which flat configurations differ; of an object that not all have, its class alone."""
    keys = {key for own in configurations for key in own}
    differ = {key for key in keys if len({own.get(key) for own in configurations}) > 1}
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
    """Give the hidden widths; None of another kind of model, which need not have such."""
    hidden = json.loads(keys.get("model.hidden", "null"))
    return hidden if isinstance(hidden, list) else None


def _with_label(setting: Setting, settings: Sequence[Setting]) -> Setting:
    """Add to a net's name what tells this setting from others of its name, unless most of these share it."""

    def head(own: Setting) -> tuple[str, int, str]:
        return own.net, own.epochs, own.accelerator

    others = [own.keys for own in settings if head(own) == head(setting)]
    told = []
    for key in differing(others):
        value = setting.keys.get(key, "absent")
        if 2 * Counter(own.get(key, "absent") for own in others)[value] <= len(others):
            name = value.strip('"').rpartition(".")[2] if key.endswith("._target_") else value
            told.append(f"{key.removesuffix('._target_')}={name}")
    return replace(setting, net=f"{setting.net} ({', '.join(told)})") if told else setting


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    """Read the records of all runs below a folder, one for each replica; of a run that has both, its result counts."""
    if not folder.is_dir():
        raise InputError(f"no folder at '{folder}'; give folders with runs below them")
    paths = {path.parent: path for name in (OUTCOME, METRICS) for path in folder.rglob(name)}
    for own, path in sorted(paths.items()):
        record = json.loads(path.read_text())
        if record["status"] != "finished":
            yield record
            continue
        if not record.keys() >= {"replicas", "baseline"}:
            raise InputError(f"'{own}' holds a run of an older catdog; run it again")
        table = pd.read_csv(own / "predictions.csv", keep_default_na=False, encoding_errors="surrogateescape")
        table["correct"] = ((table["probability"] > 0.5) == (table["label"] == 1)).astype(float)
        correct = table.pivot(index="path", columns="seed", values="correct")
        replicas = record["replicas"]
        times = {name: record[name] / len(replicas) for name in ("seconds", "seconds_per_epoch")}
        for replica in replicas:
            right = correct[replica["seed"]] if replica["seed"] in correct else pd.Series(dtype=float)
            yield record | times | replica | {"replicas": len(replicas), "correct": right}

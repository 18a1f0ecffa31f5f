"""The records of runs, grouped by what was set."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from catdog.errors import InputError
from catdog.files import OUTCOME
from catdog.names import net_name
from catdog.training.run_folder import METRICS

# What tells runs of one setting apart, and what data.image_size tells already; everything else in the configuration
# but the loggers makes the setting.
RUN_KEYS = (
    "seed", "model.seed", "model.replicas", "data.fold", "data.split_seed", "data.shuffle_seed", "data.cache_dir",
    "ckpt_path", "model.image_size",
)  # fmt: skip
# Keys that do not change what is learnt: no verdict on accuracy is asked of them.
MACHINE_KEYS = ("trainer._target_", "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy")
NONE = ""  # no value in JSON, and no key's value either; None is that of a key that is not there
NAMED_KEYS = ("model.hidden", "trainer.max_epochs", *MACHINE_KEYS)  # which have columns of their own


@dataclass(frozen=True)
class Setting:
    """All runs that differ in seed and split alone.

    Attributes:
        keys: the configuration that they share, flat, each value as JSON.
        name: the exercise's name of the net, or its hidden widths, or its class.
        extra: what tells this setting from others besides net, epochs and accelerator, such as "model.lr=0.1". What
            is as in more than half of the settings is not told.
        runs: the records of the finished ones.
        others: the records of those that were skipped or failed.
    """

    keys: dict[str, str]
    name: str
    extra: str
    runs: list[dict[str, Any]]
    others: list[dict[str, Any]]

    @property
    def net(self) -> str:
        """The net's name with what else is special."""
        return self.name + (f" ({self.extra})" if self.extra else "")

    @property
    def epochs(self) -> int:
        """Epochs asked for; where no number was, those of the first run, 0 without any."""
        asked = json.loads(self.keys.get("trainer.max_epochs", "null")) or -1
        return int(asked if asked > 0 else self.runs[0]["epochs"] if self.runs else 0)

    @property
    def accelerator(self) -> str:
        """The accelerator that was used, or asked for where no run finished."""
        return str((self.runs or self.others)[0]["accelerator"])

    def correct(self) -> pd.DataFrame:
        """1.0 for correct and 0.0 for wrong, a row per run (seed, fold, split, order) and a column per test photo."""
        return pd.DataFrame({_run_key(run): _correctness(run) for run in self.runs}).T


def collect(folders: Sequence[Path]) -> list[Setting]:
    """Group the records below the folders into settings: more layers, then more epochs later.

    Raises:
        InputError: there is no run below the folders.
    """
    records = [record for folder in folders for record in _records(folder)]
    if not records:
        raise InputError(f"no metrics.json of a run below {', '.join(map(str, folders))}")
    flat = [_flat(record["config"]) for record in records]
    names = [_net(record, keys) for record, keys in zip(records, flat, strict=True)]
    settings: dict[str, Setting] = {}
    for record, keys, name in zip(records, flat, names, strict=True):
        # A net's name tells its options, but for those that vary between nets of the same name.
        namesakes = [other for other, net in zip(flat, names, strict=True) if net == name]
        usual = {key: value for key, value in _usual(flat).items() if not key.startswith("model.")}
        usual |= {key: value for key, value in _usual(namesakes).items() if key.startswith("model.")}
        told = {key: keys.get(key, "absent") for key in sorted(usual) if keys.get(key) != usual[key]}
        extra = ", ".join(f"{key}={value}" for key, value in told.items())
        setting = settings.setdefault(json.dumps(keys, sort_keys=True), Setting(keys, name, extra, [], []))
        (setting.runs if record["status"] == "finished" else setting.others).append(record)
    return sorted(settings.values(), key=lambda s: (len(_hidden(s.keys) or ()), s.net, s.epochs, s.accelerator))


def _net(record: dict[str, Any], keys: dict[str, str]) -> str:
    hidden = _hidden(keys)
    if hidden is None:
        return str(record.get("net") or json.loads(keys.get("model._target_", '"model"')).rpartition(".")[2])
    return net_name(hidden, *(json.loads(keys.get(f"model.{key}", "0")) for key in ("whitening", "hog")))


def _hidden(keys: dict[str, str]) -> list[int] | None:
    """The hidden widths; None of another kind of model, which need not have such."""
    hidden = json.loads(keys.get("model.hidden", "null"))
    return hidden if isinstance(hidden, list) else None


def _usual(flat: Sequence[dict[str, str]]) -> dict[str, str | None]:
    """Of each key that varies the value that more than half of the settings share, or NONE; without NAMED_KEYS."""
    distinct = [dict(items) for items in {tuple(sorted(keys.items())) for keys in flat}]
    usual: dict[str, str | None] = {}
    for key in {key for keys in distinct for key in keys}.difference(NAMED_KEYS):
        value, count = Counter(keys.get(key) for keys in distinct).most_common(1)[0]
        if count < len(distinct):
            usual[key] = value if 2 * count > len(distinct) else NONE
    return usual


def _records(folder: Path) -> list[dict[str, Any]]:
    """The records of all runs below a folder, replicas apart; of a run that has both, its result counts."""
    if not folder.is_dir():
        raise InputError(f"no folder at '{folder}'; give folders with runs below them")
    records = {}
    for name in (OUTCOME, METRICS):
        for path in sorted(folder.rglob(name)):
            if any(part.startswith(".") for part in path.relative_to(folder).parts):
                continue  # moved aside by a run of another configuration
            records[path.parent] = json.loads(path.read_text()) | {"folder": str(path.parent)}
    return [record for path in sorted(records) for record in _of_replicas(records[path])]


def _of_replicas(record: dict[str, Any]) -> list[dict[str, Any]]:
    """A run's record as one for each replica, with its own result and its share of the time."""
    replicas = record.get("replicas", [{}])
    if record["status"] == "finished" and "replicas" not in record:
        raise InputError(f"'{record['folder']}' holds a run of an older catdog, without replicas; run it again")
    times = {name: record[name] / len(replicas) for name in ("seconds", "seconds_per_epoch") if name in record}
    return [record | times | replica | {"replicas": len(replicas)} for replica in replicas]


def _flat(config: dict[str, Any]) -> dict[str, str]:
    """The configuration's keys with dots, values as JSON, without those that differ from run to run."""
    flat = pd.json_normalize(config, sep=".").iloc[0].to_dict()
    kept = {str(key): value for key, value in flat.items() if key not in RUN_KEYS}
    return {key: json.dumps(value, default=str) for key, value in kept.items() if not key.startswith("logger.")}


def _run_key(run: dict[str, Any]) -> tuple[int, int, int, int]:
    return run["seed"], run["fold"], run["split_seed"], run["shuffle_seed"]


def _correctness(run: dict[str, Any]) -> "pd.Series[float]":
    path = Path(run["folder"]) / "predictions.csv"
    predictions = pd.read_csv(path, index_col="path", keep_default_na=False, encoding_errors="surrogateescape")
    own = predictions[predictions["seed"] == run["seed"]]
    return ((own["probability"] > 0.5) == (own["label"] == 1)).astype(float)

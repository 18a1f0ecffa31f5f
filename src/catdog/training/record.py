"""Record of a run: metrics.json, predictions.csv, learning curves, TensorBoard dashboard."""

import json
import logging
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor

from catdog import plots
from catdog.data import CatDogDataModule
from catdog.files import METRICS, csv_text, write_atomically
from catdog.model import CatDogClassifier
from catdog.names import net_title
from catdog.statistics import mean_accuracy
from catdog.training import dashboard
from catdog.training.callbacks import seeds_of

logger = logging.getLogger(__name__)

PACKAGES = ["catdog", "torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "numpy", "pillow"]


@dataclass(frozen=True)
class Predicted:
    """Predictions for the tested photos with each replica's last or best weights."""

    weights: str  # "last" or "best"
    steps: list[int]  # of the optimizer, at which each replica had these weights
    probabilities: Tensor  # of class 1, float32 (replicas, photos); 0 photos if the module has no predict_step


def prepare_data(data: CatDogDataModule, folder: Path, is_first: bool) -> None:
    """Decode and split the photos; the first process writes unreadable.csv and logs the data warnings."""
    data.prepare_data()
    if is_first and (unreadable := data.store.unreadable):  # before setup(), which raises if there are too many
        write_atomically(folder / "unreadable.csv", csv_text(("path", "reason"), unreadable.items()))
        logger.warning("%d unreadable photos are left out; %s lists them", len(unreadable), folder / "unreadable.csv")
    data.setup()
    for warning in data.warnings if is_first else ():
        logger.warning(warning)


def summarize(
    model: LightningModule, data: CatDogDataModule, history: Sequence[dict[str, Any]],
    tested: dict[str, list[float]], predicted: Sequence[Predicted],
) -> dict[str, Any]:  # fmt: skip
    """Build the record: each replica's results and their means; times are in seconds.

    `history` is RunCheckpoint's `rows`, `tested` the test metrics; `predicted` has the tested weights first.
    """
    seeds, steps = seeds_of(model), predicted[0].steps
    hidden = list(model.hparams["hidden"]) if isinstance(model, CatDogClassifier) else []
    correct = _correct(data, predicted[0])
    replicas = [{"seed": seed, **_training_result(n, history, steps[n])} for n, seed in enumerate(seeds)]
    for number, replica in enumerate(replicas):
        replica |= {name: values[number] for name, values in tested.items()}
        replica["test/acc_interval"] = mean_accuracy(correct[[number]])[1] if correct.size else None
    parts = {name: getattr(data, name) for name in ("train", "val", "test")}
    return {
        "status": "finished",
        "net": net_title(model.hparams) if isinstance(model, CatDogClassifier) else type(model).__name__,
        "hidden": hidden,
        "depth": len(hidden),
        "parameters": sum(parameter.numel() for parameter in model.parameters()) // len(seeds),
        **{f"{name}s": history[-1][name] for name in ("epoch", "step")},
        "seed": seeds[0],
        **{name: getattr(data, name) for name in ("fold", "train_set", "split_seed", "shuffle_seed", "warnings")},
        "photos": {name: len(part) for name, part in parts.items()},
        "tested": correct.shape[1] or len(data.test),
        "unreadable": len(data.store.unreadable),
        "class_names": list(data.class_names),
        "majority": data.class_names[data.test.labels.mean().item() > 0.5],  # the class that the test baseline names
        "baseline": {name: 0.5 + abs(part.labels.mean().item() - 0.5) for name, part in parts.items()},  # its share
        **_means(replicas),
        "test/acc_sd": stdev(replica["test/acc"] for replica in replicas) if len(seeds) > 1 else None,
        "test/acc_interval": mean_accuracy(correct)[1] if correct.size else None,
        "weights": predicted[0].weights,
        "other_weights": [_other_result(data, history, own) for own in predicted[1:] if correct.size],
        "seconds_per_epoch": median(row["seconds"] for row in history if "seconds" in row),
        "history": [_means(rows) for rows in zip(*(replica["history"] for replica in replicas), strict=True)],
        "replicas": replicas,
        **environment(),
    }


def _correct(data: CatDogDataModule, predicted: Predicted) -> NDArray[np.float64]:
    """Compare predictions with labels: 1 correct, 0 wrong, (replicas, photos)."""
    labels = data.test.labels[: predicted.probabilities.shape[1]]
    return ((predicted.probabilities > 0.5) == (labels > 0.5)).double().numpy()


def _other_result(data: CatDogDataModule, history: Sequence[dict[str, Any]], predicted: Predicted) -> dict[str, Any]:
    """Summarize the predictions with weights other than the tested ones."""
    accuracy, interval = mean_accuracy(_correct(data, predicted))
    epochs = [_training_result(number, history, step)["tested_epoch"] for number, step in enumerate(predicted.steps)]
    return {"weights": predicted.weights, "epochs": epochs, "test/acc": accuracy, "test/acc_interval": interval}


def _training_result(replica: int, history: Sequence[dict[str, Any]], step: int) -> dict[str, Any]:
    """Select a replica's history, and its validation metrics, if any, at the step of the tested weights."""
    rows = [{key: x[replica] if isinstance(x, list) else x for key, x in row.items()} for row in history]
    at_test = next((row for row in rows if row["step"] == step), {})
    validation = {name: value for name, value in at_test.items() if name.startswith("val")}
    return {"tested_epoch": at_test.get("epoch"), "tested_step": step, **validation, "history": rows}


def save(
    folder: Path, metrics: dict[str, Any], model: LightningModule, data: CatDogDataModule, trainer: Trainer,
    probabilities: Tensor,
) -> None:  # fmt: skip
    """Write all files of a finished run, `metrics.json` last; `metrics` and `probabilities` are as in `summarize`."""
    rows = (
        (name, int(label), seed, probability)
        for seed, own in zip(seeds_of(model), probabilities.tolist(), strict=True)
        for name, label, probability in zip(data.test.names, data.test.labels.tolist(), own, strict=False)
    )
    write_atomically(folder / "predictions.csv", csv_text(("path", "label", "seed", "probability"), rows))
    plots.curves(metrics).savefig(folder / "curves.png", dpi=110)
    dashboard.fill(model, data, trainer, metrics, probabilities)
    write_atomically(folder / METRICS, json.dumps(metrics, indent=2, default=str))


def _means(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Average every number that all rows have, except the seed."""
    names = [name for name, value in rows[0].items() if isinstance(value, int | float) and name != "seed"]
    return {name: mean(row[name] for row in rows) for name in names if all(name in row for row in rows)}


def environment() -> dict[str, Any]:
    """Describe versions and machine, as JSON values."""
    cpuinfo = Path("/proc/cpuinfo")  # Linux; elsewhere, `platform` knows the processor's name
    name = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
    machine: dict[str, Any] = {"system": platform.platform(), "processor": name[1] if name else platform.processor()}
    machine |= {"cores": os.cpu_count(), "threads": torch.get_num_threads()}
    machine["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    versions = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    return {"versions": versions, "machine": machine}

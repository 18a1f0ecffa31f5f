"""The record of a run: metrics.json, predictions.csv, the figure, the dashboard."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from lightning import LightningModule, Trainer
from torch import Tensor

from catdog import plots
from catdog.data import CatDogDataModule
from catdog.environment import environment
from catdog.files import csv_text, write_atomically
from catdog.model import CatDogClassifier
from catdog.names import describe, net_title
from catdog.statistics import mean_accuracy, wilson_interval
from catdog.training.callbacks import seeds_of
from catdog.training.dashboard import fill_dashboard
from catdog.training.run_folder import METRICS

logger = logging.getLogger(__name__)


def prepare_data(data: CatDogDataModule, folder: Path, is_first: bool) -> None:
    """Decode and split the photos; the first process lists those that cannot be read, and tells what is wrong."""
    data.prepare_data()
    if is_first and (unreadable := data.store.unreadable):  # before setup, as too many of them end the run
        write_atomically(folder / "unreadable.csv", csv_text(("path", "reason"), unreadable.items()))
        logger.warning("%d unreadable photos are left out; %s lists them", len(unreadable), folder / "unreadable.csv")
    data.setup()
    for warning in data.warnings if is_first else ():
        logger.warning(warning)


def summarize(
    model: LightningModule, data: CatDogDataModule, history: Sequence[dict[str, Any]], steps: Sequence[int],
    tested: dict[str, list[float]], probabilities: Tensor,
) -> dict[str, Any]:  # fmt: skip
    """Summarize the result: of each replica its own, and their means; times are in seconds.

    Args:
        model: the tested module.
        data: its photos.
        history: see `RunCheckpoint.rows`.
        steps: of each replica the training step whose weights were tested.
        tested: metrics of the test, a list over the replicas each.
        probabilities: of class 1, (replicas, tested photos).
    """
    seeds, hidden = seeds_of(model), list(model.hparams.get("hidden", []))
    labels = data.test.labels[: probabilities.shape[1]]
    correct = ((probabilities > 0.5) == (labels > 0.5)).double().numpy()
    replicas: list[dict[str, Any]] = []
    for number, (seed, step) in enumerate(zip(seeds, steps, strict=True)):
        results: dict[str, Any] = {name: values[number] for name, values in tested.items()}
        results["test/acc_interval"] = wilson_interval(int(correct[number].sum()), len(labels)) if len(labels) else None
        replicas.append({"seed": seed} | _training_of(number, history, step) | results)
    ones = {part: getattr(data, part).labels.mean().item() for part in ("train", "val", "test")}
    return {
        "status": "finished",
        "net": net_title(model.hparams) if isinstance(model, CatDogClassifier) else type(model).__name__,
        "hidden": hidden,
        "depth": len(hidden),
        "parameters": sum(parameter.numel() for parameter in model.parameters()) // len(seeds),
        "epochs": history[-1]["epoch"],
        "steps": history[-1]["step"],
        "seed": seeds[0],
        **{name: getattr(data, name) for name in ("fold", "split_seed", "shuffle_seed", "warnings")},
        "photos": {split: len(getattr(data, split)) for split in ("train", "val", "test")},
        "tested": len(labels),
        "unreadable": len(data.store.unreadable),
        "class_names": list(data.class_names),
        "baseline": {part: max(share, 1 - share) for part, share in ones.items()},  # always naming the larger class
        **_means(replicas),
        "test/acc_sd": stdev(replica["test/acc"] for replica in replicas) if len(seeds) > 1 else None,
        "test/acc_interval": mean_accuracy(correct)[1:] if min(correct.shape) > 1 else replicas[0]["test/acc_interval"],
        "seconds_per_epoch": median(row["seconds"] for row in history if "seconds" in row),
        "history": [_means(own) for own in zip(*(replica["history"] for replica in replicas), strict=True)],
        "replicas": replicas,
        **environment(),
    }


def _training_of(replica: int, history: Sequence[dict[str, Any]], step: int) -> dict[str, Any]:
    """Select a replica's history, and its validation at the training step whose weights were tested, if any."""
    rows = [{key: own[replica] if isinstance(own, list) else own for key, own in row.items()} for row in history]
    at_test = next((row for row in rows if row["step"] == step), {})
    validation = {name: value for name, value in at_test.items() if name.startswith("val")}
    return {"tested_epoch": at_test.get("epoch"), "tested_step": step, **validation, "history": rows}


def save(
    folder: Path, metrics: dict[str, Any], model: LightningModule, data: CatDogDataModule, trainer: Trainer,
    probabilities: Tensor,
) -> None:  # fmt: skip
    """Write all files of a finished run, `metrics.json` last; for the arguments see `summarize`, for `metrics` too."""
    rows = (
        (name, int(label), seed, probability)
        for seed, own in zip(seeds_of(model), probabilities.tolist(), strict=True)
        for name, label, probability in zip(data.test.names, data.test.labels.tolist(), own, strict=False)
    )
    write_atomically(folder / "predictions.csv", csv_text(("path", "label", "seed", "probability"), rows))
    figure = plots.curves(metrics["replicas"], describe(metrics), metrics["baseline"]["val"])
    figure.savefig(folder / "curves.png", dpi=110)
    fill_dashboard(model, data, trainer, metrics, probabilities)
    write_atomically(folder / METRICS, json.dumps(metrics, indent=2, default=str))


def _means(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Average every metric that all rows have, and what they have in common besides."""
    names = [name for name, value in rows[0].items() if isinstance(value, int | float) and name != "seed"]
    return {name: mean(row[name] for row in rows) for name in names if all(name in row for row in rows)}

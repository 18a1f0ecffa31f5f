"""The record of a run: metrics.json, predictions.csv, the figure, the dashboard."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray
from torch import Tensor

from catdog import plots
from catdog.data import CatDogDataModule
from catdog.environment import environment
from catdog.files import csv_text, write_atomically
from catdog.model import CatDogClassifier
from catdog.names import describe, net_title
from catdog.statistics import mean_accuracy, wilson_interval
from catdog.training.callbacks import seeds_of
from catdog.training.run_folder import METRICS

logger = logging.getLogger(__name__)

MOST_WEIGHT_PICTURES = 64  # in TensorBoard


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

    `history` is RunCheckpoint's; `steps` are those whose weights were tested, `tested` the metrics of the test, and
    `probabilities`, (replicas, tested photos), of class 1. A part's baseline is the share of its larger class.
    """
    seeds, hidden = seeds_of(model), list(model.hparams.get("hidden", []))
    labels = data.test.labels[: probabilities.shape[1]]
    correct = ((probabilities > 0.5) == (labels > 0.5)).double().numpy()
    replicas = [
        {"seed": seed, **_training_of(number, history, steps[number]), **_results_of(number, tested, correct)}
        for number, seed in enumerate(seeds)
    ]
    parts = {name: getattr(data, name) for name in ("train", "val", "test")}
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
        "photos": {name: len(part) for name, part in parts.items()},
        "tested": len(labels),
        "unreadable": len(data.store.unreadable),
        "class_names": list(data.class_names),
        "baseline": {name: 0.5 + abs(part.labels.mean().item() - 0.5) for name, part in parts.items()},
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


def _results_of(replica: int, tested: dict[str, list[float]], correct: NDArray[np.float64]) -> dict[str, Any]:
    """Select a replica's metrics of the test, and make the interval of its accuracy, if there are predictions."""
    own = correct[replica]
    interval = wilson_interval(int(own.sum()), len(own)) if len(own) else None
    return {name: values[replica] for name, values in tested.items()} | {"test/acc_interval": interval}


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
    _fill_dashboard(model, data, trainer, metrics, probabilities)
    write_atomically(folder / METRICS, json.dumps(metrics, indent=2, default=str))


def _means(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Average every metric that all rows have, and what they have in common besides."""
    names = [name for name, value in rows[0].items() if isinstance(value, int | float) and name != "seed"]
    return {name: mean(row[name] for row in rows) for name in names if all(name in row for row in rows)}


def _fill_dashboard(
    model: LightningModule, data: CatDogDataModule, trainer: Trainer, metrics: dict[str, Any], probabilities: Tensor
) -> None:
    """Add graph, first layer, mistakes, and hyperparameters with the result, to the trainer's first TensorBoardLogger.

    `metrics` is the run's record; probabilities of class 1 for the tested photos are (replicas, photos).
    """
    tensorboard = next(logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger))
    writer, steps = tensorboard.experiment, metrics["steps"]
    # Several runs side by side, on the CUSTOM SCALARS tab; tags are patterns, and there is val/acc_sd too.
    charts = {"train loss": ["Multiline", ["train/loss$"]], "validation accuracy": ["Multiline", ["val/acc$"]]}
    writer.add_custom_scalars({"learning curves": charts})
    if isinstance(model, CatDogClassifier):
        network, size = model.network.cpu().float(), data.image_size
        writer.add_graph(network, torch.zeros(1, 3, size, size))
        weights = network.input_weights.flatten(0, 1)
        for unit, picture in enumerate(plots.weight_pictures(weights[:MOST_WEIGHT_PICTURES], size), start=1):
            writer.add_image(f"first_layer/unit_{unit}", picture, steps)
    tested = probabilities.shape[1]
    if tested:
        pixels = data.store.pixels[data.test.rows[:tested]]
        picture = plots.mistakes(pixels.__getitem__, data.test.labels[:tested], probabilities.mean(0), data.class_names)
        writer.add_image("test/mistakes", np.asarray(picture), steps, dataformats="HWC")
    names = ("net", "seed", "depth", "parameters", "epochs", "accelerator")
    hyperparameters = {name: metrics[name] for name in names} | {"replicas": len(metrics["replicas"])}
    hyperparameters["lr"] = model.hparams.get("lr", 0.0)
    results = {f"result/{name}": metrics[name] for name in ("test/acc", "val/acc") if name in metrics}
    tensorboard.log_hyperparams(hyperparameters, results)
    tensorboard.save()

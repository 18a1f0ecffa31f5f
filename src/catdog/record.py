"""What a run leaves: predictions, figures, a dashboard, and last of all metrics.json."""

import csv
import json
import logging
import os
import platform
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any, cast

import numpy as np
import torch
from lightning import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from catdog import figures
from catdog.classifier import CatDogClassifier, losses
from catdog.data import CatDogDataModule
from catdog.epochs import History
from catdog.errors import InputError, InterruptedRunError, UnavailableError
from catdog.network import net_name, net_title
from catdog.statistics import mean_accuracy, wilson_interval

logger = logging.getLogger(__name__)

PACKAGES = ("catdog", "torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "numpy", "pillow")
MOST_WEIGHT_PICTURES = 64
METRICS, OUTCOME = "metrics.json", "outcome.json"


@dataclass(frozen=True)
class Result:
    """A trained and tested network: `model` holds the tested weights and their test logits."""

    model: CatDogClassifier
    data: CatDogDataModule
    trainer: Trainer
    history: History
    tested_epochs: list[int]  # of every replica: the epoch whose weights were tested
    config: dict[str, Any]


def save_unreadable(data: CatDogDataModule, folder: Path) -> None:
    """Warn of photos that could not be read, and list them with the reasons in `unreadable.csv`."""
    if unreadable := data.store.unreadable:
        path = _write_csv(folder / "unreadable.csv", ("path", "reason"), unreadable.items())
        logger.warning("%d unreadable photos are left out; %s lists them", len(unreadable), path)


def save(result: Result, folder: Path, seconds: float) -> dict[str, Any]:
    """Write everything, log the summary, and return what `metrics.json` holds.

    Args:
        result: the trained and tested network.
        folder: where to.
        seconds: the run's time so far, wall clock.
    """
    metrics = summarize(result, seconds)
    if not result.trainer.is_global_zero:  # of several processes, one leaves the files
        return metrics
    title = describe(metrics)
    test = result.data.test
    _write_predictions(folder / "predictions.csv", result)
    figure_path = folder / "curves.png"
    figures.curves(metrics["replicas"], title, chance=metrics["chance"]).savefig(figure_path, dpi=110)
    _fill_dashboard(result, metrics)
    write_atomically(folder / METRICS, json.dumps(metrics, indent=2))
    epochs = sorted(set(result.tested_epochs))
    logger.info(
        "%s\n"
        "  on %d test photos, with the weights of epoch %s; the larger class is %.3f of all photos\n"
        "  figure      %s\n"
        "  checkpoints %s\n"
        "  dashboard   tensorboard --logdir %s\n"
        "  try it      python scripts/predict.py %s PHOTO",
        title, len(test), ", ".join(map(str, epochs)), metrics["chance"],
        figure_path, folder / "checkpoints", folder, folder,
    )  # fmt: skip
    return metrics


def summarize(result: Result, seconds: float) -> dict[str, Any]:
    """What `metrics.json` holds: of every replica its own result, and their means; times are in seconds."""
    model, data, epochs = result.model, result.data, result.history.epochs
    replicas = [_summarize_replica(result, replica) for replica in range(len(model.seeds))]
    accuracies = [replica["test/acc"] for replica in replicas]
    correct = ((model.test_logits > 0) == (data.test.labels > 0.5)).double().numpy()
    return {
        "status": "finished",
        "net": net_title(*(model.hparams[key] for key in ("hidden", "whitening", "edges"))),
        "hidden": list(model.hparams["hidden"]),
        "depth": len(model.hparams["hidden"]),
        "parameters": sum(parameter.numel() for parameter in model.parameters()) // len(replicas),
        "epochs": len(epochs),
        "seed": model.seeds[0],
        "fold": data.fold,
        "split_seed": data.split_seed,
        "shuffle_seed": data.shuffle_seed,
        "accelerator": result.trainer.strategy.root_device.type,
        "photos": {part: len(getattr(data, part)) for part in ("train", "val", "test")},
        "unreadable": len(data.store.unreadable),
        "warnings": data.caveats,
        "class_names": list(data.class_names),
        "chance": _majority_share(data.store.labels),
        **_mean(
            [{name: replica[name] for name in ("test/acc", "test/loss", "val/acc", "val/loss")} for replica in replicas]
        ),
        "test/acc_sd": stdev(accuracies) if len(replicas) > 1 else None,
        "test/acc_interval": mean_accuracy(correct)[1:] if min(correct.shape) > 1 else replicas[0]["test/acc_interval"],
        "seconds_per_epoch": median(epoch["seconds"] for epoch in epochs),
        "seconds": seconds,
        "history": [_mean(rows) for rows in zip(*(replica["history"] for replica in replicas), strict=True)],
        "replicas": replicas,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "machine": {
            "system": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "config": result.config,
    }


def _mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of every entry."""
    return {name: mean(row[name] for row in rows) for name in rows[0]}


def _summarize_replica(result: Result, replica: int) -> dict[str, Any]:
    history = result.history.of_replica(replica)
    tested_epoch = result.tested_epochs[replica]
    tested = history[tested_epoch - 1]
    logits, labels = result.model.test_logits[replica], result.data.test.labels
    correct = int(((logits > 0) == (labels > 0.5)).sum())
    return {
        "seed": result.model.seeds[replica],
        "tested_epoch": tested_epoch,
        "test/acc": correct / len(labels),
        "test/acc_interval": wilson_interval(correct, len(labels)),
        "test/loss": losses(logits, labels).mean().item(),
        "val/acc": tested["val/acc"],
        "val/loss": tested["val/loss"],
        "dead_layers": tested["dead_layers"],
        "history": history,
    }


@rank_zero_only  # the others end because the first one does, with errors that say nothing
def save_outcome(folder: Path, config: dict[str, Any], error: Exception) -> None:
    """Write `outcome.json` for a run that has no result, and why.

    Its status is "skipped" for want of an accelerator, "interrupted" by a signal, or "failed".
    """
    statuses = {UnavailableError: "skipped", InterruptedRunError: "interrupted"}
    foreseen = isinstance(error, InputError | InterruptedRunError)
    outcome = {
        "status": statuses.get(type(error), "failed"),
        "reason": str(error) if foreseen else f"{type(error).__name__}: {error}",
        "accelerator": config["trainer"]["accelerator"],
        "config": config,
    }
    with suppress(OSError):  # on a full disk there is no room for this either, and the error itself says more
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / OUTCOME, json.dumps(outcome, indent=2))


def describe(metrics: dict[str, Any]) -> str:
    """The net and its result in one line."""
    low, high = metrics["test/acc_interval"]
    net = metrics["net"]
    epochs = "1 epoch" if metrics["epochs"] == 1 else f"{metrics['epochs']} epochs"
    accuracy = f"{metrics['test/acc']:.3f} [{low:.3f}, {high:.3f}]"
    if (replicas := len(metrics["replicas"])) == 1:
        return f"{net}, {epochs}: test accuracy {accuracy}"
    return f"{net}, {epochs}, {replicas} seeds: mean test accuracy {accuracy}, sd {metrics['test/acc_sd']:.3f}"


def _fill_dashboard(result: Result, metrics: dict[str, Any]) -> None:
    """Add to TensorBoard what is known at the end: graph, first layer, mistakes, hyperparameters with the result."""
    model, test, size = result.model.cpu(), result.data.test, result.data.image_size
    tensorboard = cast(TensorBoardLogger, result.trainer.logger)
    writer, epochs = tensorboard.experiment, metrics["epochs"]
    # Several runs side by side, on the CUSTOM SCALARS tab; tags are patterns, and there is val/acc_sd too.
    charts = {"train loss": ["Multiline", ["train/loss$"]], "validation accuracy": ["Multiline", ["val/acc$"]]}
    writer.add_custom_scalars({"learning curves": charts})
    writer.add_graph(model.network, torch.zeros(1, 3, size, size))
    weights = model.network.input_weights.flatten(0, 1)
    pictures = figures.weight_pictures(weights[:MOST_WEIGHT_PICTURES], size)
    for unit, picture in enumerate(pictures, start=1):
        writer.add_image(f"first_layer/unit_{unit}", picture, epochs)
    pixels = result.data.store.pixels[test.rows]
    probabilities = model.test_logits.sigmoid().mean(0)
    mistakes = figures.mistakes(pixels, test.labels, probabilities, result.data.class_names)
    writer.add_image("test/mistakes", np.asarray(mistakes), epochs, dataformats="HWC")
    name = net_name(*(model.hparams[key] for key in ("hidden", "whitening", "edges")))
    hyperparameters = {"model": name, "lr": model.hparams["lr"], "seed": model.seeds[0]}
    hyperparameters |= {"replicas": len(model.seeds)}
    hyperparameters |= {name: metrics[name] for name in ("depth", "parameters", "epochs", "accelerator")}
    tensorboard.log_hyperparams(hyperparameters, {f"result/{name}": metrics[name] for name in ("test/acc", "val/acc")})
    tensorboard.save()


def _majority_share(labels: Tensor) -> float:
    share = labels.mean().item()
    return max(share, 1 - share)


def _processor() -> str:
    """The processor's name: Linux keeps it in a file, other systems tell it to Python."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _write_predictions(path: Path, result: Result) -> None:
    test = result.data.test
    rows = (
        (name, label, seed, probability)
        for seed, logits in zip(result.model.seeds, result.model.test_logits, strict=True)
        for name, label, probability in zip(
            test.names, test.labels.int().tolist(), logits.sigmoid().tolist(), strict=True
        )
    )
    _write_csv(path, ("path", "label", "seed", "probability"), rows)


def _write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> Path:
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def write_atomically(path: Path, text: str) -> None:
    """Write a text beside its place and rename it, so that a file with the right name is always whole."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # several processes may write at once
    try:
        partial.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")  # names may hold any bytes
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)

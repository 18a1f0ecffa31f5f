"""Graph, pictures and hyperparameters of a run, for TensorBoard."""

from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from catdog.data import CatDogDataModule
from catdog.model import CatDogClassifier
from catdog.plots import mistakes, weight_pictures

MOST_WEIGHT_PICTURES = 64


def fill_dashboard(
    model: LightningModule, data: CatDogDataModule, trainer: Trainer, metrics: dict[str, Any], probabilities: Tensor
) -> None:
    """Add graph, first layer, mistakes, and hyperparameters with the result.

    Args:
        model: the trained module.
        data: its photos.
        trainer: of which the first TensorBoardLogger is written to.
        metrics: the run's record.
        probabilities: of class 1 for the test photos, (replicas, photos).
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
        for unit, picture in enumerate(weight_pictures(weights[:MOST_WEIGHT_PICTURES], size), start=1):
            writer.add_image(f"first_layer/unit_{unit}", picture, steps)
    tested = probabilities.shape[1]
    if tested:
        pixels = data.store.pixels[data.test.rows[:tested]]
        picture = mistakes(pixels.__getitem__, data.test.labels[:tested], probabilities.mean(0), data.class_names)
        writer.add_image("test/mistakes", np.asarray(picture), steps, dataformats="HWC")
    names = ("net", "seed", "depth", "parameters", "epochs", "accelerator")
    hyperparameters = {name: metrics[name] for name in names} | {"replicas": len(metrics["replicas"])}
    hyperparameters["lr"] = model.hparams.get("lr", 0.0)
    results = {f"result/{name}": metrics[name] for name in ("test/acc", "val/acc") if name in metrics}
    tensorboard.log_hyperparams(hyperparameters, results)
    tensorboard.save()

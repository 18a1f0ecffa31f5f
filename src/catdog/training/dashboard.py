"""TensorBoard dashboard of a run: curves, pictures, hyperparameters with the result."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torchvision.utils import make_grid

from catdog import plots
from catdog.data import CatDogDataModule
from catdog.model import CatDogClassifier
from catdog.names import shown


class Dashboard(TensorBoardLogger):
    """TensorBoardLogger of curves: single numbers, such as test metrics, are in `fill`'s table instead."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="", default_hp_metric=False)

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Log metrics without the test's and without `epoch`, which Lightning adds."""
        curves = {name: value for name, value in metrics.items() if name != "epoch" and not name.startswith("test/")}
        super().log_metrics(curves, step)


def fill(
    model: LightningModule, data: CatDogDataModule, trainer: Trainer, record: dict[str, Any], probabilities: Tensor
) -> None:
    """Log graph, first-layer weights, mistakes, and hyperparameters with the result, to the TensorBoardLogger."""
    tensorboard = next(logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger))
    writer, steps = tensorboard.experiment, record["steps"]
    if isinstance(model, CatDogClassifier):
        network, size = model.network.cpu().float(), data.image_size
        writer.add_graph(network, torch.zeros(1, 3, size, size))
        units = plots.weight_pictures(network.input_weights.flatten(0, 1)[:64], size)
        writer.add_image("weights/first_layer", make_grid(units), steps)
    if tested := probabilities.shape[1]:
        pixels, labels = data.store.pixels[data.test.rows[:tested]], data.test.labels[:tested]
        picture = plots.mistakes(pixels.__getitem__, data.test.names, labels, probabilities.mean(0), data.class_names)
        writer.add_image("worst/mistakes", np.asarray(picture), steps, dataformats="HWC")
    columns = {name: record[name] for name in ("epochs", "fold", "net", "seed", "train_set")}
    columns |= {"lr": model.hparams.get("lr", 0.0), "processor": record["accelerator"]}  # five are shown, by name
    columns["data"] = shown(Path(getattr(data.source, "root", type(data.source).__name__)).resolve().name)
    tensorboard.log_hyperparams(columns, {"verdict/test_acc": record.get("test/acc", float("nan"))})  # after the curves
    tensorboard.save()

"""What is kept and shown of every epoch."""

import logging
import math
import shutil
import sys
import time
from pathlib import Path
from typing import Any, cast

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from tqdm import tqdm

from catdog.classifier import CatDogClassifier
from catdog.errors import InputError

logger = logging.getLogger(__name__)


class History(Callback):
    """Records every epoch and shows it: a progress bar on a terminal, else one line per epoch.

    Attributes:
        epochs: one dict per epoch with `epoch` (from 1), the logged train and val metrics, `dead_layers` (how many)
            and `seconds` (training and validation). It travels in checkpoints.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []
        self._bar: tqdm[Any] | None = None
        self._started = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar, over all steps of all epochs."""
        if sys.stderr.isatty() and trainer.is_global_zero:
            total = trainer.estimated_stepping_batches
            self._bar = tqdm(
                total=None if math.isinf(total) else int(total), initial=trainer.global_step, unit="step", leave=False
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_train_batch_end(self, *args: Any) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record and show the epoch; checkpoints are saved after this.

        Raises:
            InputError: the training loss is no longer a finite number.
        """
        metrics = {name: value.item() for name, value in trainer.callback_metrics.items() if "/" in name}
        dead_layers = len(cast(CatDogClassifier, pl_module).dead_layers)
        seconds = time.perf_counter() - self._started
        epoch = {"epoch": trainer.current_epoch + 1, **metrics, "dead_layers": dead_layers, "seconds": seconds}
        self.epochs.append(epoch)
        if not math.isfinite(metrics["train/loss"]):
            raise InputError(
                f"the training loss became {metrics['train/loss']} in epoch {epoch['epoch']} with "
                f"model.lr={pl_module.hparams['lr']}; a smaller learning rate keeps it finite"
            )
        if not trainer.is_global_zero:
            return
        line = f"epoch {epoch['epoch']}/{trainer.max_epochs}: " + _line(epoch)
        if self._bar is not None:
            self._bar.set_description_str(line)
        else:
            logger.info(line)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.epochs = list(state_dict["epochs"])


def _line(epoch: dict[str, float]) -> str:
    names = ("train/loss", "train/acc", "val/loss", "val/acc")
    return ", ".join(f"{name} {epoch[name]:.3f}" for name in names) + f", {epoch['seconds']:.2f} s"


class RunCheckpoint(ModelCheckpoint):
    """`NAME.ckpt` of a run's folder: after every epoch, or with `monitor` after those that lower it.

    A run that goes on in another folder takes the file along, so that its best epoch may be one before the break.
    """

    def __init__(self, folder: Path, name: str, monitor: str | None = None) -> None:
        super().__init__(folder, filename=name, monitor=monitor, enable_version_counter=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Copy the file to this run's folder, and take over what was reached."""
        before = Path(state_dict["best_model_path"])
        now = Path(str(self.dirpath)) / before.name
        if before.is_file() and before != now:
            now.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(before, now)
        moved: dict[str, Any] = {"dirpath": self.dirpath, "best_model_path": str(now)}
        if scores := list(state_dict["best_k_models"].values()):
            moved |= {"kth_best_model_path": str(now), "best_k_models": {str(now): scores[0]}}
        super().load_state_dict({**state_dict, **moved})

"""What is kept and shown of every epoch."""

import io
import logging
import math
import os
import sys
import time
from pathlib import Path
from typing import Any, cast

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor
from tqdm import tqdm

from catdog.classifier import CatDogClassifier
from catdog.errors import InputError

logger = logging.getLogger(__name__)

SAVE_INTERVAL = 1.0  # seconds; an epoch can take a tenth of one, and saving it a tenth of that again
BAR = "{percentage:3.0f}%|{bar}| {n:.0f}/{total_fmt} epochs [{elapsed}<{remaining}] {desc}"


class History(Callback):
    """Records every epoch and shows it: a progress bar on a terminal, else one line per epoch.

    Attributes:
        epochs: one dict per epoch with `epoch` (from 1), `seconds` (training and validation), and a list with one
            entry per replica of each train and val metric and of `dead_layers` (how many). It travels in checkpoints.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, Any]] = []
        self._bar: tqdm[Any] | None = None
        self._started = 0.0

    def of_replica(self, replica: int) -> list[dict[str, float]]:
        """The epochs of one replica, its entry for each list."""
        return [
            {name: value[replica] if isinstance(value, list) else value for name, value in epoch.items()}
            for epoch in self.epochs
        ]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar, over all epochs."""
        if sys.stderr.isatty() and trainer.is_global_zero:
            self._bar = tqdm(total=trainer.max_epochs, initial=trainer.current_epoch, leave=False, bar_format=BAR)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar within the epoch."""
        if self._bar is not None:
            done = trainer.current_epoch + (batch_idx + 1) / trainer.num_training_batches
            self._bar.update(done - self._bar.n)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record and show the epoch; the checkpoint is saved after this.

        Raises:
            InputError: a loss is no longer a finite number.
        """
        model = cast(CatDogClassifier, pl_module)
        metrics = {name: values.tolist() for name, values in model.epoch_metrics.items()}
        dead_layers = [len(numbers) for numbers in model.dead_layers]
        seconds = time.perf_counter() - self._started
        epoch = {"epoch": trainer.current_epoch + 1, **metrics, "dead_layers": dead_layers, "seconds": seconds}
        self.epochs.append(epoch)
        for name, part in (("train/loss", "training"), ("val/loss", "validation")):
            for seed, loss in zip(model.seeds, metrics[name], strict=True):
                if not math.isfinite(loss):
                    raise InputError(
                        f"the {part} loss of seed {seed} became {loss} in epoch {epoch['epoch']} with "
                        f"model.lr={model.hparams['lr']}; a smaller learning rate keeps it finite"
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


def _line(epoch: dict[str, Any]) -> str:
    names = ("train/loss", "train/acc", "val/loss", "val/acc")
    means = {name: sum(epoch[name]) / len(epoch[name]) for name in names}
    return ", ".join(f"{name} {mean:.3f}" for name, mean in means.items()) + f", {epoch['seconds']:.2f} s"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it: what is there stays whole until the new one is.

    Lightning's own writes to the system's temporary folder; where that is another disk, the move is a copy, which a
    kill cuts short.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Save the checkpoint to `path`."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        partial = Path(path).with_name(f".{Path(path).name}.partial")
        try:
            partial.write_bytes(content.getbuffer())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """What a checkpoint of catdog holds, with its tensors in the processor's memory.

    Raises:
        InputError: the file is no checkpoint of catdog.
    """
    try:
        # Weights only: a pickle that would run code is refused by the loader, before it runs any.
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        _ = checkpoint["hyper_parameters"]["hidden"], checkpoint["state_dict"]
        if "optimizer_states" in checkpoint:  # which best.ckpt has not
            _ = len(checkpoint["callbacks"]["History"]["epochs"])
    except Exception as error:  # whatever a file that is no checkpoint makes the loader raise
        raise InputError(f"'{path}' is no checkpoint of catdog ({type(error).__name__})") from error
    return checkpoint


class RunCheckpoint(Checkpoint):
    """`last.ckpt`, and of each replica the weights of the epoch with its lowest validation loss.

    `last.ckpt` is saved before the first epoch, at the end of an epoch if the last time is SAVE_INTERVAL ago, and at
    the end of training. The best weights travel in it and are written to `best.ckpt` when training is over.

    Args:
        folder: where the files lie.

    Attributes:
        best_epochs: of each replica the epoch with its lowest validation loss, from 1, int64 (replicas,).
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.best_epochs = torch.empty(0, dtype=torch.int64)
        self._losses = torch.empty(0)  # the lowest ones, (replicas,)
        self._weights: dict[str, Tensor] = {}  # of these epochs
        self._saved_epoch, self._saved_at = 0, -math.inf

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what training starts from, so that a run can be gone on with from its first moment."""
        if trainer.strategy.broadcast(not (self._folder / "last.ckpt").exists()):  # one answer for all processes
            self._save(trainer, trainer.current_epoch)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights that are better than before, and save."""
        losses = cast(CatDogClassifier, pl_module).epoch_metrics["val/loss"].cpu()
        weights = dict(pl_module.named_parameters())
        if not self._weights:
            self._weights = {name: value.detach().cpu().clone() for name, value in weights.items()}
            self._losses = torch.full_like(losses, math.inf)
            self.best_epochs = torch.ones(len(losses), dtype=torch.int64)
        better = losses < self._losses
        self._losses[better] = losses[better]
        self.best_epochs[better] = trainer.current_epoch + 1
        for name, value in weights.items():  # replicas are every parameter's first axis
            self._weights[name][better] = value.detach()[better].cpu()
        due = time.monotonic() - self._saved_at >= SAVE_INTERVAL
        if trainer.strategy.broadcast(due) or trainer.current_epoch + 1 == trainer.max_epochs:
            self._save(trainer, trainer.current_epoch + 1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last epoch, if training ended before the epochs asked for."""
        if self._saved_epoch != trainer.current_epoch:
            self._save(trainer, trainer.current_epoch)

    def _save(self, trainer: Trainer, epoch: int) -> None:
        self._saved_epoch, self._saved_at = epoch, time.monotonic()
        trainer.save_checkpoint(self._folder / "last.ckpt")

    def save_best(self, trainer: Trainer, model: CatDogClassifier) -> None:
        """Give the network each replica's best weights, and save them."""
        model.load_state_dict(model.state_dict() | self._weights)
        trainer.save_checkpoint(self._folder / "best.ckpt", weights_only=True)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        best = {"losses": self._losses, "epochs": self.best_epochs, "weights": self._weights}
        return {"saved_epoch": self._saved_epoch, "best": best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self._saved_epoch, best = state_dict["saved_epoch"], state_dict["best"]
        self._losses, self.best_epochs, self._weights = best["losses"], best["epochs"], best["weights"]

"""RunCheckpoint: the history, the best weights and the checkpoints of a run, and its progress."""

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor
from tqdm import tqdm

logger = logging.getLogger(__name__)

SAVE_INTERVAL = 1.0  # seconds; an epoch can take a tenth of one, and saving it a tenth of that again
BAR = "{percentage:3.0f}%|{bar}| {n:.0f}/{total_fmt} epochs [{elapsed}<{remaining}] {desc}"
SHOWN = ("train/loss", "train/acc", "val/loss", "val/acc")


def seeds_of(model: LightningModule) -> Sequence[int]:
    """Seeds of the networks that a module trains side by side; another kind of module counts as one network."""
    return getattr(model, "seeds", range(1))


def replica_metrics(model: LightningModule, trainer: Trainer, split: str) -> dict[str, list[float]]:
    """Select the last logged metrics of a split, a list over the replicas each."""
    metrics = getattr(model, "replica_metrics", trainer.callback_metrics)
    return {name: value.reshape(-1).tolist() for name, value in metrics.items() if name.startswith(split)}


class RunCheckpoint(Checkpoint):
    """Keeps the history and the best weights, and saves them in `last.ckpt` with all that training continues from.

    `last.ckpt` is saved before the first epoch, at the end of an epoch if the last time is SAVE_INTERVAL ago, and at
    the end of training, in `folder`. As a `Checkpoint`, it is called after the module has logged its training metrics.

    Attributes:
        rows: a dict for every training step at which an epoch or a validation ended, with `epoch` (from 1), `step`
            (of the optimizer), `seconds` (of the epoch), and a list over the replicas of each metric.
    """

    def __init__(self, folder: Path) -> None:
        self.rows: list[dict[str, Any]] = []
        self._folder = folder
        self._best: dict[str, Tensor] = {}  # weights of each replica at its lowest validation loss
        self._saved_at = self._started = 0.0
        self._bar: tqdm[Any] = tqdm(disable=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what training starts from, so that a run can be resumed from its first moment."""
        self._save(trainer)
        hidden = None if trainer.is_global_zero and trainer.progress_bar_callback is None else True  # None: if no tty
        epochs = trainer.max_epochs if trainer.max_epochs != -1 else None
        self._bar = tqdm(total=epochs, initial=trainer.current_epoch, leave=False, bar_format=BAR, disable=hidden)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the validation, and keep the weights that are better than before."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        step = self._record(trainer, pl_module, "val")["step"]
        better = [replica for replica, best in enumerate(self.best_steps()) if best == step]
        if better and (not self._best or len(better) == len(seeds_of(pl_module))):
            self._best = {name: value.cpu().clone() for name, value in pl_module.state_dict().items()}
        elif better:
            for name, value in pl_module.named_parameters():  # replicas are every parameter's first axis
                self._best[name][better] = value.detach()[better].cpu()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record and show the epoch, and save if the last time is long enough ago."""
        row = self._record(trainer, pl_module, "train")
        row["seconds"] = time.perf_counter() - self._started
        means = [f"{name} {sum(row[name]) / len(row[name]):.3f}" for name in SHOWN if name in row]
        line = ", ".join([*means, f"{row['seconds']:.2f} s"])
        self._bar.update(row["epoch"] - self._bar.n)
        self._bar.set_description_str(line)
        if self._bar.disable and trainer.is_global_zero and trainer.progress_bar_callback is None:
            logger.info("epoch %d%s: %s", row["epoch"], f"/{trainer.max_epochs}".replace("/-1", ""), line)
        if trainer.strategy.broadcast(time.monotonic() - self._saved_at >= SAVE_INTERVAL):  # one answer for all
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of training."""
        self._bar.close()
        self._save(trainer)

    def best_steps(self) -> list[int]:
        """Find of each replica the first training step with its lowest validation loss; none without validation."""
        validated = [(row["val/loss"], row["step"]) for row in self.rows if "val/loss" in row]
        replicas = len(validated[0][0]) if validated else 0
        return [min(validated, key=lambda row: row[0][replica])[1] for replica in range(replicas)]

    def load_best(self, trainer: Trainer, model: LightningModule) -> list[int]:
        """Give the module each replica's best weights, save them in `best.ckpt`, and return their training steps."""
        if self._best:
            model.load_state_dict(self._best)
        else:
            logger.warning("there was no validation to find the best weights, so the last ones are tested")
        self._save(trainer, "best.ckpt", weights_only=True)
        return self.best_steps() or [trainer.global_step] * len(seeds_of(model))

    def state_dict(self) -> dict[str, Any]:
        """Give history and best weights to the checkpoint."""
        return {"rows": self.rows, "best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take history and best weights from the checkpoint."""
        self.rows, self._best = state_dict["rows"], state_dict["best"]

    def _record(self, trainer: Trainer, model: LightningModule, split: str) -> dict[str, Any]:
        """Add metrics to the row of this step, which is a new one unless validation has just made it."""
        if not self.rows or self.rows[-1]["step"] != trainer.global_step:
            self.rows.append({"epoch": trainer.current_epoch + 1, "step": trainer.global_step})
        self.rows[-1] |= replica_metrics(model, trainer, split)
        return self.rows[-1]

    def _save(self, trainer: Trainer, name: str = "last.ckpt", weights_only: bool = False) -> None:
        """Save beside the place and rename: Lightning's own way leads through the system's temporary folder."""
        self._saved_at = time.monotonic()
        partial = self._folder / f".{name}.partial"
        trainer.save_checkpoint(partial, weights_only)
        if trainer.is_global_zero:
            os.replace(partial, self._folder / name)

"""RunCheckpoint: history, best weights, checkpoints and progress of a run."""

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

SAVE_INTERVAL = 1.0  # seconds; an epoch may take 0.1 s, and a checkpoint after each would add 10 %
BAR = "epoch {n:.0f}/{total_fmt} |{bar}| {desc}, {remaining} left"
PROGRESS_METRICS = ("train/loss", "train/acc", "val/loss", "val/acc")
BAR_METRICS = ("train/loss", "val/acc")  # 80 columns have no room for all


def seeds_of(model: LightningModule) -> Sequence[int]:
    """Return the seeds of a module's replicas; a module without `seeds` counts as one replica."""
    return getattr(model, "seeds", range(1))


def replica_metrics(model: LightningModule, trainer: Trainer, split: str) -> dict[str, list[float]]:
    """Return the last logged metrics of a split, each a list over the replicas."""
    metrics = getattr(model, "replica_metrics", trainer.callback_metrics)
    return {name: value.reshape(-1).tolist() for name, value in metrics.items() if name.startswith(split)}


class RunCheckpoint(Checkpoint):
    """Checkpoint callback that also stores the history and each replica's best weights in `checkpoints/last.ckpt`.

    It is below the trainer's `default_root_dir`, and saved at the start, after an epoch if SAVE_INTERVAL has passed,
    and at the end. Lightning calls a `Checkpoint` last, after the module has logged its training metrics.

    `rows` is the history, one dict per step at which an epoch or a validation ended: `epoch` (from 1), `step` (of the
    optimizer), `seconds` (of the epoch), and each metric as a list over the replicas. `best` is a state dict with each
    replica's weights from its lowest validation loss; empty without validation.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self._saved_at = self._started = 0.0
        self._bar: tqdm[Any] = tqdm(disable=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the initial state, so that a run can be resumed from the start; open the progress bar."""
        self._save(trainer)
        hidden = None if trainer.is_global_zero and trainer.progress_bar_callback is None else True  # None: if no tty
        epochs = trainer.max_epochs if trainer.max_epochs != -1 else None
        self._bar = tqdm(total=epochs, initial=trainer.current_epoch, leave=False, bar_format=BAR, disable=hidden)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the validation metrics, and copy the weights of replicas whose validation loss is a new minimum."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        step = self._record(trainer, pl_module, "val")["step"]
        better = [replica for replica, best in enumerate(self.best_steps()) if best == step]
        if better and (not self.best or len(better) == len(seeds_of(pl_module))):
            self.best = {name: value.cpu().clone() for name, value in pl_module.state_dict().items()}
        elif better:
            for name, value in pl_module.named_parameters():  # every parameter's first axis is the replica
                self.best[name][better] = value.detach()[better].cpu()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record and report the epoch; save if SAVE_INTERVAL has passed."""
        row = self._record(trainer, pl_module, "train")
        row["seconds"] = time.perf_counter() - self._started
        means = {name: f"{name} {sum(row[name]) / len(row[name]):.3f}" for name in PROGRESS_METRICS if name in row}
        self._bar.update(row["epoch"] - self._bar.n)
        self._bar.set_description_str(", ".join(means[name] for name in BAR_METRICS if name in means))
        line = ", ".join([*means.values(), f"{row['seconds']:.2f} s"])
        if self._bar.disable and trainer.is_global_zero and trainer.progress_bar_callback is None:
            logger.info("epoch %d%s: %s", row["epoch"], f"/{trainer.max_epochs}".replace("/-1", ""), line)
        if trainer.strategy.broadcast(time.monotonic() - self._saved_at >= SAVE_INTERVAL):  # same in every process
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the final state."""
        self._bar.close()
        self._save(trainer)

    def best_steps(self) -> list[int]:
        """Find each replica's first step with its lowest validation loss; empty without validation."""
        validated = [(row["val/loss"], row["step"]) for row in self.rows if "val/loss" in row]
        replicas = len(validated[0][0]) if validated else 0
        return [min(validated, key=lambda row: row[0][replica])[1] for replica in range(replicas)]

    def load_best(self, trainer: Trainer, model: LightningModule) -> None:
        """Load each replica's best weights, if any, into the module, and save them as `best.ckpt`."""
        if not Path(trainer.default_root_dir, "checkpoints/last.ckpt").exists():  # resumed at its end, no epoch ran
            self._save(trainer)
        model.load_state_dict(self.best or model.state_dict())
        self._save(trainer, "best.ckpt", weights_only=True)

    def state_dict(self) -> dict[str, Any]:
        """Return history and best weights, for the checkpoint."""
        return {"rows": self.rows, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore history and best weights from a checkpoint."""
        self.rows, self.best = state_dict["rows"], state_dict["best"]

    def _record(self, trainer: Trainer, model: LightningModule, split: str) -> dict[str, Any]:
        """Add metrics to the row of this step, which validation may already have created."""
        if not self.rows or self.rows[-1]["step"] != trainer.global_step:
            self.rows.append({"epoch": trainer.current_epoch + 1, "step": trainer.global_step})
        self.rows[-1] |= replica_metrics(model, trainer, split)
        return self.rows[-1]

    def _save(self, trainer: Trainer, name: str = "last.ckpt", weights_only: bool = False) -> None:
        """Save under a temporary name in the same folder, then rename; Lightning would use the system's /tmp."""
        self._saved_at = time.monotonic()
        partial = Path(trainer.default_root_dir, "checkpoints", f".{name}.partial")
        trainer.save_checkpoint(partial, weights_only)
        if trainer.is_global_zero:
            os.replace(partial, partial.with_name(name))

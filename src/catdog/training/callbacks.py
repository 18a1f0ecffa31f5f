"""RunCheckpoint: the history, the best weights and the checkpoints of a run, and its progress."""

import logging
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor
from tqdm import tqdm

from catdog.errors import InputError

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
    the end of training. As a `Checkpoint`, a callback is called after the module has logged its training metrics.

    Args:
        folder: where `last.ckpt` and `best.ckpt` are written.
        needs_best: whether the best weights are going to be tested.
        on_start: called with the trainer when it starts to train, an epoch of it, to test or to predict.

    Attributes:
        rows: a dict for every training step at which an epoch or a validation ended, with `epoch` (from 1), `step`
            (of the optimizer), `seconds` (of the epoch), and a list over the replicas of each metric.
        best_steps: of each replica the training step with its lowest validation loss.
    """

    def __init__(self, folder: Path, needs_best: bool, on_start: Callable[[Trainer], None]) -> None:
        self.rows: list[dict[str, Any]] = []
        self.best_steps: list[int] = []
        self._folder, self._needs_best, self._on_start = folder, needs_best, on_start
        self._losses: list[float] = []  # of each replica the lowest
        self._weights: dict[str, Tensor] = {}  # of each replica those at its best step
        self._saved_step, self._saved_at, self._started = -1, -math.inf, 0.0
        self._bar: tqdm[Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what training starts from, so that a run can be resumed from its first moment.

        Raises:
            InputError: the best weights are going to be tested, but training ends before the first validation.
        """
        self._on_start(trainer)
        epoch, first = trainer.num_training_batches, trainer.val_check_batch or 0
        first += ((trainer.check_val_every_n_epoch or 1) - 1) * epoch
        limits = (trainer.max_epochs, epoch), (trainer.max_steps, trainer.accumulate_grad_batches)
        if self._needs_best and any(count is not None and 0 <= count * batches < first for count, batches in limits):
            raise InputError(f"training ends before the first validation, after {first} batches; add test_weights=last")
        if trainer.strategy.broadcast(not (self._folder / "last.ckpt").exists()):  # one answer for all processes
            self._save(trainer)
        if sys.stderr.isatty() and trainer.is_global_zero and trainer.progress_bar_callback is None:
            epochs = trainer.max_epochs if (trainer.max_epochs or -1) > 0 else None
            bar_format = BAR if epochs else None
            self._bar = tqdm(total=epochs, initial=trainer.current_epoch, leave=False, bar_format=bar_format)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Call `on_start`."""
        self._on_start(trainer)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Call `on_start`."""
        self._on_start(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._on_start(trainer)
        self._started = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the validation, and keep the weights that are better than before."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        losses = self._record(trainer, pl_module, "val").get("val/loss", [])
        if losses and not self._weights:
            self._losses, self.best_steps = [math.inf] * len(losses), [0] * len(losses)
        better = [replica for replica, loss in enumerate(losses) if loss < self._losses[replica]]
        for replica in better:
            self._losses[replica], self.best_steps[replica] = losses[replica], trainer.global_step
        if better and len(better) == len(losses):
            self._weights = {name: value.cpu().clone() for name, value in pl_module.state_dict().items()}
        elif better:
            for name, value in pl_module.named_parameters():  # replicas are every parameter's first axis
                self._weights[name][better] = value.detach()[better].cpu()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record and show the epoch, and save if the last time is long enough ago."""
        row = self._record(trainer, pl_module, "train")
        row["seconds"] = time.perf_counter() - self._started
        if trainer.is_global_zero:
            self._show(row, trainer)
        if trainer.strategy.broadcast(time.monotonic() - self._saved_at >= SAVE_INTERVAL):
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of training."""
        if self._bar is not None:
            self._bar.close()
        if self._saved_step != trainer.global_step:
            self._save(trainer)

    def of_replica(self, replica: int) -> list[dict[str, float]]:
        """Select one replica's entry of each list of the history."""
        return [
            {name: value[replica] if isinstance(value, list) else value for name, value in row.items()}
            for row in self.rows
        ]

    def load_best(self, trainer: Trainer, model: LightningModule) -> None:
        """Give the module each replica's best weights, and save them in `best.ckpt`.

        Raises:
            InputError: there was no validation.
        """
        if not self._weights:
            raise InputError("training ended before the first validation; add test_weights=last")
        model.load_state_dict(self._weights)
        self._save(trainer, "best.ckpt", weights_only=True)

    def state_dict(self) -> dict[str, Any]:
        """Give history and best weights to the checkpoint."""
        return {"rows": self.rows, "best_steps": self.best_steps, "losses": self._losses, "weights": self._weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take history and best weights from the checkpoint."""
        self.rows, self.best_steps = state_dict["rows"], state_dict["best_steps"]
        self._losses, self._weights = state_dict["losses"], state_dict["weights"]

    def _record(self, trainer: Trainer, model: LightningModule, split: str) -> dict[str, Any]:
        """Add metrics to the row of this step, which is a new one unless validation has just made it.

        Raises:
            InputError: a loss is no longer a finite number.
        """
        if not self.rows or self.rows[-1]["step"] != trainer.global_step:
            self.rows.append({"epoch": trainer.current_epoch + 1, "step": trainer.global_step})
        row = self.rows[-1]
        row |= replica_metrics(model, trainer, split)
        for seed, loss in zip(seeds_of(model), row.get(f"{split}/loss", ()), strict=False):
            if not math.isfinite(loss):
                raise InputError(
                    f"{split}/loss of seed {seed} became {loss} in epoch {row['epoch']} with "
                    f"model.lr={model.hparams.get('lr')}; a smaller learning rate keeps it finite"
                )
        return row

    def _show(self, row: dict[str, Any], trainer: Trainer) -> None:
        """Show an epoch, by the bar or as a line; warn of nets that have died in it."""
        means = [f"{name} {sum(row[name]) / len(row[name]):.3f}" for name in SHOWN if name in row]
        line = ", ".join([*means, f"{row['seconds']:.2f} s"])
        if self._bar is not None:
            self._bar.update(row["epoch"] - self._bar.n)
            self._bar.set_description_str(line)
        elif trainer.progress_bar_callback is None:
            logger.info("epoch %d%s: %s", row["epoch"], f"/{trainer.max_epochs}".replace("/-1", ""), line)
        dead, before = (sum(own.get("val/dead", ())) for own in (row, self.rows[-2] if len(self.rows) > 1 else {}))
        if dead > before:
            logger.warning(
                "epoch %d: %.0f dead net(s): the output is the same for every validation photo, as when no unit of a "
                "layer is active; try another seed or wider layers", row["epoch"], dead,
            )  # fmt: skip

    def _save(self, trainer: Trainer, name: str = "last.ckpt", weights_only: bool = False) -> None:
        """Save beside the place and rename: Lightning's own way leads through the system's temporary folder."""
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()
        partial = self._folder / f".{name}.partial"
        trainer.save_checkpoint(partial, weights_only)
        if trainer.is_global_zero:
            os.replace(partial, self._folder / name)

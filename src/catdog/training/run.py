"""One run: fit, test, leave the record."""

import logging
import time
from pathlib import Path
from typing import Any, cast

import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from catdog.data import CatDogDataModule, store_key
from catdog.errors import InputError, check_choice
from catdog.training import record
from catdog.training.callbacks import RunCheckpoint, replica_metrics, seeds_of
from catdog.training.run_folder import prepared, read_checkpoint

logger = logging.getLogger(__name__)


def run(
    trainer: Trainer,
    model: LightningModule,
    data: CatDogDataModule,
    config: dict[str, Any],
    ckpt_path: str | Path | None = None,
    test_weights: str = "best",
) -> dict[str, Any] | None:
    """Train, test and record one network; everything it leaves lies in the trainer's `default_root_dir`.

    A run of the same `config` and photos in that folder is resumed, or its record returned.

    Args:
        trainer: with a RunCheckpoint among its callbacks, and a TensorBoardLogger.
        model: a CatDogClassifier, or another module that logs `val/loss` and `val/acc` and tests `test/acc`.
        data: the photos.
        config: all that the run depends on, kept in the record.
        ckpt_path: a run's `last.ckpt` to resume from.
        test_weights: which weights are tested: "best", those with the lowest validation loss, or "last".

    Returns:
        The record, as in `metrics.json`, which is written last: a folder that has one is a finished run. None after
        `fast_dev_run`, which leaves no record.

    Raises:
        InputError: an argument, a folder or a checkpoint cannot be worked with.
    """
    check_choice("test_weights", test_weights, ("best", "last"))
    for key in ("max_epochs", "max_steps", "limit_train_batches", "limit_test_batches"):
        if getattr(trainer, key) == 0:
            raise InputError(f"trainer.{key}=0 leaves nothing to {'test' if 'test' in key else 'train'}")
    history = next(callback for callback in trainer.checkpoint_callbacks if isinstance(callback, RunCheckpoint))
    if cast(Any, trainer).fast_dev_run:
        cast(Any, trainer).callbacks.remove(history)  # some batches of everything are to leave no trace
        trainer.fit(model, data)
        trainer.test(model, data, verbose=False)
        return None
    folder, started = Path(trainer.default_root_dir), time.perf_counter()
    if ckpt_path is not None and Path(ckpt_path).resolve().is_relative_to(folder.resolve()):
        raise InputError(f"ckpt_path: '{ckpt_path}' lies in the run's own folder, which is resumed without ckpt_path")
    identity = {"config": config, "photos": store_key(data.source, data.image_size)}
    if ckpt_path is not None and trainer.max_steps != -1:
        raise InputError("ckpt_path: training that trainer.max_steps ends cannot be resumed; use trainer.max_epochs")
    with prepared(folder, identity, trainer.is_global_zero) as finished:
        if finished is not None:
            logger.info("finished before: %s", folder)
            return finished
        record.prepare_data(data, folder, trainer.is_global_zero)
        last = folder / "checkpoints" / "last.ckpt"
        for path in folder.glob("hpc_ckpt_*"):  # Lightning's, of mid-epoch, which it would load unasked, in testing too
            path.unlink(missing_ok=True)
        # With max_steps, Lightning 2.6 would give an epoch that has ended one batch more, so training starts again.
        _fit(trainer, model, data, last if last.is_file() and trainer.max_steps == -1 else ckpt_path)
        last_steps = [trainer.global_step] * len(seeds_of(model))
        steps = history.load_best(trainer, model) if test_weights == "best" else last_steps
        trainer.test(model, data, verbose=False)
        tested = replica_metrics(model, trainer, "test")
        probabilities = _predict(trainer, model, data)
        metrics = record.summarize(model, data, history.rows, steps, tested, probabilities)
        metrics |= {"accelerator": trainer.strategy.root_device.type, "seconds": time.perf_counter() - started}
        metrics["config"] = config
        if trainer.is_global_zero:  # one of several processes writes
            record.save(folder, metrics, model, data, trainer, probabilities)
        return metrics


def _fit(trainer: Trainer, model: LightningModule, data: CatDogDataModule, ckpt_path: str | Path | None) -> None:
    """Train, from a checkpoint if there is one.

    Raises:
        InputError: that is of another network, or of one that was trained with other hyperparameters.
    """
    checkpoint = {} if ckpt_path is None else read_checkpoint(ckpt_path)
    if checkpoint and "RunCheckpoint" not in checkpoint.get("callbacks", ()):
        raise InputError(f"ckpt_path: '{ckpt_path}' is no training to resume; give the checkpoints/last.ckpt of a run")
    saved = checkpoint.get("hyper_parameters", model.hparams)
    for key, value in model.hparams.items():
        if key != "class_names" and saved.get(key) != value:
            raise InputError(f"ckpt_path: '{ckpt_path}' was trained with {key}={saved.get(key)}, not with {value}")
    trainer.fit(model, data, ckpt_path=ckpt_path, weights_only=True)


def _predict(trainer: Trainer, model: LightningModule, data: CatDogDataModule) -> Tensor:
    """Predict the tested photos, float32 (replicas, photos); no photos if the module has no `predict_step`."""
    replicas = len(seeds_of(model))
    if type(model).predict_step is LightningModule.predict_step:
        logger.info("no predictions.csv: %s has no predict_step", type(model).__name__)
        return torch.empty(replicas, 0)
    trainer.limit_predict_batches = trainer.limit_test_batches
    batches: Any = trainer.predict(model, data)
    return torch.cat([batch.float().cpu().reshape(replicas, -1) for batch in batches], dim=1)

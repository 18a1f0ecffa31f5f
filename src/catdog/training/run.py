"""One run: fit, test, leave the record."""

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from torch import Tensor

from catdog.data import CatDogDataModule
from catdog.errors import InputError, check_choice
from catdog.training import record
from catdog.training.callbacks import RunCheckpoint, replica_metrics, seeds_of
from catdog.training.run_folder import last_checkpoint, prepared, read_checkpoint, remove_mid_epoch_checkpoints

logger = logging.getLogger(__name__)

REMARKS = (  # of Lightning's and PyTorch's, not for the user
    ".*Checkpoint directory .* exists and is not empty",  # a run that is resumed in its folder
    ".*`srun` command is available",  # a cluster's login node
    ".*LeafSpec.* is deprecated",  # Lightning 2.6 with PyTorch 2.14
    ".*Detected pickle protocol",  # a file given as ckpt_path that is no checkpoint, which is said below
    ".*torch.jit.* is deprecated",  # TensorBoard's graph with PyTorch 2.14
    ".*smaller than the logging interval",  # metrics are logged once per epoch
    ".*enabled train dataloader shuffling",  # the data module answers overfit_batches itself
)
for name in ("pytorch.utilities.rank_zero", "fabric.utilities.rank_zero", "pytorch.trainer.connectors"):
    logging.getLogger(f"lightning.{name}").setLevel(logging.WARNING)  # hardware, tips, limits, signals


def run(
    data: CatDogDataModule,
    model: LightningModule,
    build_trainer: Callable[..., Trainer],
    *,
    folder: Path,
    config: dict[str, Any],
    ckpt_path: str | Path | None = None,
    test_weights: str = "best",
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
    on_start: Callable[[Trainer], None] = lambda trainer: None,
) -> dict[str, Any] | None:
    """Train, test and record one network; everything it leaves lies in `folder`.

    Args:
        data: the photos.
        model: a CatDogClassifier, or another module that logs `val/loss` and `val/acc` and tests `test/acc`.
        build_trainer: makes the trainer, given `callbacks`, `logger` and `default_root_dir`.
        folder: the run's folder. A run of the same `config` and photos in it is resumed, or its record returned; what
            another one left is moved aside.
        config: all that the run depends on, kept in the record.
        ckpt_path: a run's `last.ckpt` to resume from.
        test_weights: which weights are tested: "best", those with the lowest validation loss, or "last".
        callbacks: further ones.
        loggers: further ones; TensorBoard is always on.
        on_start: called with the trainer when it starts to train, an epoch of it, to test or to predict.

    Returns:
        The record, as in `metrics.json`, which is written last: a folder that has one is a finished run. None after
        `fast_dev_run`, which leaves no record.

    Raises:
        InputError: an argument, a folder of photos or a checkpoint cannot be worked with.
    """
    started = time.perf_counter()
    check_choice("test_weights", test_weights, ("best", "last"))
    if ckpt_path is not None and Path(ckpt_path).resolve().is_relative_to(folder.resolve()):
        raise InputError(f"ckpt_path: '{ckpt_path}' lies in the run's own folder, which is resumed without ckpt_path")
    with _without_remarks():
        history = RunCheckpoint(folder / "checkpoints", test_weights == "best", on_start)
        trainer = build_trainer(
            callbacks=[history, *callbacks],
            logger=[TensorBoardLogger(folder, name="", version="", default_hp_metric=False), *loggers],
            default_root_dir=folder,
        )
        check_trainer(trainer, test_weights)
        if getattr(trainer, "fast_dev_run", False):
            cast(Any, trainer).callbacks.remove(history)  # some batches of everything are to leave no trace
            trainer.fit(model, data)
            trainer.test(model, data, verbose=False)
            return None
        identity = {"config": config, "photos": data.fingerprint()}
        with prepared(folder, identity, trainer.is_global_zero) as finished:
            if finished is not None:
                logger.info("finished before: %s", folder)
                return finished
            ckpt_path = last_checkpoint(folder) or ckpt_path
            if ckpt_path is not None:
                check_resumable(ckpt_path, model, trainer)
            _prepare_data(data, folder, trainer.is_global_zero)
            remove_mid_epoch_checkpoints(folder)
            trainer.fit(model, data, ckpt_path=ckpt_path, weights_only=True)
            steps: Sequence[int] = [trainer.global_step] * len(seeds_of(model))
            if test_weights == "best":
                steps = history.best_steps
                history.load_best(trainer, model)
            remove_mid_epoch_checkpoints(folder)
            trainer.test(model, data, verbose=False)
            tested = replica_metrics(model, trainer, "test")
            probabilities = _predict(trainer, model, data)
            metrics = record.summarize(model, data, history, steps, tested, probabilities)
            metrics |= {"accelerator": trainer.strategy.root_device.type, "seconds": time.perf_counter() - started}
            metrics["config"] = config
            if trainer.is_global_zero:  # one of several processes writes
                record.save(folder, metrics, model, data, trainer, probabilities)
            return metrics


def check_trainer(trainer: Trainer, test_weights: str) -> None:
    """Raise an InputError unless the trainer trains, validates and tests something."""
    for key in ("max_epochs", "max_steps", "limit_train_batches", "limit_test_batches"):
        if getattr(trainer, key) == 0:
            raise InputError(f"trainer.{key}=0 leaves nothing to {'test' if 'test' in key else 'train'}")
    if trainer.limit_val_batches == 0 and test_weights == "best":
        raise InputError(
            "trainer.limit_val_batches=0 leaves no validation to find the best weights; add test_weights=last"
        )


def check_resumable(ckpt_path: str | Path, model: LightningModule, trainer: Trainer) -> None:
    """Raise an InputError unless the file is a checkpoint of the same network, before the end of this training."""
    checkpoint = read_checkpoint(ckpt_path)
    if "optimizer_states" not in checkpoint:
        raise InputError(f"ckpt_path: '{ckpt_path}' holds weights alone; give the checkpoints/last.ckpt of a run")
    epochs = max((row["epoch"] for row in checkpoint["callbacks"]["RunCheckpoint"]["rows"]), default=0)
    if trainer.max_epochs not in (None, -1) and epochs > trainer.max_epochs:
        raise InputError(
            f"ckpt_path: '{ckpt_path}' is of epoch {epochs}, after the last of trainer.max_epochs={trainer.max_epochs}"
        )
    saved = checkpoint["hyper_parameters"]
    for key, value in model.hparams.items():
        if key != "class_names" and saved.get(key) != value:
            raise InputError(f"ckpt_path: '{ckpt_path}' was trained with {key}={saved.get(key)}, not with {value}")


def _prepare_data(data: CatDogDataModule, folder: Path, is_first: bool) -> None:
    """Decode and split the photos; the first process tells what is wrong with them."""
    if is_first:
        record.save_unreadable(data, folder)  # first, because too many of them end the run
    data.prepare_data()
    data.setup()
    for warning in data.warnings if is_first else ():
        logger.warning(warning)


def _predict(trainer: Trainer, model: LightningModule, data: CatDogDataModule) -> Tensor:
    """Predict the tested photos, float32 (replicas, photos); no photos if the module has no `predict_step`."""
    replicas = len(seeds_of(model))
    if type(model).predict_step is LightningModule.predict_step:
        logger.info("no predictions.csv: %s has no predict_step", type(model).__name__)
        return torch.empty(replicas, 0)
    trainer.limit_predict_batches = trainer.limit_test_batches
    batches: Any = trainer.predict(model, data)
    return torch.cat([batch.float().cpu().reshape(replicas, -1) for batch in batches], dim=1)


@contextmanager
def _without_remarks() -> Iterator[None]:
    with warnings.catch_warnings():
        for remark in REMARKS:
            warnings.filterwarnings("ignore", message=remark)
        yield

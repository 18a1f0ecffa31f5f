"""One run: fit, test, write the record."""

import logging
import time
from pathlib import Path
from typing import Any, cast

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from catdog.data import CatDogDataModule, store_key
from catdog.errors import InputError, check_choice
from catdog.model import CatDogClassifier
from catdog.training import record
from catdog.training.callbacks import RunCheckpoint, replica_metrics, seeds_of
from catdog.training.run_folder import open_run_folder, read_checkpoint

logger = logging.getLogger(__name__)


def run(
    trainer: Trainer,
    model: LightningModule,
    data: CatDogDataModule,
    config: dict[str, Any],
    ckpt_path: str | Path | None = None,
    test_weights: str = "last",
) -> dict[str, Any] | None:
    """Train and test one network, and write its record to the trainer's `default_root_dir`.

    An interrupted run of the same `config` and photos in that folder is resumed; the record of a finished one is
    returned. `ckpt_path` resumes another run's `last.ckpt`. The trainer needs a RunCheckpoint and a TensorBoardLogger.
    A model other than CatDogClassifier must log `val/loss`, `val/acc` and `test/acc`. `test_weights` are "last" or
    "best" (lowest validation loss). Returns the record; None after `fast_dev_run`; InputError for an invalid argument.
    """
    folder, started = Path(trainer.default_root_dir), time.perf_counter()
    history = _check(trainer, model, data, ckpt_path, test_weights)
    if cast(Any, trainer).fast_dev_run:
        cast(Any, trainer).callbacks.remove(history)  # fast_dev_run writes no files
        trainer.fit(model, data)
        trainer.test(model, data, verbose=False)
        return None
    identity = {"config": config, "photos": store_key(data.source, data.image_size)}
    with open_run_folder(folder, identity, trainer.is_global_zero) as finished:
        if finished is not None:
            logger.info("finished before: %s", folder)
            return finished
        record.prepare_data(data, folder, trainer.is_global_zero)
        _fit(trainer, model, data, folder, ckpt_path)
        tested, predicted = _test(trainer, model, data, history, test_weights)
        metrics = record.summarize(model, data, history.rows, tested, predicted)
        metrics |= {"accelerator": trainer.strategy.root_device.type, "config": config}
        metrics["seconds"] = time.perf_counter() - started
        if trainer.is_global_zero:  # only one process writes
            record.save(folder, metrics, model, data, trainer, predicted[0].probabilities)
        return metrics


def _check(
    trainer: Trainer, model: LightningModule, data: CatDogDataModule, ckpt_path: str | Path | None, test_weights: str
) -> RunCheckpoint:
    """Return the trainer's RunCheckpoint; InputError for arguments that cannot work together."""
    history = next((one for one in trainer.checkpoint_callbacks if isinstance(one, RunCheckpoint)), None)
    logged = cast(Any, trainer).fast_dev_run or any(isinstance(one, TensorBoardLogger) for one in trainer.loggers)
    if history is None or not logged:
        raise InputError("the trainer needs a RunCheckpoint among its callbacks and a Dashboard among its loggers")
    check_choice("test_weights", test_weights, ("best", "last"))
    for key in ("max_epochs", "max_steps", "limit_train_batches", "limit_test_batches"):
        if getattr(trainer, key) == 0:
            raise InputError(f"trainer.{key}=0 leaves nothing to {'test' if 'test' in key else 'train'}")
    if ckpt_path is not None and Path(ckpt_path).resolve().is_relative_to(Path(trainer.default_root_dir).resolve()):
        raise InputError(f"ckpt_path: '{ckpt_path}' lies in the run's own folder, which is resumed without ckpt_path")
    if ckpt_path is not None and trainer.max_steps != -1:
        raise InputError("ckpt_path: training that trainer.max_steps or fast_dev_run ends cannot be resumed")
    if len(seeds_of(model)) > 1 and trainer.gradient_clip_val and trainer.gradient_clip_algorithm != "value":
        raise InputError("trainer.gradient_clip_val: with replicas it needs trainer.gradient_clip_algorithm=value")
    if isinstance(model, CatDogClassifier) and (size := model.hparams["image_size"]) != data.image_size:
        raise InputError(f"model.image_size={size} is not data.image_size={data.image_size}, which sets both")
    return history


def _fit(
    trainer: Trainer, model: LightningModule, data: CatDogDataModule, folder: Path, ckpt_path: str | Path | None
) -> None:
    """Train, resuming from the folder's last checkpoint or else from `ckpt_path`; InputError if it is another net's."""
    for path in folder.glob("hpc_ckpt_*"):  # mid-epoch checkpoints, which Lightning would load even for testing
        path.unlink(missing_ok=True)
    last = folder / "checkpoints" / "last.ckpt"
    if last.is_file() and trainer.max_steps == -1:
        # Not with max_steps: Lightning 2.6 would repeat a batch after a finished epoch, so training restarts.
        ckpt_path = last
    checkpoint = {} if ckpt_path is None else read_checkpoint(ckpt_path)
    if checkpoint and "RunCheckpoint" not in checkpoint.get("callbacks", ()):
        raise InputError(f"ckpt_path: '{ckpt_path}' is no training to resume; give the checkpoints/last.ckpt of a run")
    saved = checkpoint.get("hyper_parameters", model.hparams)
    for key, value in model.hparams.items():
        if key != "class_names" and saved.get(key) != value:
            raise InputError(f"ckpt_path: '{ckpt_path}' was trained with {key}={saved.get(key)}, not with {value}")
    tested = data.state_dict().get("test")
    if checkpoint.get(type(data).__qualname__, {}).get("test", tested) != tested:
        raise InputError(f"ckpt_path: the training of '{ckpt_path}' had other test photos, and may have seen these")
    trainer.fit(model, data, ckpt_path=ckpt_path, weights_only=True)


def _test(
    trainer: Trainer, model: LightningModule, data: CatDogDataModule, history: RunCheckpoint, test_weights: str
) -> tuple[dict[str, list[float]], list[record.Predicted]]:
    """Predict with the last and the best weights, and test the chosen ones, which the module then keeps.

    Returns the test metrics, and the predictions: first those of the chosen weights, then those of the others, if any.
    """
    last = {name: value.clone() for name, value in model.state_dict().items()}
    weights = {"last": (last, [trainer.global_step] * len(seeds_of(model)))}
    if history.best:
        weights["best"] = history.best, history.best_steps()
    elif test_weights == "best":
        logger.warning("there was no validation to find the best weights, so the last ones are tested")
    history.load_best(trainer, model)
    predicted = []
    for name in sorted(weights, key=lambda name: name == test_weights):
        state, steps = weights[name]
        model.load_state_dict(state)
        predicted.append(record.Predicted(name, steps, _predict(trainer, model, data)))
    trainer.test(model, data, verbose=False)
    return replica_metrics(model, trainer, "test"), predicted[::-1]


def _predict(trainer: Trainer, model: LightningModule, data: CatDogDataModule) -> Tensor:
    """Predict the tested photos' probabilities of class 1, float32 (replicas, photos); 0 photos if it cannot."""
    replicas = len(seeds_of(model))
    if type(model).predict_step is LightningModule.predict_step:
        return torch.empty(replicas, 0)
    trainer.limit_predict_batches = trainer.limit_test_batches
    batches: Any = trainer.predict(model, data)
    return torch.cat([batch.float().cpu().reshape(replicas, -1) for batch in batches], dim=1)

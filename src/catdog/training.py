"""One run: build, fit, test, leave the record."""

import logging
import time
import warnings
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer, seed_everything
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import TensorBoardLogger

from catdog import record
from catdog.classifier import CatDogClassifier
from catdog.data import CatDogDataModule
from catdog.epochs import History, RunCheckpoint
from catdog.errors import InputError, check_whole_number

# Not for the user: batches come from memory, so workers would only slow them down; Lightning 2.6 and TensorBoard's
# graph use what PyTorch 2.14 deprecates.
REMARKS = (".*does not have many workers", ".*LeafSpec.* is deprecated", ".*torch.jit.* is deprecated")
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its import sets INFO: hardware, tips, limits


def run(
    build_data: Callable[[], CatDogDataModule],
    build_model: Callable[..., CatDogClassifier],
    build_trainer: Callable[..., Trainer],
    *,
    folder: Path,
    seed: int,
    ckpt_path: str | None = None,
    test_weights: str = "best",
    config: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Train, test and record one network; everything it leaves lies in `folder`.

    Args:
        build_data: makes the data module.
        build_model: makes the classifier, given `image_size` and `class_names`.
        build_trainer: makes the trainer, given `callbacks`, `logger` and `default_root_dir`.
        folder: the run's folder.
        seed: of the initial weights.
        ckpt_path: a run's `last.ckpt` to go on from.
        test_weights: which weights are tested: "best", those of the epoch with the lowest validation loss, or "last".
        config: kept in the record as it is.

    Returns:
        The record, as in `metrics.json`. That is written last: a folder that has one is a finished run.

    Raises:
        InputError: an argument, a folder of photos or a checkpoint cannot be worked with.
    """
    started = time.perf_counter()
    check_whole_number("seed", seed, least=0)
    if test_weights not in ("best", "last"):
        raise InputError(f"test_weights must be best or last, got {test_weights!r}")
    data = build_data()
    seed_everything(seed, verbose=False)
    model = build_model(image_size=data.image_size, class_names=data.class_names)
    if ckpt_path is not None:
        _check_resumable(ckpt_path, model)
    history = History()
    best = RunCheckpoint(folder / "checkpoints", "best", monitor="val/loss")
    last = RunCheckpoint(folder / "checkpoints", "last")
    tensorboard = TensorBoardLogger(folder, name="", version="", default_hp_metric=False)
    trainer = _build_trainer(
        build_trainer, callbacks=[history, best, last], logger=tensorboard, default_root_dir=folder
    )
    data.prepare_data()
    data.setup()
    folder.mkdir(parents=True, exist_ok=True)
    record.save_unreadable(data, folder)
    with warnings.catch_warnings():
        for remark in REMARKS:
            warnings.filterwarnings("ignore", message=remark)
        trainer.fit(model, data, ckpt_path=ckpt_path, weights_only=True)
        if not history.epochs:
            raise InputError("no epoch was trained; trainer.limit_train_batches and limit_val_batches must be above 0")
        if test_weights == "best":
            # Not by trainer.test(ckpt_path=…), which would take the history back to that epoch too.
            model.load_state_dict(torch.load(best.best_model_path, map_location="cpu", weights_only=True)["state_dict"])
        trainer.test(model, data, verbose=False)
        tested = min(history.epochs, key=itemgetter("val/loss")) if test_weights == "best" else history.epochs[-1]
        result = record.Result(model, data, trainer, history.epochs, tested, seed, config or {})
        return record.save(result, folder, seconds=time.perf_counter() - started)


def _build_trainer(build_trainer: Callable[..., Trainer], **arguments: Any) -> Trainer:
    try:
        trainer = build_trainer(**arguments)
    except (MisconfigurationException, ImportError, TypeError, ValueError) as error:
        raise InputError(f"trainer: {error}") from error
    check_whole_number("trainer.max_epochs", trainer.max_epochs, least=1)
    return trainer


def _check_resumable(ckpt_path: str, model: CatDogClassifier) -> None:
    """Raise an InputError unless the file is a checkpoint of the same network."""
    if not Path(ckpt_path).is_file():
        raise InputError(f"ckpt_path: no file at '{ckpt_path}'; give the checkpoints/last.ckpt of a run")
    try:
        saved = torch.load(ckpt_path, map_location="cpu", weights_only=True)["hyper_parameters"]
    except Exception as error:  # whatever a file that is no checkpoint makes the loader raise
        raise InputError(f"ckpt_path: '{ckpt_path}' is no checkpoint of catdog ({type(error).__name__})") from error
    for key, value in model.hparams.items():
        if key != "lr" and saved.get(key) != value:
            raise InputError(f"ckpt_path: '{ckpt_path}' was trained with {key}={saved.get(key)}, not with {value}")

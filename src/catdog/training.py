"""One run: build, fit, test, leave the record."""

import errno
import logging
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from lightning import Trainer, seed_everything
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import TensorBoardLogger

from catdog import record, resumption, seeding
from catdog.classifier import CatDogClassifier
from catdog.data import CatDogDataModule
from catdog.epochs import AtomicCheckpointIO, History, RunCheckpoint, read_checkpoint
from catdog.errors import InputError, UnavailableError, check_whole_number
from catdog.interruption import Interruption

logger = logging.getLogger(__name__)

REMARKS = (  # of Lightning's and PyTorch's, not for the user
    ".*does not have many workers",  # batches come from memory
    ".*Checkpoint directory .* exists and is not empty",  # a run that goes on in its folder
    ".*`srun` command is available",  # a cluster's login node
    ".*LeafSpec.* is deprecated",  # Lightning 2.6 with PyTorch 2.14
    ".*Detected pickle protocol",  # a file given as ckpt_path that is no checkpoint, which is said below
    ".*torch.jit.* is deprecated",  # TensorBoard's graph with PyTorch 2.14
)
COMPONENT_IMAGES = 6400  # to find principal components by
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk, quota, and limit on a file's size
for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.WARNING)  # its import sets INFO: hardware, tips, limits


@contextmanager
def _without_remarks() -> Iterator[None]:
    with warnings.catch_warnings():
        for remark in REMARKS:
            warnings.filterwarnings("ignore", message=remark)
        yield


@_without_remarks()
def run(
    build_data: Callable[[], CatDogDataModule],
    build_model: Callable[..., CatDogClassifier],
    build_trainer: Callable[..., Trainer],
    *,
    folder: Path,
    config: dict[str, Any],
    seed: int,
    ckpt_path: str | None = None,
    test_weights: str = "best",
) -> dict[str, Any]:
    """Train, test and record one network; everything it leaves lies in `folder`.

    Args:
        build_data: makes the data module.
        build_model: makes the classifier, given `image_size`, `class_names` and `seed`.
        build_trainer: makes the trainer, given `callbacks`, `logger`, `default_root_dir` and `plugins`.
        folder: the run's folder. Where it holds a run of the same `config` and photos, that is gone on with, or its
            record returned; what else it holds is removed.
        config: all that the run depends on, kept in the record.
        seed: of the initial weights of the first replica.
        ckpt_path: a run's `last.ckpt` to go on from.
        test_weights: which weights are tested: "best", those of the epoch with the lowest validation loss, or "last".

    Returns:
        The record, as in `metrics.json`. That is written last: a folder that has one is a finished run.

    Raises:
        InputError: an argument, a folder of photos or a checkpoint cannot be worked with.
        InterruptedRunError: a signal has ended the run; its checkpoint is that of an epoch's end.
    """
    started = time.perf_counter()
    check_whole_number("seed", seed, least=0, most=seeding.MOST)
    if test_weights not in ("best", "last"):
        raise InputError(f"test_weights must be best or last, got {test_weights!r}")
    if ckpt_path is not None and Path(ckpt_path).resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"ckpt_path: '{ckpt_path}' lies in the run's own folder, which goes on by itself where nothing else has "
            "changed, and else is emptied; leave ckpt_path out, or give another folder"
        )
    with Interruption(folder) as interruption, _full_disk_in_a_sentence(folder):
        data = build_data()
        seed_everything(seed, verbose=False)
        model = build_model(image_size=data.image_size, class_names=data.class_names, seed=seed)
        history, checkpoint = History(), RunCheckpoint(folder / "checkpoints")
        trainer = _build_trainer(
            build_trainer,
            callbacks=[history, checkpoint, interruption],
            logger=TensorBoardLogger(folder, name="", version="", default_hp_metric=False),
            default_root_dir=folder,
            plugins=[AtomicCheckpointIO()],
        )
        with resumption.alone_in(folder, trainer.is_global_zero):
            identity = {"config": config, "photos": data.fingerprint()}
            if (finished := resumption.begin(folder, identity, trainer.is_global_zero)) is not None:
                logger.info("finished before: %s", folder)
                return finished
            if (ckpt_path := resumption.checkpoint(folder) or ckpt_path) is not None:
                _check_resumable(ckpt_path, model, cast(int, trainer.max_epochs))
            if trainer.is_global_zero:
                record.save_unreadable(data, folder)  # first, because too many of them end the run
            data.prepare_data()
            data.setup()
            if trainer.is_global_zero:
                for caveat in data.caveats:
                    logger.warning(caveat)
            if ckpt_path is None:  # else it is in there
                model.fit_features(data.training_images(COMPONENT_IMAGES))
            _fit(trainer, model, data, history, ckpt_path)
            tested_epochs = _test(trainer, model, data, checkpoint, test_weights)
            result = record.Result(model, data, trainer, history, tested_epochs, config)
            return record.save(result, folder, seconds=time.perf_counter() - started)


@contextmanager
def _full_disk_in_a_sentence(folder: Path) -> Iterator[None]:
    show = threading.excepthook

    def show_unless_full(arguments: threading.ExceptHookArgs) -> None:
        if not _is_full(arguments.exc_value):
            show(arguments)

    threading.excepthook = show_unless_full  # TensorBoard writes in a thread, which hands its error on to us
    try:
        yield
    except OSError as error:
        if not _is_full(error):
            raise
        where = error.filename or folder
        raise InputError(
            f"'{where}' could not be written ({error.strerror}); make room and repeat the command: what was saved "
            "before is whole"
        ) from error
    finally:
        threading.excepthook = show


def _is_full(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in FULL


def _fit(
    trainer: Trainer, model: CatDogClassifier, data: CatDogDataModule, history: History, ckpt_path: str | None
) -> None:
    resumption.forget_interruption(Path(trainer.default_root_dir))
    trainer.fit(model, data, ckpt_path=ckpt_path, weights_only=True)
    if not history.epochs:
        raise InputError("no epoch was trained; trainer.limit_train_batches and limit_val_batches must be above 0")


def _test(
    trainer: Trainer, model: CatDogClassifier, data: CatDogDataModule, checkpoint: RunCheckpoint, weights: str
) -> list[int]:
    """Save the best weights, test them or else those of the last epoch; returns every replica's epoch."""
    last = {name: value.clone() for name, value in model.state_dict().items()}
    checkpoint.save_best(trainer, model)
    if weights == "last":
        model.load_state_dict(last)
    resumption.forget_interruption(Path(trainer.default_root_dir))
    trainer.test(model, data, verbose=False)
    return [trainer.current_epoch] * len(model.seeds) if weights == "last" else checkpoint.best_epochs.tolist()


def _build_trainer(build_trainer: Callable[..., Trainer], **arguments: Any) -> Trainer:
    try:
        trainer = build_trainer(**arguments)
    except (MisconfigurationException, ImportError, TypeError, ValueError) as error:
        if missing := re.search(r"`(\w+)Accelerator` can not run", str(error)):
            raise UnavailableError(
                f"no {missing[1]} device (trainer=auto and trainer=cpu run on any machine)"
            ) from error
        raise InputError(f"trainer: {error}") from error
    check_whole_number("trainer.max_epochs", trainer.max_epochs, least=1)
    return trainer


def _check_resumable(ckpt_path: str, model: CatDogClassifier, max_epochs: int) -> None:
    """Raise an InputError unless the file is a checkpoint of the same network, after at most so many epochs."""
    if not Path(ckpt_path).is_file():
        raise InputError(f"ckpt_path: no file at '{ckpt_path}'; give the checkpoints/last.ckpt of a run")
    try:
        checkpoint = read_checkpoint(ckpt_path)
    except InputError as error:
        raise InputError(f"ckpt_path: {error}") from error
    if "optimizer_states" not in checkpoint:
        raise InputError(f"ckpt_path: '{ckpt_path}' holds weights alone; give the checkpoints/last.ckpt of a run")
    saved, epochs = checkpoint["hyper_parameters"], len(checkpoint["callbacks"]["History"]["epochs"])
    if epochs > max_epochs:
        raise InputError(
            f"ckpt_path: '{ckpt_path}' is of epoch {epochs}, after the last of trainer.max_epochs={max_epochs}"
        )
    for key, value in model.hparams.items():
        if key not in ("lr", "seed") and saved.get(key) != value:
            raise InputError(f"ckpt_path: '{ckpt_path}' was trained with {key}={saved.get(key)}, not with {value}")

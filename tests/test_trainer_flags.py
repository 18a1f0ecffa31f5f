"""Trainer flags as they are typed: each does what Lightning documents, or is refused in one sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import TrainPy

SMALL = (
    "model=shallow", "trainer=cpu", "trainer.max_epochs=4", "data.source.count=200", "data.image_size=8",
    "data.batch_size=8", "hydra.run.dir=run",
)  # fmt: skip


class Run:
    """A run's files."""

    def __init__(self, folder: Path, stdout: str) -> None:
        self.stdout = stdout
        self.metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
        self.last: dict[str, Any] = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
        self.tested_step: int = self.metrics["replicas"][0]["tested_step"]

    @property
    def rows(self) -> list[tuple[int, int, bool, bool]]:
        """Epoch, step, whether training and validation metrics are there."""
        return [(row["epoch"], row["step"], "train/loss" in row, "val/loss" in row) for row in self.metrics["history"]]

    def has_no_best_weights(self) -> bool:
        said = "there was no validation to find the best weights, so the last ones are tested" in self.stdout
        return said == (self.metrics["config"]["test_weights"] == "best") and not self.metrics["other_weights"]


Check = Callable[[Run], bool]


def epochs(batches: int = 20, validated: bool = True) -> Check:  # validation and test have three
    return lambda run: run.rows == [(epoch, epoch * batches, True, validated) for epoch in range(1, 5)]


def validates_one_batch(run: Run) -> bool:
    return epochs()(run) and run.metrics["val/acc"] in [right / 8 for right in range(9)]


def stands_still(run: Run) -> bool:
    losses = [row["val/loss"] for row in run.metrics["history"]]
    return epochs()(run) and max(losses) - min(losses) < 1e-6


def weights_are(dtype: torch.dtype) -> Check:
    return lambda run: run.last["state_dict"]["network.layers.0.weight"].dtype == dtype


FLAGS: dict[str, Check] = {
    "overfit_batches=1": epochs(batches=1),
    "limit_train_batches=1": epochs(batches=1),
    "limit_train_batches=1.0": epochs(),
    "limit_train_batches=0.5": epochs(batches=10),
    "limit_val_batches=1": validates_one_batch,
    "limit_val_batches=0": lambda run: epochs(validated=False)(run) and run.has_no_best_weights(),
    "limit_val_batches=0 test_weights=best": Run.has_no_best_weights,
    "limit_test_batches=1": lambda run: run.metrics["tested"] == 8,
    "max_steps=5": Run.has_no_best_weights,
    "max_steps=30": lambda run: run.rows == [(1, 20, True, True), (2, 30, True, False)],
    "max_steps=30 test_weights=best": lambda run: run.tested_step == 20,
    "max_epochs=-1 trainer.max_steps=50": lambda run: run.last["global_step"] == 50,
    "val_check_interval=0.5": lambda run: [row[1] for row in run.rows] == list(range(10, 90, 10)),
    "val_check_interval=5": lambda run: (
        run.rows[:4] == [(1, 5, False, True), (1, 10, False, True), (1, 15, False, True), (1, 20, True, True)]
    ),
    "check_val_every_n_epoch=2": lambda run: [row[3] for row in run.rows] == [False, True, False, True],
    "num_sanity_val_steps=2 trainer.reload_dataloaders_every_n_epochs=1 trainer.max_time=01:00:00:00": epochs(),
    "gradient_clip_val=1e-9": stands_still,
    "accumulate_grad_batches=2": epochs(batches=10),
    "precision=bf16-mixed": weights_are(torch.float32),
    "precision=bf16-true": weights_are(torch.bfloat16),
    "precision=64-true": weights_are(torch.float64),
    "profiler=simple trainer.enable_model_summary=true": lambda run: (
        "run_training_epoch" in run.stdout and "Trainable params" in run.stdout
    ),
    "enable_progress_bar=true": lambda run: "Epoch 3" in run.stdout and "epoch 4/4:" not in run.stdout,
}


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_does_what_lightning_documents(train_py: TrainPy, tmp_path: Path, flag: str) -> None:
    done = train_py(*SMALL, *f"trainer.{flag}".split(" "))
    assert done.status == 0, done
    run = Run(tmp_path / "run", done.stdout + done.stderr)
    assert FLAGS[flag](run), run.rows
    assert run.last["global_step"] == run.rows[-1][1] == run.metrics["steps"]
    tested: dict[str, Any] = next((row for row in run.metrics["history"] if row["step"] == run.tested_step), {})
    assert run.metrics.get("val/loss") == tested.get("val/loss")
    assert run.tested_step == run.metrics["steps"] or "test_weights=best" in flag
    assert (tmp_path / "run/checkpoints/best.ckpt").is_file()


def test_the_next_command_names_this_run_also_elsewhere_or_done_before(train_py: TrainPy, tmp_path: Path) -> None:
    short = (*SMALL[:-1], "trainer.max_epochs=1")
    assert "predict.py latest PHOTO" in train_py(*short, "hydra.run.dir=outputs/runs/one").stdout
    assert "predict.py outputs/mine PHOTO" in train_py(*short, "hydra.run.dir=outputs/mine").stdout
    assert "predict.py latest PHOTO" in train_py(*short, "hydra.run.dir=outputs/runs/two").stdout
    assert "predict.py outputs/runs/one PHOTO" in train_py(*short, "hydra.run.dir=outputs/runs/one").stdout


def test_a_refused_command_leaves_another_runs_folder_alone(train_py: TrainPy, tmp_path: Path) -> None:
    for mode in ((), ("-m", "hydra/launcher=basic", "hydra.sweep.dir=sweep", "seed=0")):
        command = (*mode, *SMALL, "trainer.max_epochs=1")
        assert train_py(*command).status == 0
        assert "holds a run of another configuration" in str(train_py(*command, "data.cache_dir=elsewhere").status)
    assert not list(tmp_path.rglob("outcome.json"))


def test_a_fast_dev_run_leaves_no_result(train_py: TrainPy, tmp_path: Path) -> None:
    done = train_py(*SMALL, "trainer.fast_dev_run=true")
    assert done.status == 0
    assert "fast_dev_run: everything runs; no result is left" in done.stdout
    assert not [path.name for path in (tmp_path / "run").rglob("*") if path.name in ("metrics.json", "last.ckpt")]
    sweep = ("-m", "hydra/launcher=basic", "hydra.sweep.dir=sweep", "trainer.fast_dev_run=true", *SMALL)
    assert train_py(*sweep, "seed=0,1").status == 0
    assert str(train_py(*sweep, "model.lr=0.01,0").status).startswith("catdog: 1 runs failed")


def test_callbacks_and_loggers_are_added_to_the_runs_own(train_py: TrainPy, tmp_path: Path) -> None:
    callbacks = "callbacks=[early_stopping,lr_monitor,model_checkpoint,timer]"
    options = ("callbacks.early_stopping.patience=1", "+callbacks.lr_monitor.logging_interval=epoch", "model.lr=3")
    done = train_py(*SMALL, callbacks, "logger=csv", *options)
    assert done.status == 0, done
    assert Run(tmp_path / "run", done.stdout).metrics["epochs"] < 4  # stopped early
    assert "lr-SGD" in (tmp_path / "run/csv/version_0/metrics.csv").read_text().splitlines()[0]
    for pattern in ("events.*", "checkpoints/last.ckpt", "**/epoch=*-step=*.ckpt"):
        assert list((tmp_path / "run").glob(pattern))


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("trainer.max_epochs=0", "trainer.max_epochs=0 leaves nothing to train"),
        ("trainer.limit_test_batches=0", "trainer.limit_test_batches=0 leaves nothing to test"),
        ("jobs=2", "jobs is for several runs: -m with values to sweep over, or study=NAME"),
        ("threads=0", "threads must be a whole number of at least 1, got 0"),
        ("trainer.max_epochs=ten", "trainer.max_epochs must be a whole number of at least -1, got 'ten'"),
        ("trainer.val_check_interval=21", "trainer: `val_check_interval` (21) must be less than or equal to the num"),
        ("trainer.accumulate_grad_batches=-1", "accumulate_grad_batches must be a whole number of at least 1, got -1"),
        ("trainer.limit_predict_batches=1", "trainer.limit_predict_batches is set by catdog: trainer.limit_test_batch"),
        ("trainer.strategy=ddp_spawn", "trainer.strategy=ddp_spawn loses what its processes collect; strategy=ddp"),
        ("trainer.accelerator=quantum", "trainer: You selected an invalid accelerator name: `accelerator='quantum'`"),
        ("trainer.callbacks=[]", "trainer.callbacks is set by catdog: callbacks=NAME or 'callbacks=[NAME,NAME]' adds"),
        ("+model.foo=1", "CatDogClassifier.__init__() got an unexpected keyword argument 'foo'"),
        ("trainer.epochs=100", "there is no key trainer.epochs; did you mean trainer.max_epochs?"),
        ("model=depe", "model=depe: conf/model/ has deep, logistic, shallow, wide; did you mean deep?"),
        ("model.hidden=5,5,3", "Ambiguous value for argument 'model.hidden=5,5,3' 1. To use it as a list, use key=["),
        ("experimnt=hog", "there is no key experimnt; did you mean experiment?"),
        ("logger=wandb", "wandb"),
        ("callbacks=null", "Config group override must be a string or a list"),
        ("data.root=x=y", "data.root=x=y: mismatched input '='"),
    ],
)
def test_what_cannot_work_is_refused_before_training(train_py: TrainPy, override: str, sentence: str) -> None:
    done = train_py(*SMALL, override)
    assert isinstance(done.status, str), done
    assert done.status.startswith("catdog: ")
    assert sentence.lower() in done.status.lower()
    assert "\n" not in done.status
    assert "epoch 1" not in done.stdout

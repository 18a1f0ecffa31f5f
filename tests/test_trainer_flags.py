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
EPOCH = 20  # batches of training; validation and test have three each


class Run:
    """A run's files."""

    def __init__(self, folder: Path, stdout: str) -> None:
        self.folder, self.stdout = folder, stdout
        self.metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
        self.last: dict[str, Any] = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)

    @property
    def rows(self) -> list[tuple[int, int, bool, bool]]:
        """Epoch, step, whether training and validation metrics are there."""
        return [(row["epoch"], row["step"], "train/loss" in row, "val/loss" in row) for row in self.metrics["history"]]

    def tested_val_loss(self) -> Any:
        """The history's validation loss of the tested step."""
        step = self.metrics["replicas"][0]["tested_step"]
        return next((row.get("val/loss") for row in self.metrics["history"] if row["step"] == step), None)


def epochs(count: int = 4, batches: int = EPOCH) -> list[tuple[int, int, bool, bool]]:
    return [(epoch, epoch * batches, True, True) for epoch in range(1, count + 1)]


Check = Callable[[Run], bool]
FLAGS: dict[str, Check] = {
    "overfit_batches=1": lambda run: run.rows == epochs(batches=1),
    "overfit_batches=0.4": lambda run: run.rows == epochs(batches=8),
    "limit_train_batches=1": lambda run: run.rows == epochs(batches=1),
    "limit_train_batches=1.0": lambda run: run.rows == epochs(),
    "limit_train_batches=0.5": lambda run: run.rows == epochs(batches=10),
    "limit_train_batches=3": lambda run: run.rows == epochs(batches=3),
    "limit_val_batches=1": lambda run: run.rows == epochs() and run.metrics["val/acc"] in [n / 8 for n in range(9)],
    "limit_val_batches=0.4": lambda run: run.rows == epochs() and run.metrics["val/acc"] in [n / 8 for n in range(9)],
    "limit_val_batches=0 test_weights=last": lambda run: (
        run.rows == [(e, s, t, False) for e, s, t, _ in epochs()] and "val/acc" not in run.metrics
    ),
    "limit_test_batches=1": lambda run: run.metrics["tested"] == 8,
    "max_steps=30 test_weights=last": lambda run: run.rows == [(1, 20, True, True), (2, 30, True, False)],
    "max_steps=30": lambda run: run.metrics["replicas"][0]["tested_step"] == 20,
    "max_epochs=-1 trainer.max_steps=50 test_weights=last": lambda run: run.last["global_step"] == 50,
    "val_check_interval=0.5": lambda run: (
        [row[:2] for row in run.rows] == [(1 + n // 2, 10 * n + 10) for n in range(8)]
    ),
    "val_check_interval=5": lambda run: (
        [row[1:] for row in run.rows[:4]] == [(5, False, True), (10, False, True), (15, False, True), (20, True, True)]
    ),
    "check_val_every_n_epoch=2": lambda run: [row[3] for row in run.rows] == [False, True, False, True],
    "num_sanity_val_steps=2": lambda run: run.rows == epochs(),
    "gradient_clip_val=0.5": lambda run: run.rows == epochs(),
    "accumulate_grad_batches=2": lambda run: run.rows == epochs(batches=10),
    "precision=bf16-mixed": lambda run: run.last["state_dict"]["network.layers.0.weight"].dtype == torch.float32,
    "precision=16-mixed": lambda run: run.last["state_dict"]["network.layers.0.weight"].dtype == torch.float32,
    "precision=bf16-true": lambda run: run.last["state_dict"]["network.layers.0.weight"].dtype == torch.bfloat16,
    "precision=64-true": lambda run: run.last["state_dict"]["network.layers.0.weight"].dtype == torch.float64,
    "detect_anomaly=true": lambda run: run.rows == epochs(),
    "benchmark=true": lambda run: run.rows == epochs(),
    "profiler=simple": lambda run: "run_training_epoch" in run.stdout,
    "enable_progress_bar=true": lambda run: "Epoch 3" in run.stdout and "epoch 4/4:" not in run.stdout,
    "enable_model_summary=true": lambda run: "Trainable params" in run.stdout,
    "reload_dataloaders_every_n_epochs=1": lambda run: run.rows == epochs(),
    "max_time=00:01:00:00": lambda run: run.rows == epochs(),
}


@pytest.mark.filterwarnings("ignore:You passed `Trainer.accelerator='cpu', precision='16-mixed'.`")
@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_does_what_lightning_documents(train_py: TrainPy, tmp_path: Path, flag: str) -> None:
    done = train_py(*SMALL, *f"trainer.{flag}".split(" "))
    assert done.status == 0, done
    run = Run(tmp_path / "run", done.stdout + done.stderr)
    assert FLAGS[flag](run), run.rows
    assert run.last["global_step"] == run.rows[-1][1] == run.metrics["steps"]
    assert run.metrics.get("val/loss") == run.tested_val_loss()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("max_epochs=0", "trainer.max_epochs=0 leaves nothing to train"),
        ("max_steps=0", "trainer.max_steps=0 leaves nothing to train"),
        ("limit_train_batches=0", "trainer.limit_train_batches=0 leaves nothing to train"),
        ("limit_test_batches=0", "trainer.limit_test_batches=0 leaves nothing to test"),
        ("max_epochs=ten", "trainer.max_epochs must be a whole number of at least -1, got 'ten'"),
        ("val_check_interval=21", "trainer: `val_check_interval` (21) must be less than or equal to the number"),
        ("limit_val_batches=0.1", "trainer: You requested to check 0.1 of the `val_dataloader` but 0.1 * 3 < 1."),
        ("strategy=ddp_spawn", "trainer.strategy=ddp_spawn loses what its processes collect; strategy=ddp does"),
        ("precision=8", "trainer: Precision 8 is invalid"),
        ("accelerator=quantum", "trainer: You selected an invalid accelerator name: `accelerator='quantum'`"),
    ],
)
def test_a_flag_that_cannot_work_is_refused_before_training(
    train_py: TrainPy, tmp_path: Path, flags: str, sentence: str
) -> None:
    done = train_py(*SMALL, f"trainer.{flags}")
    assert isinstance(done.status, str)
    assert done.status.removeprefix("catdog: ").lower().startswith(sentence.lower())
    assert "\n" not in done.status
    assert "epoch 1" not in done.stdout
    assert json.loads((tmp_path / "run/outcome.json").read_text())["status"] == "failed"


@pytest.mark.parametrize("flag", ["limit_val_batches=0", "max_steps=5", "check_val_every_n_epoch=5"])
def test_without_validation_the_last_weights_are_tested_and_it_says_so(
    train_py: TrainPy, tmp_path: Path, flag: str
) -> None:
    done = train_py(*SMALL, f"trainer.{flag}")
    assert done.status == 0
    assert "there was no validation to find the best weights, so the last ones are tested" in done.stdout
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["replicas"][0]["tested_step"] == metrics["steps"]
    assert (tmp_path / "run/checkpoints/best.ckpt").is_file()


def test_a_fast_dev_run_leaves_no_result(train_py: TrainPy, tmp_path: Path) -> None:
    done = train_py(*SMALL, "trainer.fast_dev_run=true")
    assert done.status == 0
    assert "fast_dev_run: everything runs; no result is left" in done.stdout
    assert not [path.name for path in (tmp_path / "run").rglob("*") if path.name in ("metrics.json", "last.ckpt")]


def test_a_deterministic_run_is_one(train_py: TrainPy, tmp_path: Path) -> None:
    try:
        assert train_py(*SMALL, "trainer.deterministic=true").status == 0
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("callbacks", ["lr_monitor", "[early_stopping,lr_monitor,model_checkpoint,timer]"])
def test_callbacks_are_added_to_the_runs_own(train_py: TrainPy, tmp_path: Path, callbacks: str) -> None:
    done = train_py(*SMALL, f"callbacks={callbacks}", "logger=csv", "+callbacks.lr_monitor.logging_interval=epoch")
    assert done.status == 0, done
    run = Run(tmp_path / "run", done.stdout)
    assert run.rows == epochs()
    assert "lr-SGD" in (tmp_path / "run/csv/metrics.csv").read_text().splitlines()[0]
    assert len(list((tmp_path / "run").glob("events.*"))) > 0
    if "model_checkpoint" in callbacks:
        assert len(list((tmp_path / "run").rglob("epoch=*-step=*.ckpt"))) == 3


def test_early_stopping_stops(train_py: TrainPy, tmp_path: Path) -> None:
    done = train_py(*SMALL, "callbacks=early_stopping", "callbacks.early_stopping.patience=1", "model.lr=3")
    assert done.status == 0, done
    assert Run(tmp_path / "run", "").metrics["epochs"] < 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("trainer.callbacks=[]", "trainer.callbacks is set by catdog: callbacks=NAME or 'callbacks=[NAME,NAME]' adds"),
        ("+trainer.callbacks=[]", "trainer.callbacks is set by catdog"),
        ("trainer.logger=false", "trainer.logger is set by catdog: logger=NAME"),
        ("+trainer.plugins=[]", "trainer.plugins is set by catdog"),
        ("trainer.default_root_dir=x", "trainer.default_root_dir is set by catdog: hydra.run.dir=FOLDER"),
        ("+foo=1", "there is no key foo"),
        ("+model.foo=1", "CatDogClassifier.__init__() got an unexpected keyword argument 'foo'"),
        ("+trainer.foo=1", "trainer: Trainer.__init__() got an unexpected keyword argument 'foo'"),
        ("trainer.epochs=100", "there is no key trainer.epochs; did you mean trainer.max_epochs?"),
        ("model=depe", "model=depe: conf/model/ has deep, logistic, shallow; did you mean deep?"),
        (
            "model.hidden=5,5,3",
            "Ambiguous value for argument 'model.hidden=5,5,3' 1. To use it as a list, use key=[value1,value2]",
        ),
        ("experimnt=hog", "there is no key experimnt; did you mean experiment?"),
        ("model.optimizer=adamw", "model.optimizer must be ASGD, .* got 'adamw'; did you mean AdamW?"),
        ("logger=wandb", "wandb"),
        ("callbacks=null", "Config group override must be a string or a list"),
        ("data.root=x=y", "data.root=x=y: mismatched input '='"),
    ],
)
def test_what_would_be_ignored_or_is_mistyped_is_refused(train_py: TrainPy, arguments: str, sentence: str) -> None:
    done = train_py(*SMALL, arguments)
    assert isinstance(done.status, str), done
    said = done.status.removeprefix("catdog: ")
    assert all(piece in said for piece in sentence.split(".*"))
    assert "\n" not in said

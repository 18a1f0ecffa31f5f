import csv
import json
import pickle
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torchmetrics.classification import BinaryF1Score

from catdog import training
from catdog.errors import InputError
from catdog.inference.runs import FinishedRun
from catdog.model import classifier
from catdog.model.metrics import build_metrics
from catdog.statistics import wilson_interval
from conftest import MakeData, Train, make_classifier


def without_times(record: Any) -> Any:
    """A record, or part of one, with everything that differs from one time to the next left out."""
    if isinstance(record, dict):
        return {name: without_times(value) for name, value in record.items() if not name.startswith("seconds")}
    return [without_times(value) for value in record] if isinstance(record, list) else record


def assert_same_run(one: Path, other: Path) -> None:
    """The same weights and predictions, bit for bit."""
    for name in ("last", "best"):
        paths = (run / f"checkpoints/{name}.ckpt" for run in (one, other))
        left, right = (torch.load(path, weights_only=True)["state_dict"] for path in paths)
        assert left.keys() == right.keys()
        assert all(left[key].equal(right[key]) for key in left)
    assert (one / "predictions.csv").read_bytes() == (other / "predictions.csv").read_bytes()


def test_a_run_leaves_a_whole_record(train: Train, tmp_path: Path, photo_root: Path) -> None:
    photos, run = shutil.copytree(photo_root, tmp_path / "photos"), tmp_path / "run"
    (photos / "cats/00.jpg").write_text("no photo")
    record = train(data={"root": photos, "max_unreadable": 0.03}, trainer={"max_epochs": 3})

    assert json.loads((run / "metrics.json").read_text()) == json.loads(json.dumps(record))
    assert '\ncats/00.jpg,"no JPEG, PNG, WEBP, GIF or BMP image"\n' in (run / "unreadable.csv").read_text()
    with open(run / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == record["photos"]["test"] == 4
    assert all((photos / row["path"]).is_file() for row in rows)
    assert all(row["label"] == str(int(row["path"].startswith("dogs"))) for row in rows)
    correct = sum((float(row["probability"]) > 0.5) == (row["label"] == "1") for row in rows)
    assert record["test/acc"] == pytest.approx(correct / 4)
    assert tuple(record["test/acc_interval"]) == wilson_interval(correct, 4)
    dogs = sum(row["label"] == "1" for row in rows) / 4
    assert record["baseline"]["test"] == pytest.approx(max(dogs, 1 - dogs))
    losses = [epoch["val/loss"] for epoch in record["history"]]
    assert record["val/loss"] == min(losses)
    assert record["replicas"][0]["tested_epoch"] == losses.index(min(losses)) + 1
    assert record["parameters"] == (768 * 5 + 5) + 30 + 18 + 4
    assert [record[key] for key in ("depth", "epochs", "accelerator", "unreadable")] == [3, 3, "cpu", 1]
    assert 0 < record["seconds_per_epoch"] < record["seconds"]
    with Image.open(run / "curves.png") as figure:
        assert len(figure.convert("L").getcolors() or []) > 10


def test_every_metric_is_on_the_dashboard(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that is added; besides the scalars there are pictures and the graph."""
    metrics = build_metrics()
    metrics.add_metrics({"f1": BinaryF1Score()})
    monkeypatch.setattr(classifier, "build_metrics", lambda: metrics)
    record = train(model={"hidden": [4], "replicas": 2})
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    tags: dict[str, Any] = events.Tags()
    scalars = {name: [(event.step, event.value) for event in events.Scalars(name)] for name in tags["scalars"]}
    for name in ("train/loss", "train/acc", "train/f1", "val/loss", "val/acc", "val/f1", "val/acc_sd"):
        steps, values = zip(*sorted(scalars[name]), strict=True)
        assert [step // 10 for step in steps] == [0, 1]  # of 10 steps an epoch
        if name != "val/acc_sd":
            assert values == pytest.approx([epoch[name] for epoch in record["history"]])
    accuracy = sum(own["test/acc"] for own in record["replicas"]) / 2
    assert scalars.pop("verdict/test_acc")[0][1] == pytest.approx(accuracy)
    assert min(map(len, scalars.values())) == 2  # what else has one number is no curve
    assert sorted(scalars)[0].startswith("train/")  # TensorBoard's first
    assert sorted(tags["images"]) == ["weights/first_layer", "worst/mistakes"]
    assert tags["graph"]


def test_the_last_weights_are_tested_unless_the_best_are_asked_for(train: Train) -> None:
    worse: dict[str, Any] = {"model": {"lr": 0.3}, "trainer": {"max_epochs": 5}}  # the last epoch is not the best
    best, last = train("best", **worse, test_weights="best"), train("last", **worse)
    losses = [row["val/loss"] for row in last["history"]]
    assert best["val/loss"] == min(losses) < last["val/loss"] == losses[-1]
    assert best["replicas"][0]["tested_epoch"] < last["replicas"][0]["tested_epoch"] == 5
    assert best["test/loss"] != last["test/loss"]
    for record, other in ((best, last), (last, best)):
        (beside,) = record["other_weights"]
        assert (beside["weights"], beside["epochs"]) == (other["weights"], [other["replicas"][0]["tested_epoch"]])
        assert (beside["test/acc"], *beside["test/acc_interval"]) == (other["test/acc"], *other["test/acc_interval"])


class OtherNet(LightningModule):
    """A user's own: one convolution, logged by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 14**2, 1))

    def training_step(self, batch: Any, batch_idx: int, split: str = "train") -> torch.Tensor:
        logits = self.net(batch[0]).squeeze(1)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, batch[1])
        accuracy = ((logits > 0) == (batch[1] > 0.5)).float().mean()
        self.log_dict({f"{split}/loss": loss, f"{split}/acc": accuracy}, on_epoch=True, on_step=False)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.training_step(batch, batch_idx, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.training_step(batch, batch_idx, "test")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class PredictingNet(OtherNet):
    def __init__(self, hidden: int = 4, image_size: int = 9) -> None:  # not what catdog's own call so
        super().__init__()
        self.save_hyperparameters()

    def predict_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        probabilities: torch.Tensor = self.net(batch[0]).sigmoid()
        return probabilities


@pytest.mark.parametrize(("net", "test_weights"), [(OtherNet, "best"), (PredictingNet, "last")])
def test_another_module_is_trained(train: Train, tmp_path: Path, net: type[OtherNet], test_weights: str) -> None:
    run = partial(train, trainer={"max_epochs": 3}, test_weights=test_weights)
    record = run(model=net())
    assert [row["epoch"] for row in record["history"]] == [1, 2, 3]
    assert {"train/loss", "train/acc", "val/loss", "val/acc"} <= record["history"][0].keys()
    assert (record["net"], record["hidden"]) == (net.__name__, [])
    rows = [line.split(",") for line in (tmp_path / "run/predictions.csv").read_text().splitlines()[1:]]
    assert len(rows) == (record["photos"]["test"] if net is PredictingNet else 0)
    if rows:
        right = [(float(row[3]) > 0.5) == (row[1] == "1") for row in rows]
        assert record["test/acc"] == pytest.approx(sum(right) / len(right))
    (tmp_path / "run/metrics.json").unlink()
    assert run(model=net())["history"] == record["history"]  # resumed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"model": {"replicas": 2}, "trainer": {"gradient_clip_val": 0.5}}, "needs trainer.gradient_clip_algorithm="),
        ({"model": {"optimizer": "LBFGS"}}, "model.optimizer must be .* or SGD, got 'LBFGS'"),
        ({"model": {"image_size": 8}}, "model.image_size=8 is not data.image_size=16, which sets both"),
        ({"test_weights": "first"}, "test_weights must be best or last, got 'first'"),
        ({"ckpt_path": "nowhere.ckpt"}, "no file at 'nowhere.ckpt'; give a checkpoint"),
        ({"model": {"schedule": "cosine"}, "trainer": {"max_epochs": -1}}, "cosine needs an end: set trainer.max"),
        ({"model": {"optimizer": "Muon"}}, "model.optimizer=Muon does not fit: Muon only supports 2D parameters"),
        ({"model": {"optimizer": "Rprop", "weight_decay": 0.5}}, "model.optimizer=Rprop does not fit: .*weight_decay"),
        (  # one step of a net without ReLUs, which no processor's rounding turns into a dead one
            {"model": {"lr": 1e38, "hidden": []}, "data": {"batch_size": 80}},
            "val/loss of seed 0 is no longer finite in epoch 1",
        ),
        ({"model": {"lr": 1e30}}, r"/loss of seed 0 is no longer finite in epoch .*; a .* below model.lr=1e\+30 keeps"),
    ],
)
def test_bad_input_is_one_sentence(train: Train, tmp_path: Path, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        train(**arguments)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run/metrics.json").exists()


def test_a_checkpoint_of_another_training_is_refused(train: Train, tmp_path: Path) -> None:
    train("first")
    annealed: dict[str, Any] = {"model": {"schedule": "cosine"}}
    train("annealed", **annealed)
    shutil.copy(tmp_path / "annealed/checkpoints/last.ckpt", tmp_path / "first/checkpoints/annealed.ckpt")
    changes: list[tuple[str, dict[str, Any], str]] = [
        ("last", {"model": {"hidden": [5]}}, r"was trained with hidden=\[5, 5, 3\], not with \[5\]"),
        ("last", {"model": {"optimizer": "Adam"}}, "was trained with optimizer=SGD, not with Adam"),
        ("last", {"data": {"fold": 2}}, "had other test photos, and may have seen these"),
        ("last", {"trainer": {"max_steps": 34}}, "training that trainer.max_steps or fast_dev_run ends cannot"),
        ("best", {}, "best.ckpt' is no training to resume; give the checkpoints/last.ckpt of a run"),
        ("annealed", annealed | {"trainer": {"max_epochs": 4}}, "training keeps its trainer.max_epochs"),
    ]
    for name, arguments, sentence in changes:
        with pytest.raises(InputError, match=sentence):
            train("second", ckpt_path=tmp_path / f"first/checkpoints/{name}.ckpt", **arguments)


def test_a_training_resumed_at_its_end_leaves_its_checkpoints(train: Train, tmp_path: Path) -> None:
    train("first")
    train("second", ckpt_path=tmp_path / "first/checkpoints/last.ckpt")
    assert_same_run(tmp_path / "first", tmp_path / "second")
    assert FinishedRun.open(tmp_path / "second").checkpoint == tmp_path / "second/checkpoints/last.ckpt"


def test_a_trainer_without_its_callback_or_logger_is_refused(make_data: MakeData) -> None:
    for trainer in (Trainer(callbacks=[training.RunCheckpoint()], logger=False), Trainer()):
        with pytest.raises(InputError, match="needs a RunCheckpoint among its callbacks and a Dashboard"):
            training.run(trainer, make_classifier(), make_data(), {})


class Payload:
    """Pickled, it makes a folder in the working directory where it is unpickled without care."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (Path("harm"),)


SPOILS: dict[str, Callable[[Path], object]] = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:1000]),
    "malicious pickle": lambda path: path.write_bytes(pickle.dumps({"state_dict": Payload()})),
    "malicious checkpoint": lambda path: torch.save({"state_dict": {}, "hyper_parameters": Payload()}, path),
    "no weights": lambda path: torch.save({"hyper_parameters": {}}, path),
}


def test_a_checkpoint_that_is_not_whole_is_refused_runs_nothing_and_can_be_deleted(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    monkeypatch.chdir(tmp_path)
    train()
    last = tmp_path / "run/checkpoints/last.ckpt"
    whole = last.read_bytes()
    (tmp_path / "run/metrics.json").unlink()
    for name, spoil in SPOILS.items():
        last.write_bytes(whole)
        spoil(last)
        for folder, path in (("run", None), ("other", last)):
            with subtests.test(name), pytest.raises(InputError, match="is no whole checkpoint .* cut short, delete it"):
                train(folder, ckpt_path=path)
        assert not (tmp_path / "harm").exists()
    last.unlink()
    assert len(train()["history"]) == 2

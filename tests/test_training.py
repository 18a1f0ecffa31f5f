import csv
import errno
import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule
from lightning.fabric.utilities.exceptions import MisconfigurationException
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from catdog.errors import InputError
from catdog.statistics import wilson_interval
from catdog.training import callbacks
from conftest import RECIPE, Train


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
    return state


def without_times(record: Any) -> Any:
    """A record, or part of one, with everything that differs from one time to the next left out."""
    if isinstance(record, dict):
        return {name: without_times(value) for name, value in record.items() if not name.startswith("seconds")}
    return [without_times(value) for value in record] if isinstance(record, list) else record


def assert_same_weights(one: Path, other: Path, name: str = "last") -> None:
    left, right = weights(one, name), weights(other, name)
    assert left.keys() == right.keys()
    assert all(left[key].equal(right[key]) for key in left)


def test_a_run_leaves_a_whole_record(train: Train, tmp_path: Path, photo_root: Path) -> None:
    record = train(data={"root": photo_root}, trainer={"max_epochs": 3})
    run = tmp_path / "run"

    assert json.loads((run / "metrics.json").read_text()) == json.loads(json.dumps(record))
    assert [path.name for path in run.glob(".*")] == [".lock"]
    with open(run / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == record["photos"]["test"] == 4
    assert all((photo_root / row["path"]).is_file() for row in rows)
    assert all(row["label"] == str(int(row["path"].startswith("dogs"))) for row in rows)
    correct = sum((float(row["probability"]) > 0.5) == (row["label"] == "1") for row in rows)
    assert record["test/acc"] == correct / 4
    assert tuple(record["test/acc_interval"]) == wilson_interval(correct, 4)

    assert [epoch["epoch"] for epoch in record["history"]] == [1, 2, 3]
    losses = [epoch["val/loss"] for epoch in record["history"]]
    assert record["val/loss"] == min(losses)
    assert record["replicas"][0]["tested_epoch"] == losses.index(min(losses)) + 1
    assert record["parameters"] == (768 * 5 + 5) + 30 + 18 + 4
    dogs = sum(row["label"] == "1" for row in rows) / 4
    assert record["baseline"]["test"] == max(dogs, 1 - dogs)
    assert record["depth"] == 3
    assert record["accelerator"] == "cpu"
    assert record["versions"]["torch"] == torch.__version__.split("+")[0]
    assert 0 < record["seconds_per_epoch"] < record["seconds"]
    with Image.open(run / "curves.png") as figure:
        assert figure.width > 800
        assert len(figure.convert("L").getcolors() or []) > 10


def test_the_dashboard_holds_scalars_pictures_graph_and_hyperparameters(train: Train, tmp_path: Path) -> None:
    record = train(model={"hidden": [4]})
    scalars: dict[str, list[tuple[int, float]]] = {}
    tags: dict[str, list[str]] = {"images": [], "graph": []}
    for path in (tmp_path / "run").glob("events.out.*"):
        events = EventAccumulator(str(path))
        events.Reload()
        for name in events.Tags()["scalars"]:
            scalars.setdefault(name, []).extend((event.step, event.value) for event in events.Scalars(name))
        tags["images"] += events.Tags()["images"]
        tags["graph"] += ["graph"] if events.Tags()["graph"] else []
    for part in ("train", "val"):
        for metric in ("loss", "acc"):
            name = f"{part}/{metric}"
            steps, values = zip(*sorted(scalars[name]), strict=True)
            assert [step // 10 for step in steps] == [0, 1] if part == "train" else [1, 2]  # of 10 steps an epoch
            assert values == pytest.approx([epoch[name] for epoch in record["history"]])
    assert scalars["test/acc"][0][1] == pytest.approx(record["test/acc"])
    assert scalars["result/test/acc"][0][1] == pytest.approx(record["test/acc"])
    assert sorted(tags["images"]) == [*(f"first_layer/unit_{unit}" for unit in (1, 2, 3, 4)), "test/mistakes"]
    assert tags["graph"] == ["graph"]


def test_each_chart_of_the_dashboard_shows_one_line_per_run(train: Train, tmp_path: Path) -> None:
    train(model={"hidden": [], "replicas": 2}, trainer={"max_epochs": 1})
    tags: list[str] = []
    charts: list[str] = []
    for path in (tmp_path / "run").glob("events.out.*"):
        events = EventAccumulator(str(path))
        events.Reload()
        tags += events.Tags()["scalars"]
        if "custom_scalars__config__" in events.Tags()["tensors"]:
            (event,) = events.Tensors("custom_scalars__config__")
            layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
            charts += [tag for category in layout.category for chart in category.chart for tag in chart.multiline.tag]
    assert "val/acc_sd" in tags
    for chart, expected in zip(charts, ("train/loss", "val/acc"), strict=True):
        assert [tag for tag in tags if re.match(chart, tag)] == [expected]


def test_the_last_weights_are_tested_where_asked_for(train: Train, tmp_path: Path) -> None:
    worse: dict[str, Any] = {"model": {"lr": 0.3}, "trainer": {"max_epochs": 5}}  # the last epoch is not the best
    record = train(**worse, test_weights="last")
    assert record["replicas"][0]["tested_epoch"] == 5
    assert record["val/loss"] == record["history"][-1]["val/loss"] > min(e["val/loss"] for e in record["history"])
    best = train("best", **worse)
    assert best["replicas"][0]["tested_epoch"] < 5
    assert best["test/loss"] != record["test/loss"]


class StopAfter(Callback):
    """Ends training as a crash would, in the middle of an epoch."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
        if trainer.current_epoch == self.epochs and trainer.global_step % 5 == 0:
            raise RuntimeError("power cut")


@pytest.mark.parametrize(
    ("augment", "options"), [(False, {}), (True, {}), (True, {"replicas": 3}), (True, {"replicas": 2, **RECIPE})]
)
@pytest.mark.parametrize("trainer", [{"max_epochs": 5}, {"max_epochs": 5, "val_check_interval": 4}])
@pytest.mark.parametrize("save_interval", [0, 3600])  # at the end of every epoch, and only at the start
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    train: Train, tmp_path: Path, augment: bool, options: dict[str, Any], trainer: dict[str, Any], save_interval: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(callbacks, "SAVE_INTERVAL", save_interval)
    arguments: dict[str, Any] = {"trainer": trainer, "data": {"augment": augment}, "model": options}
    whole = train("whole", **arguments)
    with pytest.raises(RuntimeError, match="power cut"):
        train("cut", **arguments, callbacks=[StopAfter(2)])
    assert not (tmp_path / "cut/metrics.json").exists()
    resumed = train("resumed", **arguments, ckpt_path=tmp_path / "cut/checkpoints/last.ckpt")

    for name in ("last", "best"):
        assert_same_weights(tmp_path / "whole", tmp_path / "resumed", name)
    assert without_times(whole) == without_times(resumed)


def test_training_that_max_steps_ends_starts_again_instead_of_being_resumed(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "SAVE_INTERVAL", 0)
    whole = train("whole", trainer={"max_steps": 34})
    with pytest.raises(RuntimeError, match="power cut"):
        train("cut", trainer={"max_steps": 34}, callbacks=[StopAfter(1)])
    assert without_times(train("cut", trainer={"max_steps": 34})) == without_times(whole)
    assert_same_weights(tmp_path / "whole", tmp_path / "cut")
    with pytest.raises(InputError, match="training that trainer.max_steps ends cannot be resumed"):
        train("other", trainer={"max_steps": 34}, ckpt_path=tmp_path / "whole/checkpoints/last.ckpt")


def test_resuming_keeps_the_best_weights_of_the_first_part(train: Train, tmp_path: Path) -> None:
    """Weights that jump away make every later epoch worse."""

    class JumpAway(Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch >= 2:
                torch.nn.init.constant_(pl_module.network.layers[-1].bias, 30.0)

    first = train("first")
    checkpoint = tmp_path / "first/checkpoints/last.ckpt"
    second = train("second", trainer={"max_epochs": 4}, callbacks=[JumpAway()], ckpt_path=checkpoint)
    assert second["replicas"][0]["tested_epoch"] == first["replicas"][0]["tested_epoch"]
    assert second["test/acc"] == first["test/acc"]
    assert_same_weights(tmp_path / "first", tmp_path / "second", "best")


@pytest.mark.parametrize(("augment", "replicas"), [(False, 1), (True, 2)])
def test_the_same_seed_gives_the_same_run_bit_for_bit(
    train: Train, tmp_path: Path, augment: bool, replicas: int
) -> None:
    records = [
        train(
            folder, model={"seed": seed, "replicas": replicas},
            data={"shuffle_seed": seed, "augment": augment, "cache_dir": tmp_path / folder},
        )
        for folder, seed in (("one", 3), ("two", 3), ("three", 4))
    ]  # fmt: skip
    assert without_times(records[0]) == without_times(records[1]) != without_times(records[2])
    for name in ("last", "best"):
        assert_same_weights(tmp_path / "one", tmp_path / "two", name)
    predictions = [(tmp_path / folder / "predictions.csv").read_bytes() for folder in ("one", "two", "three")]
    assert predictions[0] == predictions[1] != predictions[2]


class OtherNet(LightningModule):
    """A user's own: one convolution, logged by itself."""

    def __init__(self, predicts: bool = True) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.LazyLinear(1)
        )
        self.net(torch.zeros(1, 3, 16, 16))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.net(images)
        return logits.squeeze(1)

    def _step(self, batch: Any, split: str) -> torch.Tensor:
        loss = torch.nn.functional.binary_cross_entropy_with_logits(self(batch[0]), batch[1])
        accuracy = ((self(batch[0]) > 0) == (batch[1] > 0.5)).float().mean()
        self.log_dict({f"{split}/loss": loss, f"{split}/acc": accuracy}, on_epoch=True, on_step=False)
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._step(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._step(batch, "test")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class PredictingNet(OtherNet):
    def predict_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self(batch[0]).sigmoid()


@pytest.mark.parametrize("net", [OtherNet, PredictingNet])
@pytest.mark.parametrize("test_weights", ["best", "last"])
def test_another_lightning_module_is_trained_and_recorded(
    train: Train, tmp_path: Path, net: type[OtherNet], test_weights: str
) -> None:
    record = train(model=net(), trainer={"max_epochs": 3}, test_weights=test_weights)
    assert [row["epoch"] for row in record["history"]] == [1, 2, 3]
    assert {"train/loss", "train/acc", "val/loss", "val/acc"} <= record["history"][0].keys()
    assert (record["net"], record["hidden"]) == (net.__name__, [])
    rows = (tmp_path / "run/predictions.csv").read_text().splitlines()[1:]
    if net is PredictingNet:
        right = [(float(row.split(",")[3]) > 0.5) == (row.split(",")[1] == "1") for row in rows]
        assert record["test/acc"] == pytest.approx(sum(right) / len(right))
        assert len(right) == record["photos"]["test"]
    else:
        assert not rows
        assert 0 <= record["test/acc"] <= 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"test_weights": "first"}, "test_weights must be best or last, got 'first'"),
        ({"ckpt_path": "nowhere.ckpt"}, "no file at 'nowhere.ckpt'; give a checkpoint"),
        (
            {"model": {"lr": 1e30}},
            r"/loss of seed 0 is no longer finite in epoch .*; a learning rate below model.lr=1e\+30",
        ),
        ({"model": {"lr": 1e30}, "data": {"batch_size": 80}}, r"val/loss of seed 0 is no longer finite in epoch 1"),
    ],
)
def test_bad_input_is_one_sentence_and_no_result(
    train: Train, tmp_path: Path, arguments: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        train(**arguments)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize(("key", "value"), [("hidden", [5]), ("lr", 0.1), ("seed", 1), ("optimizer", "Adam")])
def test_a_checkpoint_of_another_training_is_refused(train: Train, tmp_path: Path, key: str, value: Any) -> None:
    train("first", model={"hidden": [4]})
    with pytest.raises(InputError, match=rf"was trained with {key}=.*, not with {re.escape(str(value))}"):
        train("second", model={"hidden": [4], key: value}, ckpt_path=tmp_path / "first/checkpoints/last.ckpt")


def test_a_file_that_is_no_checkpoint_is_refused(train: Train, tmp_path: Path) -> None:
    (tmp_path / "fake.ckpt").write_text("no checkpoint")
    with pytest.raises(InputError, match=r"fake.ckpt' is no whole checkpoint of catdog"):
        train(ckpt_path=tmp_path / "fake.ckpt")


def test_a_checkpoint_that_was_cut_short_says_what_to_delete(train: Train, tmp_path: Path) -> None:
    train()
    last = tmp_path / "run/checkpoints/last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    (tmp_path / "run/metrics.json").unlink()
    with pytest.raises(InputError, match=r"last.ckpt' is no whole checkpoint .* cut short, delete it and repeat"):
        train()
    last.unlink()
    assert len(train()["history"]) == 2


def test_a_full_disk_leaves_a_run_that_is_resumed_later(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train("whole", trainer={"max_epochs": 4})
    replace, saves = os.replace, []

    def replace_once(source: Any, target: Any) -> None:
        saves.extend([target] if str(target).endswith("last.ckpt") else [])
        if len(saves) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", replace_once)
        with pytest.raises(OSError, match="No space left on device"):
            train(trainer={"max_epochs": 4})
    assert without_times(train(trainer={"max_epochs": 4})) == without_times(whole)
    assert_same_weights(tmp_path / "whole", tmp_path / "run")


class Payload:
    """Pickled, it makes a folder where it is unpickled without care."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_malicious_checkpoint_is_refused_and_runs_nothing(train: Train, tmp_path: Path, save: Any) -> None:
    save({"hyper_parameters": Payload(tmp_path / "harm")}, tmp_path / "evil.ckpt")
    with pytest.raises(InputError, match=r"evil.ckpt' is no whole checkpoint of catdog \(UnpicklingError\)"):
        train(ckpt_path=tmp_path / "evil.ckpt")
    (tmp_path / "run/checkpoints").mkdir(parents=True, exist_ok=True)
    (tmp_path / "evil.ckpt").rename(tmp_path / "run/checkpoints/last.ckpt")
    with pytest.raises(InputError, match="is no whole checkpoint of catdog"):
        train()  # in whose folder it lies
    assert not (tmp_path / "harm").exists()


def test_weights_alone_are_no_checkpoint_to_go_on_from(train: Train, tmp_path: Path) -> None:
    train("first")
    with pytest.raises(
        InputError, match=r"best.ckpt' is no training to resume; give the checkpoints/last.ckpt of a run"
    ):
        train("second", ckpt_path=tmp_path / "first/checkpoints/best.ckpt")


@pytest.mark.parametrize("missing", ["state_dict", "hyper_parameters"])
def test_a_checkpoint_that_lacks_a_part_is_refused(train: Train, tmp_path: Path, missing: str) -> None:
    train("first")
    checkpoint = torch.load(tmp_path / "first/checkpoints/last.ckpt", weights_only=True)
    del checkpoint[missing]
    torch.save(checkpoint, tmp_path / "part.ckpt")
    with pytest.raises(InputError, match=r"part.ckpt' is no whole checkpoint of catdog \(KeyError\)"):
        train("second", ckpt_path=tmp_path / "part.ckpt")


def test_a_checkpoint_after_the_last_epoch_is_refused(train: Train, tmp_path: Path) -> None:
    train("first", trainer={"max_epochs": 3})
    with pytest.raises(MisconfigurationException, match=r"a checkpoint with current_epoch=3, but .*max_epochs=2"):
        train("second", ckpt_path=tmp_path / "first/checkpoints/last.ckpt")


def test_unreadable_photos_are_listed_in_the_run_folder(train: Train, photo_root: Path, tmp_path: Path) -> None:
    for path in photo_root.glob("*/*"):
        copy = tmp_path / "photos" / path.relative_to(photo_root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    (tmp_path / "photos/cats/00.jpg").write_text("no photo")
    record = train(data={"root": tmp_path / "photos", "max_unreadable": 0.03})
    with open(tmp_path / "run/unreadable.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["cats/00.jpg"]
    assert rows[0]["reason"] == "no JPEG, PNG, WEBP, GIF or BMP image"
    assert record["unreadable"] == 1


def test_networks_learn_something_from_real_photos(train: Train, real_photos: Path) -> None:
    photos = {"root": real_photos, "image_size": 128, "batch_size": 32}
    record = train(model={"hidden": [4]}, data=photos, trainer={"max_epochs": 10})
    assert record["photos"] == {"train": 1600, "val": 200, "test": 200}
    assert record["history"][-1]["train/acc"] > 0.6
    assert max(epoch["val/acc"] for epoch in record["history"]) > 0.53

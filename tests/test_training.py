import csv
import errno
import json
import os
import pickle
import re
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from catdog.data import FolderSource
from catdog.errors import InputError
from catdog.statistics import wilson_interval
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
    record = train(source=FolderSource, root=photo_root, max_epochs=3)
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
    assert record["chance"] == 0.5
    assert record["depth"] == 3
    assert record["accelerator"] == "cpu"
    assert record["versions"]["torch"] == torch.__version__.split("+")[0]
    assert 0 < record["seconds_per_epoch"] < record["seconds"]
    with Image.open(run / "curves.png") as figure:
        assert figure.width > 800
        assert len(figure.convert("L").getcolors() or []) > 10


def test_the_dashboard_holds_scalars_pictures_graph_and_hyperparameters(train: Train, tmp_path: Path) -> None:
    record = train(hidden=(4,), max_epochs=2)
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
            assert steps == (1, 2)
            assert values == pytest.approx([epoch[name] for epoch in record["history"]])
    assert scalars["test/acc"][0][1] == pytest.approx(record["test/acc"])
    assert scalars["result/test/acc"][0][1] == pytest.approx(record["test/acc"])
    assert sorted(tags["images"]) == [*(f"first_layer/unit_{unit}" for unit in (1, 2, 3, 4)), "test/mistakes"]
    assert tags["graph"] == ["graph"]


def test_each_chart_of_the_dashboard_shows_one_line_per_run(train: Train, tmp_path: Path) -> None:
    train(hidden=(), replicas=2, max_epochs=1)
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
    record = train(lr=0.3, max_epochs=5, test_weights="last")  # so high that the last epoch is not the best
    assert record["replicas"][0]["tested_epoch"] == 5
    assert record["val/loss"] == record["history"][-1]["val/loss"] > min(e["val/loss"] for e in record["history"])
    best = train("best", lr=0.3, max_epochs=5)
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
    ("augment", "replicas", "options"), [(False, 1, {}), (True, 1, {}), (True, 3, {}), (True, 2, RECIPE)]
)
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    train: Train, tmp_path: Path, augment: bool, replicas: int, options: dict[str, Any]
) -> None:
    arguments: dict[str, Any] = {"max_epochs": 5, "augment": augment, "replicas": replicas, "options": options}
    whole = train("whole", **arguments)
    with pytest.raises(RuntimeError, match="power cut"):
        train("cut", **arguments, callbacks=(StopAfter(2),))
    assert not (tmp_path / "cut/metrics.json").exists()
    resumed = train("resumed", **arguments, ckpt_path=str(tmp_path / "cut/checkpoints/last.ckpt"))

    for name in ("last", "best"):
        assert_same_weights(tmp_path / "whole", tmp_path / "resumed", name)
    assert without_times(whole) == without_times(resumed)


def test_resuming_keeps_a_best_checkpoint_of_the_first_part(train: Train, tmp_path: Path) -> None:
    """A huge learning rate makes every later epoch worse, so that the first part's checkpoint stays the best."""
    first = train("first", max_epochs=2)
    checkpoint = str(tmp_path / "first/checkpoints/last.ckpt")
    second = train("second", max_epochs=4, lr=30.0, ckpt_path=checkpoint)
    assert second["replicas"][0]["tested_epoch"] == first["replicas"][0]["tested_epoch"]
    assert second["test/acc"] == first["test/acc"]
    assert_same_weights(tmp_path / "first", tmp_path / "second", "best")


@pytest.mark.parametrize(("augment", "replicas"), [(False, 1), (True, 2)])
def test_the_same_seed_gives_the_same_run_bit_for_bit(
    train: Train, tmp_path: Path, augment: bool, replicas: int
) -> None:
    records = [
        train(folder, seed=seed, shuffle_seed=seed, augment=augment, replicas=replicas, cache_dir=tmp_path / folder)
        for folder, seed in (("one", 3), ("two", 3), ("three", 4))
    ]
    assert without_times(records[0]) == without_times(records[1]) != without_times(records[2])
    for name in ("last", "best"):
        assert_same_weights(tmp_path / "one", tmp_path / "two", name)
    predictions = [(tmp_path / folder / "predictions.csv").read_bytes() for folder in ("one", "two", "three")]
    assert predictions[0] == predictions[1] != predictions[2]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"hidden": (0,)}, r"model.hidden must be .* got \[0\]"),
        ({"seed": "abc"}, "seed must be a whole number of at least 0, got 'abc'"),
        ({"test_weights": "first"}, "test_weights must be best or last, got 'first'"),
        ({"max_epochs": 0}, "trainer.max_epochs must be a whole number of at least 1, got 0"),
        ({"max_epochs": "abc"}, "trainer.max_epochs must be .* got 'abc'"),
        ({"trainer": {"accelerator": "quantum"}}, "trainer: .*quantum"),
        ({"trainer": {"limit_train_batches": 0}}, "no epoch was trained"),
        ({"ckpt_path": "nowhere.ckpt"}, "ckpt_path: no file at 'nowhere.ckpt'"),
        ({"lr": 1e30}, "training loss of seed 0 became .* in epoch .* with model.lr=1e\\+30; a smaller"),
        ({"lr": 1e30, "batch_size": 80}, "validation loss of seed 0 became .* in epoch 1 with model.lr=1e\\+30"),
    ],
)
def test_bad_input_is_one_sentence_and_no_result(
    train: Train, tmp_path: Path, arguments: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        train(**arguments)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_a_checkpoint_of_another_network_is_refused(train: Train, tmp_path: Path) -> None:
    train("first", hidden=(4,))
    with pytest.raises(InputError, match=r"was trained with hidden=\[4\], not with \[5\]"):
        train("second", hidden=(5,), ckpt_path=str(tmp_path / "first/checkpoints/last.ckpt"))


def test_a_file_that_is_no_checkpoint_is_refused(train: Train, tmp_path: Path) -> None:
    (tmp_path / "fake.ckpt").write_text("no checkpoint")
    with pytest.raises(InputError, match=r"fake.ckpt' is no checkpoint of catdog"):
        train(ckpt_path=str(tmp_path / "fake.ckpt"))


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_later(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train("whole", max_epochs=4)
    write, writes = Path.write_bytes, []

    def write_twice(self: Path, content: Any) -> int:
        writes.append(self)
        if len(writes) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return write(self, content)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", write_twice)
        with pytest.raises(InputError, match=r"last.ckpt.*' could not be written \(No space left on device\); make"):
            train("run", max_epochs=4)
    assert without_times(train("run", max_epochs=4)) == without_times(whole)
    assert_same_weights(tmp_path / "whole", tmp_path / "run")


class FullInThread(Callback):
    """Fails in a thread and then here, as TensorBoard's writer does."""

    def on_train_epoch_end(self, *args: Any) -> None:
        def fail() -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
        fail()


def test_a_disk_that_is_full_for_the_dashboard_shows_no_traceback(train: Train) -> None:
    with pytest.raises(InputError, match=r"run' could not be written \(No space left on device\)"):
        train(callbacks=(FullInThread(),))  # pytest would fail for what is shown


class Payload:
    """Pickled, it makes a folder where it is unpickled without care."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_malicious_checkpoint_is_refused_and_runs_nothing(train: Train, tmp_path: Path, save: Any) -> None:
    save({"hyper_parameters": Payload(tmp_path / "harm")}, tmp_path / "evil.ckpt")
    with pytest.raises(InputError, match=r"evil.ckpt' is no checkpoint of catdog \(UnpicklingError\)"):
        train(ckpt_path=str(tmp_path / "evil.ckpt"))
    (tmp_path / "run/checkpoints").mkdir(parents=True, exist_ok=True)
    (tmp_path / "evil.ckpt").rename(tmp_path / "run/checkpoints/last.ckpt")
    with pytest.raises(InputError, match="is no checkpoint of catdog"):
        train()  # in whose folder it lies
    assert not (tmp_path / "harm").exists()


def test_weights_alone_are_no_checkpoint_to_go_on_from(train: Train, tmp_path: Path) -> None:
    train("first")
    with pytest.raises(InputError, match=r"best.ckpt' holds weights alone; give the checkpoints/last.ckpt of a run"):
        train("second", ckpt_path=str(tmp_path / "first/checkpoints/best.ckpt"))


@pytest.mark.parametrize("missing", ["callbacks", "state_dict", "hyper_parameters"])
def test_a_checkpoint_that_lacks_a_part_is_refused(train: Train, tmp_path: Path, missing: str) -> None:
    train("first")
    checkpoint = torch.load(tmp_path / "first/checkpoints/last.ckpt", weights_only=True)
    del checkpoint[missing]
    torch.save(checkpoint, tmp_path / "part.ckpt")
    with pytest.raises(InputError, match=r"part.ckpt' is no checkpoint of catdog \(KeyError\)"):
        train("second", ckpt_path=str(tmp_path / "part.ckpt"))


def test_a_checkpoint_after_the_last_epoch_is_refused(train: Train, tmp_path: Path) -> None:
    train("first", max_epochs=3)
    with pytest.raises(InputError, match=r"last.ckpt' is of epoch 3, after the last of trainer.max_epochs=2"):
        train("second", max_epochs=2, ckpt_path=str(tmp_path / "first/checkpoints/last.ckpt"))


def test_unreadable_photos_are_listed_in_the_run_folder(train: Train, photo_root: Path, tmp_path: Path) -> None:
    for path in photo_root.glob("*/*"):
        copy = tmp_path / "photos" / path.relative_to(photo_root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    (tmp_path / "photos/cats/00.jpg").write_text("no photo")
    record = train(source=FolderSource, root=tmp_path / "photos", max_unreadable=0.03)
    with open(tmp_path / "run/unreadable.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["cats/00.jpg"]
    assert rows[0]["reason"] == "no JPEG, PNG, WEBP, GIF or BMP image"
    assert record["unreadable"] == 1


def test_networks_learn_something_from_real_photos(train: Train, real_photos: Path) -> None:
    arguments = {"source": FolderSource, "root": real_photos, "image_size": 128, "batch_size": 32}
    record = train(hidden=(4,), max_epochs=10, **arguments)
    assert record["photos"] == {"train": 1600, "val": 200, "test": 200}
    assert record["history"][-1]["train/acc"] > 0.6
    assert max(epoch["val/acc"] for epoch in record["history"]) > 0.53


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_run_that_goes_on_with_another_learning_rate_learns_with_it(
    train: Train, tmp_path: Path, schedule: str
) -> None:
    options = {"schedule": schedule}
    train("first", max_epochs=2, options=options)
    checkpoint = tmp_path / "first/checkpoints/last.ckpt"
    train("second", max_epochs=4, lr=1e-30, ckpt_path=str(checkpoint), options=options)
    assert_same_weights(tmp_path / "first", tmp_path / "second", "last")

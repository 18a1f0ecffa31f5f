import csv
import dataclasses
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from catdog.errors import InputError
from catdog.statistics import holm, paired_difference
from catdog.study import report
from catdog.study.settings import collect
from catdog.study.table import start_of_learning

PHOTOS = [f"cats/{number}" for number in range(40)]


def config(hidden: list[int], epochs: int, seed: int, **extra: Any) -> dict[str, Any]:
    model = {"hidden": hidden, "lr": 0.01} | extra
    return {
        "model": model, "seed": seed, "data": {"fold": 0, "shuffle_seed": seed, "root": None},
        "trainer": {"max_epochs": epochs, "accelerator": "cpu"},
    }  # fmt: skip


def save_run(folder: Path, hidden: list[int], epochs: int, seed: int, correct: NDArray[np.bool_], **extra: Any) -> None:
    """A run's folder, as a run leaves it, with photos of class 0 predicted rightly or wrongly.

    `correct` is (photos,), or (replicas, photos).
    """
    folder.mkdir(parents=True)
    correct = np.atleast_2d(correct)
    history = [
        {"epoch": n, "step": n, "train/loss": 1 / n, "val/loss": 1.0, "val/acc": 0.6} for n in range(1, epochs + 1)
    ]
    replicas = [
        {
            "seed": seed + n,
            "test/acc": float(own.mean()),
            "val/acc": 0.7,
            "val/dead": float((seed + n) % 2),
            "history": history,
        }
        for n, own in enumerate(correct)
    ]
    record = {
        "status": "finished", "hidden": hidden, "depth": len(hidden), "parameters": 7, "epochs": epochs, "seed": seed,
        "fold": 0, "split_seed": 0, "shuffle_seed": seed, "baseline": {"train": 0.5, "val": 0.5}, "accelerator": "cpu",
        "photos": {"train": 320, "val": 200, "test": len(PHOTOS)}, "seconds_per_epoch": 0.5, "seconds": 10.0,
        "replicas": replicas, "config": config(hidden, epochs, seed, **extra),
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(record))
    with open(folder / "predictions.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "seed", "probability"))
        for replica, own in zip(replicas, correct, strict=True):
            probabilities = np.where(own, 0.2, 0.8)
            writer.writerows((photo, 0, replica["seed"], p) for photo, p in zip(PHOTOS, probabilities, strict=True))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Shallow and deep nets × 2 and 6 epochs × 5 seeds; after 6 epochs deep is far better."""
    rng = np.random.default_rng(0)
    for hidden in ([4], [5, 5, 3]):
        for epochs in (2, 6):
            for seed in range(5):
                share = 0.95 if (hidden, epochs) == ([5, 5, 3], 6) else 0.5
                correct = rng.random(len(PHOTOS)) < share
                save_run(tmp_path / f"{len(hidden)}-{epochs}-{seed}", hidden, epochs, seed, correct)
    failed = {"status": "failed", "reason": "RuntimeError: no", "accelerator": "cpu", "config": config([4], 2, 9)}
    (tmp_path / "failed").mkdir()
    (tmp_path / "failed/outcome.json").write_text(json.dumps(failed))
    return tmp_path


def correctness(study: Path, pattern: str) -> NDArray[np.float64]:
    """Recomputed from the files alone."""
    frames = [pd.read_csv(path) for path in sorted(study.glob(f"{pattern}/predictions.csv"))]
    return np.array([(frame["probability"] > 0.5) == frame["label"] for frame in frames], dtype=float)


def test_the_table_says_what_the_files_say(study: Path) -> None:
    comparison = report.compare([study])
    rows = pd.DataFrame(comparison.rows).query("status == 'finished'")
    assert rows["net"].tolist() == ["shallow", "shallow", "deep", "deep"]
    assert rows["epochs"].tolist() == [2, 6, 2, 6]
    expected = [correctness(study, pattern).mean() for pattern in ("1-2-*", "1-6-*", "3-2-*", "3-6-*")]
    assert rows["test_acc"].tolist() == pytest.approx(expected)
    assert (rows["test_acc_low"] < rows["test_acc"]).all()
    assert rows["seeds"].tolist() == [5] * 4
    assert rows["dead_nets"].tolist() == [2] * 4
    assert rows["photos_per_second"].tolist() == [640] * 4
    assert rows["seconds"].tolist() == [50] * 4
    assert comparison.failed == 1
    assert "| shallow | 2 | cpu | 1 | failed: RuntimeError: no |" in str(comparison)


def test_the_verdicts_are_those_of_the_predictions(study: Path) -> None:
    found = {str(verdict): verdict for verdict in report.compare([study]).verdicts}
    assert len(found) == 4  # deep against shallow at 2 and at 6; 2 against 6 of both
    sentences = list(found)
    assert [sentence.split(" by ")[0] for sentence in sentences if "better" in sentence] == [
        "deep is better than shallow at 6 epochs",
        "6 epochs of deep are better than 2",
    ]
    assert sentences[0].startswith("no difference was found between deep and shallow at 2 epochs: ")
    assert "with 40 test photos and 5 pairs of runs, a true difference of" in sentences[0]
    pairs = [("3-2-*", "1-2-*"), ("3-6-*", "1-6-*"), ("1-6-*", "1-2-*"), ("3-6-*", "3-2-*")]
    expected = [paired_difference(correctness(study, a), correctness(study, b)) for a, b in pairs]
    for verdict, difference in zip(found.values(), expected, strict=True):
        assert dataclasses.astuple(verdict.difference) == pytest.approx(dataclasses.astuple(difference))
    corrected = holm([difference.p_value for difference in expected])
    assert [verdict.p_value for verdict in found.values()] == pytest.approx(corrected)


def test_one_split_is_said_to_be_one(study: Path) -> None:
    assert "All runs share one split" in str(report.compare([study]))


def test_runs_are_paired_by_seed_not_by_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    correct = rng.random((4, len(PHOTOS))) < 0.6
    for seed in (0, 1, 2):
        save_run(tmp_path / f"a{2 - seed}", [4], 2, seed, correct[seed])
        save_run(tmp_path / f"b{seed}", [5, 5, 3], 2, seed, correct[seed])
    save_run(tmp_path / "unpaired", [4], 2, 7, correct[3])
    (verdict,) = report.compare([tmp_path]).verdicts
    assert verdict.difference.mean == 0
    assert verdict.difference.runs == 3


def test_replicas_count_as_seeds_and_the_report_says_what_they_share(tmp_path: Path) -> None:
    correct = np.random.default_rng(0).random((2, 3, len(PHOTOS))) < 0.6
    for number, hidden in enumerate(([4], [5, 5, 3])):
        save_run(tmp_path / f"together/{number}", hidden, 2, 0, correct[number])
        for seed in range(3):
            save_run(tmp_path / f"apart/{number}-{seed}", hidden, 2, seed, correct[number, seed])
    together, apart = (report.compare([tmp_path / name]) for name in ("together", "apart"))
    times = ["seconds", "seconds_per_epoch", "photos_per_second"]
    first, second = (pd.DataFrame(own.rows) for own in (together, apart))
    pd.testing.assert_frame_equal(first.drop(columns=times), second.drop(columns=times))
    assert first["seeds"].tolist() == [3, 3]
    assert first["seconds"].tolist() == pytest.approx([10, 10])
    assert first["photos_per_second"].tolist() == pytest.approx([1920, 1920])  # of all replicas
    assert together.verdicts[0].difference == apart.verdicts[0].difference
    sentence = "Replicas count as seeds: they differ in initial weights, but share split and batch order."
    assert sentence in str(together)
    assert sentence not in str(apart)


def test_worse_by_so_many_points_has_an_interval_around_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for seed in range(5):
        save_run(tmp_path / f"a{seed}", [4], 2, seed, rng.random(len(PHOTOS)) < 0.95)
        save_run(tmp_path / f"b{seed}", [5, 5, 3], 2, seed, rng.random(len(PHOTOS)) < 0.4)
    (verdict,) = report.compare([tmp_path]).verdicts
    found = re.fullmatch(r"deep is worse than shallow at 2 epochs by (.*) points \[(.*), (.*)\], p = .*", str(verdict))
    assert found is not None
    points, low, high = map(float, found.groups())
    assert 0 < low < points < high


def test_settings_differ_in_more_than_the_net(tmp_path: Path) -> None:
    for number, lr in enumerate((0.01, 0.1)):
        for seed in (0, 1):
            save_run(tmp_path / f"{number}{seed}", [4], 2, seed, np.ones(len(PHOTOS), dtype=bool), lr=lr)
    comparison = report.compare([tmp_path])
    assert [setting.net for setting in comparison.settings] == ["shallow (model.lr=0.01)", "shallow (model.lr=0.1)"]
    (verdict,) = comparison.verdicts
    assert "between shallow (model.lr=0.1) and shallow (model.lr=0.01) at 2 epochs" in str(verdict)


@pytest.mark.parametrize(
    ("changes", "nets"),
    [
        ([{"hidden": [4]}, {"hidden": [8], "whitening": 64, "hog": 8, "lr": 1.0}], ["shallow", "whitened and HOG [8]"]),
        ([{"warmup": 0.0}, {}], ["shallow (model.warmup=0.0)", "shallow (model.warmup=absent)"]),  # of an older catdog
        ([{}, {}, {"lr": 0.1}, {"schedule": "cosine"}], ["shallow", "shallow (model.lr=0.1)"]),
        ([{"lr": 0.1, "act": {"_target_": "my.Act", "slope": 2}}, {"lr": 0.1}], ["shallow (model.act=Act)"]),
    ],
)  # fmt: skip
def test_a_net_is_named_with_the_keys_in_which_most_of_its_name_differ(
    tmp_path: Path, changes: list[dict[str, Any]], nets: list[str]
) -> None:
    for number, options in enumerate(changes):
        hidden = options.pop("hidden", [4])
        save_run(tmp_path / f"{number}", hidden, 2, seed=0, correct=np.arange(40) % 3 > 0, **options)
    assert {setting.net for setting in report.compare([tmp_path]).settings} >= set(nets)


def change(record: Path, edit: Callable[[Any], object]) -> None:
    content = json.loads(record.read_text())
    edit(content)
    record.write_text(json.dumps(content))


def test_seeds_sizes_and_loggers_make_no_settings(tmp_path: Path) -> None:
    for seed in range(3):
        folder = tmp_path / f"run{seed}"
        save_run(folder, [4], 2, seed, correct=np.arange(40) % 3 > 0, image_size=8 * seed)
        change(folder / "metrics.json", lambda run: run["config"]["model"].update(seed=run["seed"]))
        change(folder / "metrics.json", lambda run: run["config"].update(logger={"csv": {"name": run["seed"]}}))
    (setting,) = collect([tmp_path])
    assert (setting.net, len(setting.runs)) == ("shallow", 3)


def test_another_metric_of_all_runs_has_a_column(study: Path) -> None:
    paths = sorted(study.glob("*/metrics.json"))
    for path in paths:
        change(path, lambda run: run["replicas"][0].update({"test/f1": run["seed"] / 100, "test/loss": 0.5}))
    change(paths[0], lambda run: run["replicas"][0].update({"test/of_one_run_alone": 1.0}))
    comparison = report.compare([study])
    assert pd.DataFrame(comparison.rows)["test_f1"].dropna().tolist() == pytest.approx([0.02] * 4)
    header, _, first, second, *_ = str(comparison).splitlines()
    assert header.endswith("| s in all | test f1 |")
    assert first.endswith("| 0.020 |")
    assert {line.count("|") for line in (header, first, second)} == {header.count("|")}
    assert not any("alone" in name or "loss" in name for name in comparison.rows[0] if name != "train_loss")


def test_another_kind_of_model_that_logs_little_is_compared(tmp_path: Path) -> None:
    """No hidden widths, no validation, no predictions, no number of epochs."""

    def edit(run: Any) -> None:
        del run["config"]["model"]["hidden"]
        run["config"]["trainer"]["max_epochs"] = None
        run["net"] = "Convolutional"
        del run["replicas"][0]["val/acc"], run["replicas"][0]["val/dead"]
        run["replicas"][0]["history"] = [{"epoch": epoch, "step": 4 * epoch, "seconds": 1.0} for epoch in (1, 2)]

    for seed in range(2):
        folder = tmp_path / f"run{seed}"
        save_run(folder, [4], 2, seed, correct=np.arange(40) % 4 > 0)
        change(folder / "metrics.json", edit)
        (folder / "predictions.csv").write_text("path,label,seed,probability\n")
    config = json.loads((tmp_path / "run0/metrics.json").read_text())["config"]
    config["model"]["_target_"] = "my.Net"
    failed = {"status": "failed", "reason": "no information", "accelerator": "cpu", "config": config}
    (tmp_path / "failed").mkdir()
    (tmp_path / "failed/outcome.json").write_text(json.dumps(failed))
    comparison = report.compare([tmp_path])
    comparison.save(tmp_path)
    row = "| Convolutional | 2 | cpu | 2 | 1 | 7 | 2 | 1 | 75.0% | – | – | 0 | never [never, never] |"
    assert row in str(comparison)
    assert "| Net | 0 | cpu | 1 | failed: no information |" in str(comparison)


def test_the_report_is_saved(study: Path, tmp_path: Path) -> None:
    report.compare([study]).save(tmp_path / "out")
    rows = pd.read_csv(tmp_path / "out/comparison.csv")
    assert len(rows) == 5
    text = (tmp_path / "out/comparison.md").read_text()
    assert "deep is better than shallow at 6 epochs" in text
    with Image.open(tmp_path / "out/comparison.png") as figure:
        assert figure.width > 1000


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([0.693, 0.66, 0.65, 0.64, 0.5], 3),  # 0.95 ln 2 is 0.6585
        ([0.65, 0.64, 0.7, 0.6, 0.5, 0.4], 4),  # the first two do not last
        ([0.7, 0.6, 0.5], math.inf),
        ([], math.inf),
    ],
)
def test_learning_starts_where_the_loss_stays_below_the_class_entropy(losses: list[float], expected: float) -> None:
    history = [{"epoch": number, "train/loss": loss} for number, loss in enumerate(losses, start=1)]
    assert start_of_learning(history, 0.5) == expected
    # 60 % of one class: always giving that share has a loss of 0.673, which is no learning
    assert start_of_learning([{"epoch": n, "train/loss": 0.673} for n in range(9)], 0.6) == math.inf
    assert start_of_learning([{"epoch": n, "train/loss": 0.0} for n in range(9)], 1.0) == math.inf


def test_a_run_of_an_older_version_is_refused(study: Path) -> None:
    path = study / "1-2-0/metrics.json"
    record = json.loads(path.read_text())
    del record["replicas"]
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match="1-2-0' holds a run of an older catdog"):
        report.compare([study])


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no metrics.json of a run below"):
        collect([tmp_path])
    with pytest.raises(InputError, match="no folder at '.*nowhere'"):
        collect([tmp_path / "nowhere"])

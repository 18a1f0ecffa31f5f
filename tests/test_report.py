import dataclasses
import json
import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from catdog.errors import InputError
from catdog.statistics import for_these_photos, holm
from catdog.study import figure, report
from catdog.study.settings import collect
from catdog.study.table import start_of_learning

PHOTOS = [f"cats/{number}" for number in range(40)]


PRIMARY = {
    "first": {"model.hidden": [5, 5, 3]}, "second": {"model.hidden": [4]}, "both": {"trainer.max_epochs": 6},
}  # fmt: skip


def config(hidden: list[int], epochs: int, seed: int, **extra: Any) -> dict[str, Any]:
    model = {"hidden": hidden, "lr": 0.01} | extra
    return {
        "model": model, "seed": seed, "data": {"fold": 0, "shuffle_seed": seed, "root": None},
        "trainer": {"max_epochs": epochs, "accelerator": "cpu", "limit_train_batches": None}, "primary": None,
    }  # fmt: skip


def save_run(folder: Path, hidden: list[int], epochs: int, seed: int, correct: NDArray[np.bool_], **extra: Any) -> None:
    """A run's folder, as a run leaves it, with photos of class 0 predicted rightly or wrongly.

    `correct` is (photos,), or (replicas, photos).
    """
    folder.mkdir(parents=True)
    correct = np.atleast_2d(correct)
    history = [{"epoch": n, "train/loss": 1 / n, "val/loss": 1.0, "val/acc": 0.6} for n in range(1, epochs + 1)]
    replicas = [
        {"seed": number, "test/acc": float(own.mean()), "val/acc": 0.7, "val/dead": number % 2, "history": history}
        for number, own in enumerate(correct, start=seed)
    ]
    record = {
        "status": "finished", "hidden": hidden, "depth": len(hidden), "parameters": 7, "epochs": epochs, "seed": seed,
        "fold": 0, "train_set": 0, "split_seed": 0, "shuffle_seed": seed, "accelerator": "cpu", "other_weights": [],
        "baseline": {"train": 0.5, "val": 0.5, "test": 0.5}, "tested": len(PHOTOS),
        "photos": {"train": 320, "val": 200, "test": len(PHOTOS)}, "seconds_per_epoch": 0.5, "seconds": 10.0,
        "replicas": replicas, "config": config(hidden, epochs, seed, **extra),
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(record))
    own = [{"path": PHOTOS, "label": 0, "seed": seed + n, "probability": 0.8 - 0.6 * c} for n, c in enumerate(correct)]
    pd.concat(map(pd.DataFrame, own)).to_csv(folder / "predictions.csv", index=False)


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
    assert rows["runs"].tolist() == [5] * 4
    assert rows["training_sets"].tolist() == [1] * 4
    assert rows["dead_nets"].tolist() == [2] * 4
    assert rows["photos_per_second"].tolist() == [640] * 4
    assert rows["seconds"].tolist() == [50] * 4
    assert re.search(r"\| shallow \| 320 \| 2 \| cpu \| 1 \| failed: RuntimeError: no \|", str(comparison))
    assert "rehearsal" not in str(comparison)
    assert "Comparisons (4 of 4; " in comparison.summary()
    assert all(len(line) <= 80 for line in comparison.summary().splitlines())
    assert re.search(r"shallow +320 +2 +1 +failed\n", comparison.summary())
    assert comparison.summary().endswith("\n- failed: RuntimeError: no")


def test_settings_on_two_devices_have_names_of_their_own_and_a_rehearsal_is_called_one(study: Path) -> None:
    for path in study.glob("3-6-[34]/metrics.json"):
        change(path, lambda run: run.update(accelerator="cuda"))
        change(path, lambda run: run["config"]["trainer"].update(accelerator="gpu", overfit_batches=1))
    comparison = report.compare([study])
    speeds = {row["net"].split(",")[0]: row["photos_per_second"] for row in comparison.rows if row["epochs"] == 6}
    assert str(speeds) == "{'shallow': 640.0, 'deep (cpu': 640.0, 'deep (cuda': nan}"
    assert "- A rehearsal: limit_train_batches or overfit_batches left out" in comparison.summary()


def test_the_verdicts_are_those_of_the_predictions(study: Path) -> None:
    found = report.compare([study]).exploratory
    assert [(verdict.subject, verdict.word) for verdict in found] == [
        ("deep against shallow, 2 epochs, 320 training photos", "no difference found"),
        ("deep against shallow, 6 epochs, 320 training photos", "better"),
        ("shallow, 6 against 2 epochs, 320 training photos", "no difference found"),
        ("deep, 6 against 2 epochs, 320 training photos", "better"),
    ]
    pairs = [("3-2-*", "1-2-*"), ("3-6-*", "1-6-*"), ("1-6-*", "1-2-*"), ("3-6-*", "3-2-*")]
    one_set = np.zeros(5, int)
    expected = [for_these_photos(correctness(study, a) - correctness(study, b), one_set) for a, b in pairs]
    for verdict, estimate in zip(found, expected, strict=True):
        assert verdict.these is not None
        assert estimate is not None
        assert dataclasses.astuple(verdict.these) == pytest.approx(dataclasses.astuple(estimate))
    assert [verdict.others for verdict in found] == [None] * 4  # one training set says nothing of others
    corrected = holm([estimate.p_value for estimate in expected if estimate])
    assert [verdict.p_value for verdict in found] == pytest.approx(corrected)
    assert found[0].these is not None
    least = f"{100 * found[0].these.detectable(4):.1f} points would be detected in 80 % of such studies."
    assert "With 1 training set, 5 pairs of runs and 40 test photos, a true difference of" in str(found[0])
    assert f"{least} Too few training sets to speak of others." in str(found[0])


def test_the_primary_comparison_is_tested_alone_and_comes_first(study: Path) -> None:
    for path in study.glob("*/metrics.json"):
        change(path, lambda run: run["config"].update(primary=PRIMARY))
    comparison = report.compare([study])
    (verdict,) = comparison.primary
    assert verdict.subject == "deep against shallow, 6 epochs, 320 training photos"
    assert verdict.these is not None
    assert verdict.p_value == verdict.these.p_value
    assert verdict.subject in comparison.summary().splitlines()[0]
    assert str(comparison).startswith(f"**{verdict}**")
    assert [other.comparisons for other in comparison.exploratory] == [3] * 3
    assert verdict.subject not in str(comparison).partition("Exploratory")[2]
    swapped = PRIMARY | {"first": PRIMARY["second"], "second": PRIMARY["first"]}
    for path in study.glob("*/metrics.json"):  # turned round, it is the same comparison
        change(path, lambda run: run["config"].update(primary=swapped))
    (turned,) = report.compare([study]).primary
    assert turned.mean == -verdict.mean
    assert turned.word == "worse"


def test_a_comparison_of_epochs_names_any_net(tmp_path: Path) -> None:
    for epochs in (2, 6):
        save_run(tmp_path / str(epochs), [64, 32], epochs, 0, np.arange(40) % 3 > 0)
    (verdict,) = report.compare([tmp_path]).exploratory
    assert verdict.subject == "[64, 32], 6 against 2 epochs, 320 training photos"


def test_what_is_unknown_is_neither_a_number_nor_corrected_nor_an_interval(tmp_path: Path) -> None:
    for number, hidden in enumerate(([4], [5, 5, 3], [])):
        for seed in range(2):
            save_run(tmp_path / f"{number}-{seed}", hidden, 2, seed + 5 * number, np.arange(40) % 3 > 0)
    comparison = report.compare([tmp_path])
    assert {verdict.word for verdict in comparison.exploratory} == {"undecided"}
    assert "nan" not in str(comparison)
    assert "corrected" not in str(comparison)
    left, _ = figure.comparison(comparison.settings, []).axes
    assert left.get_xlabel() == "accuracy; too few runs for intervals"


def test_settings_that_cannot_work_are_rows_of_the_table(tmp_path: Path) -> None:
    save_run(tmp_path / "finished", [4], 2, 0, np.arange(40) % 3 > 0)
    for number, (epochs, photos) in enumerate((("ten", None), (2, "all"))):
        keys: Any = config([4], 2, 0)
        keys["trainer"]["max_epochs"], keys["data"]["train_photos"] = epochs, photos
        failed = {"status": "failed", "reason": f"{epochs}, {photos}", "accelerator": "cpu", "config": keys}
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}/outcome.json").write_text(json.dumps(failed))
    text = str(report.compare([tmp_path]))
    assert "| shallow | – | – | cpu | 1 | failed: ten, None |" in text
    assert "| shallow | – | 2 | cpu | 1 | failed: 2, all |" in text


def test_other_drawn_photos_have_no_training_set_in_common(tmp_path: Path) -> None:
    for drawn in range(2):
        for seed in range(5):
            folder = tmp_path / f"{drawn}-{seed}"
            save_run(folder, [4], 2, seed, np.arange(40) % 3 > 0)
            change(folder / "metrics.json", partial(put, key="source", value={"seed": drawn}))
    comparison = report.compare([tmp_path])
    assert len(comparison.settings) == 2
    assert comparison.exploratory == []


def test_runs_that_ended_early_are_told_and_no_accuracy_is_above_1(tmp_path: Path) -> None:
    for seed in range(3):
        save_run(tmp_path / f"{seed}", [4], 6, seed, np.ones(40, bool))
    comparison = report.compare([tmp_path])
    assert comparison.notes == []
    assert comparison.rows[0]["test_acc_high"] == 1
    change(tmp_path / "1/metrics.json", lambda run: run.update(epochs=3))
    (note,) = report.compare([tmp_path]).notes
    assert note.startswith("Some runs ended before the epochs named here")


def put(run: dict[str, Any], key: str, value: Any) -> None:
    """Set a key of the data in the record and in its configuration."""
    run[key] = run["config"]["data"][key] = value


def sets_of_runs(tmp_path: Path, sets: int, seeds: int, key: str) -> report.Report:
    """Two equal nets on several training sets, which are disjoint (`train_set`) or overlap (`fold`)."""
    rng = np.random.default_rng(0)
    for number, hidden in enumerate(([4], [5, 5, 3])):
        for one in range(sets):
            folder = tmp_path / f"{number}-{one}"
            save_run(folder, hidden, 2, 10 * one, rng.random((seeds, len(PHOTOS))) < 0.6)
            change(folder / "metrics.json", partial(put, key=key, value=one))
    return report.compare([tmp_path])


@pytest.mark.parametrize(
    ("sets", "seeds", "answers"),
    [
        (8, 3, ("any training photos and", "these training photos, p =")),
        (2, 3, ("these training photos, p =", "Too few training sets to speak of others.")),
        (2, 1, ("undecided, ", "2 pairs of runs and 40 test photos are too few.")),
        (1, 1, ("undecided, ", "1 pair of runs and 40 test photos are too few.")),
    ],
)
def test_a_verdict_names_the_population_that_it_holds_for(
    tmp_path: Path, sets: int, seeds: int, answers: tuple[str, str]
) -> None:
    comparison = sets_of_runs(tmp_path, sets, seeds, "train_set")
    sentence = str(comparison.exploratory[0])
    assert all(answer in sentence for answer in answers)
    assert ("any" in sentence) == (sets > 2)
    population = {8: "any training photos", 1: "this very net"}.get(sets, "these training photos")
    if (sets, seeds) != (2, 1):
        assert [row["interval_for"] for row in comparison.rows] == [population] * 2


def test_folds_overlap_by_what_the_record_says_and_disjoint_sets_do_not(tmp_path: Path) -> None:
    disjoint, folds = (sets_of_runs(tmp_path / key, 5, 2, key) for key in ("train_set", "fold"))
    assert [setting.overlap for setting in disjoint.settings + folds.settings] == [0, 0, 40 / 320, 40 / 320]
    (apart,), (overlapping,) = disjoint.exploratory, folds.exploratory
    assert apart.these == overlapping.these
    assert apart.others is not None
    assert overlapping.others is not None
    assert apart.others.error < overlapping.others.error


def test_runs_are_paired_by_seed_and_what_cannot_be_paired_is_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    correct = rng.random((4, len(PHOTOS))) < 0.6
    for seed in (0, 1, 2):
        save_run(tmp_path / f"a{2 - seed}", [4], 2, seed, correct[seed])
        save_run(tmp_path / f"b{seed}", [5, 5, 3], 2, seed, correct[seed])
    save_run(tmp_path / "unpaired", [4], 2, 7, correct[3])
    save_run(tmp_path / "again", [5, 5, 3], 2, 0, correct[0])
    save_run(tmp_path / "reordered", [5, 5, 3], 2, 7, correct[3])
    change(tmp_path / "reordered/metrics.json", lambda run: run.update(shuffle_seed=9))
    comparison = report.compare([tmp_path])
    (verdict,) = comparison.exploratory
    assert (verdict.mean, verdict.pairs) == (0, 3)
    deep, shallow = (f"{net}, 2 epochs, 320 training photos" for net in ("deep", "shallow"))
    alone = "1 run without a partner of the same seeds and training set in"
    assert set(verdict.remarks) == {
        f"{deep}: 1 run there twice, counted once.",
        f"{deep}: {alone} {shallow}, left out of that comparison.",
        f"{shallow}: {alone} {deep}, left out of that comparison.",
    }
    assert all(remark in str(comparison) for remark in verdict.remarks)


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
    assert first["runs"].tolist() == [3, 3]
    assert first["seconds"].tolist() == pytest.approx([10, 10])
    assert first["photos_per_second"].tolist() == pytest.approx([1920, 1920])  # of all replicas
    assert together.exploratory[0].these == apart.exploratory[0].these
    sentence = report.REPLICAS
    assert sentence in str(together)
    assert sentence not in str(apart)


@pytest.mark.parametrize(
    ("changes", "nets"),
    [
        ([{"lr": 0.01}, {"lr": 0.1}], ["shallow (model.lr=0.01)", "shallow (model.lr=0.1)"]),
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


def test_an_accelerator_is_named_as_asked_for_where_its_column_says_the_same(tmp_path: Path) -> None:
    for asked in ("auto", "cpu"):
        save_run(tmp_path / asked, [4], 2, 0, np.arange(40) % 3 > 0)
    change(tmp_path / "auto/metrics.json", lambda run: run["config"]["trainer"].update(accelerator="auto"))
    nets = [setting.net for setting in collect([tmp_path])]
    assert nets == [f'shallow (trainer.accelerator="{asked}")' for asked in ("auto", "cpu")]


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


def test_another_metric_of_all_runs_has_a_column_in_the_file(study: Path) -> None:
    paths = sorted(study.glob("*/metrics.json"))
    for path in paths:
        change(path, lambda run: run["replicas"][0].update({"test/f1": run["seed"] / 100, "test/loss": 0.5}))
    change(paths[0], lambda run: run["replicas"][0].update({"test/of_one_run_alone": 1.0}))
    comparison = report.compare([study])
    assert pd.DataFrame(comparison.rows)["test_f1"].dropna().tolist() == pytest.approx([0.02] * 4)
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
    row = "| Convolutional | 320 | 2 | cpu | 2 | 75.0 % | too few runs | – | – | – | – |"
    assert row in str(comparison)
    assert re.search(r"\| Net \| – \| – \| cpu \| 1 \| failed: no information \|", str(comparison))


def test_the_report_is_saved(study: Path, tmp_path: Path) -> None:
    report.compare([study]).save(tmp_path / "out")
    rows = pd.read_csv(tmp_path / "out/comparison.csv")
    assert len(rows) == 5
    text = (tmp_path / "out/comparison.md").read_text()
    assert "| deep against shallow, 6 epochs, 320 training photos | " in text
    with Image.open(tmp_path / "out/comparison.png") as picture:
        assert picture.width > 1000


def test_the_figure_has_the_primary_comparison_on_top_and_the_longest_run_of_each_net(study: Path) -> None:
    for path in study.glob("*/metrics.json"):
        change(path, lambda run: run["config"].update(primary=PRIMARY))
    comparison = report.compare([study])
    drawn = figure.comparison(comparison.settings, comparison.primary)
    assert drawn.get_suptitle() == comparison.primary[0].brief
    left, right = drawn.axes
    names = [label.get_text() for label in left.get_yticklabels()][::-1]
    assert names == ["deep, 6 epochs", "shallow, 6 epochs", "shallow, 2 epochs", "deep, 2 epochs"]
    assert [line.get_label() for line in right.lines[:2]] == ["shallow", "deep"]
    assert [len(line.get_xdata()) for line in right.lines[:2]] == [6, 6]  # type: ignore[arg-type]


def test_accuracy_is_drawn_against_the_number_of_training_photos(tmp_path: Path) -> None:
    for number, photos in enumerate((100, 400, 1600)):
        for seed in range(3):
            folder = tmp_path / f"{number}-{seed}"
            save_run(folder, [4], 2, seed, np.arange(len(PHOTOS)) >= 20 - 5 * number)
            change(folder / "metrics.json", lambda run, photos=photos: run["photos"].update(train=photos))  # type: ignore[misc]
            change(folder / "metrics.json", partial(put, key="train_photos", value=photos))
    comparison = report.compare([tmp_path])
    assert [(setting.net, setting.photos) for setting in comparison.settings] == [
        ("shallow", 100), ("shallow", 400), ("shallow", 1600),
    ]  # fmt: skip
    assert comparison.exploratory == []  # they have no training set in common
    left, _ = figure.comparison(comparison.settings, []).axes
    assert left.get_xscale() == "log"
    assert left.lines[0].get_xydata() == pytest.approx(np.array([[100, 0.5], [400, 0.625], [1600, 0.75]]))


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([0.693, 0.66, 0.65, 0.64, 0.5], 3),  # 0.95 ln 2 is 0.6585
        ([0.65, 0.64, 0.7, 0.6, 0.5, 0.4], 4),  # the first two do not last
        ([0.7, 0.6, 0.5], math.inf),
        ([0.7, 0.6], math.nan),  # too few epochs to tell
    ],
)
def test_learning_starts_where_the_loss_stays_below_the_class_entropy(losses: list[float], expected: float) -> None:
    history = [{"epoch": number, "train/loss": loss} for number, loss in enumerate(losses, start=1)]
    assert start_of_learning(history, 0.5) == pytest.approx(expected, nan_ok=True)
    # 60 % of one class: always giving that share has a loss of 0.673, which is no learning
    assert start_of_learning([{"epoch": n, "train/loss": 0.673} for n in range(9)], 0.6) == math.inf
    assert start_of_learning([{"epoch": n, "train/loss": 0.0} for n in range(9)], 1.0) == math.inf


def test_a_run_of_an_older_version_is_refused(study: Path) -> None:
    change(study / "1-2-0/metrics.json", lambda run: run.pop("replicas"))
    with pytest.raises(InputError, match="1-2-0' holds a run of an older catdog"):
        report.compare([study])


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no metrics.json of a run below"):
        collect([tmp_path])
    with pytest.raises(InputError, match="no folder at '.*nowhere'"):
        collect([tmp_path / "nowhere"])

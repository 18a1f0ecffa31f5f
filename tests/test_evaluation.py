import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import norm, rankdata
from torchmetrics.functional.classification import binary_calibration_error

from catdog.errors import InputError
from catdog.inference.evaluate import evaluate, summarize
from catdog.inference.evaluation_figure import draw_evaluation
from catdog.inference.measures import BINS, auc_interval, calibration, measure, measure_all
from catdog.inference.runs import FinishedRun
from catdog.statistics import mean_accuracy, wilson_interval
from conftest import RunOf, Script, make_classifier

GENERATOR = torch.Generator().manual_seed(0)
LABELS = (torch.rand(150, generator=GENERATOR) < 0.4).float()
LOGITS = (2 * torch.randn(3, 150, generator=GENERATOR) + LABELS).double()


def photos_of(run: Path, folder: Path, cats: str = "cats", dogs: str = "dogs", count: int = 30) -> Path:
    """Copies of photos that the run was made of, under other class names."""
    root = Path(FinishedRun.open(run).record["config"]["data"]["root"])
    for source, name in (("cats", cats), ("dogs", dogs)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            shutil.copy(root / source / f"{number:02d}.png", folder / name)
    return folder


@pytest.mark.parametrize("replicas", [1, 3])
def test_a_run_is_evaluated_on_its_test_part_as_it_was_tested(run_of: RunOf, tmp_path: Path, replicas: int) -> None:
    folder = run_of(replicas)
    written, (found, out) = json.loads((folder / "metrics.json").read_text()), evaluate(folder, out=tmp_path / "a/b")
    assert json.loads((out / "evaluation.json").read_text()) == json.loads(json.dumps(found))
    assert found["mean"]["accuracy"] == pytest.approx(written["test/acc"])
    assert found["mean"]["accuracy_interval"] == pytest.approx(written["test/acc_interval"])
    for net, replica in zip(found["nets"], written["replicas"], strict=True):
        assert (net["seed"], net["accuracy"]) == (replica["seed"], pytest.approx(replica["test/acc"]))
        assert net["bce"] == pytest.approx(replica["test/loss"], rel=1e-4)
    assert sum(found["photos"]["of_class"].values()) == found["photos"]["count"] == 6
    assert found["photos"]["trained_on"] == 0
    assert ("ensemble" in summarize(found)) == (replicas > 1)
    for name in ("evaluation.png", "mistakes.png"):
        with Image.open(out / name) as picture:
            picture.load()


def test_the_folder_names_what_was_evaluated(run_of: RunOf, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run_of(1), tmp_path / r"a$\frac$"))  # dollar signs are no formula in the figure
    data = photos_of(folder, tmp_path / "photos", count=3)
    assert evaluate(folder)[1] == folder / "evaluation"
    assert evaluate(folder / "checkpoints/last.ckpt")[1].samefile(folder / "evaluation")
    assert evaluate(folder / "checkpoints/best.ckpt")[1].samefile(folder / "evaluation-best")
    assert evaluate(folder, data)[1] == folder / "evaluation-photos"
    carried = shutil.copy(folder / "checkpoints/best.ckpt", tmp_path / "carried.ckpt")
    with pytest.raises(InputError, match=r"carried.ckpt' lies in no finished run's folder; name photos with --data"):
        evaluate(carried)


def test_photos_of_a_folder_are_matched_by_class_and_those_already_seen_are_counted(
    run_of: RunOf, tmp_path: Path
) -> None:
    plain = evaluate(run_of(3), photos_of(run_of(3), tmp_path / "plain"), tmp_path / "out")[0]
    assert plain["photos"]["trained_on"] == 54  # all but the test set
    assert "54 of the photos are ones that the run trained on" in summarize(plain)
    carried = shutil.copy(run_of(3) / "checkpoints/last.ckpt", tmp_path / "carried.ckpt")
    unknown = evaluate(carried, tmp_path / "plain", tmp_path / "out")[0]
    assert "it may have been trained on some of these" in summarize(unknown)
    # In the order of their names these are dogs first.
    other = evaluate(run_of(3), photos_of(run_of(3), tmp_path / "other", "cat", "DOG"), tmp_path / "out")[0]
    for name in ("accuracy", "roc_auc", "bce"):
        assert other["mean"][name] == pytest.approx(plain["mean"][name])


@pytest.mark.parametrize("found", [("birds", "cats"), ("Cats", "cat"), ("cat", "cats")])
def test_classes_that_do_not_fit_one_to_one_get_a_sentence(
    run_of: RunOf, tmp_path: Path, found: tuple[str, str]
) -> None:
    with pytest.raises(InputError, match=rf"class folders '{found[0]}' and '{found[1]}' are not the checkpoint's"):
        evaluate(run_of(1), photos_of(run_of(1), tmp_path, *found, count=1))


def test_unreadable_photos_are_left_out_and_listed(run_of: RunOf, tmp_path: Path) -> None:
    data = photos_of(run_of(1), tmp_path / "photos", count=3)
    (data / "cats/01.png").write_text("no photo")
    found = evaluate(run_of(1), data, tmp_path / "out")[0]
    assert found["photos"]["unreadable"] == {"cats/01.png": "no JPEG, PNG, WEBP, GIF or BMP image"}
    assert found["photos"]["of_class"] == {"cats": 2, "dogs": 3}
    for photo in data.glob("*/*.png"):
        photo.write_text("no photo")
    with pytest.raises(InputError, match=r"--data: none of 6 photos can be read; the first is 'cats/00.png' \(no JPEG"):
        evaluate(run_of(1), data)
    with pytest.raises(InputError, match=r"^--data: no folder at '.*nowhere'"):
        evaluate(run_of(1), tmp_path / "nowhere")


@pytest.mark.parametrize("change", [{"image_size": 8}, {"class_names": ["dogs", "cats"]}])
def test_a_checkpoint_of_other_photos_is_not_measured_on_a_runs(
    run_of: RunOf, tmp_path: Path, change: dict[str, object]
) -> None:
    folder = Path(shutil.copytree(run_of(1), tmp_path / "run"))
    net = make_classifier(**{"image_size": 16} | change)
    torch.save({"hyper_parameters": dict(net.hparams), "state_dict": net.state_dict()}, folder / "checkpoints/x.ckpt")
    with pytest.raises(InputError, match="the checkpoint is not of the run in .*; name photos with --data"):
        evaluate(folder / "checkpoints/x.ckpt")


def test_the_command_prints_a_summary_and_says_where_the_files_are(
    run_of: RunOf, tmp_path: Path, script: Script
) -> None:
    done = script("scripts/evaluate.py", str(run_of(1)), "--out", str(tmp_path / "out"))
    assert (done.status, done.stderr) == (0, "")
    assert "[6, 4], last.ckpt, 6 photos of the test set of" in done.stdout
    assert done.stdout.endswith(f"files in {tmp_path / 'out'}\n")
    for argument, sentence in (
        (tmp_path, "holds no finished run"),
        (run_of(1), "evaluation.json: (File exists|Not a)"),
    ):
        done = script("scripts/evaluate.py", str(argument), "--out", str(tmp_path / "out/evaluation.json"))
        assert re.match(f"catdog: .*{sentence}", str(done.status))


def test_every_number_of_a_net_is_what_it_is_by_hand() -> None:
    logits, labels = LOGITS[0].round(decimals=1).numpy(), LABELS.bool().numpy()  # rounded, so that there are ties
    found = measure(torch.from_numpy(logits), LABELS)
    probabilities, predicted = 1 / (1 + np.exp(-logits)), logits > 0
    counts = np.array([[int(((labels == true) & (predicted == own)).sum()) for own in (0, 1)] for true in (0, 1)])
    assert found["confusion_matrix"] == counts.tolist()
    assert found["accuracy"] == pytest.approx((predicted == labels).mean())
    assert found["accuracy_interval"] == wilson_interval(int(counts.trace()), 150)
    right = counts.diagonal()
    per_class = right / counts.sum(0), right / counts.sum(1), 2 * right / (counts.sum(0) + counts.sum(1))
    np.testing.assert_allclose(list(found["per_class"].values()), per_class, rtol=1e-6)
    pairs = np.sign(logits[labels][:, None] - logits[~labels][None]) / 2 + 0.5
    assert found["roc_auc"] == pytest.approx(pairs.mean())
    taken = [logits >= threshold for threshold in sorted(set(logits), reverse=True)]
    recall = [0, *(labels[own].sum() / labels.sum() for own in taken)]
    assert found["average_precision"] == pytest.approx(np.diff(recall) @ [labels[own].mean() for own in taken])
    assert found["brier"] == pytest.approx(((probabilities - labels) ** 2).mean())
    assert found["bce"] == pytest.approx(-np.log(np.where(labels, probabilities, 1 - probabilities)).mean())
    expected = binary_calibration_error(torch.from_numpy(probabilities), LABELS.int(), n_bins=BINS)
    assert found["calibration_error"] == pytest.approx(float(expected))


def test_several_nets_are_told_as_what_a_single_one_does_and_as_their_ensemble() -> None:
    found, correct = measure_all(LOGITS, LABELS, seeds=[4, 5, 6]), ((LOGITS > 0) == (LABELS > 0.5)).double().numpy()
    assert [net["seed"] for net in found["nets"]] == [4, 5, 6]
    assert (found["mean"]["accuracy"], found["mean"]["accuracy_interval"]) == mean_accuracy(correct)
    assert found["sd"]["accuracy"] == pytest.approx(correct.mean(axis=1).std(ddof=1))
    assert found["mean"]["roc_auc"] == pytest.approx(np.mean([net["roc_auc"] for net in found["nets"]]))
    together = LOGITS.sigmoid().mean(0)
    assert found["ensemble"]["accuracy"] == pytest.approx(((together > 0.5) == (LABELS > 0.5)).double().mean().item())
    assert found["ensemble"]["brier"] == pytest.approx((together - LABELS).square().mean().item())


@pytest.mark.parametrize("nets", [1, 3])
@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        ([0.3, -2.0, 1.0], [1.0, 1.0, 1.0]),
        ([-0.1, -0.1, -0.1], [0.0, 1.0, 1.0]),
        ([0.4], [1.0]),
        ([9000.0, -9000.0, 0.0], [0.0, 0.0, 1.0]),
    ],
    ids=["one class", "dead net", "one photo", "huge"],
)
def test_degenerate_photos_and_nets_are_measured_told_and_drawn(
    nets: int, logits: list[float], labels: list[float]
) -> None:
    given, truth = torch.tensor(logits).repeat(nets, 1).double(), torch.tensor(labels)
    counts = {"cats": labels.count(0), "dogs": labels.count(1)}
    photos = {"of_class": counts, "unreadable": {}, "trained_on": None}
    record = {
        "title": "a net",
        "class_names": ["cats", "dogs"],
        "photos": photos,
        **measure_all(given, truth, range(nets)),
    }
    assert "Infinity" not in json.dumps(record, allow_nan=False)
    assert ("not defined" in summarize(record)) == (len(set(labels)) == 1)
    right = np.mean([(z > 0) == bool(y) for z, y in zip(logits, labels, strict=True)])
    assert record["nets"][0]["accuracy"] == pytest.approx(right)
    draw_evaluation(record, given, truth)


@pytest.mark.parametrize(("nets", "area"), [(1, 0.65), (1, 0.95), (5, 0.65)])
def test_intervals_hold_the_true_area_about_as_often_as_they_say(nets: int, area: float) -> None:
    rng, held = np.random.default_rng(0), 0
    for _ in range(1000):
        photos, own = rng.normal(size=200), rng.normal(size=(nets, 200))
        scores = 0.8**0.5 * photos + 0.2**0.5 * own if nets > 1 else own
        scores[:, 100:] += norm.ppf(area) * 2**0.5
        areas = (rankdata(scores, axis=1)[:, 100:].sum(1) - 5050) / 10_000
        low, high = auc_interval(float(areas.mean()), 100, 100, float(areas.var(ddof=1)) / nets if nets > 1 else 0.0)
        held += low <= area <= high
    assert 0.93 <= held / 1000 <= 0.99


@given(st.floats(0, 1), st.integers(1, 60), st.integers(1, 60), st.floats(0, 0.01))
def test_an_interval_of_an_area_holds_it_and_mirrors_with_the_classes(
    area: float, zeros: int, ones: int, between: float
) -> None:
    low, high = auc_interval(area, zeros, ones, between)
    assert 0 <= low <= area <= high <= 1
    assert high - low > 0.01
    np.testing.assert_allclose(auc_interval(1 - area, zeros, ones, between), (1 - high, 1 - low), atol=1e-6)


def test_a_calibrated_net_has_the_error_that_is_foretold() -> None:
    rng = np.random.default_rng(1)
    probabilities = torch.from_numpy(rng.uniform(0.1, 0.9, size=200))
    foretold = calibration(probabilities, torch.ones(200))["calibration_error_if_calibrated"]
    drawn = [torch.from_numpy(rng.random(200)) < probabilities for _ in range(300)]
    seen = [float(binary_calibration_error(probabilities, labels.int(), n_bins=BINS)) for labels in drawn]
    assert foretold["mean"] == pytest.approx(np.mean(seen), abs=0.004)
    assert np.mean(np.array(seen) <= foretold["quantile_95"]) == pytest.approx(0.95, abs=0.04)

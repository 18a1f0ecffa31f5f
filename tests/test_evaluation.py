import csv
import json
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from catdog.errors import InputError
from catdog.inference.evaluate import Evaluation, places
from catdog.inference.runs import FinishedRun
from catdog.inference.samples import match_classes
from conftest import ROOT, RunOf, make_classifier


def evaluate(model: Path, data: Path | None = None) -> Evaluation:
    checkpoint, run, _ = places(model, data)
    return Evaluation.of(checkpoint, run, data)


def photos_of(run: Path, folder: Path, cats: str, dogs: str, numbers: range = range(30)) -> Path:
    """Copies of photos that the run was made of, under other class names."""
    root = Path(FinishedRun.open(run).record["config"]["data"]["root"])
    for source, name in (("cats", cats), ("dogs", dogs)):
        (folder / name).mkdir(parents=True)
        for number in numbers:
            shutil.copy(root / source / f"{number:02d}.png", folder / name)
    return folder


@pytest.mark.parametrize("replicas", [1, 3])
def test_a_run_is_evaluated_on_its_test_part_as_it_was_tested(run_of: RunOf, replicas: int) -> None:
    folder = run_of(replicas)
    written, result = json.loads((folder / "metrics.json").read_text()), evaluate(folder)
    found = json.loads(json.dumps(result.record()))
    assert found["headline"]["accuracy"] == pytest.approx(written["test/acc"])
    assert found["headline"]["interval"] == pytest.approx(written["test/acc_interval"])
    for net, replica in zip(found["nets"], written["replicas"], strict=True):
        assert (net["seed"], net["accuracy"]) == (replica["seed"], pytest.approx(replica["test/acc"]))
        assert net["bce"] == pytest.approx(replica["test/loss"], rel=1e-4)
    assert sum(found["photos"]["of_class"].values()) == found["photos"]["count"] == 6
    assert found["photos"]["trained_on"] == 0
    assert "accuracy" in str(result)
    assert ("ensemble" in str(result)) == (replicas > 1)


def test_an_evaluation_leaves_two_pictures_and_its_numbers(run_of: RunOf, tmp_path: Path) -> None:
    result = evaluate(run_of(3))
    result.save(tmp_path / "new" / "folder")
    record = json.loads((tmp_path / "new/folder/evaluation.json").read_text())
    assert record["checkpoint_sha256"]
    assert record["versions"]["torchmetrics"]
    for name in ("evaluation.png", "mistakes.png"):
        with Image.open(tmp_path / "new/folder" / name) as picture:
            picture.load()
    with pytest.raises(InputError, match=r"cannot be written to: (File exists|Not a directory)"):
        result.save(tmp_path / "new/folder/evaluation.json")


def test_any_checkpoint_of_a_run_is_evaluated_on_its_test_part(run_of: RunOf, tmp_path: Path) -> None:
    folder = run_of(1)
    checkpoint, run, out = places(folder / "checkpoints/last.ckpt", None)
    assert run is not None
    assert (checkpoint.name, out.name, out.parent.samefile(folder)) == ("last.ckpt", "evaluation-last", True)
    assert len(Evaluation.of(checkpoint, run, None).sample.labels) == 6
    assert places(folder, None)[2] == places(folder / "checkpoints/best.ckpt", None)[2] == folder / "evaluation"
    assert places(folder, tmp_path)[2] == folder / f"evaluation-{tmp_path.name}"


def test_a_checkpoint_that_was_carried_off_asks_for_photos(run_of: RunOf, tmp_path: Path) -> None:
    checkpoint = Path(shutil.copy(run_of(1) / "checkpoints/best.ckpt", tmp_path / "carried.ckpt"))
    with pytest.raises(InputError, match=r"carried.ckpt' lies in no finished run's folder; name photos with --data"):
        evaluate(checkpoint)
    data = photos_of(run_of(1), tmp_path / "photos", "cats", "dogs")
    found = evaluate(checkpoint, data).record()
    assert (found["photos"]["count"], found["photos"]["trained_on"]) == (60, None)
    assert places(checkpoint, data)[2] == tmp_path / "evaluation-carried-photos"


def test_photos_that_the_run_has_seen_are_counted(run_of: RunOf, tmp_path: Path) -> None:
    result = evaluate(run_of(1), photos_of(run_of(1), tmp_path / "photos", "cats", "dogs"))
    assert result.sample.trained_on == 54  # all but the test part
    assert "54 of the photos are ones that the run trained on" in str(result)


def test_class_folders_of_other_case_order_and_number_are_matched_and_told(run_of: RunOf, tmp_path: Path) -> None:
    plain = evaluate(run_of(3), photos_of(run_of(3), tmp_path / "plain", "cats", "dogs"))
    # In the order of their names these are dogs first.
    other = evaluate(run_of(3), photos_of(run_of(3), tmp_path / "other", "cat", "DOG"))
    for name in ("accuracy", "roc_auc", "bce"):
        assert other.measured["mean"][name] == pytest.approx(plain.measured["mean"][name])
    assert other.record()["photos"]["taken_for"] == {"DOG": "dogs", "cat": "cats"}
    assert "folder DOG is taken for class dogs" in str(other)
    assert not plain.sample.taken_for


@pytest.mark.parametrize(
    ("found", "known", "meant"),
    [
        (("Cat", "Dog"), ("cats", "dogs"), {"Cat": "cats", "Dog": "dogs"}),
        (("Dogs", "cat"), ("cats", "dogs"), {"Dogs": "dogs", "cat": "cats"}),
        (("cat", "cats"), ("cat", "cats"), {"cat": "cat", "cats": "cats"}),
        (("CAT", "CATS"), ("cat", "cats"), {"CAT": "cat", "CATS": "cats"}),
    ],
)
def test_classes_are_matched_by_the_strictest_rule_that_fits(
    found: tuple[str, str], known: tuple[str, str], meant: dict[str, str]
) -> None:
    assert match_classes(found, known) == meant


@pytest.mark.parametrize("found", [("birds", "cats"), ("Cat", "cat"), ("cats", "cat")])
def test_classes_that_do_not_fit_one_to_one_get_a_sentence(found: tuple[str, str]) -> None:
    with pytest.raises(InputError, match=rf"class folders '{found[0]}' and '{found[1]}' are not the checkpoint's"):
        match_classes(found, ("cats", "dogs"))


def test_unreadable_photos_are_left_out_and_listed(run_of: RunOf, tmp_path: Path) -> None:
    data = photos_of(run_of(1), tmp_path / "photos", "cats", "dogs", range(3))
    (data / "cats/01.png").write_text("no photo")
    result = evaluate(run_of(1), data)
    assert result.record()["photos"]["unreadable"] == {"cats/01.png": "no JPEG, PNG, WEBP, GIF or BMP image"}
    assert result.record()["photos"]["of_class"] == {"cats": 2, "dogs": 3}
    for photo in data.glob("*/*.png"):
        photo.write_text("no photo")
    with pytest.raises(InputError, match=r"--data: none of 6 photos can be read; the first is 'cats/00.png' \(no JPEG"):
        evaluate(run_of(1), data)


def test_one_class_alone_is_evaluated_as_far_as_it_can_be(run_of: RunOf, tmp_path: Path) -> None:
    data = photos_of(run_of(3), tmp_path / "photos", "cats", "dogs", range(2))
    for photo in (data / "dogs").iterdir():
        photo.write_text("no photo")
    result = evaluate(run_of(3), data)
    result.save(tmp_path / "out")
    assert json.loads((tmp_path / "out/evaluation.json").read_text())["mean"]["roc_auc"] is None
    assert "area under the ROC curve    not defined" in str(result)


def test_a_folder_that_cannot_be_used_gets_a_sentence_about_the_option(run_of: RunOf, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^--data: no folder at '.*nowhere'"):
        evaluate(run_of(1), tmp_path / "nowhere")


def test_numbers_and_probabilities_are_those_of_the_runs_own_predictions(run_of: RunOf) -> None:
    folder = run_of(1)
    with open(folder / "predictions.csv") as file:
        rows = list(csv.DictReader(file))
    sample = evaluate(folder).sample
    np.testing.assert_array_equal(sample.labels.int(), [int(row["label"]) for row in rows])
    expected = torch.tensor([float(row["probability"]) for row in rows])
    torch.testing.assert_close(sample.logits[0].sigmoid(), expected)


def test_the_command_prints_a_summary_and_says_where_the_files_are(
    run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate.py", str(run_of(1)), "--out", str(tmp_path / "out")])
    runpy.run_path(str(ROOT / "scripts/evaluate.py"), run_name="__main__")
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "[6, 4], best.ckpt, 6 photos of the test part of" in printed.out
    assert printed.out.endswith(f"files in {tmp_path / 'out'}\n")
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["evaluation.json", "evaluation.png", "mistakes.png"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="catdog: '.*' holds no finished run"):
        runpy.run_path(str(ROOT / "scripts/evaluate.py"), run_name="__main__")


def test_dollar_signs_in_paths_are_no_formulas(run_of: RunOf, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run_of(1), tmp_path / r"a$\frac$"))
    evaluate(folder).save(folder / "evaluation")
    assert (folder / "evaluation/evaluation.png").is_file()


@pytest.mark.parametrize("change", [{"image_size": 8}, {"class_names": ["dogs", "cats"]}])
def test_a_checkpoint_of_other_photos_is_not_measured_on_a_runs(
    run_of: RunOf, tmp_path: Path, change: dict[str, object]
) -> None:
    folder = Path(shutil.copytree(run_of(1), tmp_path / "run"))
    net = make_classifier(**{"image_size": 16} | change)
    content = {"hyper_parameters": dict(net.hparams), "state_dict": net.state_dict()}
    torch.save(content, folder / "checkpoints/other.ckpt")
    with pytest.raises(InputError, match="the checkpoint is not of the run in .*; name photos with --data"):
        evaluate(folder / "checkpoints/other.ckpt")

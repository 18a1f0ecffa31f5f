import csv
import io
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from catdog.errors import InputError
from catdog.files import csv_text
from catdog.inference import predict as room
from catdog.inference.predict import BATCH, COLUMNS, Prediction, draw_sheet, predict, print_predictions
from catdog.inference.predictor import Predictor
from catdog.inference.runs import FinishedRun
from conftest import ROOT, RunOf, make_classifier


def draw(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 24, 3), dtype=np.uint8)).save(path)
    return path


def told(
    capsys: pytest.CaptureFixture[str], model: Path, paths: Sequence[object], folder: Path | None = None
) -> tuple[int, list[str], list[str]]:
    """Exit status, lines on standard output and on standard error; files in a folder, if one is given."""
    files = [folder / name if folder else None for name in ("p.csv", "p.png")]
    status = print_predictions(model, [str(path) for path in paths], *files)
    captured = capsys.readouterr()
    return status, captured.out.splitlines(), captured.err.splitlines()


@pytest.mark.parametrize("replicas", [1, 3])
def test_predictions_are_those_that_the_run_wrote_down(run_of: RunOf, replicas: int, tmp_path: Path) -> None:
    run = FinishedRun.open(run_of(replicas))
    root = Path(run.record["config"]["data"]["root"])
    written: dict[str, list[float]] = {}
    with open(run.folder / "predictions.csv") as file:
        for row in csv.DictReader(file):
            written.setdefault(row["path"], []).append(float(row["probability"]))
    (tmp_path / "carried.ckpt").write_bytes(run.checkpoint.read_bytes())
    found = predict(Predictor.load(tmp_path / "carried.ckpt"), [str(root / name) for name in written])
    for prediction, probabilities in zip(found, written.values(), strict=True):
        np.testing.assert_allclose(prediction.replicas, probabilities, rtol=1e-4)
        mean = np.mean(probabilities)
        expected = pytest.approx((mean, max(mean, 1 - mean)), rel=1e-4)
        assert (prediction.probability, prediction.confidence) == expected
        assert prediction.prediction == ("dogs" if mean > 0.5 else "cats")
        assert prediction.sd == (pytest.approx(np.std(probabilities, ddof=1), abs=1e-6) if replicas > 1 else None)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("many")
    return [str(draw(root / f"{number}.png", number)) for number in range(BATCH + 6)]


@settings(max_examples=15, deadline=None)
@given(st.data(), st.sampled_from([(), (4,), (5, 5, 3), (64,)]), st.integers(1, 3))
def test_a_photo_gets_the_same_probability_in_any_company(
    many: list[str], data: st.DataObject, hidden: tuple[int, ...], replicas: int
) -> None:
    model = Predictor(make_classifier(hidden=list(hidden), replicas=replicas, image_size=24))
    company = data.draw(st.lists(st.sampled_from(many), max_size=len(many)))
    place = data.draw(st.integers(0, len(company)))
    (alone,) = predict(model, many[:1])
    among = list(predict(model, [*company[:place], many[0], *company[place:]]))
    assert [prediction.path for prediction in among] == [*company[:place], many[0], *company[place:]]
    np.testing.assert_allclose(among[place].replicas, alone.replicas, rtol=0, atol=1e-6)


def test_one_unreadable_photo_does_not_stop_the_rest(
    run_of: RunOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, text, missing = draw(tmp_path / "good.png"), tmp_path / "text\n.jpg", tmp_path / "missing.jpg"
    text.write_text("no photo")
    status, lines, errors = told(capsys, run_of(1), [good, text, missing, good], tmp_path)
    assert status == 3
    assert lines[0].split() == ["prediction", "confidence", "path"]
    assert [line.split()[2] for line in lines[1:]] == [str(good)] * 2
    assert r"text\n.jpg' could not be read: no JPEG, PNG," in errors[0]
    assert "could not be read: No such file" in errors[1]
    total, measured = errors[2:]
    assert re.match(r"(2 cats, 0|0 cats, 2) dogs(, 2 of these undecided)?, 2 unreadable$", total)
    assert measured.startswith(f"{run_of(1)}: This net is right for ")
    with open(tmp_path / "p.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [str(path) for path in (good, text, missing, good)]
    assert (
        [bool(row["reason"]) for row in rows] == [not row["prediction"] for row in rows] == [False, True, True, False]
    )
    assert told(capsys, run_of(1), [text])[0] == 1
    assert told(capsys, run_of(1), [good])[0] == 0


def test_a_folder_stands_for_the_photos_below_it(
    run_of: RunOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("b.JPG", "a.png", "deep/er/c.webp", ".hidden/d.png", "@eaDir/e.png", "deep/.f.png"):
        draw(tmp_path / "photos" / name)
    (tmp_path / "photos/notes.txt").write_text("no photo, and none is said to be")
    status, lines, errors = told(capsys, run_of(1), [tmp_path / "photos", tmp_path / "photos/.hidden/d.png"])
    assert (status, len(errors)) == (0, 2)  # the total, and the net's accuracy
    found = [Path(line.split()[2]).relative_to(tmp_path / "photos").as_posix() for line in lines[1:]]
    assert found == ["a.png", "b.JPG", "deep/er/c.webp", ".hidden/d.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"the folder '.*empty' has no photo \(.bmp"):
        told(capsys, run_of(1), [tmp_path / "empty"])


def test_replicas_are_averaged_and_their_spread_is_told(
    run_of: RunOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = draw(tmp_path / "photo.png")
    _, lines, _ = told(capsys, run_of(3), [photo], tmp_path)
    (one,) = predict(Predictor.load(run_of(3) / "checkpoints/last.ckpt"), [str(photo)])
    assert one.probability == pytest.approx(np.mean(one.replicas))
    assert lines[0].split() == ["prediction", "confidence", "sd", "path"]
    assert one.confidence is not None
    assert one.undecided == (one.confidence < 0.6)
    assert lines[1].split() == [
        f"{one.prediction}{'(undecided)' * one.undecided}", f"{one.confidence:.3f}", f"{one.sd:.3f}", str(photo)
    ]  # fmt: skip
    (row,) = csv.DictReader((tmp_path / "p.csv").read_text().splitlines())
    assert row == {name: "" if getattr(one, name) is None else str(getattr(one, name)) for name in COLUMNS}


def test_names_of_any_bytes_come_through(run_of: RunOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["new\nline.png", "tab\t.png", "b\udcffd.png", " spaces in it.png", "кошка 猫.png", '"quotes".png']
    paths = [str(draw(tmp_path / name)) for name in names]
    status, lines, _ = told(capsys, run_of(1), [tmp_path], tmp_path)
    assert (status, len(lines)) == (0, 1 + len(names))
    with open(tmp_path / "p.csv", newline="", errors="surrogateescape") as file:
        assert sorted(row["path"] for row in csv.DictReader(file)) == sorted(paths)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), min_size=1))
def test_no_name_is_a_formula_in_a_spreadsheet_and_each_is_read_back(names: list[str]) -> None:
    names += ["=1+1", "+2", "-3", "@sum(a1)", "'quoted", "plain.png"]
    _, *rows = csv.reader(io.StringIO(csv_text(["name"], ([name] for name in names)), newline=""))
    assert not any(row[0].startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows)
    assert [row[0].removeprefix("'") for row in rows] == names


def test_a_sheet_shows_the_first_photos_upright_as_squares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = Image.new("RGB", (200, 100), "red")
    photo.paste("blue", (0, 0, 100, 100))  # left half
    exif = Image.Exif()
    exif[0x0112] = 6  # is to be turned by 90° clockwise: blue is on top then
    photo.save(tmp_path / "turned.png", exif=exif)
    turned = Prediction.of(str(tmp_path / "turned.png"), (0.75,), ("cats", "dogs"))
    pixels = np.asarray(draw_sheet([turned])).astype(int)
    red = np.argwhere((pixels == (254, 0, 0)).all(axis=2) | (pixels == (255, 0, 0)).all(axis=2))
    blue = np.argwhere((pixels == (0, 0, 254)).all(axis=2) | (pixels == (0, 0, 255)).all(axis=2))
    assert blue[:, 0].max() <= red[:, 0].min()
    assert red[:, 0].max() - blue[:, 0].min() + 1 == pytest.approx(np.ptp(blue[:, 1]), rel=0.05)
    bar = np.argwhere((pixels == (255, 127, 14)).all(axis=2))  # below the photo, half of its width
    assert bar[:, 0].min() > red[:, 0].max()
    assert np.ptp(bar[:, 1]) + 1 == pytest.approx(np.ptp(blue[:, 1]) / 2, rel=0.05)
    texts: list[str] = []
    monkeypatch.setattr(room, "MAX_ON_SHEET", 3)
    monkeypatch.setattr(
        room, "contact_sheet", lambda photos, captions, title, columns: texts.extend([*captions, title])
    )
    unsure = Prediction.of(turned.path, (0.5,), ("cats", "dogs"))
    draw_sheet([turned, Prediction("gone.png", "no such file"), unsure, turned])
    captions = ["dogs, 75 %\nturned.png", "unreadable: no such file\ngone.png", "cats, undecided, 50 %\nturned.png"]
    assert texts == [*captions, "the first 3 of 4 photos; bar: confidence, from 50 % to 100 %"]


def test_files_that_cannot_be_written_are_refused_before_the_work(tmp_path: Path) -> None:
    for files, sentence in (
        ((tmp_path / "nowhere/p.csv", None), r"there is no folder '.*nowhere'"),
        ((Path("/dev/null"), None), r"'/dev/null' cannot be written: it is there and no regular file"),
        ((None, tmp_path / "sheet.txt"), r"must end in .jpeg, .jpg, .png, got '.*sheet.txt'"),
    ):
        with pytest.raises(InputError, match=sentence):
            print_predictions("no model is looked for", [], *files)


def test_the_command_ends_when_nobody_reads_on(run_of: RunOf, tmp_path: Path) -> None:
    photos = tmp_path / ("long" * 50) / ("path" * 50) / ("name" * 50)  # 200 lines are more than a pipe holds
    photos.mkdir(parents=True)
    for number in range(200):
        draw(photos / f"{number:03d}.png", number)
    (photos / "000.png").write_text("no photo")
    predict_them = f"{sys.executable} {ROOT / 'scripts/predict.py'} {run_of(1)} {photos}"
    pipe = f"{predict_them} | head -n 3; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, timeout=60, check=False)
    header, first, second, status = done.stdout.splitlines()
    assert header.split() == ["prediction", "confidence", "path"]
    assert [line.split()[2] for line in (first, second)] == [str(photos / "001.png"), str(photos / "002.png")]
    assert status == "141"  # as a shell tells of a broken pipe
    assert done.stderr == f"catdog: '{photos}/000.png' could not be read: no JPEG, PNG, WEBP, GIF or BMP image\n"

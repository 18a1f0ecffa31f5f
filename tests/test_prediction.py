import csv
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from catdog.errors import InputError
from catdog.inference import verdicts
from catdog.inference.predict import BATCH, Prediction, expand, predict
from catdog.inference.predictor import Predictor
from catdog.inference.runs import FinishedRun
from conftest import ROOT, RunOf, make_classifier


def draw(path: Path, seed: int = 0, size: tuple[int, int] = (24, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def tell(
    capsys: pytest.CaptureFixture[str], model: Path, paths: Sequence[object], **files: Path
) -> tuple[int, list[str], list[str]]:
    status = verdicts.tell(model, [str(path) for path in paths], verdicts.Files(**files))
    captured = capsys.readouterr()
    return status, captured.out.splitlines(), captured.err.splitlines()


@pytest.mark.parametrize("replicas", [1, 3])
def test_predictions_are_those_that_the_run_wrote_down(run_of: RunOf, replicas: int, tmp_path: Path) -> None:
    run = FinishedRun.open(run_of(replicas))
    root = Path(run.record["config"]["data"]["root"])
    with open(run.folder / "predictions.csv") as file:
        rows = list(csv.DictReader(file))
    written = {
        name: [float(row["probability"]) for row in rows if row["path"] == name] for name in {r["path"] for r in rows}
    }
    (tmp_path / "carried.ckpt").write_bytes(run.checkpoint.read_bytes())
    model = Predictor.load(tmp_path / "carried.ckpt")
    found = list(predict(model, [str(root / name) for name in written]))
    for prediction, probabilities in zip(found, written.values(), strict=True):
        np.testing.assert_allclose(prediction.probabilities, probabilities, rtol=1e-4)
        assert prediction.probability == pytest.approx(np.mean(probabilities), rel=1e-4)
        assert prediction.verdict == (np.mean(probabilities) > 0.5)
        assert prediction.confidence == pytest.approx(max(np.mean(probabilities), 1 - np.mean(probabilities)), rel=1e-4)
        expected = np.std(probabilities, ddof=1) if replicas > 1 else None
        assert prediction.sd == (pytest.approx(expected, abs=1e-6) if replicas > 1 else None)


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
    np.testing.assert_allclose(among[place].probabilities, alone.probabilities, rtol=0, atol=1e-6)


def test_one_unreadable_photo_does_not_stop_the_rest(
    run_of: RunOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, text = draw(tmp_path / "good.png"), tmp_path / "text\n.jpg"
    text.write_text("no photo")
    (tmp_path / "empty").mkdir()
    paths = [good, text, tmp_path / "missing.jpg", good, tmp_path / "empty"]
    status, lines, errors = tell(capsys, run_of(1), paths, csv=tmp_path / "all.csv")
    assert status == 3
    assert lines[0].split() == ["verdict", "confidence", "path"]
    assert [line.split()[2] for line in lines[1:]] == [str(good)] * 2
    assert lines[1] == lines[2]
    assert len(errors) == 4
    for error, reason in zip(errors, ("no JPEG, PNG,", "No such file", "the folder has no photo (.bmp"), strict=False):
        assert f"could not be read: {reason}" in error
    assert r"text\n.jpg'" in errors[0]
    assert errors[3] == "catdog: 3 of 5 photos could not be read"
    with open(tmp_path / "all.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [str(path) for path in paths]
    assert (
        [bool(row["reason"]) for row in rows]
        == [bool(row["verdict"] == "") for row in rows]
        == [False, True, True, False, True]
    )
    assert tell(capsys, run_of(1), [text])[0] == 1
    assert tell(capsys, run_of(1), [good])[0] == 0
    assert tell(capsys, run_of(1), [])[0] == 1  # nothing came from standard input


def test_a_folder_stands_for_the_photos_below_it(
    run_of: RunOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("b.JPG", "a.png", "deep/er/c.webp", ".hidden/d.png", "@eaDir/e.png", "deep/.f.png")
    for name in names:
        draw(tmp_path / "photos" / name)
    (tmp_path / "photos/notes.txt").write_text("no photo, and none is said to be")
    status, lines, errors = tell(capsys, run_of(1), [tmp_path / "photos", tmp_path / "photos/.hidden/d.png"])
    assert (status, errors) == (0, [])
    found = [Path(line.split()[2]).relative_to(tmp_path / "photos").as_posix() for line in lines[1:]]
    assert found == ["a.png", "b.JPG", "deep/er/c.webp", ".hidden/d.png"]


def test_replicas_are_averaged_and_their_spread_is_told(
    run_of: RunOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = draw(tmp_path / "photo.png")
    _, lines, _ = tell(capsys, run_of(3), [photo], csv=tmp_path / "v.csv", json=tmp_path / "v.json")
    content = json.loads((tmp_path / "v.json").read_text())
    (entry,) = content["photos"]
    assert content["class_names"] == ["cats", "dogs"]
    assert content["seeds"] == [0, 1, 2]
    assert entry["probability"] == pytest.approx(np.mean(entry["replicas"]))
    assert entry["sd"] == pytest.approx(np.std(entry["replicas"], ddof=1))
    assert entry["verdict"] == content["class_names"][entry["probability"] > 0.5]
    assert entry["confidence"] == max(entry["probability"], 1 - entry["probability"])
    assert lines[0].split() == ["verdict", "confidence", "sd", "path"]
    assert lines[1].split() == [entry["verdict"], f"{entry['confidence']:.3f}", f"{entry['sd']:.3f}", str(photo)]
    (row,) = csv.DictReader((tmp_path / "v.csv").read_text().splitlines())
    assert row == {name: "" if entry[name] is None else str(entry[name]) for name in verdicts.COLUMNS}


def test_names_of_any_bytes_come_through(run_of: RunOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["new\nline.png", "tab\t.png", "b\udcffd.png", " spaces in it.png", "кошка 猫.png", '"quotes".png']
    paths = [str(draw(tmp_path / name)) for name in names]
    status, lines, _ = tell(capsys, run_of(1), [tmp_path], csv=tmp_path / "v.csv", json=tmp_path / "v.json")
    assert status == 0
    assert len(lines) == 1 + len(names)
    with open(tmp_path / "v.csv", newline="", errors="surrogateescape") as file:
        assert sorted(row["path"] for row in csv.DictReader(file)) == sorted(paths)
    content = json.loads((tmp_path / "v.json").read_text())
    assert sorted(entry["path"] for entry in content["photos"]) == sorted(paths)


def test_standard_input_gives_paths_in_the_place_of_a_dash() -> None:
    given = io.BytesIO(b"one\n two words\r\n\nb\xff\n")
    assert expand(["first", "-", "last"], given, False) == ["first", "one", " two words", "b\udcff", "last"]
    assert expand(["-"], io.BytesIO(b"new\nline\0two\0"), True) == ["new\nline", "two"]
    assert expand(["photo"], io.BytesIO(b"never read"), False) == ["photo"]
    with pytest.raises(InputError, match="standard input has NUL bytes: it must hold paths, one per line"):
        expand(["-"], io.BytesIO(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), False)


def test_a_sheet_shows_photos_upright_as_squares(run_of: RunOf, tmp_path: Path) -> None:
    photo = Image.new("RGB", (200, 100), "red")
    photo.paste("blue", (0, 0, 100, 100))  # left half
    exif = Image.Exif()
    exif[0x0112] = 6  # is to be turned by 90° clockwise: blue is on top then
    photo.save(tmp_path / "turned.png", exif=exif)
    model = Predictor.load(FinishedRun.open(run_of(1)).checkpoint)
    predictions = list(predict(model, [str(tmp_path / "turned.png")]))
    pixels = np.asarray(verdicts.sheet(model, predictions)).astype(int)
    red = np.argwhere((pixels[..., 0] > 200) & (pixels[..., 2] < 50))
    blue = np.argwhere((pixels[..., 2] > 200) & (pixels[..., 0] < 50))
    assert blue[:, 0].max() <= red[:, 0].min()
    height = red[:, 0].max() - blue[:, 0].min() + 1
    assert height == pytest.approx(np.ptp(blue[:, 1]), rel=0.05)


def test_a_sheet_of_too_many_photos_says_that_it_shows_the_first(
    run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(verdicts, "MOST_ON_SHEET", 2)
    monkeypatch.setattr(
        verdicts, "contact_sheet", lambda photos, captions, title, columns: seen.extend([*captions, title])
    )
    model = Predictor.load(FinishedRun.open(run_of(1)).checkpoint)
    predictions = [Prediction(str(draw(tmp_path / f"{n}.png")), (0.75,)) for n in range(3)]
    verdicts.sheet(model, [*predictions, Prediction("gone.png", (), "no such file")])
    assert seen == ["dogs, 75%\n0.png", "dogs, 75%\n1.png", "the first 2 of 3 photos, 1 unreadable"]


def test_files_that_cannot_be_written_are_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no folder '.*nowhere'"):
        verdicts.Files(csv=tmp_path / "nowhere/v.csv")
    with pytest.raises(InputError, match=r"'/dev/null' cannot be written: it is there and no regular file"):
        verdicts.Files(json=Path("/dev/null"))
    with pytest.raises(InputError, match=r"must end in .jpeg, .jpg, .png, got '.*sheet.txt'"):
        verdicts.Files(sheet=tmp_path / "sheet.txt")


def test_weights_that_are_no_numbers_get_a_sentence(run_of: RunOf, tmp_path: Path) -> None:
    checkpoint = torch.load(run_of(1) / "checkpoints/best.ckpt", weights_only=True)
    next(iter(checkpoint["state_dict"].values())).fill_(float("nan"))
    torch.save(checkpoint, tmp_path / "nan.ckpt")
    with pytest.raises(InputError, match="nan.ckpt' holds weights that are not finite numbers"):
        Predictor.load(tmp_path / "nan.ckpt")


def test_the_command_takes_paths_from_a_pipe_and_ends_when_nobody_reads_on(run_of: RunOf, tmp_path: Path) -> None:
    for number in range(200):
        draw(tmp_path / f"{number:03d}.png", number)
    (tmp_path / "000.png").write_text("no photo")
    predict_them = f"{sys.executable} {ROOT / 'scripts/predict.py'} {run_of(1)} -0 -"
    pipe = f"find {tmp_path} -name '*.png' -print0 | sort -z | {predict_them} | head -n 3; echo ${{PIPESTATUS[2]}}"
    done = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, timeout=60, check=False)
    header, first, second, status = done.stdout.splitlines()
    assert header == "verdict  confidence  path"
    assert [line.split()[2] for line in (first, second)] == [str(tmp_path / "001.png"), str(tmp_path / "002.png")]
    assert status == "141"  # as a shell tells of a broken pipe
    assert done.stderr == f"catdog: '{tmp_path}/000.png' could not be read: no JPEG, PNG, WEBP, GIF or BMP image\n"

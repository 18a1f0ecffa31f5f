"""The demo page, in this process and as a browser shows it."""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from browser import browsing
from catdog.data import SyntheticSource
from catdog.data.synthetic import draw_photo
from catdog.inference.demo import MAX_MB, MAX_PHOTOS, Demo
from catdog.inference.novelty import NoveltyDetector
from catdog.inference.predict import Prediction, predict
from catdog.inference.runs import FinishedRun, locate
from catdog.names import measured
from conftest import ROOT, MakeData, RunOf

CHROMIUM = shutil.which("chromium")
COMMAND = [sys.executable, str(ROOT / "scripts/demo.py")]
CATS, DOGS = "<b>_cats_</b>", "<img src=x onerror=document.title='bad'>"  # as names of folders can be
HOSTILE = "<img src=x onerror=document.title=2>${document.title=3}{{value}}.png"  # as names of files can be


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn photo, twice as wide as high, stored lying on its side."""
    path = tmp_path_factory.mktemp("dropped") / "Bello.png"
    drawn = draw_photo(np.random.default_rng(5), is_dog=True, image_size=80).resize((80, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned clockwise
    drawn.rotate(90, expand=True).save(path, exif=exif)
    return path


@pytest.fixture(scope="module")
def hostile_run(run_of: RunOf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run of three nets whose class names are hostile."""
    folder = tmp_path_factory.mktemp("run") / "three"
    shutil.copytree(run_of(3), folder)
    checkpoint = locate(folder)[0]
    content = torch.load(checkpoint, weights_only=True)
    content["hyper_parameters"]["class_names"] = [CATS, DOGS]
    torch.save(content, checkpoint)
    return folder


@pytest.fixture(scope="module")
def served(hostile_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address of a page of three nets with hostile class names, and the folder of its server's temporary files."""
    folder = tmp_path_factory.mktemp("temporary")
    command, environment = [*COMMAND, str(hostile_run)], os.environ | {"TMPDIR": str(folder)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        match = re.fullmatch(r"http://(127\.0\.0\.1:\d+)/ \(Ctrl-C ends it\)\n", process.stdout.readline())
        assert match
        try:
            yield match[1], folder
        finally:
            process.terminate()
        assert process.wait(timeout=30) == 0
    assert not [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("replicas", [1, 3])
def test_the_answer_is_the_classifiers(run_of: RunOf, photo: Path, tmp_path: Path, replicas: int) -> None:
    demo = Demo(*locate(run_of(replicas)), tmp_path)
    answer, expected = demo.answer(str(photo)), next(predict(demo.model, [str(photo)], progress=False))
    assert answer["one"].replicas == pytest.approx(expected.replicas, abs=1e-6)
    assert answer["one"].prediction == expected.prediction
    sizes = [Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).size for url in answer["pictures"].values()]
    assert sizes == [(320, 160), (16, 16), (16, 16)]
    assert (f"mean of 3 nets: {expected.probability:.3f} (" in demo.gallery([photo])) == (replicas == 3)


def test_the_page_says_what_is_known_of_the_net(run_of: RunOf, tmp_path: Path) -> None:
    run = FinishedRun.open(run_of(3))
    demo = Demo(run.checkpoint, run, tmp_path)
    assert measured(run.record) in demo.head
    assert "A warning marks" in demo.head
    assert str(run.checkpoint) in demo.head
    shutil.copy(run.checkpoint, tmp_path / "alone.ckpt")
    other = Demo(tmp_path / "alone.ckpt", locate(tmp_path / "alone.ckpt")[1], tmp_path)
    assert "How often this net is right is not known" in other.head
    assert "the run that it comes from is unknown." in other.head
    assert other.detector is None


def test_answers_near_one_half_are_undecided_and_the_gallery_ends(run_of: RunOf, tmp_path: Path) -> None:
    demo = Demo(*locate(run_of(1)), tmp_path)
    for dogs, undecided in ((0.39, False), (0.41, True), (0.59, True), (0.61, False)):
        one = Prediction.of("it.png", [dogs], demo.names)
        told = demo.template.gallery(demo.names, [{"name": "it", "one": one, "unlike": False, "pictures": {}}], 0, None)
        assert ("undecided: " in told, "bar muted" in told) == (undecided, undecided)
    one = Prediction.of("it.png", [0.9996], demo.names)
    told = demo.template.gallery(demo.names, [{"name": "it", "one": one, "unlike": False, "pictures": {}}], 0, None)
    assert "over 99.9 % probable" in told
    told = demo.gallery(["missing.png"] * (MAX_PHOTOS + 2))
    assert told.count("cannot be read as a photo: No such file") == MAX_PHOTOS
    assert "2 more photos were left out" in told
    assert "<img" not in demo.gallery([HOSTILE])


def test_plain_pictures_and_noise_are_unlike_photos(make_data: MakeData) -> None:
    data = make_data(source=SyntheticSource(count=600))
    data.setup()
    detector, photos = NoveltyDetector(data), data.store.pixels[data.test.rows]
    assert (detector.false_alarms, detector.tested) == (int(detector.unlike(photos).sum()), 60)
    assert max(detector.false_alarms, int(detector.unlike(photos.flip(2)).sum())) <= 6
    random = torch.Generator().manual_seed(0)
    noise = torch.randint(256, photos.shape, generator=random, dtype=torch.uint8)
    assert detector.unlike(torch.cat([noise[:, :, :1, :1].expand_as(photos), noise])).all()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_browser_shows_the_answers(served: tuple[str, Path], hostile_run: Path, tmp_path: Path) -> None:
    address, folder = served
    demo, run = Demo(*locate(hostile_run), tmp_path), FinishedRun.open(hostile_run)
    paths = [Path(run.record["config"]["data"]["root"], name) for name in run.data().test.names]
    known = next(path for path in paths if not demo.answer(str(path))["unlike"])
    green, hostile = tmp_path / "green.png", tmp_path / HOSTILE
    Image.new("RGB", (90, 60), "green").save(green)
    shutil.copy(known, hostile)
    with browsing(str(CHROMIUM), tmp_path / "profile") as page:
        page.call("Page.navigate", url=f"http://{address}")
        page.wait_for("document.querySelectorAll('input[type=file], .examples img').length === 7")
        assert f"{CATS} or {DOGS}?" in page.text()
        page.upload(known, hostile, green, Path(__file__))  # the last is no photo
        page.wait_for("document.querySelectorAll('article').length === 4")
        cards = page.evaluate("[...document.querySelectorAll('article')].map(card => card.innerText)")
        for card, path in zip(cards, (known, hostile, green), strict=False):
            assert f"{DOGS} {100 * demo.answer(str(path))['one'].probability:.1f} %" in card
            assert ("Unlike the training photos" in card) == (path == green)
        assert cards[0].startswith(known.name)
        assert cards[3].endswith("It cannot be read as a photo: no JPEG, PNG, WEBP, GIF or BMP image.")
        page.wait_for("[...document.images].every(image => image.naturalWidth > 0)")
        assert page.evaluate("document.querySelectorAll('article img').length") == 9
        assert not [path for path in folder.rglob("*") if path.name in (known.name, green.name, "test_demo.py")]
        page.evaluate("document.querySelector('.examples button:last-child').click()")
        page.wait_for("document.querySelector('article').innerText.startsWith('drawn dog')")
        assert re.search(r"\d+\.\d % probable", page.text())
        assert page.evaluate("document.title") == "catdog"
        assert len(page.requested) > 5
        assert all(url.startswith((f"http://{address}/", "data:", "blob:")) for url in page.requested)


def ask(address: str, path: str, body: bytes = b"", headers: Any = None) -> tuple[int, bytes]:
    with closing(HTTPConnection(address, timeout=30)) as connection:
        connection.request("POST" if body else "GET", path, body, headers or {})
        with connection.getresponse() as response:
            return response.status, response.read()


@pytest.mark.parametrize(
    ("size", "headers", "status"),
    [
        (10, {}, 200),
        (MAX_MB * 2**19, {}, 200),
        (10, {"Origin": "http://elsewhere.example"}, 403),
        (10, {"Origin": "null"}, 403),
        (MAX_MB * 2**20 + 1, {}, 413),
        (10, {"Content-Length": str(600 * 2**20)}, 413),
    ],
)
def test_small_uploads_of_the_page_alone(served: tuple[str, Path], size: int, headers: Any, status: int) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="it"\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    body = (head + bytes(size) + b"\r\n") * 3 + b"--b--\r\n"
    assert ask(served[0], "/gradio_api/upload", body, kind | headers)[0] == status


def test_no_other_names_and_no_other_files(served: tuple[str, Path], photo: Path) -> None:
    address = served[0]
    for path in ("/", "/config", "/theme.css"):
        assert [ask(address, path, headers={"Host": host})[0] for host in (address, "elsewhere.example")] == [200, 403]
    assert ask(address, f"/gradio_api/file={photo}")[0] == 403
    call = {"data": [[{"path": str(photo), "meta": {"_type": "gradio.FileData"}}]], "fn_index": 0, "session_hash": "s"}
    ask(address, "/gradio_api/queue/join", json.dumps(call).encode(), {"Content-Type": "application/json"})
    assert b'"success":false' in ask(address, "/gradio_api/queue/data?session_hash=s")[1]
    assert photo.exists()


def test_a_taken_port_gets_a_sentence(served: tuple[str, Path], run_of: RunOf) -> None:
    port = served[0].split(":")[1]
    done = subprocess.run([*COMMAND, run_of(3), "--port", port], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"catdog: --port {port} is taken or not allowed\n")

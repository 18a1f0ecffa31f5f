"""The demo page, in this process and as a browser shows it."""

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

from browser import browsing
from catdog.data import to_images
from catdog.data.synthetic import draw_photo
from catdog.inference.demo import MAX_MB, answer, explanation, largest_contributions
from catdog.inference.predict import predict
from catdog.inference.predictor import Predictor
from catdog.inference.runs import locate
from conftest import RECIPE, ROOT, RunOf, make_classifier

CHROMIUM = shutil.which("chromium")
COMMAND = [sys.executable, str(ROOT / "scripts/demo.py")]
CATS, DOGS = "<b>_cats_</b>", "<img src=x onerror=document.title='bad'>"  # as names of folders can be


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dropped") / "Bello.png"
    draw_photo(np.random.default_rng(5), is_dog=True, image_size=80).save(path)
    return path


@pytest.fixture(scope="module")
def served(run_of: RunOf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address of a page of three nets with hostile class names, and the folder of its server's temporary files."""
    folder = tmp_path_factory.mktemp("temporary")
    content = torch.load(locate(run_of(3))[0], weights_only=True)
    content["hyper_parameters"]["class_names"] = [CATS, DOGS]
    torch.save(content, folder / "three.ckpt")
    command, environment = [*COMMAND, str(folder / "three.ckpt")], os.environ | {"TMPDIR": str(folder)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        match = re.fullmatch(r"http://(127\.0\.0\.1:\d+)/ \(Ctrl-C ends it\)\n", process.stdout.readline())
        assert match
        try:
            yield match[1], folder
        finally:
            process.terminate()
        assert process.wait(timeout=30) == 0
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["three.ckpt"]


@pytest.mark.parametrize("replicas", [1, 3])
def test_the_answer_is_the_classifiers(run_of: RunOf, photo: Path, replicas: int) -> None:
    model = Predictor.load(locate(run_of(replicas))[0])
    nets = next(predict(model, [str(photo)], progress=False))
    dogs, sd = nets.probability, nets.sd
    assert dogs is not None
    told, seen, classes, units = answer(model, str(photo))
    assert (seen.shape, len(units)) == ((16, 16, 3), min(8, 6 * replicas))
    assert classes == pytest.approx({"cats": 1 - dogs, "dogs": dogs}, abs=1e-6)
    low, high = min(nets.replicas), max(nets.replicas)
    spread = f", the mean of 3 nets ({low:.3f} to {high:.3f}, sd {sd or 0:.3f})" * (replicas > 1)
    assert told == f"Probability of dogs: {dogs:.3f}{spread}"
    for _, caption in units:
        assert re.fullmatch(r"(\d+\.\d{3} for (cats|dogs)|no contribution) · net [123], unit [1-6]", caption)


@pytest.mark.parametrize(("hidden", "replicas"), [([], 1), ([], 3), ([5], 3), ([5, 4], 2)])
def test_contributions_are_parts_of_the_logit(hidden: list[int], replicas: int) -> None:
    model = Predictor(make_classifier(hidden=hidden, replicas=replicas))
    pixels = torch.randint(256, (3, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    found, network = largest_contributions(model, pixels, most=100), model.classifier.network
    assert len(found) == replicas * [*hidden, 1][0]
    values = [value for _, _, value, _ in found]
    assert values == sorted(values, key=abs, reverse=True)
    for replica, unit, _, picture in found:
        weights = network.input_weights[replica, unit].reshape(3, 8, 8).permute(1, 2, 0)
        expected = 127.5 + 127.5 * weights / weights.abs().max()
        torch.testing.assert_close(torch.from_numpy(picture).float(), expected, atol=0.51, rtol=0)
    if len(hidden) < 2:  # the contributions are all of the logit but its bias
        biases = network.get_parameter("layers.1.bias").flatten() if hidden else torch.zeros(replicas)
        logits = network(to_images(pixels[None].float())).flatten()
        totals = [sum(value for own, _, value, _ in found if own == replica) for replica in range(replicas)]
        torch.testing.assert_close(torch.tensor(totals) + biases, logits)


def test_the_explanation_says_what_the_pictures_leave_out() -> None:
    for options, left_out in (({}, False), (RECIPE, True)):
        told = explanation(make_classifier(**options).hparams)
        assert ["no hidden layer" in told, "HOG" in told, "ten views" in told] == [True, left_out, left_out]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_browser_shows_the_answer(served: tuple[str, Path], photo: Path, tmp_path: Path) -> None:
    address, folder = served
    told, _, _, units = answer(Predictor.load(folder / "three.ckpt"), str(photo))
    with browsing(str(CHROMIUM), tmp_path / "profile") as page:
        page.call("Page.navigate", url=f"http://{address}")
        page.wait_for("document.querySelector('input[type=file]') !== null")
        assert f"{CATS} or {DOGS}?" in page.text()
        page.upload(photo)
        page.wait_for("document.querySelectorAll('.pixels img').length === 9")
        assert told.replace("\\", "") in page.text()
        assert all(caption in page.text() for _, caption in units)
        assert page.evaluate("document.title") == "catdog"
        assert not list(folder.rglob(photo.name))
        page.upload(Path(__file__))  # no photo
        page.wait_for("document.body.innerText.includes('test_demo.py cannot be read as a photo: no JPEG')")
        assert "Class probability" not in page.text()
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
        (10, {"Origin": "http://elsewhere.example"}, 403),
        (10, {"Origin": "null"}, 403),
        (MAX_MB * 2**20 + 1, {}, 413),
        (10, {"Content-Length": str(600 * 2**20)}, 413),
    ],
)
def test_small_uploads_of_the_page_alone(served: tuple[str, Path], size: int, headers: Any, status: int) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="it"\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    assert ask(served[0], "/gradio_api/upload", head + bytes(size) + b"\r\n--b--\r\n", kind | headers)[0] == status


def test_no_other_names_and_no_other_files(served: tuple[str, Path], photo: Path) -> None:
    address = served[0]
    for path in ("/", "/config", "/theme.css"):
        assert [ask(address, path, headers={"Host": host})[0] for host in (address, "elsewhere.example")] == [200, 403]
    assert ask(address, f"/gradio_api/file={photo}")[0] == 403
    call = {"data": [{"path": str(photo), "meta": {"_type": "gradio.FileData"}}], "fn_index": 0, "session_hash": "s"}
    ask(address, "/gradio_api/queue/join", json.dumps(call).encode(), {"Content-Type": "application/json"})
    assert b'"success":false' in ask(address, "/gradio_api/queue/data?session_hash=s")[1]
    assert photo.exists()


def test_a_taken_port_gets_a_sentence(served: tuple[str, Path], run_of: RunOf) -> None:
    port = served[0].split(":")[1]
    done = subprocess.run([*COMMAND, run_of(3), "--port", port], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"catdog: --port {port} is taken or not allowed\n")

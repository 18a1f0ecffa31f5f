"""The page, in this process and as a browser shows it."""

import json
import os
import re
import runpy
import shutil
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import torch

from browser import browsing
from catdog.data.synthetic import draw_photo
from catdog.errors import InputError
from catdog.inference import demo as server
from catdog.inference.demo_answer import answer, heading
from catdog.inference.demo_explanation import explain, read_photo
from catdog.inference.predictor import Predictor
from catdog.inference.runs import locate
from conftest import RECIPE, ROOT, RunOf, make_classifier

Visit = Callable[[str], None]

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dropped") / "Bello.png"
    draw_photo(np.random.default_rng(5), is_dog=True, image_size=80).save(path)
    return path


def text_of(page: str) -> str:
    return " ".join(unescape(re.sub("<[^>]*>", " ", page)).split())


@pytest.mark.parametrize("replicas", [1, 3])
def test_the_answer_is_the_classifiers(run_of: RunOf, photo: Path, replicas: int) -> None:
    model = Predictor.load(locate(run_of(replicas))[0])
    pixels = read_photo(photo, 16)
    probabilities = model.probabilities(pixels[None])[:, 0]
    said = text_of(answer(model, str(photo)))
    mean = probabilities.mean().item()
    assert said.startswith(f"dogs {mean:.1%}" if mean > 0.5 else f"cats {1 - mean:.1%}")
    assert f"The probability of dogs is {mean:.3f}" in said
    if replicas > 1:
        spread = f"{probabilities.min():.3f} to {probabilities.max():.3f}, standard deviation {probabilities.std():.3f}"
        assert f"the mean of 3 nets: they say {spread}." in said
    units = explain(model, pixels).units
    votes = [f"{abs(unit.vote):.2f} for {model.class_names[unit.vote > 0]}" for unit in units if unit.vote]
    assert re.findall(r"\d\.\d\d for (?:cats|dogs)", said) == votes
    assert ("net 3, unit " in said) == (replicas == 3)


@pytest.mark.parametrize(("hidden", "said"), [([], "no hidden units"), ([1], "Its only unit"), ([3, 2], "All units")])
def test_other_nets_and_names(tmp_path: Path, photo: Path, hidden: list[int], said: str) -> None:
    names = ["<b>", "chiens\udcff"]  # as names of folders can be
    model = Predictor(make_classifier(hidden=hidden, class_names=names))
    page = answer(model, str(photo))
    page.encode()  # as the server does
    assert said in page
    assert "<b>" not in page.replace('<b style="left: ', "")
    assert "&lt;b&gt;" in page
    (tmp_path / "<i>.jpg").write_text("no photo")
    refused = answer(model, str(tmp_path / "<i>.jpg"))
    assert "<i>" not in refused
    assert text_of(refused) == "'<i>.jpg' cannot be read as a photo: no JPEG, PNG, WEBP, GIF or BMP image."
    head = heading(model, "<i>\udcff")
    head.encode()
    assert text_of(head).startswith(r"<b> or chiens\udcff? ")
    assert text_of(head).endswith(r" · <i>\udcff")


def test_a_net_whose_units_are_all_silent(photo: Path) -> None:
    classifier = make_classifier(hidden=[3])
    torch.nn.init.constant_(classifier.network.get_parameter("layers.0.bias"), -1000.0)
    said = text_of(answer(Predictor(classifier), str(photo)))
    assert said.count("no vote") == 3


def test_a_taken_port_gets_a_sentence_and_no_port_the_next_free_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((server.HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"^--port {port} cannot be used: Address already in use; leave it out"):
            server.listening(port).__enter__()
        monkeypatch.setattr(server, "FIRST_PORT", port)
        with server.listening(None) as listener:
            assert listener.getsockname()[0] == "127.0.0.1"
            assert port < listener.getsockname()[1] < port + server.PORTS
        monkeypatch.setattr(server, "PORTS", 1)
        with pytest.raises(InputError, match=f"^the ports {port} to {port} are all taken; give another with --port$"):
            server.listening(None).__enter__()
    with pytest.raises(InputError, match="^--port 70000 cannot be used: .*0-65535"):
        server.listening(70000).__enter__()


def serve_for(visit: Visit, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the command for a visit of its page, then press Ctrl-C; returns what it has printed."""
    with socket.create_server((server.HOST, 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setattr(sys, "argv", ["scripts/demo.py", str(run), "--port", str(port)])
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # put back afterwards

    def visit_and_end() -> None:
        try:
            deadline = time.monotonic() + 60
            while not (printed := capsys.readouterr().out) and time.monotonic() < deadline:
                time.sleep(0.02)
            assert printed == f"http://127.0.0.1:{port} (Ctrl-C ends it)\n"
            visit(f"http://127.0.0.1:{port}")
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    with ThreadPoolExecutor(1) as visitor:
        done = visitor.submit(visit_and_end)
        runpy.run_path(str(ROOT / "scripts/demo.py"), run_name="__main__")
        done.result()
    return capsys.readouterr().err


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_browser_shows_the_answer(
    run_of: RunOf,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = Predictor.load(locate(run_of(3))[0])
    expected = model.probabilities(read_photo(photo, 16)[None]).mean().item()
    (tmp_path / "notes.txt").write_text("no photo")
    uploads: list[Path] = []

    def visit(address: str) -> None:
        with browsing(str(CHROMIUM), tmp_path / "profile") as page:
            page.call("Page.navigate", url=address)
            page.wait_for("document.querySelector('input[type=file]') !== null")
            assert "cats or dogs?" in page.text()
            page.upload(photo)
            page.wait_for("document.querySelector('.answer') !== null")
            assert f"The probability of dogs is {expected:.3f}" in page.text()
            assert page.evaluate("[...document.querySelectorAll('.units img')].every(image => image.naturalWidth)")
            uploads.append(Path(os.environ["GRADIO_TEMP_DIR"]))
            assert list(uploads[0].rglob(photo.name))
            page.upload(tmp_path / "notes.txt")
            page.wait_for("document.querySelector('.refused') !== null")
            assert "'notes.txt' cannot be read as a photo: no JPEG, PNG, WEBP, GIF or BMP image." in page.text()
            assert "The probability" not in page.text()
            assert "Error" not in page.text()
            asked = [url for url in page.requested if not url.startswith(("data:", "blob:"))]
            assert len(asked) > 5
            assert [url for url in asked if not url.startswith(f"{address}/")] == []

    assert serve_for(visit, run_of(3), monkeypatch, capsys) == ""
    assert not uploads[0].exists()


def test_the_page_is_this_machines_alone(
    run_of: RunOf, photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def visit(address: str) -> None:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(address, timeout=30) as page:
            assert b"catdog" in page.read()
        for path in (str(photo), "/etc/passwd", "http://127.0.0.1:9/photo.png"):  # which nobody has uploaded
            call = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}], "fn_index": 0, "session_hash": "s"}
            headers = {"Content-Type": "application/json"}
            join = urllib.request.Request(f"{address}/gradio_api/queue/join", json.dumps(call).encode(), headers)
            direct.open(join, timeout=30).close()
            with direct.open(f"{address}/gradio_api/queue/data?session_hash=s", timeout=30) as events:
                said = events.read().decode()
            assert '"success":false' in said.replace(" ", "")
            assert "catdog" not in said
        other = urllib.request.Request(address, headers={"Host": "elsewhere.example"})
        with pytest.raises(urllib.error.HTTPError, match="400") as refusal:
            direct.open(other, timeout=30)
        refusal.value.close()

    assert serve_for(visit, run_of(1), monkeypatch, capsys).count("InvalidPathError") >= 3


def test_without_gradio_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr(sys, "argv", ["scripts/demo.py", "nowhere"])
    with pytest.raises(SystemExit, match=r"^catdog: the demo needs gradio: pip install --editable '.\[demo\]'$"):
        runpy.run_path(str(ROOT / "scripts/demo.py"), run_name="__main__")


def test_a_recipes_answer_says_what_its_pictures_leave_out(photo: Path) -> None:
    net = make_classifier(hidden=[3], **RECIPE)
    net.network.fit(torch.rand(30, 3, 8, 8))
    plain, told = (answer(Predictor(other), str(photo)) for other in (make_classifier(hidden=[3]), net))
    for words in ("mean over ten views of the photo", "but not in the pictures"):
        assert words in told
        assert words not in plain

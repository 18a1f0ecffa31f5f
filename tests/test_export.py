"""Exported files, used as somebody uses them who has nothing else."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from catdog.data.photos import FileSource
from catdog.data.synthetic import draw_photo
from catdog.errors import InputError
from catdog.inference.export import export, run, usage
from catdog.inference.predictor import Predictor
from catdog.inference.runs import FinishedRun, locate
from conftest import RECIPE, ROOT, RunOf, make_classifier


@pytest.fixture(scope="session")
def exported(run_of: RunOf, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The file of a run with three replicas, and the code that uses it."""
    path = tmp_path_factory.mktemp("exported") / "net.onnx"
    told = export(locate(run_of(3))[0], path)
    return path, told.partition("checkpoint:\n\n")[2].replace("\n  ", "\n").strip()


def expected_of(model: Predictor, pixels: Tensor) -> np.ndarray:
    return model.logits(pixels).sigmoid().mean(0).numpy()


def test_a_file_gives_what_its_checkpoint_gives(exported: tuple[Path, str], run_of: RunOf) -> None:
    content, model = exported[0].read_bytes(), Predictor.load(locate(run_of(3))[0])
    seen = FinishedRun.open(run_of(3)).data().store.pixels
    many = torch.randint(256, (3000, 3, 16, 16), dtype=torch.uint8)
    for pixels in (seen, seen[:1], seen[:0], many, torch.zeros_like(seen), torch.full_like(seen, 255)):
        probability = run(content, pixels.numpy())
        assert probability.dtype == np.float32
        assert probability.shape == (len(pixels),)
        np.testing.assert_allclose(probability, expected_of(model, pixels), rtol=0, atol=1e-5)
    assert np.ptp(run(content, seen.numpy())) > 0.01  # it does tell photos apart


def test_the_printed_code_needs_no_catdog(exported: tuple[Path, str], run_of: RunOf, tmp_path: Path) -> None:
    path, code = exported
    (tmp_path / path.name).write_bytes(path.read_bytes())
    photo = draw_photo(np.random.default_rng(3), is_dog=True, image_size=60).resize((60, 41))
    photo.save(tmp_path / "photo.png")  # of which a JPEG would be other pixels
    code = code.replace("photo.jpg", "photo.png") + "\nimport sys\nprint({*sys.modules}"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code + " & {'catdog', 'torch'})"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    probability, modules = done.stdout.split(maxsplit=1)
    read = FileSource(tmp_path, ("", ""), [("photo.png", 0)]).read(0, 16)
    (expected,) = expected_of(Predictor.load(locate(run_of(3))[0]), torch.tensor(read.transpose(2, 0, 1)[None]))
    assert float(probability) == pytest.approx(expected, abs=1e-5)
    assert modules == "set()\n"


def test_a_file_says_how_to_use_it_and_nothing_of_the_machine(exported: tuple[Path, str], run_of: RunOf) -> None:
    model = onnx.load(exported[0])
    onnx.checker.check_model(model, full_check=True)
    details = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(details["class_names"]) == ["cats", "dogs"]
    assert (details["image_size"], details["replicas"], details["checkpoint"]) == ("16", "3", "last.ckpt")
    assert details["example"].strip() == exported[1]
    content = exported[0].read_bytes()
    assert str(ROOT).encode() not in content
    assert str(run_of(3)).encode() not in content


def test_any_network_with_odd_names_is_exported(tmp_path: Path) -> None:
    net = make_classifier(image_size=12, replicas=2, class_names=["Kätzchen\udcff\n", "{dogs}"], **RECIPE)
    net.network.fit(torch.randn(50, 3, 12, 12, generator=torch.Generator().manual_seed(0)))
    checkpoint = tmp_path / "{größte}.ckpt"
    torch.save({"hyper_parameters": dict(net.hparams), "state_dict": net.state_dict()}, checkpoint)
    told = export(checkpoint)
    pixels = torch.randint(256, (5, 3, 12, 12), dtype=torch.uint8)
    found = run(checkpoint.with_suffix(".onnx").read_bytes(), pixels.numpy())
    np.testing.assert_allclose(found, expected_of(Predictor(net), pixels), rtol=0, atol=1e-5)
    assert "'{größte}." in told
    compile(usage("'", 1, "\n"), "example", "exec")


@pytest.fixture
def reused(exported: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes that run's program again instead of making it anew, which takes seconds."""
    content = exported[0].read_bytes()
    monkeypatch.setattr("catdog.inference.export.serialize", lambda model, details: content)


@pytest.mark.usefixtures("reused")
def test_a_wrong_program_is_refused(run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "before.onnx").write_bytes(b"an earlier file")
    for name, error in (("new.onnx", 1e-4), ("before.onnx", np.nan)):
        monkeypatch.setattr("catdog.inference.export.run", lambda *program, error=error: run(*program) + error)
        with pytest.raises(InputError, match=r"by up to (0.0001|nan), more than 1e-05; no file is left"):
            export(locate(run_of(3))[0], tmp_path / name)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"before.onnx": b"an earlier file"}


def test_what_cannot_be_done_gets_a_sentence(run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = locate(run_of(1))[0]
    with pytest.raises(InputError, match=r"--out must end in .onnx, got '.*last.ckpt'"):
        export(checkpoint, checkpoint)
    monkeypatch.setattr(torch.onnx, "export", lambda *arguments, **options: 1 / 0)
    with pytest.raises(InputError, match=r"^ONNX cannot express these networks \(ZeroDivisionError\)"):
        export(checkpoint, tmp_path / "net.onnx")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"^the export needs onnxscript: pip install --editable '.\[export\]'$"):
        export(checkpoint, tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("reused")
def test_the_command_says_where_the_file_is_or_why_there_is_none(
    run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new/net.onnx"
    command = ["scripts/export.py", str(run_of(3)), "--out"]
    monkeypatch.setattr(sys, "argv", [*command, str(path)])
    runpy.run_path(str(ROOT / "scripts/export.py"), run_name="__main__")
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == f"{path}: {path.stat().st_size / 1e6:.2f} MB"
    assert second.startswith("  its probabilities for 70 pictures differ from the checkpoint's by at most ")
    monkeypatch.setattr(sys, "argv", [*command, str(path / "below.onnx")])
    with pytest.raises(SystemExit, match=r"catdog: .*net.onnx: (File exists|Not a directory)"):
        runpy.run_path(str(ROOT / "scripts/export.py"), run_name="__main__")

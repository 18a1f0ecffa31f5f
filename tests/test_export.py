"""Exported files, used as somebody uses them who has nothing else."""

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from catdog.data import FileSource
from catdog.data.synthetic import draw_photo
from catdog.errors import InputError
from catdog.inference.export import DETAILS, SUFFIXES, export, load, usage
from catdog.inference.predictor import Predictor
from catdog.inference.runs import FinishedRun, locate
from conftest import RECIPE, ROOT, RunOf, make_classifier

ExportOf = Callable[[str], tuple[Path, str]]


@pytest.fixture(scope="session")
def export_of(run_of: RunOf, tmp_path_factory: pytest.TempPathFactory) -> ExportOf:
    """The file of a run with three replicas, in a format, and the code that uses it."""
    folder = tmp_path_factory.mktemp("exported")

    @cache
    def made(kind: str) -> tuple[Path, str]:
        path = folder / f"net{SUFFIXES[kind]}"
        told = export(locate(run_of(3))[0], kind, path)
        return path, told.partition("checkpoint:\n\n")[2].replace("\n  ", "\n").strip()

    return made


def expected_of(model: Predictor, pixels: Tensor) -> np.ndarray:
    return model.logits(pixels).sigmoid().mean(0).numpy()


@pytest.mark.parametrize("kind", SUFFIXES)
def test_a_file_gives_what_its_checkpoint_gives(export_of: ExportOf, run_of: RunOf, kind: str) -> None:
    program, model = load(export_of(kind)[0].read_bytes(), kind), Predictor.load(locate(run_of(3))[0])
    seen = FinishedRun.open(run_of(3)).data().store.pixels
    many = torch.randint(256, (3000, 3, 16, 16), dtype=torch.uint8)
    for pixels in (seen, seen[:1], seen[:0], many, torch.zeros_like(seen), torch.full_like(seen, 255)):
        probability = program(pixels.numpy())
        assert probability.dtype == np.float32
        assert probability.shape == (len(pixels),)
        np.testing.assert_allclose(probability, expected_of(model, pixels), rtol=0, atol=1e-5)
    assert np.ptp(program(seen.numpy())) > 0.01  # it does tell photos apart


@pytest.mark.parametrize("kind", SUFFIXES)
def test_the_printed_code_predicts_a_photo_without_catdog(
    export_of: ExportOf, run_of: RunOf, tmp_path: Path, kind: str
) -> None:
    path, code = export_of(kind)
    (tmp_path / path.name).write_bytes(path.read_bytes())
    photo = draw_photo(np.random.default_rng(3), is_dog=True, image_size=60).resize((60, 41))
    photo.save(tmp_path / "photo.png")  # of which a JPEG would be other pixels
    code = code.replace("photo.jpg", "photo.png") + "\nimport sys\nprint(float(probability), {*sys.modules}"
    absent = {"catdog", "torch"} if kind == "onnx" else {"catdog"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", code + f" & {absent!r})"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    probability, modules = done.stdout.split(maxsplit=1)
    read = FileSource(tmp_path, ("", ""), [("photo.png", 0)]).read(0, 16)
    (expected,) = expected_of(Predictor.load(locate(run_of(3))[0]), torch.tensor(read.transpose(2, 0, 1)[None]))
    assert float(probability) == pytest.approx(expected, abs=1e-5)
    assert modules == "set()\n"


def test_a_file_says_how_to_use_it_and_nothing_of_the_machine(export_of: ExportOf, run_of: RunOf) -> None:
    model = onnx.load(export_of("onnx")[0])
    onnx.checker.check_model(model, full_check=True)
    in_onnx, files = {entry.key: entry.value for entry in model.metadata_props}, {DETAILS: ""}
    torch.export.load(export_of("torch-export")[0], extra_files=files)
    assert {**in_onnx, "example": ""} == {**json.loads(files[DETAILS]), "example": ""}
    assert json.loads(in_onnx["class_names"]) == ["cats", "dogs"]
    assert (in_onnx["image_size"], in_onnx["replicas"], in_onnx["checkpoint"]) == ("16", "3", "last.ckpt")
    assert in_onnx["example"].strip() == export_of("onnx")[1]
    for kind in SUFFIXES:
        content = export_of(kind)[0].read_bytes()
        assert str(ROOT).encode() not in content
        assert str(run_of(3)).encode() not in content


@pytest.mark.parametrize("options", [{"hidden": []}, {"hidden": [6], "image_size": 12, **RECIPE}])
@pytest.mark.parametrize("kind", SUFFIXES)
def test_any_network_with_odd_names_is_exported(kind: str, tmp_path: Path, options: dict[str, object]) -> None:
    names = ["Kätzchen\udcff\n", "{dogs}"]
    net = make_classifier(replicas=2, class_names=names, **options)
    size = net.hparams["image_size"]
    net.network.fit(torch.randn(50, 3, size, size, generator=torch.Generator().manual_seed(0)))
    checkpoint = tmp_path / "{größte}.ckpt"
    torch.save({"hyper_parameters": dict(net.hparams), "state_dict": net.state_dict()}, checkpoint)
    told = export(checkpoint, kind)
    pixels = torch.randint(256, (5, 3, size, size), dtype=torch.uint8)
    program = load(checkpoint.with_suffix(SUFFIXES[kind]).read_bytes(), kind)
    np.testing.assert_allclose(program(pixels.numpy()), expected_of(Predictor(net), pixels), rtol=0, atol=1e-5)
    assert "'{größte}." in told
    compile(usage(kind, "'", 1, "\n"), "example", "exec")


@pytest.mark.parametrize("error", [1e-4, np.nan])
def test_a_wrong_program_is_refused_and_leaves_nothing(
    run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: float
) -> None:
    right = Predictor.forward
    monkeypatch.setattr(Predictor, "forward", lambda self, pixels: right(self, pixels) + error)
    (tmp_path / "before.pt2").write_bytes(b"an earlier file")
    for name in ("new.pt2", "before.pt2"):
        with pytest.raises(InputError, match=r"by up to (0.0001|nan), more than 1e-05; no file is left"):
            export(locate(run_of(1))[0], "torch-export", tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["before.pt2"]
    assert (tmp_path / "before.pt2").read_bytes() == b"an earlier file"


def test_what_cannot_be_done_gets_a_sentence(run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = locate(run_of(1))[0]
    with pytest.raises(InputError, match=r"--out must end in .pt2 for --format torch-export, got '.*last.ckpt'"):
        export(checkpoint, "torch-export", checkpoint)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"^--format onnx needs onnxscript: pip install --editable '.\[export\]'$"):
        export(checkpoint, "onnx")
    monkeypatch.setattr(torch.export, "export", lambda *arguments, **options: 1 / 0)
    with pytest.raises(InputError, match=r"^--format torch-export cannot express these networks \(ZeroDivisionError\)"):
        export(checkpoint, "torch-export", tmp_path / "net.pt2")
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_where_the_file_is_or_why_there_is_none(
    run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new/net.pt2"
    command = ["scripts/export.py", str(run_of(1)), "--format", "torch-export", "--out"]
    monkeypatch.setattr(sys, "argv", [*command, str(path)])
    runpy.run_path(str(ROOT / "scripts/export.py"), run_name="__main__")
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == f"{path}: {path.stat().st_size / 1e6:.2f} MB"
    assert second.startswith("  its probabilities for 70 pictures differ from the checkpoint's by at most ")
    monkeypatch.setattr(sys, "argv", [*command, str(path / "below.pt2")])
    with pytest.raises(SystemExit, match=r"catdog: .*net.pt2: (File exists|Not a directory)"):
        runpy.run_path(str(ROOT / "scripts/export.py"), run_name="__main__")

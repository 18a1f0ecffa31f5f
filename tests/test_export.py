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
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from catdog.data.synthetic import draw_photo
from catdog.errors import InputError
from catdog.inference.export import DETAILS, FORMATS, Export, MeanProbability, export
from catdog.inference.predict import predict
from catdog.inference.predictor import Predictor
from catdog.inference.runs import FinishedRun, checkpoint_of
from conftest import RECIPE, ROOT, RunOf, make_classifier

ExportOf = Callable[[str, int], Export]


@pytest.fixture(scope="session")
def export_of(run_of: RunOf, tmp_path_factory: pytest.TempPathFactory) -> ExportOf:
    """The file of a run with so many replicas, in a format."""
    folder = tmp_path_factory.mktemp("exported")

    @cache
    def made(format: str, replicas: int) -> Export:
        path = folder / f"{replicas}{FORMATS[format].suffix}"
        return export(checkpoint_of(run_of(replicas)), format, path)

    return made


def run_onnx(path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (probability,) = session.run(["probability"], {"pixels": pixels})
    return np.asarray(probability)


def run_torch(path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    program = torch.export.load(path).module()
    return np.asarray(program(torch.from_numpy(pixels)))


RUNS = {"onnx": run_onnx, "torch-export": run_torch}


def drawn(path: Path) -> Path:
    draw_photo(np.random.default_rng(3), is_dog=True, image_size=60).resize((60, 41)).save(path)
    return path


def test_a_recipe_is_exported_with_all_that_it_does(tmp_path: Path) -> None:
    """Whitening, LayerNorm, GELU and the mean over ten views."""
    net = make_classifier(hidden=[6], replicas=2, image_size=12, **RECIPE)
    net.network.fit(torch.randn(50, 3, 12, 12, generator=torch.Generator().manual_seed(0)))
    checkpoint = {"hyper_parameters": dict(net.hparams), "state_dict": net.state_dict()}
    torch.save(checkpoint, tmp_path / "net.ckpt")
    path = export(tmp_path / "net.ckpt", "onnx").path
    pixels = np.random.default_rng(7).integers(0, 256, (5, 3, 12, 12), dtype=np.uint8)
    expected = Predictor(net).probabilities(torch.from_numpy(pixels)).mean(0).numpy()
    np.testing.assert_allclose(run_onnx(path, pixels), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(run_onnx(path, pixels[:1]), expected[:1], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("format", "replicas"), [("onnx", 3), ("torch-export", 3)])
def test_a_file_gives_what_its_checkpoint_gives(export_of: ExportOf, run_of: RunOf, format: str, replicas: int) -> None:
    path, model = export_of(format, replicas).path, Predictor.load(checkpoint_of(run_of(replicas)))
    shown = FinishedRun.open(run_of(replicas)).data().store.pixels.numpy()
    many = np.random.default_rng(7).integers(0, 256, (3000, 3, 16, 16), dtype=np.uint8)
    for pixels in (shown, shown[:1], shown[:0], many, np.zeros_like(shown), np.full_like(shown, 255)):
        probability = RUNS[format](path, pixels)
        expected = model.probabilities(torch.from_numpy(pixels)).mean(0).numpy()
        assert probability.dtype == np.float32
        assert probability.shape == (len(pixels),)
        np.testing.assert_allclose(probability, expected, rtol=0, atol=1e-5)
    assert np.ptp(RUNS[format](path, shown)) > 0.01  # it does tell photos apart


def test_onnx_is_used_with_the_printed_code_and_without_catdog_or_torch(
    export_of: ExportOf, run_of: RunOf, tmp_path: Path
) -> None:
    made = export_of("onnx", 3)
    drawn(tmp_path / "photo.png")  # of which a JPEG would be other pixels
    (tmp_path / made.path.name).write_bytes(made.path.read_bytes())
    assert len(made.example.splitlines()) == 5
    code = made.example.replace("photo.jpg", "photo.png") + "import sys\nprint(probability, {*sys.modules}"
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", code + " & {'torch', 'catdog'})"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    probability, modules = done.stdout.split(maxsplit=1)
    model = Predictor.load(checkpoint_of(run_of(3)))
    expected = next(predict(model, [str(tmp_path / "photo.png")], progress=False)).probability
    assert float(probability) == pytest.approx(expected, abs=1e-5)
    assert modules == "set()\n"


def test_torch_export_is_used_with_the_printed_code(
    export_of: ExportOf, run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = export_of("torch-export", 3)
    monkeypatch.chdir(made.path.parent)
    names: dict[str, float] = {}
    exec(made.example.replace("photo.jpg", str(drawn(tmp_path / "photo.png"))), names)
    model = Predictor.load(checkpoint_of(run_of(3)))
    expected = next(predict(model, [str(tmp_path / "photo.png")], progress=False)).probability
    assert names["probability"] == pytest.approx(expected, abs=1e-5)


def test_a_file_says_how_to_use_it_and_nothing_of_the_machine(export_of: ExportOf, run_of: RunOf) -> None:
    model = onnx.load(export_of("onnx", 3).path)
    onnx.checker.check_model(model, full_check=True)
    in_onnx = {entry.key: entry.value for entry in model.metadata_props}
    files = {DETAILS: ""}
    torch.export.load(export_of("torch-export", 3).path, extra_files=files)
    in_torch = json.loads(files[DETAILS])
    assert in_onnx == {name: text for name, text in in_torch.items() if name != "example"}
    assert json.loads(in_onnx["class_names"]) == ["cats", "dogs"]
    assert (in_onnx["image_size"], in_onnx["replicas"], in_onnx["checkpoint"]) == ("16", "3", "best.ckpt")
    assert "antialiased bilinear" in in_onnx["resizing"]
    assert export_of("onnx", 3).example in model.doc_string
    ((pixels,), (probability,)) = model.graph.input, model.graph.output
    assert (pixels.name, pixels.doc_string) == ("pixels", in_onnx["pixels"])
    assert (probability.name, probability.doc_string) == ("probability", in_onnx["probability"])
    assert pixels.type.tensor_type.shape.dim[0].dim_param == "batch"
    for format in FORMATS:
        content = export_of(format, 3).path.read_bytes()
        assert str(ROOT).encode() not in content
        assert str(run_of(3)).encode() not in content


@pytest.mark.parametrize("format", FORMATS)
def test_logistic_regression_and_odd_names(format: str, tmp_path: Path) -> None:
    names = ["Kätzchen\udcff\n", "{dogs}"]
    classifier = make_classifier(replicas=2, class_names=names)
    checkpoint = tmp_path / "{größte}.ckpt"
    torch.save({"hyper_parameters": dict(classifier.hparams), "state_dict": classifier.state_dict()}, checkpoint)
    made = export(checkpoint, format)
    assert made.path == checkpoint.with_suffix(FORMATS[format].suffix)
    pixels = torch.randint(256, (5, 3, 8, 8), dtype=torch.uint8)
    expected = Predictor(classifier).probabilities(pixels).mean(0).numpy()
    np.testing.assert_allclose(RUNS[format](made.path, pixels.numpy()), expected, rtol=0, atol=1e-5)
    assert "'{größte}." in made.example
    compile(made.example, "example", "exec")
    if format == "onnx":
        (kept,) = (entry.value for entry in onnx.load(made.path).metadata_props if entry.key == "class_names")
        assert json.loads(kept) == names


@pytest.mark.parametrize(
    ("error", "sentence"),
    [(1e-4, r"differ from the checkpoint's by up to 0.0001, more than 1e-05; no file is left"), (np.nan, "up to nan")],
)
def test_a_wrong_program_is_refused_and_leaves_nothing(
    run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: float, sentence: str
) -> None:
    right = MeanProbability.forward

    def wrong(self: MeanProbability, pixels: Tensor) -> Tensor:
        return right(self, pixels) + error * (pixels.amax(dim=(1, 2, 3)) == 0)  # for black photos alone

    monkeypatch.setattr(MeanProbability, "forward", wrong)
    (tmp_path / "before.pt2").write_bytes(b"an earlier file")
    for name in ("new.pt2", "before.pt2"):
        with pytest.raises(InputError, match=sentence):
            export(checkpoint_of(run_of(1)), "torch-export", tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["before.pt2"]
    assert (tmp_path / "before.pt2").read_bytes() == b"an earlier file"


def test_a_program_for_one_size_of_batches_is_refused(
    run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MeanProbability, "forward", lambda self, pixels: self.model(pixels)[0, :1])
    with pytest.raises(InputError, match=r"gives values \(1,\) for 2 pictures; no file is left"):
        export(checkpoint_of(run_of(1)), "torch-export", tmp_path / "new.pt2")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_done_gets_a_sentence(run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = checkpoint_of(run_of(1))
    with pytest.raises(InputError, match=r"--out must end in .pt2 for --format torch-export, got '.*best.ckpt'"):
        export(checkpoint, "torch-export", checkpoint)
    (tmp_path / "folder.pt2").mkdir()
    with pytest.raises(InputError, match=r"folder.pt2' cannot be written: Is a directory"):
        export(checkpoint, "torch-export", tmp_path / "folder.pt2")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"best.pt2' cannot be written: (Not a directory|File exists)"):
        export(checkpoint, "torch-export", tmp_path / "file/best.pt2")
    assert {path.name for path in tmp_path.iterdir()} == {"folder.pt2", "file"}
    monkeypatch.setattr("catdog.inference.export.MOST_BYTES", 1000)
    with pytest.raises(InputError, match="too much for one ONNX file; take --format torch-export"):
        export(checkpoint, "onnx", tmp_path / "large.onnx")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"^--format onnx needs onnxscript: pip install --editable '.\[export\]'$"):
        export(checkpoint, "onnx")


def test_the_command_says_where_the_file_is_and_how_to_use_it(
    run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new/net.pt2"
    command = ["scripts/export.py", str(run_of(1)), "--format", "torch-export", "--out", str(path)]
    monkeypatch.setattr(sys, "argv", command)
    runpy.run_path(str(ROOT / "scripts/export.py"), run_name="__main__")
    said = capsys.readouterr().out
    first, second, *_ = said.splitlines()
    assert first == f"{path}: {path.stat().st_size / 1e6:.2f} MB"
    assert second.startswith("  its probabilities for 72 pictures differ from the checkpoint's by at most ")
    assert "torch.export.load('net.pt2')" in said


def test_what_an_exporter_cannot_do_gets_a_sentence(
    run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("operator\nnot supported")

    monkeypatch.setattr(torch.export, "export", fail)
    with pytest.raises(InputError, match=r"^--format torch-export cannot express these networks \(RuntimeError\)$"):
        export(checkpoint_of(run_of(1)), "torch-export", tmp_path / "net.pt2")
    assert list(tmp_path.iterdir()) == []

"""Export: one file that predicts without catdog, checked against its checkpoint before it is left."""

import io
import json
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.onnx import ONNXProgram

from catdog.errors import InputError, check_packages
from catdog.inference.predictor import Predictor

TOLERANCE = 1e-5  # between the probabilities of the file and of the checkpoint
BATCHES = (1, 2, 3, 64)  # photos, of random pixels, that the file is checked on
OPSET = 20  # the first that samples images as PyTorch does
SUFFIXES = {"onnx": ".onnx", "torch-export": ".pt2"}
DETAILS = "catdog.json"  # the member of a torch.export file that holds what ONNX keeps as metadata
EXAMPLES = {
    "onnx": """\
import numpy as np, onnxruntime
from PIL import Image, ImageOps
photo = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB").resize(({size}, {size}), Image.BILINEAR)
pixels = np.asarray(photo).transpose(2, 0, 1)[None]  # uint8 (1, 3, {size}, {size})
(probability,) = onnxruntime.InferenceSession({file!r}).run(["probability"], {{"pixels": pixels}})[0]  # of {name!r}
""",
    "torch-export": """\
import torch
from PIL import Image, ImageOps
from torchvision.transforms.functional import pil_to_tensor
photo = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB").resize(({size}, {size}), Image.BILINEAR)
pixels = pil_to_tensor(photo)[None]  # uint8 (1, 3, {size}, {size})
(probability,) = torch.export.load({file!r}).module()(pixels).tolist()  # of {name!r}
""",
}


class MeanProbability(nn.Module):
    """The exported module: the mean over the replicas of the probability of class 1."""

    def __init__(self, model: Predictor) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute it, float32 (batch,), of RGB pixels, uint8 (batch, 3, image_size, image_size)."""
        return self.model(pixels).mean(0)


def export(checkpoint: Path, kind: str, path: Path | None = None) -> str:
    """Write a checkpoint's networks as one file, if that gives what the checkpoint gives.

    Args:
        checkpoint: the checkpoint's file.
        kind: "onnx" or "torch-export".
        path: where to; None: beside the checkpoint, with the kind's suffix.

    Returns:
        For people: the file's size, what it was checked on, and code that uses it.

    Raises:
        InputError: the checkpoint cannot be used, a package is missing, or the file is wrong.
    """
    check_packages(f"--format {kind}", "export", ("onnx", "onnxruntime", "onnxscript") if kind == "onnx" else ())
    path = path or checkpoint.with_suffix(SUFFIXES[kind])
    if path.suffix != SUFFIXES[kind]:  # nor is a checkpoint or a photo ever overwritten
        raise InputError(f"--out must end in {SUFFIXES[kind]} for --format {kind}, got {str(path)!r}")
    model = Predictor.load(checkpoint)
    example = EXAMPLES[kind].format(size=model.image_size, file=path.name, name=model.class_names[1])
    details = _details(model, checkpoint) | {"example": example}
    try:
        content = (_onnx if kind == "onnx" else _torch_export)(model, details)
    except Exception as error:  # of many kinds, from PyTorch's exporters
        raise InputError(f"--format {kind} cannot express these networks ({type(error).__name__})") from error
    difference = _write_checked(path, content, model)
    return (
        f"{path}: {len(content) / 1e6:.2f} MB\n  its probabilities for {sum(BATCHES)} pictures differ from the "
        f"checkpoint's by at most {difference:.1g}\n\nIt needs neither catdog nor the checkpoint:\n\n"
        + "\n".join(f"  {line}" for line in example.splitlines())
    )


def _write_checked(path: Path, content: bytes, model: Predictor) -> float:
    """Write a file beside its place and rename it if it gives what the model gives; return the largest difference."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial{path.suffix}")
    try:
        partial.write_bytes(content)
        difference = largest_difference(load(partial), model)
        if not difference <= TOLERANCE:
            raise InputError(
                f"the exported program's probabilities differ from the checkpoint's by up to {difference:.2g}, more "
                f"than {TOLERANCE:g}; no file is left"
            )
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return difference


def load(path: Path) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Open an exported file without help from catdog: a function from pixels to probabilities."""
    if path.suffix == SUFFIXES["onnx"]:
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda pixels: session.run(["probability"], {"pixels": pixels})[0]
    program = torch.export.load(path).module()
    return lambda pixels: program(torch.from_numpy(pixels)).numpy()


def largest_difference(program: Callable[..., NDArray[np.float32]], model: Predictor) -> float:
    """Compare an exported program's probabilities with the checkpoint's, on random pixels in several batch sizes."""
    rng, differences = np.random.default_rng(0), []
    for photos in BATCHES:
        pixels = rng.integers(0, 256, (photos, 3, model.image_size, model.image_size), dtype=np.uint8)
        expected = model.probabilities(torch.from_numpy(pixels)).mean(0).numpy()
        differences.append(np.abs(program(pixels) - expected).max())
    return float(np.max(differences))  # not a number if one of them is none


def _details(model: Predictor, checkpoint: Path) -> dict[str, str]:
    """Collect what somebody has to know who gets the file alone; lists are JSON."""
    first, second = model.class_names
    size = model.image_size
    return {
        "class_names": json.dumps(model.class_names),
        "image_size": str(size),
        "pixels": f"uint8 (batch, 3, {size}, {size}): the channels are red, green and blue, from 0 to 255",
        "probability": f"float32 (batch,): of {second!r}; below 0.5 it is {first!r}",
        "resizing": "turned upright as EXIF says, then to RGB with what is transparent on white, then squeezed "
        f"to {size}×{size}, antialiased bilinear as Pillow's Image.resize(({size}, {size}), Image.BILINEAR)",
        "hidden": json.dumps(model.classifier.hparams["hidden"]),
        "replicas": str(len(model.classifier.seeds)),
        "catdog_version": version("catdog"),
        "checkpoint": checkpoint.name.encode("utf-8", "backslashreplace").decode(),  # protobuf takes only UTF-8
    }


def _onnx(model: Predictor, details: dict[str, str]) -> bytes:
    exported = torch.onnx.export(
        MeanProbability(model).eval(), (_pixels(model),), input_names=["pixels"], output_names=["probability"],
        dynamic_shapes={"pixels": {0: "batch"}}, opset_version=OPSET, dynamo=True, external_data=False, verbose=False,
    )  # fmt: skip
    program = cast(ONNXProgram, exported)  # None with dynamo=False only
    for node in program.model.graph:  # else the file would tell paths of this machine
        node.metadata_props.clear()
    program.model.metadata_props.update(details)
    return program.model_proto.SerializeToString()


def _torch_export(model: Predictor, details: dict[str, str]) -> bytes:
    shapes = {"pixels": {0: torch.export.Dim("batch", min=0)}}
    program = torch.export.export(MeanProbability(model).eval(), (_pixels(model),), dynamic_shapes=shapes)
    for node in program.graph.nodes:  # else the file would tell paths of this machine
        node.meta.pop("stack_trace", None)
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={DETAILS: json.dumps(details, indent=2)})
    return content.getvalue()


def _pixels(model: Predictor) -> Tensor:
    """Give pixels to trace the module with."""
    return torch.zeros(2, 3, model.image_size, model.image_size, dtype=torch.uint8)

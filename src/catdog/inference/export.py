"""One file with all that a prediction takes: pixels in, probability out, checked against its checkpoint."""

import io
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
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

Program = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # pixels to probabilities

TOLERANCE = 1e-5  # between the probabilities of the file and of the checkpoint
BATCHES = (1, 2, 3, 64)  # photos, of random pixels, that the file is checked on
OPSET = 20  # the first with GELU, and with sampling of images as PyTorch does it
MOST_BYTES = 2**31 - 2**20  # of an ONNX file's weights; protobuf ends at 2 GiB
DETAILS = "catdog.json"  # the member of a torch.export file that holds what ONNX keeps as metadata

PHOTO = """\
photo = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB").resize(({size}, {size}), Image.BILINEAR)
pixels = np.asarray(photo).transpose(2, 0, 1)[None]  # uint8 (1, 3, {size}, {size})
"""
ONNX_EXAMPLE = (
    "import numpy as np, onnxruntime\nfrom PIL import Image, ImageOps\n" + PHOTO + "(probability,) = "
    'onnxruntime.InferenceSession({file!r}).run(["probability"], {{"pixels": pixels}})[0]  # of {name!r}\n'
)
TORCH_EXAMPLE = (
    "import numpy as np, torch\nfrom PIL import Image, ImageOps\n" + PHOTO + "(probability,) = "
    "torch.export.load({file!r}).module()(torch.from_numpy(pixels.copy())).tolist()  # of {name!r}\n"
)


class MeanProbability(nn.Module):
    """The exported module: the mean over the replicas of the probability of class 1."""

    def __init__(self, model: Predictor) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """Probability of class 1, float32 (batch,), for RGB pixels, uint8 (batch, 3, image_size, image_size)."""
        return self.model(pixels).mean(0)


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        suffix: that its names end in.
        packages: that writing and checking it take, besides catdog's own.
        write: the bytes of a file, for a network, its details and a text on how to use it.
        open: the program in a file, without help from catdog.
        example: Python code that uses it.
    """

    suffix: str
    packages: tuple[str, ...]
    write: Callable[[Predictor, dict[str, str], str], bytes]
    open: Callable[[Path], Program]
    example: str


@dataclass(frozen=True)
class Export:
    """A file that was written, and how it was found to be.

    Attributes:
        path: where it is.
        photos: how many it was checked on.
        difference: the largest between its probabilities and the checkpoint's.
        example: Python code that uses it.
    """

    path: Path
    photos: int
    difference: float
    example: str

    def __str__(self) -> str:
        code = "".join(f"  {line}\n" for line in self.example.splitlines())
        return (
            f"{self.path}: {self.path.stat().st_size / 1e6:.2f} MB\n"
            f"  its probabilities for {self.photos} pictures differ from the checkpoint's by at most "
            f"{self.difference:.1g}\n\nIt needs neither catdog nor the checkpoint:\n\n{code.rstrip()}"
        )


def export(checkpoint: Path, format: str, path: Path | None = None) -> Export:
    """Write a checkpoint's networks as one file; it is left there only if it gives what the checkpoint gives.

    Args:
        checkpoint: the checkpoint's file.
        format: a name in `FORMATS`.
        path: where to; beside the checkpoint, with the format's suffix, if not given.

    Raises:
        InputError: the checkpoint cannot be used, a package is missing, the file cannot be written or is wrong.
    """
    kind = FORMATS[format]
    check_packages(f"--format {format}", "export", kind.packages)
    path = path or checkpoint.with_suffix(kind.suffix)
    if path.suffix != kind.suffix:  # nor is a checkpoint or a photo ever overwritten
        raise InputError(f"--out must end in {kind.suffix} for --format {format}, got {str(path)!r}")
    model = Predictor.load(checkpoint)
    example = kind.example.format(size=model.image_size, file=path.name, name=model.class_names[1])
    try:
        content = kind.write(model, details(model, checkpoint), example)
    except InputError:
        raise
    except Exception as error:  # of many kinds, from PyTorch's exporters
        raise InputError(f"--format {format} cannot express these networks ({type(error).__name__})") from error
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial{kind.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        pictures = check_pictures(model.image_size)
        difference = check(kind.open(partial), model, pictures)
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return Export(path, sum(map(len, pictures)), difference, example)


def details(model: Predictor, checkpoint: Path) -> dict[str, str]:
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


def check_pictures(image_size: int) -> list[NDArray[np.uint8]]:
    """Batches of pixels, uint8 (photos, 3, image_size, image_size), for a check: black, white, random in `BATCHES`."""
    rng = np.random.default_rng(0)
    shape = (3, image_size, image_size)
    plain = [np.full((1, *shape), level, dtype=np.uint8) for level in (0, 255)]
    return plain + [rng.integers(0, 256, (photos, *shape), dtype=np.uint8) for photos in BATCHES]


def check(program: Program, model: Predictor, batches: list[NDArray[np.uint8]]) -> float:
    """The largest difference of a program's probabilities to the classifier's, averaged over its replicas.

    Raises:
        InputError: it is above `TOLERANCE`, or no number.
    """
    differences = []
    for pixels in batches:
        expected = model.probabilities(torch.from_numpy(pixels)).mean(0).numpy()
        probabilities = program(pixels)
        if probabilities.shape != expected.shape:
            raise InputError(
                f"the exported program gives values {probabilities.shape} for {len(pixels)} pictures; no file is left"
            )
        differences.append(np.abs(probabilities - expected).max())
    difference = float(np.max(differences))  # which is no number if one of them is none
    if not difference <= TOLERANCE:
        raise InputError(
            f"the exported program's probabilities differ from the checkpoint's by up to {difference:.2g}, more than "
            f"{TOLERANCE:g}; no file is left"
        )
    return difference


def _module(model: Predictor) -> tuple[nn.Module, tuple[Tensor]]:
    """Build the exported module, and pixels to trace it with."""
    pixels = torch.zeros(2, 3, model.image_size, model.image_size, dtype=torch.uint8)
    return MeanProbability(model).eval(), (pixels,)


def _write_onnx(model: Predictor, details: dict[str, str], example: str) -> bytes:
    if (needed := sum(weights.nbytes for weights in model.state_dict().values())) > MOST_BYTES:
        raise InputError(f"{needed / 1e9:.1f} GB of weights are too much for one ONNX file; take --format torch-export")
    exported = torch.onnx.export(
        *_module(model), input_names=["pixels"], output_names=["probability"], opset_version=OPSET, dynamo=True,
        dynamic_shapes={"pixels": {0: "batch"}}, external_data=False, verbose=False,
    )  # fmt: skip
    program = cast(ONNXProgram, exported)  # None with dynamo=False only
    onnx_model = program.model
    for node in onnx_model.graph:  # else the file would tell paths of this machine
        node.metadata_props.clear()
    onnx_model.metadata_props.update(details)
    onnx_model.producer_name, onnx_model.producer_version = "catdog", details["catdog_version"]
    onnx_model.doc_string = f"{details['resizing']}\n\n{example}"
    onnx_model.graph.inputs[0].doc_string = details["pixels"]
    onnx_model.graph.outputs[0].doc_string = details["probability"]
    return program.model_proto.SerializeToString()


def _open_onnx(path: Path) -> Program:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(["probability"], {"pixels": pixels})[0]


def _write_torch(model: Predictor, details: dict[str, str], example: str) -> bytes:
    shapes = {"pixels": {0: torch.export.Dim("batch", min=0)}}
    program = torch.export.export(*_module(model), dynamic_shapes=shapes)
    for node in program.graph.nodes:  # else the file would tell paths of this machine
        node.meta.pop("stack_trace", None)
    content = io.BytesIO()
    text = json.dumps(details | {"example": example}, indent=2)
    torch.export.save(program, content, extra_files={DETAILS: text})
    return content.getvalue()


def _open_torch(path: Path) -> Program:
    program = torch.export.load(path).module()
    return lambda pixels: program(torch.from_numpy(pixels)).numpy()


FORMATS = {
    "onnx": Format(".onnx", ("onnx", "onnxruntime", "onnxscript"), _write_onnx, _open_onnx, ONNX_EXAMPLE),
    "torch-export": Format(".pt2", (), _write_torch, _open_torch, TORCH_EXAMPLE),
}

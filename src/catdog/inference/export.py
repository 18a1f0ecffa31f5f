"""Export: one ONNX file that predicts without catdog, checked against its checkpoint before it is written."""

import json
from pathlib import Path
from textwrap import indent
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from catdog.errors import InputError, check_packages
from catdog.files import write_atomically
from catdog.inference.predictor import Predictor

SUFFIX = ".onnx"
TOLERANCE = 1e-5  # between the probabilities of the file and of the checkpoint


def export(checkpoint: Path, path: Path | None = None) -> str:
    """Export a checkpoint's networks to one file, if its probabilities match the checkpoint's within TOLERANCE.

    By default the file goes beside the checkpoint. Returns text for the terminal: the file's size, the result of the
    check, and example code. InputError if the checkpoint cannot be used, a package is missing, or the file is wrong.
    """
    check_packages("the export", "export", ("onnx", "onnxruntime", "onnxscript"))
    path = path or checkpoint.with_suffix(SUFFIX)
    if path.suffix != SUFFIX:  # protects checkpoints and photos from being overwritten
        raise InputError(f"--out must end in {SUFFIX}, got {str(path)!r}")
    model = Predictor.load(checkpoint)
    example, size = usage(path.name, model.image_size, model.class_names[1]), model.image_size
    details = {
        "class_names": json.dumps(model.class_names),  # of probabilities below and above 0.5
        "image_size": str(size),
        "resizing": "turned upright as EXIF says, then to RGB with what is transparent on white, then squeezed "
        f"to {size}×{size}, antialiased bilinear as Pillow's Image.resize(({size}, {size}), Image.BILINEAR)",
        "replicas": str(len(model.classifier.seeds)),
        "checkpoint": checkpoint.name.encode("utf-8", "backslashreplace").decode(),  # protobuf takes only UTF-8
        "example": example,
    }
    try:
        content = serialize(model, details)
    except Exception as error:  # PyTorch's exporter raises many kinds
        raise InputError(f"ONNX cannot express these networks ({type(error).__name__})") from error
    pixels = np.random.default_rng(0).integers(0, 256, (70, 3, size, size), dtype=np.uint8)
    expected = model.logits(torch.from_numpy(pixels)).sigmoid().mean(0).numpy()
    found = np.concatenate([run(content, batch) for batch in np.split(pixels, [1, 3, 6])])  # of 1, 2, 3 and 64 photos
    difference = float(np.abs(found - expected).max())
    if not difference <= TOLERANCE:  # `not <=` also refuses NaN
        much = f"by up to {difference:.2g}, more than {TOLERANCE:g}"
        raise InputError(f"the exported program's probabilities differ from the checkpoint's {much}; no file is left")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    checked = f"its probabilities for {len(pixels)} pictures differ from the checkpoint's by at most {difference:.1g}"
    title = f"{path}: {len(content) / 1e6:.2f} MB\n  {checked}\n\nIt needs neither catdog nor the checkpoint:\n\n"
    return title + indent(example.rstrip(), "  ")


def usage(file: str, size: int, class_name: str) -> str:
    """Return example code that prints an exported file's probability for a photo, without catdog."""
    return f"""\
import numpy as np, onnxruntime
from PIL import Image, ImageOps
photo = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB").resize(({size}, {size}), Image.BILINEAR)
pixels = np.asarray(photo).transpose(2, 0, 1)[None]  # uint8 (1, 3, {size}, {size})
session = onnxruntime.InferenceSession({file!r})
print(session.run(["probability"], {{"pixels": pixels}})[0].item())  # probability of {class_name!r}
"""


def serialize(model: Predictor, details: dict[str, str]) -> bytes:
    """Export the mean probability over the replicas, with `details` as metadata and no path of this machine."""
    pixels = torch.zeros(2, 3, model.image_size, model.image_size, dtype=torch.uint8)  # example input for tracing
    exported: Any = torch.onnx.export(
        model.eval(), (pixels,), input_names=["pixels"], output_names=["probability"],
        opset_version=20,  # the first whose image sampling is PyTorch's
        dynamic_shapes={"pixels": {0: "batch"}}, dynamo=True, external_data=False, verbose=False,
    )  # fmt: skip
    for node in exported.model.graph:
        node.metadata_props.clear()
    exported.model.metadata_props.update(details)
    return exported.model_proto.SerializeToString()


def run(content: bytes, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute the probabilities, (photos,), of an exported file's content, without catdog."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["probability"], {"pixels": pixels})[0]

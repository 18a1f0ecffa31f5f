"""Inspection of a finished run as one HTML page."""

import base64
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from catdog.errors import InputError
from catdog.files import write_atomically
from catdog.inference.inspect import Inspection, inspect
from catdog.inference.predictor import Predictor
from catdog.inference.runs import FinishedRun
from catdog.names import describe, shown
from catdog.plots import network_diagram, weight_pictures

LARGEST = 128  # pixels: height and width of a picture at most
SMALL = 64  # pixels: up to which a photo is encoded without loss


def inspect_run(folder: str | Path, out: str | Path | None = None, seed: int | None = None) -> Path:
    """Write the page on a network of a finished run; returns its path.

    Args:
        folder: the run's.
        out: folder of the page; None: the run's.
        seed: of the replica to inspect; None: the first one's.

    Raises:
        InputError: no run has finished there, its photos have changed, or it has no such seed.
    """
    run = FinishedRun.open(folder)
    seeds = [replica["seed"] for replica in run.record["replicas"]]
    if seed is not None and seed not in seeds:
        raise InputError(f"the run in {str(folder)!r} has no seed {seed}; it has {', '.join(map(str, seeds))}")
    model, data = Predictor.load(run.checkpoint), run.data()
    pixels = data.store.pixels[data.test.rows]
    replica = 0 if seed is None else seeds.index(seed)
    found = inspect(model, replica, data.test.names, pixels, data.test.labels)
    path = (run.folder if out is None else Path(out)) / "inspection.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page(found, run.record, replica, model.classifier.hparams))
    return path


def page(found: Inspection, record: dict[str, Any], replica: int, options: Mapping[str, Any]) -> str:
    """Render an inspection as HTML that loads and runs nothing, with the run's record and the classifier's options."""
    loader = PackageLoader("catdog.inference", ".")
    environment = Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters |= {"shown": shown, "describe": describe, "diagram": _diagram, "image": _image}
    net, size = record["replicas"][replica], min(options["image_size"], LARGEST)
    return environment.get_template("page.html.j2").render(
        found=found, record=record, net=net, options=options, size=size, small=SMALL, weight_pictures=weight_pictures
    )


def _diagram(options: Mapping[str, Any]) -> str:
    """Draw the network, with its fixed features as a layer, as the URL of an SVG."""
    pixels, whitening, hog = 3 * options["image_size"] ** 2, options["whitening"], options["hog"]
    name = ("whitened pixels" if whitening else "pixels") + (", HOG" if hog else "")
    fixed = (name, (whitening or pixels) + hog) if whitening or hog else None
    figure = network_diagram([pixels, *options["hidden"], 1], fixed)
    return _data_url("image/svg+xml", figure.savefig, format="svg", transparent=True)


def _image(pixels: Tensor, lossless: bool = False) -> str:
    """Encode pixels, uint8 or float32 in [0, 1], (3, height, width), as the URL of an image."""
    image = to_pil_image(pixels)
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
    lossless = lossless or pixels.shape[-1] <= SMALL
    return _data_url("image/webp", image.save, format="webp", lossless=lossless, quality=82)


def _data_url(kind: str, save: Callable[..., object], **options: Any) -> str:
    file = io.BytesIO()
    save(file, **options)
    return f"data:{kind};base64,{base64.b64encode(file.getvalue()).decode()}"

"""From a run's folder to one HTML page on what its network has learnt."""

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
from catdog.figures import network_diagram, weight_pictures
from catdog.files import write_atomically
from catdog.inference.inspect import Inspection, Unit, inspect
from catdog.inference.predictor import Predictor
from catdog.inference.runs import FinishedRun
from catdog.names import describe, shown

PAGE = "inspection.html"
MOST_UNITS = 16  # shown of a layer
LARGEST, SMALL = 128, 64  # pixels: height and width of a picture at most; up to which it is enlarged without blurring


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
    replica = 0 if seed is None else seeds.index(seed)
    model, data = Predictor.load(run.checkpoint), run.data()
    test = data.test
    found = inspect(model, replica, test.names, data.store.pixels[test.rows], test.labels)
    path = (run.folder if out is None else Path(out)) / PAGE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page(found, run.record, replica, model.classifier.hparams))
    return path


def page(found: Inspection, record: dict[str, Any], replica: int, options: Mapping[str, Any]) -> str:
    """The page as HTML: one file that loads nothing and runs nothing.

    Args:
        found: measures of one of the run's networks on its test photos.
        record: content of its `metrics.json`.
        replica: the network's index.
        options: the classifier's arguments.
    """
    templates = PackageLoader("catdog.inference", ".")
    environment = Environment(
        loader=templates, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters |= {"shown": shown, "photo": _photo, "signed": lambda value: f"{value:+.2f}".replace("-", "−")}
    widths = [found.weights.shape[1], *(len(layer.units) for layer in found.layers), 1]
    diagram = network_diagram(widths, _fixed_features(found, options))
    units = [layer.ranking[:MOST_UNITS] for layer in found.layers]
    return environment.get_template("page.html.j2").render(
        found=found, record=record, net=record["replicas"][replica], options=options,
        names=[shown(name) for name in found.class_names], description=describe(record),
        diagram=_data_url("image/svg+xml", diagram.savefig, format="svg", transparent=True), widths=widths,
        units=units, looks=_looks(found, units), size=min(found.pixels.shape[-1], LARGEST), small=SMALL,
    )  # fmt: skip


def _fixed_features(found: Inspection, options: Mapping[str, Any]) -> tuple[str, int] | None:
    """Name and width of what the first layer is given instead of pixels."""
    whitening, hog = options["whitening"], options["hog"]
    if not hog:
        return ("PCA whitening", whitening) if whitening else None
    return ("whitened pixels, HOG" if whitening else "pixels, HOG"), (whitening or found.weights.shape[1]) + hog


def _looks(found: Inspection, units: list[list[Unit]]) -> list[list[dict[str, str]]]:
    """Of every layer's units what they look for: pictures by their captions; logistic regression counts as a layer."""
    first = [unit.number - 1 for unit in units[0]] if units else [0]
    kinds = {"weights": found.weights[first]}
    if found.learnt is not None:
        kinds["learnt"] = found.learnt[first]
    later = [
        {"in common": layer.typical(chosen, found.pixels)}
        for layer, chosen in zip(found.layers[1:], units[1:], strict=True)
    ]
    return [_pictures(kinds, found.pixels.shape[-1]) for kinds in (kinds, *later)]


def _pictures(kinds: dict[str, Tensor], size: int) -> list[dict[str, str]]:
    """Of every unit its pictures by caption, from weights by caption, each float32 (units, 3 · size²)."""
    columns = [[_picture(unit, lossless=True) for unit in weight_pictures(weights, size)] for weights in kinds.values()]
    return [dict(zip(kinds, pictures, strict=True)) for pictures in zip(*columns, strict=True)]


def _photo(pixels: Tensor) -> str:
    return _picture(pixels, lossless=pixels.shape[-1] <= SMALL)  # a small one takes little room anyway


def _picture(pixels: Tensor, lossless: bool) -> str:
    """Pixels as the address of an image: uint8, or float32 in [0, 1], (3, height, width)."""
    image = to_pil_image(pixels)
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
    return _data_url("image/webp", image.save, format="webp", lossless=lossless, quality=82)


def _data_url(kind: str, save: Callable[..., object], **options: Any) -> str:
    file = io.BytesIO()
    save(file, **options)
    return f"data:{kind};base64,{base64.b64encode(file.getvalue()).decode()}"

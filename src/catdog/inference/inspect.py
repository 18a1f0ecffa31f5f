"""Inspection of one network on photos: its hidden units, weights and predictions, as one HTML page."""

import base64
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from catdog.data import to_images
from catdog.errors import InputError
from catdog.files import write_atomically
from catdog.inference.attribution import contributions
from catdog.inference.predictor import Predictor
from catdog.inference.runs import FinishedRun
from catdog.model import CatDogClassifier
from catdog.names import describe, shown
from catdog.plots import network_diagram, weight_pictures

BATCH = 256  # photos per forward and backward pass
TOP_PHOTOS = 6  # per unit
UNRELATED = 5  # maximum cosine of unrelated weights, in standard deviations of that of independent ones

LARGEST = 128  # pixels: maximum height and width of a picture
SMALL = 64  # pixels: photos up to this size are encoded losslessly


class Inspection(NamedTuple):
    """Results of inspecting one network on photos.

    Attributes:
        photos: `path`, `label`, `logit`, `confidence` (the probability of the predicted class) and `inactive` (True if
            all activations of the last hidden layer are 0), by row of `pixels`; the most confident prediction first.
        pixels: uint8 (photos, 3, image_size, image_size).
        layers: `unit_statistics` of each hidden layer; none for logistic regression.
        pictures: float32 (units, 3 · image_size²) by caption, for each hidden layer, or the output if there is none.
    """

    photos: pd.DataFrame
    pixels: Tensor
    layers: list[pd.DataFrame]
    pictures: list[dict[str, Tensor]]


def inspect_run(folder: str | Path, out: str | Path | None = None, seed: int | None = None) -> Path:
    """Write the inspection page of one network of a finished run; return its path.

    Args:
        folder: folder of the run.
        out: folder of the page; None: the folder of the run.
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


def inspect(model: Predictor, replica: int, paths: list[str], pixels: Tensor, labels: Tensor) -> Inspection:
    """Inspect one of the networks on photos, uint8 (photos, 3, image_size, image_size), with labels 0 or 1."""
    batches = [contributions(model.classifier, to_images(batch.float())) for batch in pixels.split(BATCH)]
    by_layer = zip(*batches, strict=True)
    hidden = [[torch.cat(parts, dim=1)[replica] for parts in zip(*layer, strict=True)] for layer in by_layer]
    logits = model.logits(pixels)[replica]
    photos = pd.DataFrame({"path": paths, "label": labels.int().numpy(), "logit": logits.numpy()})
    photos["confidence"] = logits.abs().sigmoid().numpy()
    photos["inactive"] = (hidden[-1][0] == 0).all(1).numpy() if hidden else False
    photos = photos.sort_values("logit", key=abs, ascending=False, kind="stable")
    layers = [unit_statistics(values, added, labels) for values, added in hidden]
    later = [{"weighted mean": weighted_mean(pixels, values)} for values, _ in hidden[1:]]
    return Inspection(photos, pixels, layers, [first_weights(model.classifier, replica), *later])


def unit_statistics(activations: Tensor, contributions: Tensor, labels: Tensor) -> pd.DataFrame:
    """Summarize a layer's units, indexed by unit, sorted by decreasing `sd`, dead ones last.

    `active`, `active_0` and `active_1` are the fractions of all photos and of each class with an activation above 0,
    NaN for a class without photos. `mean` and `sd` are of the contribution. `balance` is the sum of the contributions
    divided by that of their absolute values, from -1 (all for class 0) to 1; 0 if all are 0. `top_photos` maps the rows
    of the photos with the largest activations above 0 to these activations.
    """
    values, added = (pd.DataFrame(tensor.numpy()) for tensor in (activations, contributions))
    active = values > 0
    units = pd.DataFrame(
        {
            "active": active.mean(),
            "active_0": active[labels.numpy() == 0].mean(),
            "active_1": active[labels.numpy() == 1].mean(),
            "mean": added.mean(),
            "sd": added.std(ddof=0),
            "balance": (added.sum() / added.abs().sum()).fillna(0),
            "top_photos": [unit[unit > 0].nlargest(TOP_PHOTOS).to_dict() for _, unit in values.items()],
        }
    )
    return units.sort_values(["sd", "active"], ascending=False)


def weighted_mean(pixels: Tensor, weights: Tensor) -> Tensor:
    """Compute each unit's activation-weighted mean photo minus the plain mean; 0 for a dead unit."""
    images, sums = to_images(pixels.flatten(1).float()), weights.sum(0)
    return torch.where(sums[:, None] > 0, (weights / sums.clamp(min=1e-12)).T @ images - images.mean(0), 0.0)


def first_weights(classifier: CatDogClassifier, replica: int) -> dict[str, Tensor]:
    """Return the first layer's weights, and their change in training if the replica's seed initialized them.

    It did not if training started from another run's checkpoint, as cosine similarity shows: trained weights stay far
    more similar to their initial values than to independent ones.
    """
    start = CatDogClassifier(**classifier.hparams)
    start.load_state_dict(dict(classifier.named_buffers()), strict=False)  # the features are fixed before training
    now, before = (net.network.input_weights[replica] for net in (classifier, start))
    cosine = torch.cosine_similarity(now.flatten(), before.flatten(), dim=0)
    change = {"change in training": now - before} if cosine > UNRELATED * now.numel() ** -0.5 else {}
    return {"weights": now} | change


def page(found: Inspection, record: dict[str, Any], replica: int, options: Mapping[str, Any]) -> str:
    """Render an inspection, a run's record and the classifier's options as self-contained HTML without scripts."""
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
    """Draw the network, with its fixed features as a layer, as the data URL of an SVG."""
    pixels, whitening, hog = 3 * options["image_size"] ** 2, options["whitening"], options["hog"]
    name = ("whitened pixels" if whitening else "pixels") + (", HOG" if hog else "")
    fixed = (name, (whitening or pixels) + hog) if whitening or hog else None
    figure = network_diagram([pixels, *options["hidden"], 1], fixed)
    return _data_url("image/svg+xml", figure.savefig, format="svg", transparent=True)


def _image(pixels: Tensor, lossless: bool = False) -> str:
    """Encode pixels, uint8 or float32 in [0, 1], (3, height, width), as a data URL."""
    image = to_pil_image(pixels)
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
    lossless = lossless or pixels.shape[-1] <= SMALL
    return _data_url("image/webp", image.save, format="webp", lossless=lossless, quality=82)


def _data_url(kind: str, save: Callable[..., object], **options: Any) -> str:
    file = io.BytesIO()
    save(file, **options)
    return f"data:{kind};base64,{base64.b64encode(file.getvalue()).decode()}"

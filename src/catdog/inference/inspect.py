"""Inspection of a run's networks on its test photos, as one HTML page: predictions, hidden units, weights."""

from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from catdog.data import to_images
from catdog.files import write_atomically
from catdog.inference.attribution import attributions, occlusion, overlay
from catdog.inference.predictor import Predictor
from catdog.inference.runs import FinishedRun
from catdog.model import CatDogClassifier
from catdog.names import beats_baseline, measured, percent, shown
from catdog.plots import curves, data_url, network_diagram, weight_pictures

BATCH = 256  # photos per forward and backward pass
MOST_NETS = 10  # on a page
TOP_PHOTOS = 6  # per unit
GROUPS = {(0, 0): 2, (1, 1): 2, (0, 1): 1, (1, 0): 1}  # true and predicted class: number of occlusion maps
LARGEST = 128  # pixels: maximum height and width of a picture
SMALL = 64  # pixels: photos up to this size are encoded losslessly


class Inspection(NamedTuple):
    """Results of inspecting one network on photos.

    Attributes:
        photos: `path`, `label`, `logit`, `confidence` (the probability of the predicted class) and `inactive` (True if
            all activations of the last hidden layer are 0), by row of the photos; the most confident prediction first.
        layers: `unit_statistics` of each hidden layer; none for logistic regression.
        pictures: float32 (units, 3 · image_size²) by caption, for each hidden layer, or the output if there is none.
        maps: `occlusion` of the most confident photos of GROUPS, float32 (image_size, image_size), by row.
        ablations: accuracy with HOG, or the pixels, left out of the input, by name; none for a net without HOG.
    """

    photos: pd.DataFrame
    layers: list[pd.DataFrame]
    pictures: list[dict[str, Tensor]]
    maps: dict[int, Tensor]
    ablations: dict[str, float]


def inspect_run(folder: str | Path, out: str | Path | None = None) -> Path:
    """Write the page on a finished run's first MOST_NETS networks into `out`, by default its folder; return the path.

    InputError if no run has finished there, or its photos have changed.
    """
    run = FinishedRun.open(folder)
    model, data = Predictor.load(run.checkpoint), run.data()
    pixels, replicas = data.store.pixels[data.test.rows], list(range(len(model.classifier.seeds)))[:MOST_NETS]
    found = inspect(model, replicas, data.test.names, pixels, data.test.labels)
    path = (run.folder if out is None else Path(out)) / "inspection.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page(found, pixels, run.record, model.classifier.hparams))
    return path


def inspect(
    model: Predictor, replicas: list[int], paths: list[str], pixels: Tensor, labels: Tensor
) -> dict[int, Inspection]:
    """Inspect some of the networks on photos, uint8 (photos, 3, image_size, image_size), with labels 0 or 1."""
    batches = [attributions(model.classifier, to_images(batch.float())) for batch in pixels.split(BATCH)]
    hidden = [[torch.cat(parts, dim=1) for parts in zip(*layer, strict=True)] for layer in zip(*batches, strict=True)]
    logits, without = model.logits(pixels), accuracies_without(model, pixels, labels)
    found = {}
    for replica in replicas:
        photos = pd.DataFrame({"path": paths, "label": labels.int().numpy(), "logit": logits[replica].numpy()})
        photos["confidence"] = logits[replica].abs().sigmoid().numpy()
        photos["inactive"] = (hidden[-1][0][replica] == 0).all(1).numpy() if hidden else False
        photos = photos.sort_values("logit", key=abs, ascending=False, kind="stable")
        layers = [unit_statistics(values[replica], added[replica], labels) for values, added in hidden]
        later = [{"weighted mean": weighted_mean(pixels, values[replica])} for values, _ in hidden[1:]]
        pictures = [first_weights(model.classifier, replica), *later]
        groups = photos.groupby([photos.label, (photos.logit > 0).astype(int)])
        rows = [row for group, most in GROUPS.items() for row in groups.groups.get(group, [])[:most]]
        maps = occlusion(model.classifier.network, to_images(pixels[rows].float()))[replica]
        ablations = {name: accuracy[replica].item() for name, accuracy in without.items()}
        found[replica] = Inspection(photos, layers, pictures, dict(zip(rows, maps, strict=True)), ablations)
    return found


def accuracies_without(model: Predictor, pixels: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Compute each replica's accuracy with HOG, or the pixels, set to 0 in the first layer's input; {} without HOG."""
    hog, accuracies = model.classifier.hparams["hog"], {}
    for name, part in {"HOG": slice(-hog, None), "pixels": slice(-hog)}.items() if hog else ():
        without = deepcopy(model)
        without.classifier.network.get_parameter("layers.0.weight").data[:, :, part] = 0
        accuracies[name] = ((without.logits(pixels) > 0) == (labels > 0)).float().mean(1)
    return accuracies


def unit_statistics(activations: Tensor, attributions: Tensor, labels: Tensor) -> pd.DataFrame:
    """Summarize a layer's units, indexed by unit, sorted by decreasing `sd`, dead ones last.

    `active`, `active_0` and `active_1` are the fractions of all photos and of each class with an activation above 0,
    NaN for a class without photos. `mean` and `sd` are of the attribution. `sign` is the sum of the attributions
    divided by that of their absolute values, from -1 (all for class 0) to 1, and 0 if all are 0; in the last hidden
    layer, it is the sign of the output weight. `top_photos` maps the rows of the photos with the largest activations
    above 0 to these activations.
    """
    values, added = (pd.DataFrame(tensor.numpy()) for tensor in (activations, attributions))
    active = values > 0
    units = pd.DataFrame({"active": active.mean(), "mean": added.mean(), "sd": added.std(ddof=0)})
    for label in (0, 1):
        units[f"active_{label}"] = active[labels.numpy() == label].mean()
    units["sign"] = (added.sum() / added.abs().sum()).fillna(0)
    units["top_photos"] = pd.Series([unit[unit > 0].nlargest(TOP_PHOTOS).to_dict() for _, unit in values.items()])
    return units.sort_values(["sd", "active"], ascending=False)


def weighted_mean(pixels: Tensor, weights: Tensor) -> Tensor:
    """Compute each unit's activation-weighted mean photo minus the plain mean; 0 for a dead unit."""
    images, sums = to_images(pixels.flatten(1).float()), weights.sum(0)
    return torch.where(sums[:, None] > 0, (weights / sums.clamp(min=1e-12)).T @ images - images.mean(0), 0.0)


def first_weights(classifier: CatDogClassifier, replica: int) -> dict[str, Tensor]:
    """Return the first layer's weights, and their change from the initial ones, which the replica's seed draws."""
    start = CatDogClassifier(**classifier.hparams)
    start.load_state_dict(dict(classifier.named_buffers()), strict=False)  # the features are fixed before training
    now, before = (net.network.input_weights[replica] for net in (classifier, start))
    return {"weights": now, "change in training": now - before}


def page(found: dict[int, Inspection], pixels: Tensor, record: dict[str, Any], options: Mapping[str, Any]) -> str:
    """Render inspections by replica as self-contained HTML without scripts."""
    environment = Environment(loader=PackageLoader(__package__, "."), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters |= {"shown": shown, "accuracy": percent, "verdict": _verdict, "image": _image}
    size = min(options["image_size"], LARGEST)
    environment.globals |= {"weight_pictures": weight_pictures, "overlay": overlay, "small": SMALL, "size": size}
    svg = partial(data_url, "image/svg+xml", format="svg", transparent=True)
    drawn = {"narrow": svg(curves(record, narrow=True).savefig), "wide": svg(curves(record).savefig)}
    return environment.get_template("page.html.j2").render(
        found=found, pixels=pixels, record=record, options=options, diagram=svg(_diagram(options).savefig), curves=drawn
    )


def _verdict(record: dict[str, Any], replica: dict[str, Any] | None = None) -> str:
    """State the result of a run, or of one of its replicas."""
    one = record if replica is None else record | {"test/acc_interval": None} | replica | {"replicas": [replica]}
    return measured(one) + ("" if beats_baseline(one) else " Read what follows as noise.")


def _diagram(options: Mapping[str, Any]) -> Figure:
    """Draw the network, with its fixed features as a layer."""
    pixels, whitening, hog = 3 * options["image_size"] ** 2, options["whitening"], options["hog"]
    name = ("whitened pixels" if whitening else "pixels") + (", HOG" if hog else "")
    fixed = (name, (whitening or pixels) + hog) if whitening or hog else None
    return network_diagram([pixels, *options["hidden"], 1], fixed)


def _image(pixels: Tensor, lossless: bool = False) -> str:
    """Encode pixels, uint8 or float32 in [0, 1], (3, height, width), as a data URL."""
    image = to_pil_image(pixels)
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
    return data_url("image/webp", image.save, format="webp", lossless=lossless or pixels.shape[-1] <= SMALL, quality=82)

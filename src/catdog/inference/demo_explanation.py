"""Explanation of a prediction: what the first layer's units look for, find in the photo, and add to the logit."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from catdog.data import FileSource, UnreadablePhotoError, to_images
from catdog.errors import InputError
from catdog.figures import weight_pictures
from catdog.inference.contributions import contributions
from catdog.inference.predictor import Predictor


@dataclass(frozen=True)
class Unit:
    """A unit of the first layer, and its part in a verdict.

    Attributes:
        replica: whose, from 0.
        number: which, from 0.
        picture: its weights, float32 (3, image_size, image_size) in [0, 1]; grey is 0.
        activation: what it puts out for the photo.
        vote: what it adds to the logit: above 0 it speaks for class 1, below for class 0.
    """

    replica: int
    number: int
    picture: Tensor
    activation: float
    vote: float


@dataclass(frozen=True)
class Explanation:
    """Prediction of networks for a photo, with its reasons.

    Attributes:
        pixels: the photo as they see it, uint8 (3, image_size, image_size).
        probabilities: of class 1, float32 (replicas,).
        units: those of the first layer with the largest votes, the largest first.
        unit_count: of all units in the first layers of all replicas.
    """

    pixels: Tensor
    probabilities: Tensor
    units: list[Unit]
    unit_count: int


def read_photo(path: str | Path, image_size: int) -> Tensor:
    """A photo's pixels as training reads them, uint8 (3, image_size, image_size).

    Raises:
        InputError: it cannot be read, or it cannot be read now; the sentence says why.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")  # remarks on odd files, which are decoded nevertheless
            pixels = FileSource(Path(), ("", ""), [(str(path), 0)]).read(0, image_size)
    except UnreadablePhotoError as error:
        raise InputError(f"{Path(path).name!r} cannot be read as a photo: {str(error).rstrip('.')}") from error
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def explain(model: Predictor, pixels: Tensor, most_units: int = 8) -> Explanation:
    """Predict a photo, with reasons.

    A unit's vote is what it adds to the logit, see `contributions`. A network without hidden layers has one unit, whose
    vote is its logit.

    Args:
        model: the networks.
        pixels: uint8 (3, image_size, image_size).
        most_units: how many units to tell of.
    """
    probabilities = model.probabilities(pixels[None])[:, 0]
    activations, votes = _first_layer(model, pixels)
    replicas, width = votes.shape
    chosen = votes.abs().flatten().argsort(descending=True, stable=True)[:most_units].tolist()
    pictures = weight_pictures(model.classifier.network.input_weights.flatten(0, 1)[chosen], model.image_size)
    units = [
        Unit(index // width, index % width, picture, activation.item(), vote.item())
        for index, picture, activation, vote in zip(
            chosen, pictures, activations.flatten()[chosen], votes.flatten()[chosen], strict=True
        )
    ]
    return Explanation(pixels, probabilities, units, replicas * width)


def _first_layer(model: Predictor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Activations and votes of the first layer's units, both float32 (replicas, units)."""
    images = to_images(pixels[None].float())
    if not model.classifier.hparams["hidden"]:
        logits = model.classifier.network(images)
        return logits, logits
    activations, votes = contributions(model.classifier, images)[0]
    return activations[:, 0], votes[:, 0]

"""Measures of a network's units on photos."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from catdog.contributions import contributions, input_weights
from catdog.data import to_images
from catdog.inference import Predictor
from catdog.model import CatDogClassifier

BATCH = 256  # photos that go through the network at a time
STEADY = 0.5  # |sum| / sum of |·| of a unit's contributions: from here on three quarters of them are on one side
CERTAIN = 5  # standard deviations of a chance cosine; a larger one cannot be by chance


@dataclass(frozen=True)
class Layer:
    """A hidden layer of one network, over some photos.

    What a unit adds to a photo's logit: see `contributions`.

    Attributes:
        activations: float32 (photos, units).
        contributions: float32 (photos, units); positive ones speak for class 1.
    """

    activations: Tensor
    contributions: Tensor

    @property
    def width(self) -> int:
        """The number of units."""
        return self.activations.shape[1]

    @cached_property
    def active(self) -> Tensor:
        """Of every unit the share of photos on which its activation is above 0, float32 (units,)."""
        return (self.activations > 0).float().mean(0)

    def active_on(self, photos: Tensor) -> Tensor:
        """As `active`, of the photos where the mask, bool (photos,), is true; NaN if there are none."""
        return (self.activations[photos] > 0).float().mean(0)

    @property
    def dead(self) -> Tensor:
        """Units that put out nothing on any photo, bool (units,)."""
        return (self.activations == 0).all(dim=0)

    @property
    def always(self) -> Tensor:
        """Units that are active on every photo, bool (units,)."""
        return self.active == 1

    @property
    def silent(self) -> int:
        """On how many photos all activations are 0, so that nothing of the photo gets through."""
        return int((self.activations == 0).all(dim=1).sum())

    @cached_property
    def sway(self) -> Tensor:
        """Standard deviation of every unit's contributions, float32 (units,): how much it moves the answer."""
        return self.contributions.std(dim=0, correction=0)

    @property
    def ranking(self) -> list[int]:
        """The units, those with the most sway first, dead ones last."""
        return torch.where(self.dead, -1, self.sway).argsort(descending=True, stable=True).tolist()

    def vote(self, unit: int) -> int | None:
        """The class that at least three quarters of a unit's contributions, by their size, speak for; None: neither."""
        total, size = self.contributions[:, unit].sum(), self.contributions[:, unit].abs().sum()
        return int(total > 0) if size > 0 and total.abs() >= STEADY * size else None

    def exciting(self, unit: int, most: int) -> list[int]:
        """The photos on which a unit is most active, most exciting first; none on which it is not active."""
        values = self.activations[:, unit]
        return [photo for photo in values.argsort(descending=True, stable=True)[:most].tolist() if values[photo] > 0]

    def typical(self, units: list[int], pixels: Tensor) -> Tensor:
        """Average the photos that excite a unit, float32 (units, 3 · image_size²).

        The mean of all photos, each weighted by the unit's activation, minus their plain mean.
        """
        images = to_images(pixels.flatten(1).float())
        weights = self.activations[:, units].clamp(min=0)
        weights = weights / weights.sum(0).clamp(min=1e-12)
        return torch.where(self.dead[units, None], 0.0, weights.T @ images - images.mean(0))


@dataclass(frozen=True)
class Inspection:
    """One network on some photos.

    Attributes:
        class_names: names of class 0 and class 1.
        names: the photos' names.
        pixels: uint8 (photos, 3, image_size, image_size).
        labels: float32 (photos,), 0 or 1.
        logits: float32 (photos,), of class 1.
        layers: the hidden layers; none for logistic regression.
        weights: of the first layer, float32 (units, 3 · image_size²).
        learnt: what training has added to them, of the same shape; None where the weights it began with are unknown.
    """

    class_names: tuple[str, str]
    names: list[str]
    pixels: Tensor
    labels: Tensor
    logits: Tensor
    layers: list[Layer]
    weights: Tensor
    learnt: Tensor | None

    def surest(self, label: int, right: bool, most: int) -> list[int]:
        """The photos of a class that the net is most certain of, rightly or wrongly, most certain first."""
        found = ((self.labels == label) & (((self.logits > 0) == (self.labels > 0.5)) == right)).nonzero().squeeze(1)
        return found[self.logits[found].abs().argsort(descending=True, stable=True)[:most]].tolist()


def inspect(model: Predictor, replica: int, names: list[str], pixels: Tensor, labels: Tensor) -> Inspection:
    """Measure what one of the networks does on some photos.

    Args:
        model: the networks.
        replica: which of them, counted from 0.
        names: the photos' names.
        pixels: RGB, uint8 (photos, 3, image_size, image_size).
        labels: float32 (photos,), 0 or 1.
    """
    classifier = model.classifier
    with torch.inference_mode():
        logits = torch.cat([classifier.logits(images)[replica] for images in _batches(pixels)])
    measured = zip(*(_measure(classifier, images, replica) for images in _batches(pixels)), strict=True)
    layers = [Layer(*(torch.cat(column) for column in zip(*batches, strict=True))) for batches in measured]
    return Inspection(
        class_names=model.class_names,
        names=names,
        pixels=pixels,
        labels=labels,
        logits=logits,
        layers=layers,
        weights=input_weights(classifier.network)[replica],
        learnt=_learnt(classifier, replica),
    )


def _batches(pixels: Tensor) -> Iterator[Tensor]:
    return (to_images(batch.float()) for batch in pixels.split(BATCH))


def _measure(classifier: CatDogClassifier, images: Tensor, replica: int) -> list[tuple[Tensor, Tensor]]:
    """Activations and contributions, (photos, units), of every hidden layer."""
    return [(activations[replica], added[replica]) for activations, added in contributions(classifier, images)]


def _learnt(classifier: CatDogClassifier, replica: int) -> Tensor | None:
    """The first layer's weights minus those it began with, which its seed gives again.

    None where it did not begin with them: it may have gone on from another run's checkpoint. What gradient descent
    makes of random weights still resembles them far more than others would.
    """
    start = CatDogClassifier(**classifier.hparams)
    start.load_state_dict(dict(classifier.named_buffers()), strict=False)  # what is fixed was so from the start
    now, before = (input_weights(net.network)[replica] for net in (classifier, start))
    cosine = torch.cosine_similarity(now.flatten(), before.flatten(), dim=0)
    return now - before if cosine > CERTAIN * now.numel() ** -0.5 else None

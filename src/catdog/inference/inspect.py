"""Measures of a network's hidden units on photos."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from catdog.data import to_images
from catdog.inference.contributions import contributions
from catdog.inference.predictor import Predictor
from catdog.model import CatDogClassifier

BATCH = 256  # photos that go through the network at a time
STEADY = 0.5  # |sum| / sum of |·| of a unit's contributions: from here on three quarters of them are on one side
CERTAIN = 5  # standard deviations of a chance cosine; a larger one cannot be by chance


@dataclass(frozen=True)
class Unit:
    """A hidden unit over some photos. What it adds to a photo's logit: see `contributions`.

    Attributes:
        number: its place in the layer, from 1.
        active: share of the photos on which its activation is above 0; 0 for a dead unit.
        active_on: that share of each class's photos, by label; a class without photos is missing.
        mean: of what it adds to the logit.
        spread: the standard deviation of that: how much the unit moves the answer.
        heard: True if it adds anything to any logit.
        vote: the class that at least three quarters of what it adds, by size, speak for; None: neither.
    """

    number: int
    active: float
    active_on: dict[int, float]
    mean: float
    spread: float
    heard: bool
    vote: int | None


@dataclass(frozen=True)
class Layer:
    """A hidden layer of one network, over some photos.

    Attributes:
        activations: float32 (photos, units).
        contributions: to the logit, float32 (photos, units); positive ones speak for class 1.
        labels: float32 (photos,), 0 or 1.
    """

    activations: Tensor
    contributions: Tensor
    labels: Tensor

    @cached_property
    def units(self) -> list[Unit]:
        """All units, in the layer's order."""
        active = (self.activations > 0).float()
        by_class = {label: active[self.labels == label].mean(0).tolist() for label in (0, 1) if label in self.labels}
        shares = [dict(zip(by_class, column, strict=True)) for column in zip(*by_class.values(), strict=True)]
        total, size = self.contributions.sum(0), self.contributions.abs().sum(0)
        steady = (size > 0) & (total.abs() >= STEADY * size)
        votes = [int(sign) if is_steady else None for sign, is_steady in zip(total > 0, steady, strict=True)]
        columns = (
            active.mean(0).tolist(), shares, self.contributions.mean(0).tolist(),
            self.contributions.std(0, correction=0).tolist(), (size > 0).tolist(), votes,
        )  # fmt: skip
        return [Unit(*values) for values in zip(range(1, len(votes) + 1), *columns, strict=True)]

    @property
    def ranking(self) -> list[Unit]:
        """The units, those with the largest spread first, dead ones last."""
        return sorted(self.units, key=lambda unit: (unit.active == 0, -unit.spread))

    @property
    def silent(self) -> int:
        """Number of photos on which all activations are 0, so that nothing of the photo gets through."""
        return int((self.activations == 0).all(dim=1).sum())

    def exciting(self, unit: Unit, most: int) -> list[int]:
        """The photos on which a unit is most active, most exciting first; none on which it is not active."""
        values = self.activations[:, unit.number - 1]
        return [photo for photo in values.argsort(descending=True, stable=True)[:most].tolist() if values[photo] > 0]

    def typical(self, units: list[Unit], pixels: Tensor) -> Tensor:
        """Average the photos that excite a unit, float32 (units, 3 · image_size²); 0 for a dead one.

        The mean of all photos, each weighted by the unit's activation, minus their plain mean.
        """
        images = to_images(pixels.flatten(1).float())
        weights = self.activations[:, [unit.number - 1 for unit in units]]
        sums = weights.sum(0)
        return torch.where(sums[:, None] > 0, (weights / sums.clamp(min=1e-12)).T @ images - images.mean(0), 0.0)


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
        learnt: the change of these weights in training, of the same shape; None where the initial ones are unknown.
    """

    class_names: tuple[str, str]
    names: list[str]
    pixels: Tensor
    labels: Tensor
    logits: Tensor
    layers: list[Layer]
    weights: Tensor
    learnt: Tensor | None

    def answers(self, label: int, right: bool) -> list[int]:
        """The photos of a class with a right, or with a wrong answer; the surest first."""
        is_right = (self.logits > 0) == (self.labels > 0.5)
        found = ((self.labels == label) & (is_right == right)).nonzero().squeeze(1)
        return found[self.logits[found].abs().argsort(descending=True, stable=True)].tolist()


def inspect(model: Predictor, replica: int, names: list[str], pixels: Tensor, labels: Tensor) -> Inspection:
    """Measure one of the networks on some photos.

    Args:
        model: the networks.
        replica: its index.
        names: the photos' names.
        pixels: RGB, uint8 (photos, 3, image_size, image_size).
        labels: float32 (photos,), 0 or 1.
    """
    classifier = model.classifier
    batches = [contributions(classifier, to_images(batch.float())) for batch in pixels.split(BATCH)]
    layers = []
    for parts in zip(*batches, strict=True):  # of one layer, the activations and contributions of every batch
        active, added = (torch.cat([values[replica] for values in column]) for column in zip(*parts, strict=True))
        layers.append(Layer(active, added, labels))
    return Inspection(
        class_names=model.class_names,
        names=names,
        pixels=pixels,
        labels=labels,
        logits=model.logits(pixels)[replica],
        layers=layers,
        weights=classifier.network.input_weights[replica],
        learnt=_learnt(classifier, replica),
    )


def _learnt(classifier: CatDogClassifier, replica: int) -> Tensor | None:
    """The first layer's weights minus those that its seed gives.

    None where it did not begin with them: it may have gone on from another run's checkpoint. What gradient descent
    makes of random weights still resembles them far more than others would.
    """
    start = CatDogClassifier(**classifier.hparams)
    start.load_state_dict(dict(classifier.named_buffers()), strict=False)  # what is fixed was so from the start
    now, before = (net.network.input_weights[replica] for net in (classifier, start))
    cosine = torch.cosine_similarity(now.flatten(), before.flatten(), dim=0)
    return now - before if cosine > CERTAIN * now.numel() ** -0.5 else None

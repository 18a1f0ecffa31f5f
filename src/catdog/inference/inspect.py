"""Inspection of one network on photos: its hidden units, weights and predictions."""

from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from catdog.data import to_images
from catdog.inference.contributions import contributions
from catdog.inference.predictor import Predictor
from catdog.model import CatDogClassifier

BATCH = 256  # photos per forward and backward pass
TOP_PHOTOS = 6  # of each unit
UNRELATED = 5  # standard deviations of the cosine of independent weights; that of trained and initial ones is larger


class Inspection(NamedTuple):
    """One network on photos.

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
    """Summarize a layer's units, by their index, the one with the most variable contribution first, dead ones last.

    `active`, `active_0` and `active_1` are the shares of all photos and of each class's on which the activation is
    above 0, NaN for a class without photos. `mean` and `sd` are of the contribution. `balance` is the sum of the
    contributions over that of their absolute values, from -1 (all for class 0) to 1; 0 if all are 0. `top_photos` are
    the rows of the photos with the largest activations, with these; none of 0.
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
    """Give the first layer's weights, and their change in training if the replica's seed initialized them.

    It did not if training was resumed from another run's checkpoint. Trained weights stay far more similar to their own
    initial values than independent ones would be.
    """
    start = CatDogClassifier(**classifier.hparams)
    start.load_state_dict(dict(classifier.named_buffers()), strict=False)  # the features are fixed before training
    now, before = (net.network.input_weights[replica] for net in (classifier, start))
    cosine = torch.cosine_similarity(now.flatten(), before.flatten(), dim=0)
    change = {"change in training": now - before} if cosine > UNRELATED * now.numel() ** -0.5 else {}
    return {"weights": now} | change

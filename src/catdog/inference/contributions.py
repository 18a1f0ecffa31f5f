"""Contribution of each hidden unit to the logit."""

import torch
from torch import Tensor
from torch.nn import functional

from catdog.model import CatDogClassifier, FullyConnected


def activations(network: FullyConnected, images: Tensor) -> list[Tensor]:
    """Compute each hidden layer's activations and the last layer's raw logits, each (replicas, photos, width)."""
    values = network.inputs(images).expand(network.replicas, -1, -1)
    *hidden, last = network.layers
    outputs = [values := functional.relu(layer(values)) for layer in hidden]
    return [*outputs, last(values)]


def contributions(classifier: CatDogClassifier, images: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Of every hidden layer the activations, and what they add to the logit: both float32 (replicas, photos, units).

    That is the activation times the slope of the logit along it. In the last hidden layer it is the activation times
    the outgoing weight, in earlier ones, to first order, what the logit would lose without the unit.

    Args:
        classifier: the networks, of which a replica's logit does not depend on another's units.
        images: float32 (photos, 3, image_size, image_size).
    """
    images = images.detach().requires_grad_()  # the weights may be frozen, and the way to the logit needs a start
    *hidden, logits = activations(classifier.network, images)
    slopes = torch.autograd.grad(logits.sum(), hidden) if hidden else ()
    return [(values.detach(), (values * slope).detach()) for values, slope in zip(hidden, slopes, strict=True)]

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
    """Compute each hidden layer's activations and contributions, both float32 (replicas, photos, units).

    A unit's contribution is its activation times the derivative of the logit with respect to it. In the last hidden
    layer, that is its activation times its output weight; in earlier ones, the first-order effect of removing the unit.

    Args:
        classifier: the networks, whose replicas share no units.
        images: float32 (photos, 3, image_size, image_size).
    """
    images = images.detach().requires_grad_()  # frozen weights alone would leave nothing to differentiate
    *hidden, logits = activations(classifier.network, images)
    slopes = torch.autograd.grad(logits.sum(), hidden) if hidden else ()
    return [(values.detach(), (values * slope).detach()) for values, slope in zip(hidden, slopes, strict=True)]

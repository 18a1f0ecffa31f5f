"""Attribution of a logit: to hidden units by gradient × activation, to places in a photo by occlusion."""

from itertools import product

import torch
from matplotlib.colors import to_rgb
from torch import Tensor
from torch.nn import functional

from catdog.model import CatDogClassifier, FullyConnected
from catdog.plots import CLASS_COLORS

PATCH = 0.25  # side of the hidden patch, as a fraction of the image's side
STEPS = 9  # places of the patch along each axis


def attributions(classifier: CatDogClassifier, images: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Compute each hidden layer's activations and attributions, both float32 (replicas, photos, units).

    A unit's attribution is its activation times the derivative of the logit with respect to it. In the last hidden
    layer, that is its activation times its output weight; in earlier ones, the first-order effect of removing the unit.
    """
    network, images = classifier.network, images.detach().requires_grad_()  # autograd needs a leaf: weights are frozen
    values, (*layers, last) = network.inputs(images).expand(network.replicas, -1, -1), network.layers
    hidden = [values := functional.relu(layer(values)) for layer in layers]
    slopes = torch.autograd.grad(last(values).sum(), hidden) if hidden else ()
    return [(values.detach(), (values * slope).detach()) for values, slope in zip(hidden, slopes, strict=True)]


@torch.inference_mode()
def occlusion(network: FullyConnected, images: Tensor) -> Tensor:
    """Compute occlusion maps (Zeiler & Fergus, 2014): by how much the logit falls when a place is hidden.

    A square patch in the photo's mean color hides each of STEPS × STEPS overlapping places in turn; a pixel's value is
    the mean over the patches that hide it, positive where the photo speaks for class 1. Test-time augmentation is left
    out. Images are float32 (photos, 3, size, size); the result is float32 (replicas, photos, size, size).
    """
    size, logits, mean = images.shape[-1], network(images), images.mean((2, 3), keepdim=True)
    patch = max(1, round(PATCH * size))
    starts = torch.linspace(0, size - patch, STEPS).round().int().tolist()
    total, count = torch.zeros(*logits.shape, size, size), torch.zeros(size, size)
    for top, left in product(starts, starts):
        place = (..., slice(top, top + patch), slice(left, left + patch))
        hidden = images.clone()
        hidden[place] = mean
        total[place] += (logits - network(hidden))[..., None, None]
        count[place] += 1
    return total / count


def overlay(pixels: Tensor, values: Tensor) -> Tensor:
    """Lay an occlusion map over its photo in grey: blue where it speaks for class 0, orange for class 1.

    Pixels are uint8 (3, size, size), values float32 (size, size); the result is float32 (3, size, size) in [0, 1]. The
    color is the stronger, the larger the value is, relative to the map's largest absolute value.
    """
    strength = 0.75 * values.abs() / values.abs().max().clamp(min=torch.finfo(values.dtype).tiny)
    color = torch.tensor([to_rgb(name) for name in CLASS_COLORS])[(values > 0).long()].permute(2, 0, 1)
    return pixels.float().mean(0).div(255).lerp(color, strength)

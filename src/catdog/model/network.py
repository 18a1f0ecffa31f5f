"""Fully connected networks from a list of hidden widths, one or several replicas."""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from catdog.errors import InputError, check_whole_number
from catdog.model.features import Whitening, hog, hog_size

PIXEL_EPSILON, HOG_EPSILON = 0.01, 0.1  # regularization of the two whitenings


class ReplicatedLinear(nn.Module):
    """Linear layers of the same shape, one per replica; `FullyConnected` initializes the weights."""

    def __init__(self, replicas: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.replicas = replicas
        self.weight = nn.Parameter(torch.empty(replicas, outputs, inputs))  # float32
        self.bias = nn.Parameter(torch.empty(replicas, outputs))

    def reset_replica(self, replica: int, generator: Generator) -> None:
        """Initialize one replica's weights exactly as `nn.Linear` does under `torch.manual_seed`."""
        bound = self.weight.shape[2] ** -0.5
        nn.init.kaiming_uniform_(self.weight[replica], a=5**0.5, generator=generator)
        nn.init.uniform_(self.bias[replica], -bound, bound, generator=generator)

    def forward(self, values: Tensor) -> Tensor:
        """Map (replicas, batch, inputs), or (batch, inputs) shared by all replicas, to (replicas, batch, outputs).

        A single replica maps (batch, inputs) to (batch, outputs) like `nn.Linear`, which is faster.
        """
        if self.replicas == 1:
            return functional.linear(values, self.weight.squeeze(0), self.bias.squeeze(0))
        if values.dim() == 2:  # one wide product reads the inputs only once; weights first, it is up to twice as fast
            wide = torch.addmm(self.bias.flatten()[:, None], self.weight.flatten(0, 1), values.mT)
            return wide.unflatten(0, self.bias.shape).mT
        return torch.baddbmm(self.bias.unsqueeze(1), values, self.weight.mT)


class FullyConnected(nn.Module):
    """Replicas of a fully connected network with ReLU hidden layers and one output logit.

    Replicas share the input images and the fixed features, but no weights: each computes and learns exactly as it
    would alone.

    Args:
        image_size: height and width of the RGB images in pixels; 128 gives 49,152 values per image.
        hidden: widths of the hidden layers; `[]` is logistic regression, `[1]` has one hidden unit.
        seeds: seeds of the initial weights, one per replica.
        whitening: whitened principal components of the pixels that replace the pixels as input; 0: plain pixels.
        hog: whitened principal components of the HOG features that are added to the input; 0: none.
    """

    def __init__(
        self, image_size: int, hidden: Sequence[int], seeds: Sequence[int], whitening: int = 0, hog: int = 0
    ) -> None:
        super().__init__()
        check_whole_number("image_size", image_size, least=1)
        valid = isinstance(hidden, Sequence) and not isinstance(hidden, str)
        if not valid or not all(type(width) is int and width >= 1 for width in hidden):
            example = "such as 'model.hidden=[5,5,3]', or [] for logistic regression"
            raise InputError(f"model.hidden must be a list of whole numbers of at least 1, {example}; got {hidden!r}")
        pixels, hog_values = 3 * image_size**2, hog_size(image_size)
        check_whole_number("model.whitening", whitening, least=0, most=pixels)
        check_whole_number("model.hog", hog, least=0, most=hog_values)
        self.replicas = len(seeds)
        self.whitening = Whitening(pixels, whitening, PIXEL_EPSILON) if whitening else None
        self.hog_whitening = Whitening(hog_values, hog, HOG_EPSILON) if hog else None
        widths = [(whitening or pixels) + hog, *hidden, 1]
        self.layers = nn.ModuleList(ReplicatedLinear(len(seeds), *pair) for pair in pairwise(widths))
        if next(self.parameters()).is_meta:  # no memory yet: weights will be loaded
            return
        for replica, seed in enumerate(seeds):
            generator = Generator().manual_seed(seed)
            for layer in self.layers:
                cast(ReplicatedLinear, layer).reset_replica(replica, generator)

    @property
    def fitted(self) -> bool:
        """True if all features are fitted, or there are none."""
        return all(whitening is None or whitening.fitted for whitening in (self.whitening, self.hog_whitening))

    def fit(self, images: Tensor) -> None:
        """Fit the features to training images, float32 (images, 3, image_size, image_size)."""
        if self.whitening is not None:
            self.whitening.fit(images.flatten(1))
        if self.hog_whitening is not None:
            self.hog_whitening.fit(torch.cat([hog(batch) for batch in images.split(256)]))  # to bound memory

    def inputs(self, images: Tensor) -> Tensor:
        """Compute the first layer's inputs, (batch, inputs), from images (batch, 3, image_size, image_size)."""
        values = images.flatten(1)
        if self.whitening is not None:
            values = self.whitening(values)
        if self.hog_whitening is not None:
            values = torch.cat([values, self.hog_whitening(hog(images))], dim=1)
        return values

    @property
    def input_weights(self) -> Tensor:
        """First-layer weights mapped back to pixels, float32 (replicas, units, 3 · image_size²), without HOG's."""
        weight = cast(Tensor, self.layers[0].weight).detach()
        if self.hog_whitening is not None:
            weight = weight[:, :, : -len(self.hog_whitening.bias)]
        return weight if self.whitening is None else weight @ self.whitening.weight

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits of class 1, (replicas, batch), from images (batch, 3, image_size, image_size)."""
        values = self.inputs(images)
        *hidden, last = self.layers
        for layer in hidden:
            values = functional.relu(layer(values))
        logits = last(values)
        return logits.mT if self.replicas == 1 else logits.squeeze(2)

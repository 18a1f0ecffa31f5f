"""Hidden widths → a fully connected network, or several of them side by side."""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from catdog.errors import InputError, check_whole_number
from catdog.model.features import Whitening, hog, hog_size

HOG_BATCH = 256  # images whose HOG features are computed at a time while fitting
PIXEL_EPSILON, HOG_EPSILON = 0.01, 0.1  # of their whitenings


class ReplicatedLinear(nn.Module):
    """Linear layers of one shape, one for each replica of a network; weights are drawn by `FullyConnected`."""

    def __init__(self, replicas: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.replicas = replicas
        self.weight = nn.Parameter(torch.empty(replicas, outputs, inputs))  # float32
        self.bias = nn.Parameter(torch.empty(replicas, outputs))

    def reset_replica(self, replica: int, generator: Generator) -> None:
        """Draw one replica's weights as `nn.Linear` does after `torch.manual_seed` of the generator's seed."""
        bound = self.weight.shape[2] ** -0.5
        nn.init.kaiming_uniform_(self.weight[replica], a=5**0.5, generator=generator)
        nn.init.uniform_(self.bias[replica], -bound, bound, generator=generator)

    def forward(self, values: Tensor) -> Tensor:
        """Map (replicas, batch, inputs), or (batch, inputs) shared by all, to (replicas, batch, outputs).

        Of one replica, a plain linear layer, (batch, inputs) gives (batch, outputs): fewer steps make a faster epoch.
        """
        if self.replicas == 1:
            return functional.linear(values, self.weight.squeeze(0), self.bias.squeeze(0))
        if values.dim() == 2:  # read once for all replicas, in one wide product
            wide = functional.linear(values, self.weight.flatten(0, 1), self.bias.flatten())
            return wide.unflatten(1, self.bias.shape).transpose(0, 1)
        return torch.baddbmm(self.bias.unsqueeze(1), values, self.weight.mT)


class FullyConnected(nn.Module):
    """Fully connected networks of one shape, with one logit, fed the same images.

    Every hidden layer is linear, then ReLU. Replicas share nothing but the images and the fixed
    features: each computes and learns what it would alone, and one replica is a plain network.

    Args:
        image_size: height and width of the RGB images in pixels; 128 gives 49,152 values per image.
        hidden: widths of the hidden layers; `[]` gives logistic regression, `[1]` a single unit before it.
        seeds: of the initial weights, one for each replica.
        whitening: number of whitened principal components of the images that the first layer sees; 0: all pixels.
        hog: number of whitened principal components of the images' HOG features that it sees besides; 0: none.

    Raises:
        InputError: an argument makes no sense.
    """

    def __init__(
        self,
        image_size: int,
        hidden: Sequence[int],
        seeds: Sequence[int],
        whitening: int = 0,
        hog: int = 0,
    ) -> None:
        super().__init__()
        check_whole_number("image_size", image_size, least=1)
        valid = isinstance(hidden, Sequence) and not isinstance(hidden, str)
        if not valid or not all(type(width) is int and width >= 1 for width in hidden):
            raise InputError(
                "model.hidden must be a list of whole numbers of at least 1, such as 'model.hidden=[5,5,3]', or [] for "
                f"logistic regression; got {hidden!r}"
            )
        pixels, hog_values = 3 * image_size**2, hog_size(image_size)
        check_whole_number("model.whitening", whitening, least=0, most=pixels)
        check_whole_number("model.hog", hog, least=0, most=hog_values)
        self.replicas = len(seeds)
        self.whitening = Whitening(pixels, whitening, PIXEL_EPSILON) if whitening else None
        self.hog_whitening = Whitening(hog_values, hog, HOG_EPSILON) if hog else None
        widths = [(whitening or pixels) + hog, *hidden, 1]
        self.layers = nn.ModuleList(ReplicatedLinear(len(seeds), *pair) for pair in pairwise(widths))
        if next(self.parameters()).is_meta:  # the weights are about to be loaded
            return
        for replica, seed in enumerate(seeds):
            generator = Generator().manual_seed(seed)
            for layer in self.layers:
                cast(ReplicatedLinear, layer).reset_replica(replica, generator)

    @property
    def fitted(self) -> bool:
        """True if the features are fitted, or there are none to fit."""
        return all(whitening is None or whitening.fitted for whitening in (self.whitening, self.hog_whitening))

    def fit(self, images: Tensor) -> None:
        """Find the principal components of training images, float32 (images, 3, image_size, image_size)."""
        if self.whitening is not None:
            self.whitening.fit(images.flatten(1))
        if self.hog_whitening is not None:
            self.hog_whitening.fit(torch.cat([hog(batch) for batch in images.split(HOG_BATCH)]))

    def inputs(self, images: Tensor) -> Tensor:
        """Compute what the first layer sees, (batch, inputs), of images (batch, 3, image_size, image_size)."""
        values = images.flatten(1)
        if self.whitening is not None:
            values = self.whitening(values)
        if self.hog_whitening is not None:
            values = torch.cat([values, self.hog_whitening(hog(images))], dim=1)
        return values

    @property
    def input_weights(self) -> Tensor:
        """First-layer weights as seen from the pixels, float32 (replicas, units, 3 · image_size²); HOG's left out."""
        weight = cast(Tensor, self.layers[0].weight).detach()
        if self.hog_whitening is not None:
            weight = weight[:, :, : -len(self.hog_whitening.bias)]
        return weight if self.whitening is None else weight @ self.whitening.weight

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits of class 1, (replicas, batch), of images (batch, 3, image_size, image_size)."""
        values = self.inputs(images)
        *hidden, last = self.layers
        for layer in hidden:
            values = functional.relu(layer(values))
        logits = last(values)
        return logits.mT if self.replicas == 1 else logits.squeeze(2)

"""Hidden widths → a fully connected network, or several of them side by side."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, zip_longest
from typing import cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from catdog.errors import InputError, check_choice, check_whole_number
from catdog.model.features import Whitening, hog, hog_size

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": functional.relu, "gelu": functional.gelu}
NORMALIZATIONS = ("none", "layer")
HOG_BATCH = 256  # images whose HOG features are computed at a time while fitting
PIXEL_EPSILON, HOG_EPSILON = 0.01, 0.1  # of their whitenings


class ReplicatedLinear(nn.Module):
    """Linear layers of one shape, one for each replica of a network; weights are drawn by `FullyConnected`.

    Attributes:
        weight: float32 (replicas, outputs, inputs).
        bias: float32 (replicas, outputs).
    """

    def __init__(self, replicas: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.replicas = replicas
        self.weight = nn.Parameter(torch.empty(replicas, outputs, inputs))
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


class ReplicatedLayerNorm(nn.Module):
    """`nn.LayerNorm` over the units of a layer, for each replica of a network.

    Attributes:
        weight: float32 (replicas, width).
        bias: float32 (replicas, width).
    """

    def __init__(self, width: int, replicas: int) -> None:
        super().__init__()
        self.replicas = replicas
        self.weight = nn.Parameter(torch.ones(replicas, width))
        self.bias = nn.Parameter(torch.zeros(replicas, width))

    def forward(self, values: Tensor) -> Tensor:
        """Normalize (replicas, batch, width), or of one replica (batch, width), over the last axis."""
        normalized = functional.layer_norm(values, values.shape[-1:])
        if self.replicas == 1:
            return torch.addcmul(self.bias, normalized, self.weight)
        return torch.addcmul(self.bias.unsqueeze(1), normalized, self.weight.unsqueeze(1))


class FullyConnected(nn.Module):
    """Fully connected networks of one shape, with one logit, fed the same images.

    Every hidden layer is linear, then normalized and activated. Replicas share nothing but the images and the fixed
    features: each computes and learns what it would alone, and one replica is a plain network.

    Args:
        image_size: height and width of the RGB images in pixels; 128 gives 49,152 values per image.
        hidden: widths of the hidden layers; `[]` gives logistic regression, `[1]` a single unit before it.
        seeds: of the initial weights, one for each replica.
        activation: "relu" or "gelu".
        normalization: "layer", of each photo's values over the layer's units (Ba, Kiros & Hinton, 2016), or "none".
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
        activation: str = "relu",
        normalization: str = "none",
        whitening: int = 0,
        hog: int = 0,
    ) -> None:
        super().__init__()
        check_whole_number("image_size", image_size, least=1)
        _check_widths(hidden, normalization)
        check_choice("model.activation", activation, ACTIVATIONS)
        check_choice("model.normalization", normalization, NORMALIZATIONS)
        pixels, hog_values = 3 * image_size**2, hog_size(image_size)
        check_whole_number("model.whitening", whitening, least=0, most=pixels)
        check_whole_number("model.hog", hog, least=0, most=hog_values)
        self.activation, self.replicas = activation, len(seeds)
        self.whitening = Whitening(pixels, whitening, PIXEL_EPSILON) if whitening else None
        self.hog_whitening = Whitening(hog_values, hog, HOG_EPSILON) if hog else None
        widths = [(whitening or pixels) + hog, *hidden, 1]
        self.layers = nn.ModuleList(ReplicatedLinear(len(seeds), *pair) for pair in pairwise(widths))
        norms = hidden if normalization == "layer" else ()
        self.norms = nn.ModuleList(ReplicatedLayerNorm(width, len(seeds)) for width in norms)
        if self.linears[0].weight.is_meta:  # the weights are about to be loaded
            return
        for replica, seed in enumerate(seeds):
            generator = Generator().manual_seed(seed)
            for layer in self.linears:
                layer.reset_replica(replica, generator)

    @property
    def linears(self) -> list[ReplicatedLinear]:
        """The linear layers, the output's last."""
        return cast(list[ReplicatedLinear], list(self.layers))

    @property
    def input_weights(self) -> Tensor:
        """First-layer weights as seen from the pixels, float32 (replicas, units, 3 · image_size²); HOG's left out."""
        weight = self.linears[0].weight.detach()
        if self.hog_whitening is not None:
            weight = weight[:, :, : -len(self.hog_whitening.bias)]
        return weight if self.whitening is None else weight @ self.whitening.weight

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

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits of class 1, (replicas, batch), of images (batch, 3, image_size, image_size)."""
        *_, logits = self._outputs(images)
        return logits.mT if self.replicas == 1 else logits.squeeze(2)

    def activations(self, images: Tensor) -> list[Tensor]:
        """Compute each hidden layer's activations and the last layer's raw logits, each (replicas, batch, width)."""
        return list(self._outputs(images, replica_axis=True))

    def _outputs(self, images: Tensor, replica_axis: bool = False) -> Iterator[Tensor]:
        """Yield the layers' outputs, of one replica with or without an axis of replicas; without is faster."""
        values = self._inputs(images)
        if replica_axis and self.replicas == 1:
            values = values.unsqueeze(0)
        *hidden, last = self.layers
        for layer, norm in zip_longest(hidden, self.norms):
            values = layer(values) if norm is None else norm(layer(values))
            values = ACTIVATIONS[self.activation](values)
            yield values
        yield last(values)

    def _inputs(self, images: Tensor) -> Tensor:
        """Compute the first layer's inputs, (batch, inputs)."""
        values = images.flatten(1)
        if self.whitening is not None:
            values = self.whitening(values)
        if self.hog_whitening is not None:
            values = torch.cat([values, self.hog_whitening(hog(images))], dim=1)
        return values


def _check_widths(hidden: Sequence[int], normalization: str) -> None:
    valid = isinstance(hidden, Sequence) and not isinstance(hidden, str)
    if not valid or not all(type(width) is int and width >= 1 for width in hidden):
        raise InputError(
            "model.hidden must be a list of whole numbers of at least 1, such as 'model.hidden=[5,5,3]', or [] for "
            f"logistic regression; got {hidden!r}"
        )
    if normalization == "layer" and 1 in hidden:
        raise InputError(
            f"model.normalization=layer makes a hidden layer of one unit constant; got model.hidden={list(hidden)}"
        )

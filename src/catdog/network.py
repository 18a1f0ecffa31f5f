"""Hidden widths → a fully connected network, or several of them side by side."""

from collections.abc import Callable, Sequence
from itertools import pairwise, zip_longest
from typing import cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from catdog.edges import edge_count, edges
from catdog.errors import InputError, check_choice, check_number, check_whole_number
from catdog.whitening import Whitening

EXERCISE = {(): "logistic", (4,): "shallow", (5, 5, 3): "deep"}
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": functional.relu, "gelu": functional.gelu}
NORMALIZATIONS = ("none", "layer")
FIT_BATCH = 256  # images whose edges are looked for at a time
PIXEL_EPSILON, EDGE_EPSILON = 0.01, 0.1  # of their whitenings


def net_name(hidden: Sequence[int], whitening: int = 0, edges: int = 0) -> str:
    """The exercise's name of a network, or else its hidden widths, and what it sees besides plain pixels."""
    seen = " and ".join(name for name, count in (("whitened", whitening), ("edges", edges)) if count)
    return f"{seen} {list(hidden)}" if seen else EXERCISE.get(tuple(hidden), str(list(hidden)))


def net_title(hidden: Sequence[int], whitening: int = 0, edges: int = 0) -> str:
    """The name of a network with its hidden widths, such as "deep [5, 5, 3]"."""
    name, widths = net_name(hidden, whitening, edges), str(list(hidden))
    return name if name.endswith(widths) else f"{name} {widths}"


class ReplicatedLinear(nn.Module):
    """Linear layers of one shape, one for each replica of a network.

    Weights start as `nn.Linear` draws them: after `torch.manual_seed(s)` it would draw what a generator seeded with
    `s` draws here.

    Args:
        inputs: values that come in.
        outputs: values that go out.
        generators: one for each replica, to draw its weights from.

    Attributes:
        weight: float32 (replicas, outputs, inputs).
        bias: float32 (replicas, outputs).
    """

    def __init__(self, inputs: int, outputs: int, generators: Sequence[Generator]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(len(generators), outputs, inputs))
        self.bias = nn.Parameter(torch.empty(len(generators), outputs))
        for weight, bias, generator in zip(self.weight, self.bias, generators, strict=True):
            nn.init.kaiming_uniform_(weight, a=5**0.5, generator=generator)
            nn.init.uniform_(bias, -(inputs**-0.5), inputs**-0.5, generator=generator)

    def forward(self, values: Tensor) -> Tensor:
        """(replicas, batch, outputs) for (replicas, batch, inputs), or for (batch, inputs) that all replicas share."""
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
        self.weight = nn.Parameter(torch.ones(replicas, width))
        self.bias = nn.Parameter(torch.zeros(replicas, width))

    def forward(self, values: Tensor) -> Tensor:
        """Of shape (replicas, batch, width), as it comes."""
        normalized = functional.layer_norm(values, values.shape[-1:])
        return torch.addcmul(self.bias.unsqueeze(1), normalized, self.weight.unsqueeze(1))


class FullyConnected(nn.Module):
    """Fully connected networks of one shape, with one logit, fed the same images.

    Every hidden layer is linear, then normalized, activated and thinned out, as far as that is asked for. Replicas
    share nothing but the images and what is fixed: each computes and learns what it would alone, and one replica is a
    plain network.

    Args:
        image_size: height and width of the RGB images in pixels; 128 gives 49,152 values per image.
        hidden: widths of the hidden layers; `[]` gives logistic regression, `[1]` a single unit before it.
        seeds: of the initial weights, one for each replica.
        activation: "relu" or "gelu".
        normalization: "layer", of each photo's values over the layer's units (Ba, Kiros & Hinton, 2016), or "none".
        dropout: share of the hidden units that a training step leaves out.
        whitening: how many principal components of the images the first layer sees, equally strong; 0: all pixels.
        edges: how many principal components of the images' `edges` it sees besides, equally strong; 0: none.

    Raises:
        InputError: an argument makes no sense.
    """

    def __init__(
        self,
        image_size: int,
        hidden: Sequence[int],
        seeds: Sequence[int],
        *,
        activation: str = "relu",
        normalization: str = "none",
        dropout: float = 0.0,
        whitening: int = 0,
        edges: int = 0,
    ) -> None:
        super().__init__()
        _check_widths(hidden)
        _check_options(activation, normalization, dropout, hidden)
        pixels, edge_values = 3 * image_size**2, edge_count(image_size)
        _check_components("whitening", whitening, pixels)
        _check_components("edges", edges, edge_values)
        self.activation = activation
        self.dropout = dropout
        self.whitening = Whitening(pixels, whitening, PIXEL_EPSILON) if whitening else None
        self.edge_whitening = Whitening(edge_values, edges, EDGE_EPSILON) if edges else None
        generators = [Generator().manual_seed(seed) for seed in seeds]
        widths = [(whitening or pixels) + edges, *hidden, 1]
        self.layers = nn.ModuleList(ReplicatedLinear(*pair, generators) for pair in pairwise(widths))
        norms = hidden if normalization == "layer" else ()
        self.norms = nn.ModuleList(ReplicatedLayerNorm(width, len(seeds)) for width in norms)

    @property
    def input_weights(self) -> Tensor:
        """What the first layer weighs each pixel with, float32 (replicas, units, 3 · image_size²); edges are apart."""
        weight = cast(ReplicatedLinear, self.layers[0]).weight.detach()
        if self.edge_whitening is not None:
            weight = weight[:, :, : -len(self.edge_whitening.bias)]
        return weight if self.whitening is None else weight @ self.whitening.weight

    def fit(self, images: Tensor) -> None:
        """Find the principal components that are asked for in some training images, (images, 3, size, size)."""
        if self.whitening is not None:
            self.whitening.fit(images.flatten(1))
        if self.edge_whitening is not None:
            self.edge_whitening.fit(torch.cat([edges(batch) for batch in images.split(FIT_BATCH)]))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of class 1, (replicas, batch), for float32 images (batch, 3, image_size, image_size)."""
        return self.activations(images)[-1].squeeze(2)

    def activations(self, images: Tensor, generators: Sequence[Generator] = ()) -> list[Tensor]:
        """What each layer puts out, (replicas, batch, width): after its activation, but the last one's logits as are.

        Args:
            images: float32 (batch, 3, image_size, image_size).
            generators: one for each replica, to draw from which units are left out; none: all units are there.
        """
        outputs = []
        values = self._seen(images)
        for layer, norm in zip_longest(self.layers[:-1], self.norms):
            values = layer(values) if norm is None else norm(layer(values))
            values = ACTIVATIONS[self.activation](values)
            outputs.append(values)
            values = thinned_out(values, self.dropout, generators)
        return [*outputs, self.layers[-1](values)]

    def _seen(self, images: Tensor) -> Tensor:
        """What the first layer is given, (batch, inputs)."""
        values = images.flatten(1)
        if self.whitening is not None:
            values = self.whitening(values)
        if self.edge_whitening is not None:
            values = torch.cat([values, self.edge_whitening(edges(images))], dim=1)
        return values


def thinned_out(values: Tensor, dropout: float, generators: Sequence[Generator]) -> Tensor:
    """Values (replicas, batch, width), some of them 0 and the others larger: Srivastava et al. (2014).

    Unlike `nn.Dropout` it draws for each replica what that would draw alone.
    """
    if not dropout or not generators:
        return values
    draws = torch.stack([torch.rand(values.shape[1:], generator=generator) for generator in generators])
    return values * (draws.to(values.device) >= dropout) / (1 - dropout)


def _check_widths(hidden: Sequence[int]) -> None:
    valid = isinstance(hidden, Sequence) and not isinstance(hidden, str)
    if not valid or not all(type(width) is int and width >= 1 for width in hidden):
        raise InputError(
            "model.hidden must be a list of whole numbers of at least 1, such as [5,5,3], or [] for logistic "
            f"regression; got {hidden!r}"
        )


def _check_options(activation: str, normalization: str, dropout: float, hidden: Sequence[int]) -> None:
    check_choice("model.activation", activation, ACTIVATIONS)
    check_choice("model.normalization", normalization, NORMALIZATIONS)
    check_number("model.dropout", dropout, least=0, below=1)
    if normalization == "layer" and 1 in hidden:
        raise InputError(
            f"model.normalization=layer makes a hidden layer of one unit constant; got model.hidden={list(hidden)}"
        )


def _check_components(key: str, components: int, most: int) -> None:
    check_whole_number(f"model.{key}", components, least=0)
    if components > most:
        raise InputError(f"model.{key} is a number of principal components, at most {most}, got {components}")

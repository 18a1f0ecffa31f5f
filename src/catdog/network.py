"""Hidden widths → a fully connected network, or several of them side by side."""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from catdog.errors import InputError

EXERCISE = {(): "logistic", (4,): "shallow", (5, 5, 3): "deep"}


def net_name(hidden: Sequence[int]) -> str:
    """The exercise's name of a network, or else its hidden widths."""
    return EXERCISE.get(tuple(hidden), str(list(hidden)))


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


class FullyConnected(nn.Module):
    """Fully connected networks of one shape, with ReLU after every hidden layer and one logit, fed the same images.

    They share nothing but the images: a replica computes and learns what it would alone, and one replica is a plain
    network.

    Args:
        inputs: values per image, for 128 × 128 RGB 49,152.
        hidden: widths of the hidden layers; `[]` gives logistic regression, `[1]` a single ReLU unit before it.
        seeds: of the initial weights, one for each replica.

    Raises:
        InputError: `hidden` is not a list of whole numbers of at least 1.
    """

    def __init__(self, inputs: int, hidden: Sequence[int], seeds: Sequence[int]) -> None:
        super().__init__()
        valid = isinstance(hidden, Sequence) and not isinstance(hidden, str)
        if not valid or not all(type(width) is int and width >= 1 for width in hidden):
            raise InputError(
                "model.hidden must be a list of whole numbers of at least 1, such as [5,5,3], or [] for logistic "
                f"regression; got {hidden!r}"
            )
        generators = [Generator().manual_seed(seed) for seed in seeds]
        widths = [inputs, *hidden, 1]
        self.layers = nn.ModuleList(ReplicatedLinear(*pair, generators) for pair in pairwise(widths))

    @property
    def input_weights(self) -> Tensor:
        """The first layer's weights, float32 (replicas, units, inputs)."""
        return cast(ReplicatedLinear, self.layers[0]).weight.detach()

    def forward(self, images: Tensor) -> Tensor:
        """Logits of class 1, (replicas, batch), for images of any shape (batch, …) with `inputs` values each."""
        return self.activations(images)[-1].squeeze(2)

    def activations(self, images: Tensor) -> list[Tensor]:
        """What each layer puts out, (replicas, batch, width): after its ReLU, but the last one's logits as they are."""
        outputs = []
        values = images.flatten(1)
        for layer in self.layers[:-1]:
            values = functional.relu(layer(values))
            outputs.append(values)
        return [*outputs, self.layers[-1](values)]

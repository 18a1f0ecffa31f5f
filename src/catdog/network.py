"""Hidden widths → a fully connected network."""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from catdog.errors import InputError

EXERCISE = {(): "logistic", (4,): "shallow", (5, 5, 3): "deep"}


def net_name(hidden: Sequence[int]) -> str:
    """The exercise's name of a network, or else its hidden widths."""
    return EXERCISE.get(tuple(hidden), str(list(hidden)))


class FullyConnected(nn.Module):
    """A fully connected network with ReLU after every hidden layer and one logit.

    Weights start as PyTorch's `nn.Linear` does, from torch's global generator.

    Args:
        inputs: values per image, for 128 × 128 RGB 49,152.
        hidden: widths of the hidden layers; `[]` gives logistic regression, `[1]` a single ReLU unit before it.

    Raises:
        InputError: `hidden` is not a list of whole numbers of at least 1.
    """

    def __init__(self, inputs: int, hidden: Sequence[int]) -> None:
        super().__init__()
        valid = isinstance(hidden, Sequence) and not isinstance(hidden, str)
        if not valid or not all(type(width) is int and width >= 1 for width in hidden):
            raise InputError(
                "model.hidden must be a list of whole numbers of at least 1, such as [5,5,3], or [] for logistic "
                f"regression; got {hidden!r}"
            )
        widths = [inputs, *hidden, 1]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))

    @property
    def input_weights(self) -> Tensor:
        """The first layer's weights, float32 (units, inputs)."""
        return cast(nn.Linear, self.layers[0]).weight.detach()

    def forward(self, images: Tensor) -> Tensor:
        """Logits of class 1, (batch,), for images of any shape (batch, …) with `inputs` values each."""
        return self.activations(images)[-1].squeeze(1)

    def activations(self, images: Tensor) -> list[Tensor]:
        """What each layer puts out, (batch, width): the hidden ones after their ReLU, the last as logits."""
        outputs = []
        values = images.flatten(1)
        for layer in self.layers[:-1]:
            values = functional.relu(layer(values))
            outputs.append(values)
        return [*outputs, self.layers[-1](values)]

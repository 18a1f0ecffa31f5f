"""A fixed linear layer that shows a network the principal components of what it is given, all equally strong."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from catdog.errors import InputError

POWER_ITERATIONS, OVERSAMPLING = 3, 16  # components looked for beyond those kept: they make those nearly exact


class Whitening(nn.Module):
    """PCA whitening: values lose their mean, are turned to their principal components, and these are scaled.

    A component of variance v is divided by √(v + ε), where ε is `epsilon` times the mean variance of a value;
    Hyvärinen, Hurri & Hoyer (2009), Natural Image Statistics, chapter 5. As gradient descent learns strong components
    first, and those of photos are brightness and its slopes, a network learns from whitened images what it else never
    gets to.

    Args:
        inputs: values per photo.
        components: how many are kept, strongest first.
        epsilon: how weak components must be not to be blown up as far.

    Attributes:
        weight: float32 (components, inputs), 0 until fitted.
        bias: float32 (components,).
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, inputs: int, components: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.register_buffer("weight", torch.zeros(components, inputs))
        self.register_buffer("bias", torch.zeros(components))

    def forward(self, values: Tensor) -> Tensor:
        """(batch, components) for (batch, inputs)."""
        return functional.linear(values, self.weight, self.bias)

    def fit(self, values: Tensor) -> None:
        """Find the components of the values of some photos, float32 (photos, inputs).

        By the randomized method of Halko, Martinsson & Tropp (2011), as the exact one takes long with many pixels.

        Raises:
            InputError: there are fewer photos than components.
        """
        if len(values) < len(self.bias):
            raise InputError(
                f"{len(self.bias)} principal components cannot be found in {len(values)} training images; ask for "
                "fewer with model.whitening and model.edges, or for data.augment=true, which makes more images"
            )
        sought = min(len(self.bias) + OVERSAMPLING, *values.shape)
        mean = values.mean(0)
        values = values - mean
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # of the method's own draws; the same for all seeds, whose nets share the result
            _, singular, axes = torch.pca_lowrank(values, sought, center=False, niter=POWER_ITERATIONS)
        epsilon = self.epsilon * values.square().mean()
        weight = (axes / (singular.square() / len(values) + epsilon).sqrt()).T[: len(self.bias)]
        self.weight.copy_(weight)
        self.bias.copy_(-weight @ mean)

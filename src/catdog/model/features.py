"""Fixed input features: PCA whitening, and histograms of oriented gradients (HOG)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from catdog.errors import InputError

ORIENTATIONS = 8  # HOG bins over 180°
CELL = 4  # height and width of a HOG cell, in pixels
NORM_EPSILON = 0.02  # added to HOG's block norms, so that noise in flat regions is not amplified
SQRT_EPSILON = 0.01  # added before HOG's square root, which magnifies rounding errors near 0


class Whitening(nn.Module):
    """PCA whitening as a fixed linear layer: subtract the mean, project to principal components, rescale them.

    A component of variance v is divided by √(v + ε), where ε is `epsilon` times the mean variance of the inputs;
    Hyvärinen, Hurri & Hoyer (2009), Natural Image Statistics, chapter 5. Gradient descent learns along components of
    large variance first. In photos these are brightness and its gradients; whitening equalizes the variances.
    Of the `inputs` values per photo, `components` components are kept, by decreasing variance.
    """

    weight: Tensor  # float32 (components, inputs), 0 until fitted
    bias: Tensor  # float32 (components,)

    def __init__(self, inputs: int, components: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.fitted = False
        self.register_buffer("weight", torch.zeros(components, inputs))
        self.register_buffer("bias", torch.zeros(components))
        self.register_load_state_dict_post_hook(Whitening._update_fitted)

    def forward(self, values: Tensor) -> Tensor:
        """Whiten (batch, inputs) to (batch, components), once it is fitted."""
        if not self.fitted:
            raise InputError("the whitening was never fitted; Trainer.fit does it, or call network.fit(images)")
        return functional.linear(values, self.weight, self.bias)

    def fit(self, values: Tensor) -> None:
        """Fit mean and components to float32 (photos, inputs); signs make each largest coefficient positive.

        The PCA is randomized (Halko, Martinsson & Tropp, 2011), because an exact one is slow for many inputs.
        """
        components = len(self.bias)
        if len(values) < components:
            few = f"{components} principal components cannot be found in {len(values)} images of the first batches"
            raise InputError(f"{few}; ask for fewer with model.whitening and model.hog, or for larger batches")
        mean = values.mean(0)
        values = values - mean
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # the randomized PCA's: the components do not depend on the net's seed
            rank = min(components + 16, *values.shape)  # 16 more, and power iterations, make it nearly exact
            _, singular, axes = torch.pca_lowrank(values, rank, center=False, niter=3)
        axes, singular = axes.T[:components], singular[:components]
        largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
        axes = axes * largest.sign()  # else the signs depend on the number of threads
        variance = singular.square() / len(values)
        power = torch.linalg.vector_norm(values).square() / values.numel()  # the mean square, without a copy of values
        weight = axes / (variance + self.epsilon * power).sqrt().unsqueeze(1)
        self.weight.copy_(weight)
        self.bias.copy_(-weight @ mean)
        self.fitted = True

    def _update_fitted(self, *_: object) -> None:
        """Set `fitted` from the weights just loaded."""
        self.fitted = bool(self.weight.any())


def hog_size(image_size: int) -> int:
    """Compute the number of HOG features of an image."""
    return ORIENTATIONS * (image_size // CELL) ** 2


def hog(images: Tensor) -> Tensor:
    """Compute histograms of oriented gradients, float32 (batch, hog_size(image_size)), from images like the network's.

    Each cell of 4 × 4 pixels has a histogram of gradient magnitudes over eight orientations, normalized by the norm of
    the surrounding 3 × 3 cells, with the square root of Dalal & Triggs (2005). Gradients are of the grey value; each
    votes for its two nearest orientations. All steps are continuous, so small rounding differences stay small.
    """
    padded = functional.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    orientation = torch.atan2(down, across) * (ORIENTATIONS / math.pi)  # in units of a bin
    bins = torch.arange(ORIENTATIONS, device=images.device).view(1, -1, 1, 1)
    distance = (orientation - bins + ORIENTATIONS / 2).remainder(ORIENTATIONS) - ORIENTATIONS / 2
    votes = (across.square() + down.square()).sqrt() * (1 - distance.abs()).clamp(min=0)
    cells = functional.avg_pool2d(votes, CELL)
    energy = functional.pad(cells.square().sum(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    block_norm = functional.avg_pool2d(energy, 3, stride=1).sqrt()
    return (cells / (block_norm + NORM_EPSILON) + SQRT_EPSILON).sqrt().flatten(1)

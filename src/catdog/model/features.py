"""Fixed features that a network may see instead of pixels: whitened principal components, and HOG."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from catdog.errors import InputError

POWER_ITERATIONS, OVERSAMPLING = 3, 16  # of the randomized PCA; extra components make those kept nearly exact
ORIENTATIONS = 8  # bins of HOG, over half a turn
CELL = 4  # pixels: height and width of a HOG cell
FAINT = 0.02  # gradient strength, in image units, that HOG's normalization leaves faint
ROUNDING = 0.01  # added to HOG's shares, because near 0 a square root magnifies rounding errors


class Whitening(nn.Module):
    """PCA whitening: a fixed linear layer that subtracts the mean, rotates to principal components and rescales them.

    A component of variance v is divided by √(v + ε), where ε is `epsilon` times the mean variance of a value;
    Hyvärinen, Hurri & Hoyer (2009), Natural Image Statistics, chapter 5. Gradient descent learns strong components
    first, and those of photos are brightness and its slopes; whitening gives the weak ones the same chance.

    Args:
        inputs: values per photo.
        components: how many are kept, strongest first.
        epsilon: regularization of weak components.
    """

    weight: Tensor  # float32 (components, inputs), 0 until fitted
    bias: Tensor  # float32 (components,)

    def __init__(self, inputs: int, components: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.fitted = False
        self.register_buffer("weight", torch.zeros(components, inputs))
        self.register_buffer("bias", torch.zeros(components))
        self.register_load_state_dict_post_hook(Whitening.note_loaded)

    def forward(self, values: Tensor) -> Tensor:
        """Whiten (batch, inputs) to (batch, components).

        Raises:
            InputError: the whitening was never fitted.
        """
        if not self.fitted:
            raise InputError("the whitening was never fitted; Trainer.fit does it, or call network.fit(images)")
        return functional.linear(values, self.weight, self.bias)

    def fit(self, values: Tensor) -> None:
        """Find the components of float32 (photos, inputs), each with its largest coefficient positive.

        Uses the randomized method of Halko, Martinsson & Tropp (2011), as the exact one is slow with many pixels.

        Raises:
            InputError: there are fewer photos than components.
        """
        components = len(self.bias)
        if len(values) < components:
            raise InputError(
                f"{components} principal components cannot be found in the {len(values)} training images of the first "
                "batches; ask for fewer with model.whitening and model.hog, or for larger batches"
            )
        mean = values.mean(0)
        values = values - mean
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # of the method's own draws: nets of all seeds share the components
            rank = min(components + OVERSAMPLING, *values.shape)
            _, singular, axes = torch.pca_lowrank(values, rank, center=False, niter=POWER_ITERATIONS)
        axes, singular = axes.T[:components], singular[:components]
        largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
        axes = axes * largest.sign()  # else the signs depend on the number of threads
        variance = singular.square() / len(values)
        power = torch.linalg.vector_norm(values).square() / values.numel()  # the mean square, without a copy of values
        weight = axes / (variance + self.epsilon * power).sqrt().unsqueeze(1)
        self.weight.copy_(weight)
        self.bias.copy_(-weight @ mean)
        self.fitted = True

    def note_loaded(self, *_: object) -> None:
        """Set `fitted` after a state was loaded."""
        self.fitted = bool(self.weight.any())


def hog_size(image_size: int) -> int:
    """Number of values that `hog` gives for an image."""
    return ORIENTATIONS * (image_size // CELL) ** 2


def hog(images: Tensor) -> Tensor:
    """Histograms of oriented gradients, float32 (batch, hog_size(image_size)), from 0.1 to about 1.

    In every cell of 4 × 4 pixels, the gradient strength of each orientation as a share of all in the 3 × 3 cells
    around it; Dalal & Triggs (2005), with the square root of the shares, as recommended there. A pixel's gradient is
    that of its grey value and counts for the two nearest of eight orientations. All steps are continuous, so that
    exported programs, which round otherwise, agree.

    Args:
        images: float32 (batch, 3, image_size, image_size).
    """
    padded = functional.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    turn = torch.atan2(down, across) * (ORIENTATIONS / math.pi)  # in units of a bin
    bins = torch.arange(ORIENTATIONS, device=images.device).view(1, -1, 1, 1)
    distance = (turn - bins + ORIENTATIONS / 2).remainder(ORIENTATIONS) - ORIENTATIONS / 2
    votes = (across.square() + down.square()).sqrt() * (1 - distance.abs()).clamp(min=0)
    cells = functional.avg_pool2d(votes, CELL)
    energy = functional.pad(cells.square().sum(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    around = functional.avg_pool2d(energy, 3, stride=1).sqrt()
    return (cells / (around + FAINT) + ROUNDING).sqrt().flatten(1)

"""From a checkpoint alone to probabilities: what evaluating, predicting, exporting and the demo share."""

from inspect import signature
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from catdog.data import to_images
from catdog.errors import InputError
from catdog.model import CatDogClassifier
from catdog.training.run_folder import read_checkpoint


class Predictor(nn.Module):
    """Trained networks with all that lies around them: pixels in, probabilities out.

    Attributes:
        classifier: the networks, in evaluation mode.
        class_names: names of class 0 and class 1.
        image_size: height and width in pixels that photos have to be resized to.
    """

    def __init__(self, classifier: CatDogClassifier) -> None:
        super().__init__()
        self.classifier = classifier.eval().requires_grad_(False)
        first, second = classifier.hparams["class_names"]
        self.class_names: tuple[str, str] = (str(first), str(second))
        self.image_size: int = classifier.hparams["image_size"]

    @classmethod
    def load(cls, checkpoint: str | Path) -> Self:
        """Load a checkpoint's networks.

        Raises:
            InputError: there is no such file, it is no checkpoint of catdog, or of a version with other networks.
        """
        content = read_checkpoint(checkpoint)
        options, state = content["hyper_parameters"], content["state_dict"]
        try:
            _check_plain(options)
            with torch.device("meta"):  # takes no memory, whatever sizes the file claims
                claimed = CatDogClassifier(**options).state_dict()
            if {name: _shape(value) for name, value in state.items()} != {n: v.shape for n, v in claimed.items()}:
                raise ValueError("weights of other sizes than its options say")
            classifier = CatDogClassifier(**options)
            classifier.load_state_dict(state)
            model = cls(classifier)
        except (AttributeError, OverflowError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"'{checkpoint}' holds networks that this version of catdog does not know; train them again"
            ) from error
        if not all(weight.isfinite().all() for weight in classifier.state_dict().values()):
            raise InputError(f"'{checkpoint}' holds weights that are not finite numbers, so it cannot predict")
        return model

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute the probability of class 1, float32 (replicas, photos).

        Args:
            pixels: RGB, uint8 (photos, 3, image_size, image_size).
        """
        return self.classifier.logits(to_images(pixels.float())).sigmoid()

    def logits(self, pixels: Tensor, batch_size: int = 512) -> Tensor:
        """Compute logits of class 1 of any number of photos; the memory it takes is that of `batch_size` of them."""
        with torch.inference_mode():
            batches = (batch for batch in pixels.split(batch_size) if len(batch))
            logits = [self.classifier.logits(to_images(batch.float())) for batch in batches]
            return torch.cat([torch.empty(len(self.classifier.seeds), 0), *logits], dim=1)

    def probabilities(self, pixels: Tensor, batch_size: int = 512) -> Tensor:
        """Compute what `forward` does, of any number of photos."""
        return self.logits(pixels, batch_size).sigmoid()


def _check_plain(options: dict[str, Any]) -> None:
    """Raise a ValueError unless these are arguments of the classifier, each a plain value or a list of such."""
    known = signature(CatDogClassifier).parameters
    for name, value in options.items():
        values = value if isinstance(value, list | tuple) else [value]
        if name not in known or not all(isinstance(one, str | int | float) for one in values):
            raise ValueError(f"{name}={value!r:.80}")


def _shape(value: Tensor) -> torch.Size | None:
    """Shape of a tensor with a number in memory for each of its elements; None of one that claims more."""
    return value.shape if value.device.type == "cpu" and value.is_contiguous() else None

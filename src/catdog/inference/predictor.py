"""Predictor: networks of a checkpoint, with pixels in and probabilities out."""

from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from catdog.data import to_images
from catdog.errors import InputError
from catdog.model import CatDogClassifier
from catdog.training.run_folder import read_checkpoint


class Predictor(nn.Module):
    """Trained networks with their preprocessing and sigmoid.

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
            with torch.device("meta"):  # allocates nothing, whatever sizes the file claims
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
        """Compute logits of class 1, float32 (replicas, photos), of any number of photos, in batches."""
        with torch.inference_mode():
            batches = pixels.split(batch_size) if len(pixels) else [pixels]
            return torch.cat([self.classifier.logits(to_images(batch.float())) for batch in batches], dim=1)

    def probabilities(self, pixels: Tensor, batch_size: int = 512) -> Tensor:
        """Compute what `forward` does, of any number of photos."""
        return self.logits(pixels, batch_size).sigmoid()


def _shape(value: Any) -> torch.Size | None:
    """Give the shape of a tensor with a number in memory for each of its elements; None of one that claims more."""
    return value.shape if value.device.type == "cpu" and value.is_contiguous() else None

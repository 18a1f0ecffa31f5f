"""From a checkpoint alone to probabilities: what evaluating, predicting, exporting and the demo share."""

from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from catdog.classifier import CatDogClassifier
from catdog.data import to_images
from catdog.epochs import read_checkpoint
from catdog.errors import InputError


class PhotoClassifier(nn.Module):
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
        """From a checkpoint's file.

        Raises:
            InputError: there is no such file, it is no checkpoint of catdog, or of a version with other networks.
        """
        if not Path(checkpoint).is_file():
            raise InputError(f"no file at {str(checkpoint)!r}; give a checkpoint, such as RUN/checkpoints/best.ckpt")
        content = read_checkpoint(checkpoint)
        try:
            classifier = CatDogClassifier(**content["hyper_parameters"])
            classifier.load_state_dict(content["state_dict"])
            photos = cls(classifier)
        except (TypeError, ValueError, RuntimeError) as error:  # arguments or weights that are not the classifier's
            raise InputError(
                f"'{checkpoint}' holds networks that this version of catdog does not know; train them again"
            ) from error
        if not all(weight.isfinite().all() for weight in classifier.state_dict().values()):
            raise InputError(f"'{checkpoint}' holds weights that are no finite numbers, so there is no verdict of them")
        return photos

    def forward(self, pixels: Tensor) -> Tensor:
        """Probability of class 1, float32 (replicas, photos).

        Args:
            pixels: RGB, uint8 (photos, 3, image_size, image_size).
        """
        return self.classifier(to_images(pixels.float())).sigmoid()

    def logits(self, pixels: Tensor, batch_size: int = 512) -> Tensor:
        """Logits of class 1, for any number of photos; the memory it takes is that of `batch_size` of them."""
        with torch.inference_mode():
            batches = (batch for batch in pixels.split(batch_size) if len(batch))
            logits = [self.classifier(to_images(batch.float())) for batch in batches]
            return torch.cat([torch.empty(len(self.classifier.seeds), 0), *logits], dim=1)

    def probabilities(self, pixels: Tensor, batch_size: int = 512) -> Tensor:
        """As `forward`, for any number of photos."""
        return self.logits(pixels, batch_size).sigmoid()

"""Predictor: a checkpoint's networks, from pixels to probabilities."""

from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from catdog.data import to_images
from catdog.errors import InputError
from catdog.model import CatDogClassifier
from catdog.training.run_folder import read_checkpoint


class Predictor(nn.Module):
    """Trained networks with their preprocessing and sigmoid."""

    def __init__(self, classifier: CatDogClassifier) -> None:
        super().__init__()
        self.classifier = classifier.eval().requires_grad_(False)
        first, second = classifier.hparams["class_names"]
        self.class_names: tuple[str, str] = (str(first), str(second))  # of class 0 and class 1
        self.image_size: int = classifier.hparams["image_size"]  # height and width in pixels of the photos

    @classmethod
    def load(cls, checkpoint: str | Path) -> Self:
        """Load a checkpoint's networks; InputError if it is missing, or not one of this version of catdog."""
        content = read_checkpoint(checkpoint)
        options, state = content.get("hyper_parameters", {}), content["state_dict"]
        try:
            with torch.device("meta"):  # allocates nothing, whatever sizes the file claims
                expected = CatDogClassifier(**options).state_dict()
            # A tensor that is not contiguous, or not in memory, may claim more numbers than the file holds.
            found = {n: v.shape for n, v in state.items() if v.device.type == "cpu" and v.is_contiguous()}
            if found != {n: v.shape for n, v in expected.items()} or len(found) < len(state):
                raise ValueError("weights of other sizes than its options say")
            model = cls(CatDogClassifier(**options))
            model.classifier.load_state_dict(state)
        except (AttributeError, OverflowError, RuntimeError, TypeError, ValueError) as error:
            unknown = "networks that this version of catdog does not know; train them again"
            raise InputError(f"'{checkpoint}' holds {unknown}") from error
        if not all(weight.isfinite().all() for weight in state.values()):
            raise InputError(f"'{checkpoint}' holds weights that are not finite numbers, so it cannot predict")
        return model

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute the replicas' mean probability of class 1, (photos,), from RGB, uint8 (photos, 3, height, width)."""
        return self.classifier.logits(to_images(pixels.float())).sigmoid().mean(0)

    def logits(self, pixels: Tensor, batch_size: int = 512) -> Tensor:
        """Compute each replica's logits of class 1, float32 (replicas, photos), in batches; pixels as in `forward`."""
        with torch.inference_mode():
            batches = [self.classifier.logits(to_images(batch.float())) for batch in pixels.split(batch_size)]
            return torch.cat(batches, dim=1)

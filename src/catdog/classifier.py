"""CatDogClassifier: the network with its loss, metrics and optimizer."""

import logging
from collections.abc import Sequence
from typing import cast

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import BinaryAccuracy

from catdog.errors import InputError
from catdog.network import FullyConnected

logger = logging.getLogger(__name__)

PARTS = ("train", "val", "test")


class CatDogClassifier(LightningModule):
    """A fully connected network of any depth, trained with binary cross-entropy and plain SGD.

    Logs loss and accuracy of each part of the split once per epoch, as `train/loss`, `train/acc`, `val/loss` and so
    on. The loss is computed on logits: the same as BCE after a sigmoid, without its overflow. A photo is taken for
    class 1 where its logit is above 0, which is where its probability is above 0.5.

    Args:
        hidden: widths of the hidden layers; `[]` gives logistic regression. See `FullyConnected`.
        lr: learning rate.
        image_size: height and width of the RGB images in pixels.
        class_names: names of class 0 and class 1, kept for those who load the checkpoint.

    Attributes:
        dead_layers: hidden layers, counted from 1, of which no unit was active on any photo of the last validation.
        test_logits: logits of the test photos, (photos,), in order, after a test.

    Raises:
        InputError: a width or the learning rate makes no sense.
    """

    def __init__(self, hidden: Sequence[int], lr: float, image_size: int, class_names: Sequence[str]) -> None:
        super().__init__()
        if not isinstance(lr, int | float) or not 0 < lr < float("inf"):
            raise InputError(f"model.lr must be a number above 0, got {lr!r}")
        self.save_hyperparameters(logger=False)
        self.network = FullyConnected(3 * image_size**2, hidden)
        self.metrics = nn.ModuleDict()
        for part in PARTS:
            self.metrics[f"{part}/loss"] = MeanMetric(nan_strategy="disable")  # NaN is shown, not skipped
            self.metrics[f"{part}/acc"] = BinaryAccuracy(validate_args=False)
        self.dead_layers: list[int] = []
        self.test_logits = torch.empty(0)
        self._outputs: dict[str, list[tuple[Tensor, Tensor]]] = {part: [] for part in PARTS}
        self._active: list[Tensor] = []  # per hidden layer, bool (width,): active on any validation photo so far
        self._warned_of: set[int] = set()

    def forward(self, images: Tensor) -> Tensor:
        """Logits of class 1, float32 (batch,), for images in [-1, 1], float32 (batch, 3, image_size, image_size)."""
        return self.network(images)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD over all parameters."""
        return torch.optim.SGD(self.parameters(), lr=self.hparams["lr"])

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of one training batch, a scalar."""
        return self._shared_step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """One validation batch."""
        self._shared_step(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """One test batch."""
        self._shared_step(batch, "test")

    def _shared_step(self, batch: tuple[Tensor, Tensor], part: str) -> Tensor:
        images, labels = batch
        *hidden, logits = self.network.activations(images)
        logits = logits.squeeze(1)
        if part == "val":
            active = [(values > 0).any(dim=0) for values in hidden]
            self._active = [a | b for a, b in zip(self._active, active, strict=True)] if self._active else active
        # Kept for one update per epoch, because a metric's update costs as much as the training step of a small net.
        self._outputs[part].append((logits.detach(), labels))
        return functional.binary_cross_entropy_with_logits(logits, labels)

    def on_validation_epoch_start(self) -> None:
        """Forget which units were active."""
        self._active = []

    def on_validation_epoch_end(self) -> None:
        """Log the epoch: validation ends it, so training metrics are logged here too, before a checkpoint is saved."""
        if self._outputs["train"]:
            self._log_epoch("train")
        self._log_epoch("val")
        self.dead_layers = [number for number, active in enumerate(self._active, start=1) if not active.any()]
        for number in set(self.dead_layers) - self._warned_of:
            logger.warning(
                "epoch %d: hidden layer %d is dead, none of its %d units is active on any validation photo; the net's "
                "output is constant, try another seed or wider layers",
                self.current_epoch + 1, number, len(self._active[number - 1]),
            )  # fmt: skip
        self._warned_of.update(self.dead_layers)

    def on_test_epoch_end(self) -> None:
        """Log the test and keep its logits."""
        self.test_logits = self._log_epoch("test").cpu()

    def _log_epoch(self, part: str) -> Tensor:
        logits, labels = (torch.cat(column) for column in zip(*self._outputs[part], strict=True))
        self._outputs[part].clear()
        loss, accuracy = (cast(Metric, self.metrics[f"{part}/{name}"]) for name in ("loss", "acc"))
        loss.update(functional.binary_cross_entropy_with_logits(logits, labels, reduction="none"))
        accuracy.update(logits > 0, labels)
        self.log_dict({f"{part}/loss": loss, f"{part}/acc": accuracy})
        self.log("step", float(self.current_epoch + 1), sync_dist=True)  # TensorBoard's axis, which so counts epochs
        return logits

"""CatDogClassifier: the network with its loss, metrics and optimizer."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from lightning import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Generator, Tensor
from torch.nn import functional
from torchmetrics import Metric

from catdog.errors import check_choice, check_whole_number
from catdog.network import FullyConnected
from catdog.optimization import build_optimizer, check_options, learning_rate_factor
from catdog.seeding import Purpose, step_seed
from catdog.views import slight_views

logger = logging.getLogger(__name__)

PARTS = ("train", "val", "test")
Batch = tuple[Tensor, Tensor]  # images, labels


class LossAndAccuracy(Metric):
    """Binary cross-entropy and accuracy of every replica, over all photos and processes.

    A photo is taken for class 1 where its logit is above 0, which is where its probability is above 0.5.
    """

    full_state_update = False
    loss: Tensor
    correct: Tensor
    photos: Tensor

    def __init__(self, replicas: int) -> None:
        super().__init__()
        self.add_state("loss", torch.zeros(replicas), dist_reduce_fx="sum")
        self.add_state("correct", torch.zeros(replicas, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("photos", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count in some photos: logits (replicas, photos) and labels (photos,), 0 or 1."""
        self.loss += losses(logits, labels).sum(1)
        self.correct += ((logits > 0) == (labels > 0.5)).sum(1)
        self.photos += labels.numel()

    def compute(self) -> dict[str, Tensor]:
        """`loss` and `acc`, float32 (replicas,)."""
        return {"loss": self.loss / self.photos, "acc": self.correct / self.photos}


def losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of every photo, (replicas, photos), for logits (replicas, photos) and labels (photos,).

    From logits it is the same as after a sigmoid, without its overflow.
    """
    return functional.binary_cross_entropy_with_logits(logits, labels.expand_as(logits), reduction="none")


def mean_logits(logits: Tensor, dim: int) -> Tensor:
    """The logit of the mean of the probabilities along an axis; they themselves may be too near to 0 or 1 to tell."""
    yes, no = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    return yes.logsumexp(dim) - no.logsumexp(dim)


class CatDogClassifier(LightningModule):
    """Fully connected networks of any depth, trained with binary cross-entropy.

    Several replicas learn side by side from the same batches, each from initial weights of its own and by its own
    loss. Loss and accuracy of each part of the split are logged once per epoch, as `train/loss`, `train/acc`,
    `val/loss` and so on: their mean over the replicas, and where there are several, as `val/acc_sd` and so on, the
    standard deviation between them.

    Args:
        hidden: widths of the hidden layers; `[]` gives logistic regression. See `FullyConnected`.
        replicas: how many networks to train.
        activation: of the hidden layers, "relu" or "gelu".
        normalization: in the hidden layers, "none" or "layer".
        dropout: share of the hidden units that a training step leaves out.
        whitening: how many principal components of the images the networks see; 0: the pixels. They are found before
            the first training step, by `fit_features`.
        edges: how many principal components of the images' `edges` they see besides; 0: none.
        lr: learning rate.
        optimizer: "sgd" or "adamw".
        weight_decay: of the weights, not of biases and norms.
        schedule: of the learning rate: "constant", or "cosine", see `learning_rate_factor`.
        warmup: share of the training steps in which the learning rate of the cosine rises.
        test_time_augmentation: test and predict with the mean probability over ten views of a photo, see
            `slight_views`. Validation, which is there in every epoch, looks once.
        image_size: height and width of the RGB images in pixels.
        class_names: names of class 0 and class 1, kept for those who load the checkpoint.
        seed: of the initial weights; the replicas' are seed, seed + 1, seed + 2 …

    Attributes:
        epoch_metrics: of every replica, float32 (replicas,): what was last logged.
        dead_layers: of every replica, hidden layers, counted from 1, of which no unit was active on any photo of the
            last validation.
        test_logits: logits of the test photos, (replicas, photos), in order, after a test.

    Raises:
        InputError: an argument makes no sense.
    """

    def __init__(
        self,
        *,
        hidden: Sequence[int],
        replicas: int,
        activation: str,
        normalization: str,
        dropout: float,
        whitening: int,
        edges: int,
        lr: float,
        optimizer: str,
        weight_decay: float,
        schedule: str,
        warmup: float,
        test_time_augmentation: bool,
        image_size: int,
        class_names: Sequence[str],
        seed: int,
    ) -> None:
        super().__init__()
        check_whole_number("model.replicas", replicas, least=1)
        check_options(lr, optimizer, weight_decay, schedule, warmup)
        check_choice("model.test_time_augmentation", test_time_augmentation, (True, False))
        self.save_hyperparameters(logger=False)
        self.automatic_optimization = False  # Lightning hands over many batches at a time; see training_step
        self.seeds = range(seed, seed + replicas)
        self.network = FullyConnected(
            image_size, hidden, self.seeds, activation=activation, normalization=normalization, dropout=dropout,
            whitening=whitening, edges=edges,
        )  # fmt: skip
        self.metric = LossAndAccuracy(replicas)  # one for all parts, because it counts one part's epoch at a time
        self.epoch_metrics: dict[str, Tensor] = {}
        self.dead_layers: list[list[int]] = [[] for _ in self.seeds]
        self.test_logits = torch.empty(0)
        self._outputs: dict[str, list[Batch]] = {part: [] for part in PARTS}  # logits, labels
        self._active: list[Tensor] = []  # per hidden layer, bool (replicas, width): on any validation photo so far
        self._warned_of: set[tuple[int, int]] = set()  # replica, layer

    def forward(self, images: Tensor) -> Tensor:
        """Logits of class 1, float32 (replicas, batch), for float32 (batch, 3, image_size, image_size) in [-1, 1]."""
        if not self.hparams["test_time_augmentation"]:
            return self.network(images)
        return mean_logits(torch.stack([self.network(view) for view in slight_views(images)]), dim=0)

    def fit_features(self, images: Iterable[Tensor]) -> None:
        """Find the principal components of some training images, float32 batches (…, 3, image_size, image_size)."""
        if self.hparams["whitening"] or self.hparams["edges"]:
            self.network.fit(torch.cat([batch.to("cpu", copy=True) for batch in images]))  # they may share their memory

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer asked for, over all parameters."""
        return build_optimizer(self.network, *(self.hparams[name] for name in ("optimizer", "lr", "weight_decay")))

    def training_step(self, batches: Iterable[Batch], batch_idx: int) -> None:
        """Learn from some batches, one step of the optimizer for each.

        Lightning's own work per call of this method takes longer than such a small net's step.
        """
        optimizer = cast(LightningOptimizer, self.optimizers())
        for images, labels in batches:
            self._set_learning_rate(optimizer)
            logits = self._shared_step(images, labels, "train")
            loss = losses(logits, labels).sum() / len(labels)  # no replica's gradient depends on another's part of it
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()

    def _set_learning_rate(self, optimizer: LightningOptimizer) -> None:
        """Also of a constant one, because a checkpoint may bring another."""
        factor = 1.0
        if self.hparams["schedule"] == "cosine":
            steps = self.trainer.max_epochs * cast(Any, self.trainer).datamodule.steps_per_epoch
            factor = learning_rate_factor(self.trainer.global_step, steps, self.hparams["warmup"])
        for group in optimizer.param_groups:
            group["lr"] = factor * self.hparams["lr"]

    def _dropout_generators(self) -> list[Generator]:
        """For each replica one that depends on its seed and the step alone, so that resumed runs draw the same."""
        if not self.hparams["dropout"]:
            return []
        step = self.trainer.global_step * self.trainer.world_size + self.trainer.global_rank
        return [Generator().manual_seed(step_seed(Purpose.DROPOUT, seed, step)) for seed in self.seeds]

    def validation_step(self, batches: Iterable[Batch], batch_idx: int) -> None:
        """Some validation batches."""
        for images, labels in batches:
            self._shared_step(images, labels, "val")

    def test_step(self, batches: Iterable[Batch], batch_idx: int) -> None:
        """Some test batches."""
        for images, labels in batches:
            self._shared_step(images, labels, "test")

    def _shared_step(self, images: Tensor, labels: Tensor, part: str) -> Tensor:
        if part == "test":
            logits = self(images)
        else:
            generators = self._dropout_generators() if part == "train" else ()
            *hidden, logits = self.network.activations(images, generators)
            logits = logits.squeeze(2)
        if part == "val":
            active = [(values != 0).any(dim=1) for values in hidden]
            self._active = [a | b for a, b in zip(self._active, active, strict=True)] if self._active else active
        # Kept for one update per epoch, because a metric's update costs as much as the training step of a small net.
        self._outputs[part].append((logits.detach(), labels))
        return logits

    def on_validation_epoch_start(self) -> None:
        """Forget which units were active."""
        self._active = []

    def on_validation_epoch_end(self) -> None:
        """Log the epoch: validation ends it, so training metrics are logged here too, before a checkpoint is saved."""
        if self._outputs["train"]:
            self._log_epoch("train")
        self._log_epoch("val")
        dead = [~active.any(dim=1) for active in self._active]  # per layer, bool (replicas,)
        layers = torch.stack(dead, dim=1).tolist() if dead else [[] for _ in self.seeds]
        self.dead_layers = [[number for number, is_dead in enumerate(row, start=1) if is_dead] for row in layers]
        for replica, numbers in enumerate(self.dead_layers):
            for number in numbers:
                self._warn_of_dead_layer(replica, number)

    def _warn_of_dead_layer(self, replica: int, number: int) -> None:
        if (replica, number) not in self._warned_of:
            self._warned_of.add((replica, number))
            logger.warning(
                "epoch %d: hidden layer %d of seed %d is dead, none of its %d units is active on any validation photo; "
                "the net's output is constant, try another seed or wider layers",
                self.current_epoch + 1, number, self.seeds[replica], self._active[number - 1].shape[1],
            )  # fmt: skip

    def on_test_epoch_end(self) -> None:
        """Log the test and keep its logits."""
        self.test_logits = self._log_epoch("test").cpu()

    def _log_epoch(self, part: str) -> Tensor:
        logits, labels = (torch.cat(column, dim=-1) for column in zip(*self._outputs[part], strict=True))
        self._outputs[part].clear()
        self.metric.update(logits, labels)
        for name, values in self.metric.compute().items():
            values = values.reshape(-1)  # torchmetrics makes a scalar of a single one
            self.epoch_metrics[f"{part}/{name}"] = values
            self.log(f"{part}/{name}", values.mean(), sync_dist=True)
            if len(values) > 1:
                self.log(f"{part}/{name}_sd", values.std(), sync_dist=True)
        self.metric.reset()
        self.log("step", float(self.current_epoch + 1), sync_dist=True)  # TensorBoard's axis, which so counts epochs
        return logits

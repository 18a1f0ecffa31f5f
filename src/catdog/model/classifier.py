"""CatDogClassifier: network, loss, metrics and optimizer."""

import inspect
import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice
from typing import Any, cast

import torch
from lightning import LightningModule
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import CosineAnnealingLR
from torchvision.transforms.v2.functional import ten_crop

from catdog.errors import InputError, check_choice, check_number, check_whole_number
from catdog.model.metrics import build_metrics, compute_metrics, cross_entropy, mean_logits
from catdog.model.network import FullyConnected

Batch = tuple[Tensor, Tensor]  # images, labels
UNFIT = {"Optimizer", "SparseAdam", "LBFGS", "Adafactor"}  # sparse gradients; many losses; norms of all nets
OPTIMIZERS = sorted({name for name, value in vars(torch.optim).items() if isinstance(value, type)} - UNFIT)
FIT_BATCHES = 100  # training batches that the features are fitted to: 3,200 images at the default batch size


class CatDogClassifier(LightningModule):
    """Fully connected networks of any depth, trained with binary cross-entropy.

    A batch is (images, labels): float32 (batch, 3, image_size, image_size) in [-1, 1], and float32 (batch,), 0 or 1.
    Metrics are logged once per epoch as `train/loss`, `train/acc`, `val/loss` and so on. Replicas are independent
    networks trained on the same batches, each with its own initial weights and loss. With several, the mean of a metric
    is logged, and its standard deviation as `val/acc_sd` and so on.

    Args:
        hidden, image_size, whitening, hog: see `FullyConnected`; the first `Trainer.fit` fits features at its start.
        replicas: number of networks.
        lr: learning rate.
        optimizer: name of a class in `torch.optim`.
        weight_decay: the optimizer's; must be 0 if it has none.
        schedule: learning rate schedule, "constant" or "cosine" (annealed to 0).
        test_time_augmentation: True to test and predict with the mean probability over torchvision's `ten_crop`.
        class_names: names of class 0 and class 1; the data module's replace them, if it has any.
        seed: seed of the initial weights; replicas use seed, seed + 1, seed + 2 …
    """

    def __init__(
        self,
        hidden: Sequence[int],
        image_size: int = 128,
        replicas: int = 1,
        whitening: int = 0,
        hog: int = 0,
        lr: float = 0.01,
        optimizer: str = "SGD",
        weight_decay: float = 0.0,
        schedule: str = "constant",
        test_time_augmentation: bool = False,
        class_names: Sequence[str] = ("cats", "dogs"),
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_whole_number("model.replicas", replicas, least=1)
        check_number("model.lr", lr, above=0)
        check_choice("model.optimizer", optimizer, OPTIMIZERS)
        check_number("model.weight_decay", weight_decay, least=0)
        check_choice("model.schedule", schedule, ("constant", "cosine"))
        check_choice("model.test_time_augmentation", test_time_augmentation, (True, False))
        self.save_hyperparameters(logger=False)
        self.seeds = range(seed, seed + replicas)
        self.network = FullyConnected(image_size, hidden, self.seeds, whitening, hog)
        self.metrics = build_metrics()  # reused for each replica and split
        self.replica_metrics: dict[str, Tensor] = {}  # the last, (replicas,); val/dead: 1 if the output is constant
        self._outputs: dict[str, list[Batch]] = defaultdict(list)  # by split: an epoch's logits and labels

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits of class 1: (batch,) for one replica, (replicas, batch) for several."""
        logits = self.logits(images)
        return logits[0] if len(self.seeds) == 1 else logits

    def logits(self, images: Tensor) -> Tensor:
        """Compute the logits of class 1, (replicas, batch), with test-time augmentation if it is on."""
        if not self.hparams["test_time_augmentation"]:
            return self.network(images)
        crops = ten_crop(images, [round(0.9 * images.shape[3])] * 2)
        views = [functional.interpolate(crop, images.shape[2:], mode="bilinear") for crop in crops]
        return mean_logits(torch.stack([self.network(view) for view in views]), dim=0)

    def on_fit_start(self) -> None:
        """Copy the data module's class names, and fit the features unless they were loaded from a checkpoint."""
        datamodule = getattr(self.trainer, "datamodule", None)
        self.hparams["class_names"] = getattr(datamodule, "class_names", self.hparams["class_names"])
        if not self.network.fitted:
            self.trainer.fit_loop.setup_data()
            batches = islice(cast(Any, self.trainer.train_dataloader), FIT_BATCHES)
            images = torch.cat([batch[0].float() for batch in batches])
            gathered = cast(Tensor, self.all_gather(images.to(self.device)))  # the same in every process
            self.network.fit(gathered.view(-1, *images.shape[1:]).cpu())

    def on_train_start(self) -> None:
        """Refuse to prolong or cut an annealed training: its checkpoint brings the schedule along."""
        annealed, steps = self.hparams["schedule"] == "cosine", self.trainer.estimated_stepping_batches
        if self.trainer.ckpt_path and annealed and getattr(self.lr_schedulers(), "T_max", steps) != steps:
            raise InputError("ckpt_path: with model.schedule=cosine, training keeps its trainer.max_epochs and batches")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the training loss."""
        return self._shared_step(batch, batch_idx, self.network(batch[0]), "train")

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the validation loss, without test-time augmentation."""
        return self._shared_step(batch, batch_idx, self.network(batch[0]), "val")

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the test loss."""
        return self._shared_step(batch, batch_idx, self.logits(batch[0]), "test")

    def predict_step(self, batch: Batch | Tensor, batch_idx: int) -> Tensor:
        """Compute the probability of class 1, shaped like `forward`'s result; labels may be missing."""
        return self(batch if isinstance(batch, Tensor) else batch[0]).float().sigmoid()

    def _shared_step(self, batch: Batch, batch_idx: int, logits: Tensor, split: str) -> Tensor:
        """Compute the sum over replicas of the batch's mean loss: a sum keeps their gradients independent."""
        if batch_idx == 0:
            self._outputs.pop(split, None)  # left by an interrupted epoch
        labels = batch[1].to(logits.dtype)
        # Metrics are updated once per epoch, because an update takes as long as a small net's training step.
        self._outputs[split].append((logits.detach().float(), labels))
        return cross_entropy(logits, labels) / len(labels)

    def on_train_epoch_end(self) -> None:
        """Log the training metrics."""
        self._log_metrics("train")

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics."""
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        """Log the test metrics."""
        self._log_metrics("test")

    @torch.inference_mode(False)  # else the metric states would be inference tensors, unusable in later training
    def _log_metrics(self, split: str) -> None:
        """Log each metric's mean over the replicas, and its standard deviation if there are several."""
        if not (batches := self._outputs.pop(split, [])):
            return  # a subclass overrides the steps
        logits, labels = (torch.cat(column, dim=-1) for column in zip(*batches, strict=True))
        if split == "val" and len(labels) > 1:
            self.replica_metrics["val/dead"] = (logits == logits[:, :1]).all(dim=1).cpu().float()
        for name, values in compute_metrics(self.metrics, logits, labels).items():
            if name == "loss" and not values.isfinite().all():
                seed, lr = self.seeds[int(values.isfinite().int().argmin())], self.hparams["lr"]
                sentence = f"{split}/loss of seed {seed} is no longer finite in epoch {self.current_epoch + 1}"
                raise InputError(f"{sentence}; a learning rate below model.lr={lr} keeps it finite")
            self.replica_metrics[f"{split}/{name}"] = values.cpu()
            self.log(f"{split}/{name}", values.mean(), sync_dist=True)
            if len(values) > 1:
                self.log(f"{split}/{name}_sd", values.std(), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """Build the optimizer and, unless the learning rate is constant, a scheduler that acts every step."""
        options, name = self.hparams, self.hparams["optimizer"]
        kind: Any = getattr(torch.optim, name)
        known = options["weight_decay"] or "weight_decay" in inspect.signature(kind).parameters
        decay = {"weight_decay": options["weight_decay"]} if known else {}
        try:
            optimizer = kind(self.network.parameters(), lr=options["lr"], **decay)
        except (TypeError, ValueError) as error:
            raise InputError(f"model.optimizer={name} does not fit: {error}") from error
        if options["schedule"] == "constant":
            return optimizer
        steps = self.trainer.estimated_stepping_batches
        if math.isinf(steps):
            raise InputError("model.schedule=cosine needs an end: set trainer.max_epochs or trainer.max_steps")
        scheduler = CosineAnnealingLR(optimizer, int(steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

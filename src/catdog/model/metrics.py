"""Loss and metrics, from logits."""

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import BinaryAccuracy


class BinaryCrossEntropy(Metric):
    """Mean binary cross-entropy of logits (photos,) and targets (photos,), over all photos and processes."""

    full_state_update = False
    total: Tensor
    photos: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("photos", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add some photos."""
        self.total += cross_entropy(logits, target.to(logits.dtype))
        self.photos += target.numel()

    def compute(self) -> Tensor:
        """Compute the mean, float32 scalar."""
        return self.total / self.photos


def build_metrics() -> MetricCollection:
    """Build the metrics of every split; one added here reaches TensorBoard, metrics.json and the study's table.

    An update gets `preds` (probabilities of class 1), `target` (0 or 1) and `logits`, each (photos,); a metric takes
    those that it names.
    """
    return MetricCollection({"loss": BinaryCrossEntropy(), "acc": BinaryAccuracy(validate_args=False)})


def cross_entropy(logits: Tensor, labels: Tensor, reduction: str = "sum") -> Tensor:
    """Compute the binary cross-entropy of logits (…, photos) and labels (photos,), summed or ("none") of each."""
    return functional.binary_cross_entropy_with_logits(logits, labels.expand_as(logits), reduction=reduction)


def mean_logits(logits: Tensor, dim: int) -> Tensor:
    """Compute the logit of the mean probability along an axis, without rounding probabilities near 0 or 1."""
    yes, no = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    return yes.logsumexp(dim) - no.logsumexp(dim)

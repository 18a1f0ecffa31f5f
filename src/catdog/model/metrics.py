"""Loss and metrics, from logits."""

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import BinaryAccuracy


def build_metrics() -> MetricCollection:
    """Build the metrics of every split; one added here reaches TensorBoard, metrics.json and the study's table.

    An update gets `preds` (probabilities of class 1), `target` (0 or 1) and `value` (binary cross-entropy), each
    (photos,); a metric takes those that it names.
    """
    loss = MeanMetric(nan_strategy="disable")  # a loss that is not finite is to be seen
    return MetricCollection({"loss": loss, "acc": BinaryAccuracy(validate_args=False)})


def compute_metrics(metrics: MetricCollection, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Compute each metric of each replica, (replicas,), from logits (replicas, photos) and labels (photos,)."""
    computed = []
    for own in logits:
        metrics.update(preds=own.sigmoid(), target=labels.int(), value=cross_entropy(own, labels, "none"))
        computed.append(metrics.compute())
        metrics.reset()
    return {name: torch.stack([own[name] for own in computed]) for name in computed[0]}


def cross_entropy(logits: Tensor, labels: Tensor, reduction: str = "sum") -> Tensor:
    """Compute the binary cross-entropy of logits (…, photos) and labels (photos,), summed or ("none") of each."""
    return functional.binary_cross_entropy_with_logits(logits, labels.expand_as(logits), reduction=reduction)


def mean_logits(logits: Tensor, dim: int) -> Tensor:
    """Compute the logit of the mean probability along an axis, without rounding probabilities near 0 or 1."""
    yes, no = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    return yes.logsumexp(dim) - no.logsumexp(dim)

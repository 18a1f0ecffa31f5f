"""Loss and metrics, computed from logits."""

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import BinaryAccuracy


def build_metrics() -> MetricCollection:
    """Build the metrics of all splits; those added here appear in TensorBoard, metrics.json and comparison.csv.

    Updates pass `preds` (probabilities of class 1), `target` (0 or 1) and `value` (binary cross-entropy), each
    (photos,); torchmetrics gives each metric the ones in its signature.
    """
    loss = MeanMetric(nan_strategy="disable")  # so that a NaN loss is not ignored
    return MetricCollection({"loss": loss, "acc": BinaryAccuracy(validate_args=False)})


def compute_metrics(metrics: MetricCollection, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Compute each metric of each replica, (replicas,), from logits (replicas, photos) and labels (photos,)."""
    computed = []
    for replica in logits:
        metrics.update(preds=replica.sigmoid(), target=labels.int(), value=cross_entropy(replica, labels, "none"))
        computed.append(metrics.compute())
        metrics.reset()
    return {name: torch.stack([values[name] for values in computed]) for name in computed[0]}


def cross_entropy(logits: Tensor, labels: Tensor, reduction: str = "sum") -> Tensor:
    """Compute the binary cross-entropy of logits (…, photos) and labels (photos,), summed, or per photo ("none")."""
    return functional.binary_cross_entropy_with_logits(logits, labels.expand_as(logits), reduction=reduction)


def mean_logits(logits: Tensor, dim: int) -> Tensor:
    """Compute the logit of the mean probability over `dim`, accurate also for probabilities near 0 or 1."""
    yes, no = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    return yes.logsumexp(dim) - no.logsumexp(dim)

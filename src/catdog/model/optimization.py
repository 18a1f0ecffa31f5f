"""Optimizers by name, and the learning rate's schedule."""

import math
from inspect import signature
from typing import Any, cast

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from catdog.errors import InputError

OPTIMIZERS = sorted(  # all but SparseAdam, which takes sparse gradients alone
    {name for name, value in vars(torch.optim).items() if isinstance(value, type)} - {"Optimizer", "SparseAdam"}
)


def build_optimizer(network: nn.Module, name: str, lr: float, weight_decay: float) -> Optimizer:
    """Build an optimizer of `torch.optim`; `weight_decay` above 0 is refused for one that has none."""
    kind: Any = getattr(torch.optim, name)
    decay = {"weight_decay": weight_decay} if weight_decay or "weight_decay" in signature(kind).parameters else {}
    try:
        return cast(Optimizer, kind(network.parameters(), lr=lr, **decay))
    except (TypeError, ValueError) as error:
        raise InputError(f"model.optimizer={name} does not fit: {error}") from error


def cosine(optimizer: Optimizer, steps: float) -> LambdaLR:
    """Build a schedule over all steps of the training: half a cosine down to 0; Loshchilov & Hutter (2017).

    Raises:
        InputError: the training has no end.
    """
    if math.isinf(steps):
        raise InputError("model.schedule=cosine needs an end: set trainer.max_epochs or trainer.max_steps")
    return LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * min(step / steps, 1))))

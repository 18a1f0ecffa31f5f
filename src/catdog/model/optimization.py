"""Optimizers by name."""

from inspect import signature
from typing import Any, cast

import torch
from torch import nn
from torch.optim import Optimizer

from catdog.errors import InputError

OPTIMIZERS = sorted(  # without SparseAdam, which needs sparse gradients
    {name for name, value in vars(torch.optim).items() if isinstance(value, type)} - {"Optimizer", "SparseAdam"}
)


def build_optimizer(network: nn.Module, name: str, lr: float, weight_decay: float) -> Optimizer:
    """Build an optimizer of `torch.optim`; refuse `weight_decay` above 0 if the optimizer has no such argument."""
    kind: Any = getattr(torch.optim, name)
    decay = {"weight_decay": weight_decay} if weight_decay or "weight_decay" in signature(kind).parameters else {}
    try:
        return cast(Optimizer, kind(network.parameters(), lr=lr, **decay))
    except (TypeError, ValueError) as error:
        raise InputError(f"model.optimizer={name} does not fit: {error}") from error

"""Optimizers by name, and the learning rate's course over the training steps."""

import math
from typing import Any

import torch
from torch import nn

from catdog.errors import InputError, check_choice, check_number
from catdog.network import FullyConnected, ReplicatedLinear

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("constant", "cosine")


def check_options(lr: float, optimizer: str, weight_decay: float, schedule: str, warmup: float) -> None:
    """Raise an InputError unless these arguments of the classifier make sense."""
    if isinstance(lr, bool) or not isinstance(lr, int | float) or not 0 < lr < float("inf"):
        raise InputError(f"model.lr must be a number above 0, got {lr!r}")
    check_choice("model.optimizer", optimizer, OPTIMIZERS)
    check_number("model.weight_decay", weight_decay, least=0, below=float("inf"))
    check_choice("model.schedule", schedule, SCHEDULES)
    check_number("model.warmup", warmup, least=0, below=1)


def build_optimizer(network: FullyConnected, name: str, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Plain SGD, or AdamW (Loshchilov & Hutter, 2019); only what inputs are weighed with decays."""
    weights: list[nn.Parameter] = [layer.weight for layer in network.layers if isinstance(layer, ReplicatedLinear)]
    decaying = set(map(id, weights)) if weight_decay else set()  # one group, where none decays, makes faster steps
    others = [parameter for parameter in network.parameters() if id(parameter) not in decaying]
    groups: list[dict[str, Any]] = [{"params": others, "weight_decay": 0.0}]
    if decaying:
        groups.append({"params": weights, "weight_decay": weight_decay})
    return torch.optim.SGD(groups, lr=lr) if name == "sgd" else torch.optim.AdamW(groups, lr=lr, fused=True)


def learning_rate_factor(step: int, steps: int, warmup: float) -> float:
    """What the learning rate is multiplied with: a straight rise to 1, then half a cosine down to 0.

    A function of the step alone, so a resumed run goes on as it would have. Loshchilov & Hutter (2017), without
    restarts.

    Args:
        step: from 0.
        steps: of the whole training.
        warmup: share of the steps in which the rate rises.
    """
    rise = warmup * steps
    if step < rise:
        return min((step + 1) / rise, 1)
    return 0.5 * (1 + math.cos(math.pi * min((step - rise) / (steps - rise), 1)))

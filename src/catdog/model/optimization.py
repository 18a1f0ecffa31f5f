"""Optimizers by name, and the learning rate's schedule."""

import math

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from catdog.errors import InputError, check_choice, check_number
from catdog.model.network import FullyConnected

OPTIMIZERS = sorted(  # all but SparseAdam, which takes sparse gradients alone
    {name for name, value in vars(torch.optim).items() if isinstance(value, type)} - {"Optimizer", "SparseAdam"}
)
SCHEDULES = ("constant", "cosine")


def check_options(lr: float, optimizer: str, weight_decay: float, schedule: str, warmup: float) -> None:
    """Raise an InputError unless these arguments of the classifier make sense."""
    check_number("model.lr", lr, above=0)
    check_choice("model.optimizer", optimizer, OPTIMIZERS)
    check_number("model.weight_decay", weight_decay, least=0)
    check_choice("model.schedule", schedule, SCHEDULES)
    check_number("model.warmup", warmup, least=0, below=1)


def build_optimizer(network: FullyConnected, name: str, lr: float, weight_decay: float) -> Optimizer:
    """Build an optimizer of `torch.optim` in which the weights of linear layers decay, and nothing else."""
    weights = [layer.weight for layer in network.linears]
    others = [parameter for parameter in network.parameters() if all(parameter is not weight for weight in weights)]
    decaying = {"params": weights, "weight_decay": weight_decay}
    groups = [{"params": others, "weight_decay": 0.0}, decaying] if weight_decay else [{"params": others + weights}]
    try:
        return getattr(torch.optim, name)(groups, lr=lr)
    except (TypeError, ValueError) as error:
        raise InputError(f"model.optimizer={name} does not fit these nets: {error}") from error


def cosine(optimizer: Optimizer, steps: float, warmup: float) -> LambdaLR:
    """Build a schedule over all steps of the training: warmup, then a cosine; see `cosine_factor`.

    Raises:
        InputError: the training has no end.
    """
    if math.isinf(steps):
        raise InputError("model.schedule=cosine needs an end: set trainer.max_epochs or trainer.max_steps")
    return LambdaLR(optimizer, lambda step: cosine_factor(step, int(steps), warmup))


def cosine_factor(step: int, steps: int, warmup: float) -> float:
    """Compute the learning rate's factor: a straight rise to 1, then half a cosine down to 0.

    Loshchilov & Hutter (2017), without restarts.

    Args:
        step: from 0.
        steps: of the whole training.
        warmup: fraction of the steps in which the rate rises.
    """
    rise = warmup * steps
    if step < rise:
        return min((step + 1) / rise, 1)
    return 0.5 * (1 + math.cos(math.pi * min((step - rise) / (steps - rise), 1)))

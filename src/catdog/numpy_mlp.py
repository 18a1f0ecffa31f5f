"""Fully connected network in NumPy, with forward and backward propagation written by hand, without autograd.

`docs/from-scratch.md` derives the formulas. A photo is a column: `X` and every `Z` and `A` are float64 (units, m) for m
photos; labels and logits are (1, m). A layer of n units after one of n_prev units has weights `W` (n, n_prev) and a
bias `b` (n, 1). `dZ` and `dA` are derivatives of each photo's loss, `dW` and `db` of the batch's mean loss, so its
1/m appears only in `linear_backward`. No function changes its arguments. Invalid arguments raise a ValueError.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from catdog.errors import check_choice

Floats = NDArray[np.float64]
Layers = list[tuple[Floats, Floats]]  # (W, b) of every layer, or (dW, db)


def linear_forward(A_prev: Floats, W: Floats, b: Floats) -> Floats:
    """Compute Z = W·A_prev + b, (n, m), from A_prev (n_prev, m), W (n, n_prev) and b (n, 1)."""
    n, n_prev, m = len(W), W.shape[-1], A_prev.shape[-1]
    _check("the shapes of A_prev, W, b", [A_prev.shape, W.shape, b.shape], [(n_prev, m), (n, n_prev), (n, 1)])
    return W @ A_prev + b


def linear_backward(dZ: Floats, A_prev: Floats, W: Floats) -> tuple[Floats, Floats, Floats]:
    """Compute dA_prev = Wᵀ·dZ (n_prev, m), dW = dZ·A_prevᵀ / m (n, n_prev) and db = row means of dZ (n, 1)."""
    n, n_prev, m = len(W), W.shape[-1], A_prev.shape[-1]
    _check("the shapes of dZ, A_prev, W", [dZ.shape, A_prev.shape, W.shape], [(n, m), (n_prev, m), (n, n_prev)])
    return W.T @ dZ, dZ @ A_prev.T / m, dZ.sum(axis=1, keepdims=True) / m


def relu(Z: Floats) -> Floats:
    """Compute A = max(0, Z), any shape."""
    return np.maximum(Z, 0.0)


def relu_backward(dA: Floats, Z: Floats) -> Floats:
    """Compute dZ = dA where Z > 0, else 0; the derivative at Z = 0 is taken as 0, as in PyTorch."""
    _check("the shape of dA", dA.shape, Z.shape)
    return np.where(Z > 0, dA, 0.0)


def sigmoid(Z: Floats) -> Floats:
    """Compute A = σ(Z) = 1 / (1 + exp(-Z)), any shape; no overflow, because only -|Z| is exponentiated."""
    e = np.exp(-np.abs(Z))
    return np.where(Z >= 0, 1.0, e) / (1.0 + e)


def sigmoid_backward(dA: Floats, Z: Floats) -> Floats:
    """Compute dZ = dA · σ(Z) · σ(-Z), where σ(-Z) = 1 - σ(Z) without cancellation as σ(Z) nears 1."""
    _check("the shape of dA", dA.shape, Z.shape)
    return dA * sigmoid(Z) * sigmoid(-Z)


ACTIVATIONS: dict[str, tuple[Callable[[Floats], Floats], Callable[[Floats, Floats], Floats]]] = {
    "relu": (relu, relu_backward),
    "sigmoid": (sigmoid, sigmoid_backward),
    "identity": (lambda Z: Z, lambda dA, Z: dA),  # for the output layer, because the loss takes logits
}


class Cache(NamedTuple):
    """Values of a layer's forward pass that its backward pass needs."""

    A_prev: Floats
    W: Floats
    Z: Floats
    activation: str


def layer_forward(A_prev: Floats, W: Floats, b: Floats, activation: str) -> tuple[Floats, Cache]:
    """Compute one layer, linear then activation; return A (n, m) and the cache for `layer_backward`."""
    check_choice("activation", activation, ACTIVATIONS)
    Z = linear_forward(A_prev, W, b)
    return ACTIVATIONS[activation][0](Z), Cache(A_prev, W, Z, activation)


def layer_backward(dA: Floats, cache: Cache) -> tuple[Floats, Floats, Floats]:
    """Propagate dA (n, m) back through one layer; return dA_prev, dW and db."""
    dZ = ACTIVATIONS[cache.activation][1](dA, cache.Z)
    return linear_backward(dZ, cache.A_prev, cache.W)


def forward(X: ArrayLike, parameters: Layers, activation: str = "relu") -> tuple[Floats, list[Cache]]:
    """Compute the logits (1, m) from X (features, m), and a cache per layer; `activation` is the hidden layers'."""
    if not parameters:
        raise ValueError("parameters: got an empty list; allowed is one (W, b) or more, as `initial_parameters` draws")
    A = np.asarray_chkfinite(X, dtype=np.float64)
    caches: list[Cache] = []
    for W, b in parameters:
        A, cache = layer_forward(A, W, b, activation if len(caches) < len(parameters) - 1 else "identity")
        caches.append(cache)
    return A, caches


def backward(dlogits: Floats, caches: Sequence[Cache]) -> Layers:
    """Compute (dW, db) of every layer, in layer order, from the derivatives by the logits (`bce_backward`)."""
    dA, gradients = dlogits, []
    for cache in reversed(caches):
        dA, dW, db = layer_backward(dA, cache)
        gradients.append((dW, db))
    return gradients[::-1]


def bce(logits: Floats, labels: ArrayLike) -> float:
    """Compute the mean cross-entropy over photos, as max(z, 0) - z·y + log(1 + exp(-|z|)), which never overflows."""
    y = _check_labels(labels, np.shape(logits))
    return float(np.mean(np.maximum(logits, 0.0) - logits * y + np.log1p(np.exp(-np.abs(logits)))))


def bce_backward(logits: Floats, labels: ArrayLike) -> Floats:
    """Compute σ(z) - y, the derivative of each photo's cross-entropy by its logit, shaped like the logits."""
    return sigmoid(logits) - _check_labels(labels, np.shape(logits))


def sgd_update(parameters: Layers, gradients: Layers, lr: float) -> Layers:
    """Compute W - lr·dW and b - lr·db of every layer, as new arrays."""
    _check("the shapes of gradients", *([(W.shape, b.shape) for W, b in layers] for layers in (gradients, parameters)))
    return [(W - lr * dW, b - lr * db) for (W, b), (dW, db) in zip(parameters, gradients, strict=True)]


def initial_parameters(widths: Sequence[int], rng: np.random.Generator) -> Layers:
    """Draw (W, b) of every layer uniformly from ±1/√n_prev, as `nn.Linear` does; `widths` run from input to output."""
    limits = [(n, n_prev, n_prev**-0.5) for n_prev, n in pairwise(widths)]
    return [(rng.uniform(-r, r, (n, n_prev)), rng.uniform(-r, r, (n, 1))) for n, n_prev, r in limits]


def train_step(X: ArrayLike, labels: ArrayLike, parameters: Layers, lr: float) -> tuple[float, Layers]:
    """Take one SGD step with ReLU hidden layers; return the loss before it and the parameters after it."""
    logits, caches = forward(X, parameters)
    gradients = backward(bce_backward(logits, labels), caches)
    return bce(logits, labels), sgd_update(parameters, gradients, lr)


def _check(name: str, got: object, allowed: object) -> None:
    if got != allowed:
        raise ValueError(f"{name}: got {got}; allowed is {allowed}")


def _check_labels(labels: ArrayLike, shape: tuple[int, ...]) -> Floats:
    y = np.asarray(labels)
    _check("the shape of labels", y.shape, shape)
    if (wrong := y[(y != 0) & (y != 1)]).size or not y.size:
        raise ValueError(f"labels: got {np.unique(wrong)[:5]}; allowed are 0 and 1")
    return y.astype(np.float64)

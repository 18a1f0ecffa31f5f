"""A fully connected network with forward and backward propagation written out by hand, in NumPy, without autograd.

The conventions of this file (`docs/from-scratch.md` derives its formulas):

- A photo is a column: `X` and every `Z` and `A` are float64 (units, m), m photos; labels and logits are (1, m).
- A layer of n units after one of n_prev has weights `W` (n, n_prev) and a bias `b` (n, 1). `parameters` is the list of
  every layer's (W, b), `gradients` the list of every layer's (dW, db).
- `dZ` and `dA` are derivatives of each photo's own loss, one column per photo; `dW` and `db` are those of the batch's
  mean loss. So the mean's 1/m is in `linear_backward`, where photos are summed, and nowhere else.
- No function changes its arguments. Arguments that make no sense raise a ValueError.

`train_step` puts the functions together.
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
    """Z = W·A_prev + b, (n, m), for A_prev (n_prev, m), W (n, n_prev) and b (n, 1)."""
    n, n_prev, m = len(W), W.shape[-1], A_prev.shape[-1]
    _check("the shapes of A_prev, W, b", [A_prev.shape, W.shape, b.shape], [(n_prev, m), (n, n_prev), (n, 1)])
    return W @ A_prev + b


def linear_backward(dZ: Floats, A_prev: Floats, W: Floats) -> tuple[Floats, Floats, Floats]:
    """From dZ (n, m): dA_prev = Wᵀ·dZ (n_prev, m), dW = dZ·A_prevᵀ / m (n, n_prev), db = row sums of dZ / m (n, 1)."""
    n, n_prev, m = len(W), W.shape[-1], A_prev.shape[-1]
    _check("the shapes of dZ, A_prev, W", [dZ.shape, A_prev.shape, W.shape], [(n, m), (n_prev, m), (n, n_prev)])
    return W.T @ dZ, dZ @ A_prev.T / m, dZ.sum(axis=1, keepdims=True) / m


def relu(Z: Floats) -> Floats:
    """A = max(0, Z), any shape."""
    return np.maximum(Z, 0.0)


def relu_backward(dA: Floats, Z: Floats) -> Floats:
    """From dA: dZ = dA where Z > 0, else 0; at the kink, Z = 0, the derivative is taken to be 0, as in PyTorch."""
    _check("the shape of dA", dA.shape, Z.shape)
    return np.where(Z > 0, dA, 0.0)


def sigmoid(Z: Floats) -> Floats:
    """A = σ(Z) = 1 / (1 + exp(-Z)), any shape. No Z overflows, as only numbers up to 0 are exponentiated."""
    e = np.exp(-np.abs(Z))
    return np.where(Z >= 0, 1.0, e) / (1.0 + e)


def sigmoid_backward(dA: Floats, Z: Floats) -> Floats:
    """From dA: dZ = dA · σ(Z) · (1 - σ(Z)), with 1 - σ(Z) as σ(-Z), which keeps its digits where σ(Z) is nearly 1."""
    _check("the shape of dA", dA.shape, Z.shape)
    return dA * sigmoid(Z) * sigmoid(-Z)


ACTIVATIONS: dict[str, tuple[Callable[[Floats], Floats], Callable[[Floats, Floats], Floats]]] = {
    "relu": (relu, relu_backward),
    "sigmoid": (sigmoid, sigmoid_backward),
    "identity": (lambda Z: Z, lambda dA, Z: dA),  # the output layer's, because the loss takes logits
}


class Cache(NamedTuple):
    """Values of a layer's forward step that its backward step needs."""

    A_prev: Floats
    W: Floats
    Z: Floats
    activation: str


def layer_forward(A_prev: Floats, W: Floats, b: Floats, activation: str) -> tuple[Floats, Cache]:
    """One layer, linear combination then activation: A (n, m), and the cache for `layer_backward`."""
    check_choice("activation", activation, ACTIVATIONS)
    Z = linear_forward(A_prev, W, b)
    return ACTIVATIONS[activation][0](Z), Cache(A_prev, W, Z, activation)


def layer_backward(dA: Floats, cache: Cache) -> tuple[Floats, Floats, Floats]:
    """One layer backward, activation then linear combination: dA_prev, dW and db, from dA (n, m)."""
    dZ = ACTIVATIONS[cache.activation][1](dA, cache.Z)
    return linear_backward(dZ, cache.A_prev, cache.W)


def forward(X: ArrayLike, parameters: Layers, activation: str = "relu") -> tuple[Floats, list[Cache]]:
    """All layers, `activation` in the hidden ones: from X (features, m) the logits (1, m), and a cache per layer."""
    if not parameters:
        raise ValueError("parameters: got an empty list; allowed is one (W, b) or more, such as `fit` leaves")
    A = np.asarray_chkfinite(X, dtype=np.float64)
    caches: list[Cache] = []
    for W, b in parameters:
        A, cache = layer_forward(A, W, b, activation if len(caches) < len(parameters) - 1 else "identity")
        caches.append(cache)
    return A, caches


def backward(dlogits: Floats, caches: Sequence[Cache]) -> Layers:
    """All layers, last to first: every layer's (dW, db), the first layer's first, from what `bce_backward` gives."""
    dA, gradients = dlogits, []
    for cache in reversed(caches):
        dA, dW, db = layer_backward(dA, cache)
        gradients.append((dW, db))
    return gradients[::-1]


def bce(logits: Floats, labels: ArrayLike) -> float:
    """Binary cross-entropy -y·log σ(z) - (1 - y)·log(1 - σ(z)) of logits z and labels y, mean over the photos.

    Written as max(z, 0) - z·y + log(1 + exp(-|z|)), which is the same and never overflows.
    """
    y = _check_labels(labels, np.shape(logits))
    return float(np.mean(np.maximum(logits, 0.0) - logits * y + np.log1p(np.exp(-np.abs(logits)))))


def bce_backward(logits: Floats, labels: ArrayLike) -> Floats:
    """σ(z) - y: the derivative of each photo's own cross-entropy by its logit, in the logits' shape."""
    return sigmoid(logits) - _check_labels(labels, np.shape(logits))


def sgd_update(parameters: Layers, gradients: Layers, lr: float) -> Layers:
    """One step of gradient descent: W - lr·dW and b - lr·db of every layer, as new arrays."""
    shapes = [[(W.shape, b.shape) for W, b in layers] for layers in (gradients, parameters)]
    _check("the shapes of gradients", *shapes)
    return [(W - lr * dW, b - lr * db) for (W, b), (dW, db) in zip(parameters, gradients, strict=True)]


def initial_parameters(widths: Sequence[int], rng: np.random.Generator) -> Layers:
    """(W, b) of every layer, for all widths from input to output: uniform within ±1/√n_prev, as in PyTorch's `Linear`.

    They have to differ: equal units of a layer would get equal gradients and stay equal for ever.
    """
    limits = [(n, n_prev, n_prev**-0.5) for n_prev, n in pairwise(widths)]
    return [(rng.uniform(-r, r, (n, n_prev)), rng.uniform(-r, r, (n, 1))) for n, n_prev, r in limits]


def train_step(X: ArrayLike, labels: ArrayLike, parameters: Layers, lr: float) -> tuple[float, Layers]:
    """One training step: the batch's loss before it, and the parameters after it, with ReLU in the hidden layers."""
    logits, caches = forward(X, parameters)
    gradients = backward(bce_backward(logits, labels), caches)
    return bce(logits, labels), sgd_update(parameters, gradients, lr)


def _check(what: str, got: object, allowed: object) -> None:
    if got != allowed:
        raise ValueError(f"{what}: got {got}; allowed is {allowed}")


def _check_labels(labels: ArrayLike, shape: tuple[int, ...]) -> Floats:
    y = np.asarray(labels)
    _check("the shape of labels", y.shape, shape)
    if (wrong := y[(y != 0) & (y != 1)]).size or not y.size:
        raise ValueError(f"labels: got {np.unique(wrong)[:5]}; allowed are 0 and 1")
    return y.astype(np.float64)

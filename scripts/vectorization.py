"""Measure vectorisation: `python scripts/vectorization.py` lists the six loops of training and times three of them.

It vectorises the three removable loops one at a time, innermost first, and checks that the results stay the same.
"""

import argparse
import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from catdog import numpy_mlp as by_hand
from catdog.cli import one_line_errors
from catdog.errors import InputError, check_whole_number
from catdog.numpy_mlp import Floats, Layers

Result = tuple[float, Layers]  # the batch's loss and its gradients
TOLERANCE = 1e-12  # maximum absolute difference of results, due to rounding
PHOTOS, EPOCHS = 1600, 10  # of the exercise's training; for the table of loops only


def forward_with_feature_loop(W: Any, b: Any, a: Any) -> list[float]:
    """Compute z = W·a + b for one photo, with loops over neurons and features."""
    z = []
    for w_j, b_j in zip(W, b, strict=True):  # neuron
        z_j = b_j
        for k in range(len(a)):  # feature
            z_j += w_j[k] * a[k]
        z.append(z_j)
    return z


def backward_with_feature_loop(dz: Any, a: Any, W: Any, dW: Any, db: Any, m: int) -> list[float]:
    """Compute da = Wᵀ·dz for one photo with both loops; add dz·aᵀ / m to dW and dz / m to db in place."""
    da = [0.0] * len(a)
    for j in range(len(W)):  # neuron
        dz_j, w_j, dw_j, share = dz[j], W[j], dW[j], dz[j] / m
        for k in range(len(a)):  # feature
            da[k] += w_j[k] * dz_j
            dw_j[k] += share * a[k]
        db[j] += share
    return da


def forward_with_neuron_loop(W: Any, b: Any, a: Any) -> Floats:
    """Compute z with a loop over neurons only: one dot product each."""
    return np.array([w_j @ a + b_j for w_j, b_j in zip(W, b, strict=True)])  # neuron


def backward_with_neuron_loop(dz: Any, a: Any, W: Any, dW: Any, db: Any, m: int) -> Floats:
    """Compute da, and add to dW and db, with a loop over neurons only."""
    da = np.zeros(len(a))
    for j in range(len(W)):  # neuron
        da += W[j] * dz[j]
        dW[j] += dz[j] / m * a
        db[j] += dz[j] / m
    return da


def backward_with_matrix(dz: Any, a: Any, W: Any, dW: Any, db: Any, m: int) -> Floats:
    """Compute da, and add to dW and db, with matrix products and no loop."""
    dW += np.outer(dz / m, a)
    db += dz / m
    return W.T @ dz


class Layer(NamedTuple):
    """Implementation of a layer for one photo: forward, backward, and its number container."""

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    store: Callable[[Floats], Any]


FEATURE_LOOP = Layer(forward_with_feature_loop, backward_with_feature_loop, np.ndarray.tolist)  # indexing lists
NEURON_LOOP = Layer(forward_with_neuron_loop, backward_with_neuron_loop, np.asarray)  # is faster than indexing arrays
MATRIX = Layer(lambda W, b, a: W @ a + b, backward_with_matrix, np.asarray)


def by_sample(photos: Any, labels: Floats, layers: Sequence[Any], layer: Layer) -> Result:
    """Compute loss and gradients of a batch, with loops over samples and layers around those in `layer`.

    `photos` are (m, features), `labels` (m, 1), `layers` pairs of W (n, n_prev) and b (n,), in containers made by
    `layer.store`. Activation and loss are those of `catdog.numpy_mlp`.
    """
    m, loss = len(photos), 0.0
    gradients = [(layer.store(np.zeros(np.shape(W))), layer.store(np.zeros(len(b)))) for W, b in layers]
    for photo, label in zip(photos, labels, strict=True):  # sample
        a, inputs, outputs = photo, [], []
        for W, b in layers:  # layer
            inputs.append(a)
            outputs.append(np.asarray(layer.forward(W, b, a)))
            a = layer.store(by_hand.relu(outputs[-1]))
        loss += by_hand.bce(outputs[-1], label) / m
        dz = layer.store(by_hand.bce_backward(outputs[-1], label))
        for number in reversed(range(len(layers))):  # layer
            da = layer.backward(dz, inputs[number], layers[number][0], *gradients[number], m)
            if number:
                dz = layer.store(by_hand.relu_backward(np.asarray(da), outputs[number - 1]))
    return loss, [(np.array(dW), np.array(db)[:, np.newaxis]) for dW, db in gradients]


def by_batch(X: Floats, labels: Floats, parameters: Layers) -> Result:
    """Compute loss and gradients of a batch by `catdog.numpy_mlp`: photos are columns, the only loop is over layers."""
    logits, caches = by_hand.forward(X, parameters)
    return by_hand.bce(logits, labels), by_hand.backward(by_hand.bce_backward(logits, labels), caches)


def measure(inputs: int, hidden: Sequence[int], batch_size: int, budget: float) -> dict[str, float]:
    """Time all variants on one random batch, `budget` seconds each; return {loops besides layer: seconds}.

    Raises:
        InputError: results differ by more than rounding.
    """
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (batch_size, inputs)).T
    labels = rng.integers(0, 2, (1, batch_size)).astype(np.float64)
    parameters = by_hand.initial_parameters([inputs, *hidden, 1], rng)

    def loops(layer: Layer) -> Callable[[], Result]:
        photos, layers = layer.store(X.T), [(layer.store(W), layer.store(b[:, 0])) for W, b in parameters]
        return lambda: by_sample(photos, labels.T, layers, layer)

    variants = {
        "sample, neuron, feature": loops(FEATURE_LOOP),
        "sample, neuron": loops(NEURON_LOOP),
        "sample": loops(MATRIX),
        "none": lambda: by_batch(X, labels, parameters),
    }
    expected = by_batch(X, labels, parameters)
    return {name: _fastest(compute, budget, expected) for name, compute in variants.items()}


def _fastest(compute: Callable[[], Result], budget: float, expected: Result) -> float:
    times: list[float] = []
    while not times or sum(times) < budget:
        started = time.perf_counter()
        loss, gradients = compute()
        times.append(time.perf_counter() - started)
    differences = [np.abs(one - other).max() for one, other in zip(chain(*gradients), chain(*expected[1]), strict=True)]
    if (worst := max(abs(loss - expected[0]), *differences)) > TOLERANCE:
        raise InputError(f"the results differ by {worst:.1e}, more than the {TOLERANCE} that rounding explains")
    return min(times)


def loops_table(widths: Sequence[int], batch_size: int) -> str:
    """Build a Markdown table of the six loops, outermost first."""
    names = [f"{width:,}" for width in widths]
    steps = math.ceil(PHOTOS / batch_size)
    rows = [
        ("epoch", "passes over the photos", f"{EPOCHS}", "no: each starts with the weights of the one before"),
        ("batch", "steps of an epoch", f"{steps}", "no: each needs the weights of the one before"),
        ("sample", "photos of a batch", f"{batch_size}", "yes: all meet the same weights; columns of a matrix"),
        ("layer", "layers of the net", f"{len(widths) - 1}", "no: each needs what the one before puts out"),
        ("neuron", "units of a layer", ", ".join(names[1:]), "yes: none needs another; rows of a matrix"),
        ("feature", "numbers into a unit", ", ".join(names[:-1]), "yes: Σ w·a is a product of two vectors"),
    ]
    return _table(("loop", "over", "how many here", "does vectorising remove it?"), rows)


def times_table(seconds: dict[str, float]) -> str:
    """Build a Markdown table of the times and speed-ups."""
    slowest, rows = max(seconds.values()), []
    for (_, before), (loops, now) in pairwise([("", slowest), *seconds.items()]):
        rows.append((loops, _time(now), f"{_number(before / now)} ×", f"{_number(slowest / now)} ×"))
    return _table(("loops besides layer", "time", "gain", "gain in all"), rows)


def chart(seconds: dict[str, float], title: str) -> Figure:
    """Plot the times as dots on a logarithmic axis, and each removed loop's speed-up between them."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    axes = figure.subplots()
    values = list(seconds.values())
    axes.plot(values, list(seconds), "o", markersize=10)
    for number, value in enumerate(values):
        axes.annotate(_time(value), (value, number), (10, 0), textcoords="offset points", va="center", weight="bold")
    for number, ((loops, before), (_, now)) in enumerate(pairwise(seconds.items())):
        gain = f"{loops.split(', ')[-1]} loop gone: {_number(before / now)} × as fast"
        axes.annotate(gain, (now, number + 0.5), (10, 0), textcoords="offset points", va="center", color="tab:green")
    axes.set(xscale="log", xlim=(min(values) / 2, max(values) * 4), xlabel="seconds (logarithmic)")
    axes.set(ylabel="loops besides layer", title=title)
    axes.set_ylim(len(values) - 0.6, -0.4)
    axes.grid(alpha=0.3)
    return figure


def _time(seconds: float) -> str:
    return f"{_number(seconds)} s" if seconds >= 1 else f"{_number(seconds * 1000)} ms"


def _number(value: float) -> str:
    """Format a number with three significant digits."""
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}"


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, tuple("-" * width for width in widths), *rows]
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)


def main() -> None:
    """Parse the command line, print the tables, save the chart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, nargs="*", default=[5, 5, 3], help="hidden widths; none: no hidden layer")
    parser.add_argument("--image-size", type=int, default=128, help="height and width of an RGB photo in pixels (128)")
    parser.add_argument("--batch-size", type=int, default=32, help="photos (32)")
    parser.add_argument("--seconds", type=float, default=2, help="time for each of the four variants (2)")
    parser.add_argument("--output", type=Path, default=Path("outputs/vectorization.png"), help="where the chart goes")
    arguments = parser.parse_args()
    hidden, batch_size, inputs = arguments.hidden, arguments.batch_size, 3 * arguments.image_size**2
    with one_line_errors():
        check_whole_number("--image-size", arguments.image_size, least=1)
        check_whole_number("--batch-size", batch_size, least=1)
        check_whole_number("every width of --hidden", min(hidden, default=1), least=1)
        net = " → ".join(f"{width:,}" for width in (inputs, *hidden, 1))
        title = f"One forward and backward pass of {net} on a batch of {batch_size}"
        print(f"The loops of an unvectorised network, outermost first, for {net} and {PHOTOS:,} photos:\n")
        print(f"{loops_table([inputs, *hidden, 1], batch_size)}\n\n{title}, in float64:\n")
        seconds = measure(inputs, hidden, batch_size, arguments.seconds)
        print(f"{times_table(seconds)}\n\nloss and gradients agree to {TOLERANCE}; numpy {np.__version__}", end=", ")
        print(f"Python {platform.python_version()}, OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')}")
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        chart(seconds, title).savefig(arguments.output, dpi=110)
        print(f"chart: {arguments.output}")


if __name__ == "__main__":
    main()

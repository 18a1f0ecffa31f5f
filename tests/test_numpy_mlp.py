"""The hand-written net against PyTorch's autograd, and how it behaves."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional

from catdog import numpy_mlp
from catdog.numpy_mlp import Layers, NumpyMLP, backward, bce, bce_backward, forward, initial_parameters, sgd_update
from conftest import ROOT

Floats = NDArray[np.float64]


@dataclass
class Case:
    """A random net with a random batch, photos as columns."""

    X: Floats
    labels: Floats
    parameters: Layers
    activation: str


@st.composite
def cases(draw: st.DrawFn) -> Case:
    features, photos = draw(st.integers(1, 6)), draw(st.integers(1, 8))
    widths = [features, *draw(st.lists(st.integers(1, 6), max_size=4)), 1]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = draw(st.sampled_from([0.5, 1.0, 2.0]))
    parameters = [(scale * W, scale * b) for W, b in initial_parameters(widths, rng)]
    X, labels = rng.normal(size=(features, photos)), rng.integers(0, 2, (1, photos)).astype(float)
    for array in (X, labels, *chain.from_iterable(parameters)):
        array.setflags(write=False)  # a function that changed what it is given would raise
    return Case(X, labels, parameters, draw(st.sampled_from(["relu", "sigmoid"])))


def torch_gradients(case: Case) -> tuple[Floats, float, Layers]:
    """Logits, loss and gradients by PyTorch's autograd in float64, with photos as rows."""
    layers = [(torch.tensor(W, requires_grad=True), torch.tensor(b, requires_grad=True)) for W, b in case.parameters]
    values = torch.tensor(case.X.T)
    for number, (weight, bias) in enumerate(layers, start=1):
        values = functional.linear(values, weight, bias.squeeze(1))
        if number < len(layers):
            values = getattr(torch, case.activation)(values)
    loss = functional.binary_cross_entropy_with_logits(values, torch.tensor(case.labels.T))
    slopes = torch.autograd.grad(loss, [*chain.from_iterable(layers)])
    gradients = [(weight.numpy(), bias.numpy()) for weight, bias in zip(slopes[::2], slopes[1::2], strict=True)]
    return values.detach().numpy().T, loss.item(), gradients


@settings(deadline=None, max_examples=100)
@given(case=cases())
def test_logits_loss_and_every_gradient_equal_autograd_and_nothing_given_is_changed(case: Case) -> None:
    expected_logits, expected_loss, expected = torch_gradients(case)
    logits, caches = forward(case.X, case.parameters, case.activation)
    np.testing.assert_allclose(logits, expected_logits, rtol=0, atol=1e-12)
    assert bce(logits, case.labels) == pytest.approx(expected_loss, rel=0, abs=1e-12)
    gradients = backward(bce_backward(logits, case.labels), caches)
    updated = sgd_update(case.parameters, gradients, lr=0.1)
    net = NumpyMLP([len(W) for W, _ in case.parameters[:-1]], activation=case.activation, lr=0.1)
    net.parameters = case.parameters
    stepped = net.partial_fit(case.X.T, case.labels[0]).parameters
    columns = (chain.from_iterable(layers) for layers in (case.parameters, gradients, expected, updated, stepped))
    for old, gradient, slope, new, own in zip(*columns, strict=True):
        np.testing.assert_allclose(gradient, slope, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(new, old - 0.1 * gradient)
        np.testing.assert_array_equal(own, new)


def test_the_page_computes_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/from-scratch.md").read_text(), flags=re.DOTALL)
    exec(code, {})
    measured, by_hand = capsys.readouterr().out.split()
    assert float(measured) == pytest.approx(float(by_hand), rel=1e-6)


def test_huge_logits_give_exact_losses_without_a_warning() -> None:
    logits, labels = np.array([[-1000.0, 1000.0, -1000.0, 1000.0]]), np.array([[0, 1, 1, 0]])
    with np.errstate(all="raise", under="ignore"):
        assert bce(logits, labels) == 500
        np.testing.assert_array_equal(bce_backward(logits, labels), [[0, 0, -1, 1]])
        np.testing.assert_array_equal(numpy_mlp.sigmoid(logits), [[0, 1, 0, 1]])
        np.testing.assert_array_equal(numpy_mlp.sigmoid_backward(np.ones((1, 4)), logits), np.zeros((1, 4)))


def exclusive_or(photos: int = 200) -> tuple[Floats, NDArray[np.int64]]:
    """Four clouds, in which no straight line tells the classes apart."""
    rng = np.random.default_rng(0)
    centers = rng.choice([-1, 1], (photos, 2))
    return centers + rng.normal(0, 0.1, (photos, 2)), (centers.prod(axis=1) > 0).astype(int)


@pytest.mark.parametrize(("activation", "lr"), [("relu", 0.3), ("sigmoid", 3)])
def test_a_net_with_hidden_units_learns_what_logistic_regression_cannot(activation: str, lr: float) -> None:
    X, y = exclusive_or()
    net = NumpyMLP([8, 8], activation=activation, lr=lr, epochs=150).fit(X, y)
    assert net.score(X, y) > 0.97
    assert NumpyMLP([], lr=lr, epochs=150).fit(X, y).score(X, y) < 0.8
    assert net.loss_curve_[-1] < 0.1 < net.loss_curve_[0]


def test_the_methods_answer_as_scikit_learn_users_expect() -> None:
    X, y = exclusive_or(50)
    net = NumpyMLP([4], epochs=3)
    assert net.fit(X.tolist(), y.tolist()) is net
    probabilities = net.predict_proba(X)
    assert probabilities.shape == (50, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    predicted = net.predict(X)
    np.testing.assert_array_equal(predicted, net.classes_[probabilities.argmax(axis=1)])
    assert net.score(X, y) == np.mean(predicted == y)
    np.testing.assert_array_equal(net.fit(X, y).predict_proba(X), probabilities)  # from new weights each time
    assert not np.array_equal(NumpyMLP([4], epochs=3, seed=1).fit(X, y).predict_proba(X), probabilities)


X, Y = exclusive_or(6)
W, B = np.ones((3, 2)), np.ones((3, 1))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: NumpyMLP([4], activation="tanh"), "activation must be relu, sigmoid or identity, got 'tanh'"),
        (lambda: NumpyMLP([4, 0]), "hidden must be a whole number of at least 1, got 0"),
        (lambda: NumpyMLP().predict(X), "parameters: got an empty list; allowed is one (W, b) or more"),
        (lambda: NumpyMLP([4]).fit(X, ["cat", "dog"] * 3), "labels: got ['cat' 'dog']; allowed are 0 and 1"),
        (lambda: NumpyMLP([4]).fit(X, Y).score(X, Y[:, None]), "the shape of labels: got (6, 1); allowed is (6,)"),
        (lambda: NumpyMLP([4]).fit(X[0] * np.nan, Y), "X: got float64 (2,); allowed are finite numbers"),
        (lambda: NumpyMLP([4]).fit(X, Y).predict(X[:, :1]), "got [(1, 6), (4, 2), (4, 1)]; allowed is [(2, 6), (4, 2)"),
        (lambda: sgd_update([(W, B)], [(B, B)], 0.1), "got [((3, 1), (3, 1))]; allowed is [((3, 2), (3, 1))]"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(call: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        call()
    assert sentence in str(refusal.value)

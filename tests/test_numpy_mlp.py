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
from catdog.numpy_mlp import Layers, backward, bce, bce_backward, forward, initial_parameters, sgd_update
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
    columns = (chain.from_iterable(layers) for layers in (case.parameters, gradients, expected, updated))
    for old, gradient, slope, new in zip(*columns, strict=True):
        np.testing.assert_allclose(gradient, slope, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(new, old - 0.1 * gradient)


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


W, B, ROW = np.ones((3, 2)), np.ones((3, 1)), np.zeros((1, 6))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: forward(W.T, [(W, B), (ROW[:, :3], ROW[:, :1])], "tanh"), "activation must be relu, sigmoid or ident"),
        (lambda: forward(W, []), "parameters: got an empty list; allowed is one (W, b) or more"),
        (lambda: bce(ROW, [["cat", "dog"] * 3]), "labels: got ['cat' 'dog']; allowed are 0 and 1"),
        (lambda: numpy_mlp.linear_forward(ROW, W, B[:, 0]), "got [(1, 6), (3, 2), (3,)]; allowed is [(2, 6)"),
        (lambda: sgd_update([(W, B)], [(B, B)], 0.1), "got [((3, 1), (3, 1))]; allowed is [((3, 2), (3, 1))]"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(call: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        call()
    assert sentence in str(refusal.value)

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from PIL import Image

from catdog import plots


def lines_of(axes: Axes) -> dict[str, Any]:
    """Points of the labelled lines, (points, 2)."""
    return {str(line.get_label()): np.asarray(line.get_xydata(), dtype=float) for line in axes.lines}


def test_curves_are_the_mean_of_all_replicas_and_mark_the_tested_weights_of_each() -> None:
    replicas: list[dict[str, Any]] = []
    for tested in (1, 2):
        rows: Any = [{"epoch": n, "step": 7 * n, "train/loss": 1 / n, "val/acc": n * tested / 10} for n in (1, 2)]
        replicas.append({"history": rows, "tested_step": 7 * tested})
    figure = plots.curves(replicas, title="hidden layers [4]: 0.6", baseline=0.55)
    loss, accuracy = map(lines_of, figure.axes)
    np.testing.assert_allclose(loss["training"], [[1.0, 1.0], [2, 0.5]])
    np.testing.assert_allclose(accuracy["validation"], [[1, 0.15], [2, 0.3]])
    np.testing.assert_allclose(accuracy["tested weights"], [[1, 0.1], [2, 0.4]])
    np.testing.assert_allclose(accuracy["majority class 0.55"][:, 1], 0.55)
    assert figure.get_suptitle() == "hidden layers [4]: 0.6"


def test_curves_show_the_rows_that_have_a_metric_where_they_are_within_the_epochs() -> None:
    """Validation twice an epoch, and not in every one; the tested weights are of a step without any."""
    rows: list[dict[str, Any]] = [
        {"epoch": 1, "step": 5, "val/acc": 0.5},
        {"epoch": 1, "step": 10, "seconds": 1.0, "train/loss": 0.7, "val/acc": 0.6},
        {"epoch": 2, "step": 20, "seconds": 1.0, "train/loss": 0.6},
    ]
    loss, accuracy = map(lines_of, plots.curves([{"history": rows, "tested_step": 20}], "", 0.5).axes)
    np.testing.assert_allclose(loss["training"], [[1, 0.7], [2, 0.6]])
    np.testing.assert_allclose(accuracy["validation"], [[0.5, 0.5], [1, 0.6]])
    assert len(accuracy["tested weights"]) == 0


def test_weight_pictures_are_grey_at_zero_and_scaled_per_unit() -> None:
    weights = torch.zeros(3, 12)
    weights[0, 0], weights[0, 1], weights[1, 5] = 2.0, -1.0, -0.001
    pictures = plots.weight_pictures(weights, image_size=2)
    assert pictures.shape == (3, 3, 2, 2)
    assert pictures.flatten(1)[0, :3].tolist() == [1.0, 0.25, 0.5]
    assert pictures.flatten(1)[1, 5] == 0.0
    assert (pictures[2] == 0.5).all()


def test_mistakes_come_most_confident_first(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("catdog.plots.contact_sheet", lambda *arguments: seen.extend(arguments))
    labels, probabilities = torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([0.9, 0.2, 0.01, 0.4])
    photos = torch.arange(4, dtype=torch.uint8).reshape(4, 1, 1, 1).expand(4, 3, 2, 2)
    plots.mistakes(photos.__getitem__, labels, probabilities, ("cat", "dog"), most=2)
    shown, captions, title = seen
    assert captions == ["dog as cat, 99%", "cat as dog, 90%"]
    assert [photo.getpixel((0, 0))[0] for photo in shown] == [2, 0]
    assert "3 mistakes in 4" in title


@given(st.lists(st.text(max_size=80), max_size=5))
@settings(max_examples=30, deadline=None)
@example([])
@example(["a name without an end" * 9, "word " * 30, "Egyptian_Mau as American_Bulldog_Terrier, 99%\n" + 99 * "W"])
def test_a_contact_sheet_shows_its_photos_in_rows_and_captions_in_their_columns(captions: list[str]) -> None:
    photos = [Image.new("RGB", (8, 8), (255, number, 0)) for number in range(len(captions))]
    pixels = np.asarray(plots.contact_sheet(photos, captions, "title " * 40, columns=2))
    corners = [np.argwhere((pixels == (255, number, 0)).all(axis=2))[0].tolist() for number in range(len(captions))]
    side = (pixels.shape[1] - 3 * 12) // 2
    assert [left for _, left in corners] == [12, 24 + side, 12, 24 + side, 12][: len(captions)]
    assert all(upper == corners[number & ~1][0] for number, (upper, _) in enumerate(corners))
    assert all(upper[0] < lower[0] for upper, lower in zip(corners, corners[2:], strict=False))
    if captions:
        below_title = pixels[corners[0][0] :]
        for left in (0, 12 + side, 2 * (12 + side)):
            assert (below_title[:, left + 1 : left + 11] == 255).all()  # between the columns, and at the edges
    assert (pixels[-6:] == 255).all()


@pytest.mark.parametrize(
    ("widths", "fixed", "circles", "lines", "parameters"),
    [
        ([49152, 5, 5, 3, 1], None, 5 + 5 + 5 + 3 + 1, 25 + 25 + 15 + 3, "245,765 30 18 4 245,817"),
        ([7, 1], None, 5 + 1, 5, "8 8"),
        ([3072, 4, 1], ("PCA whitening", 256), 5 + 5 + 4 + 1, 25 + 20 + 4, "1,028 5 1,033"),  # it is not counted
    ],
)
def test_a_network_is_drawn_with_all_its_parameters_counted(
    widths: list[int], fixed: tuple[str, int] | None, circles: int, lines: int, parameters: str
) -> None:
    (axes,) = plots.network_diagram(widths, fixed).axes
    texts = [text.get_text() for text in axes.texts]
    assert " ".join(text.split()[-2] for text in texts if text.endswith(" parameters")) == parameters
    assert sum(np.shape(column.get_offsets())[0] for column in axes.collections) == circles
    assert len(axes.lines) == lines
    assert f"$x_{{{widths[0]}}}$" in texts
    assert ("PCA whitening\n256 numbers" in texts) == (fixed is not None)

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


def test_curves_show_every_epoch_of_both_parts_and_mark_the_tested_one() -> None:
    rows = [
        {"epoch": n, "step": 7 * n, "train/loss": 1 / n, "train/acc": 0.6, "val/loss": 1.0, "val/acc": n / 10}
        for n in (1, 2, 3)
    ]
    figure = plots.curves([{"history": rows, "tested_step": 14}], title="hidden layers [4]: 0.6", baseline=0.55)
    loss, accuracy = map(lines_of, figure.axes)
    np.testing.assert_allclose(accuracy["validation"], [[1, 0.1], [2, 0.2], [3, 0.3]])
    np.testing.assert_allclose(accuracy["tested weights"], [[2, 0.2]])
    np.testing.assert_allclose(accuracy["majority class 0.55"][:, 1], 0.55)
    np.testing.assert_allclose(loss["training"][:, 1], [1, 1 / 2, 1 / 3])
    assert figure.get_suptitle() == "hidden layers [4]: 0.6"


def test_curves_of_replicas_are_their_mean_and_mark_each() -> None:
    replicas = [
        {
            "tested_step": 5 * tested,
            "history": [{"epoch": n, "step": 5 * n, "val/loss": 1, "val/acc": n * tested / 10} for n in (1, 2)],
        }
        for tested in (1, 2)
    ]
    accuracy = lines_of(plots.curves(replicas, title="", baseline=0.5).axes[1])
    np.testing.assert_allclose(accuracy["validation"], [[1, 0.15], [2, 0.3]])
    np.testing.assert_allclose(accuracy["tested weights"], [[1, 0.1], [2, 0.4]])


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
    assert loss.keys() == {"training", "tested weights"}
    assert len(accuracy["tested weights"]) == 0
    axes = plots.comparison([("one", 2, [rows, rows[:2]]), ("none", 1, [[{"epoch": 1, "step": 9}]])], 0.5).axes
    compared = lines_of(axes[1])
    np.testing.assert_allclose(compared["one, 2 epochs, 2 runs"], [[0.5, 0.5], [1, 0.6]])
    assert len(compared["none, 1 epochs, 1 runs"]) == 0


def test_weight_pictures_are_grey_at_zero_and_scaled_per_unit() -> None:
    weights = torch.zeros(3, 12)
    weights[0, 0], weights[0, 1], weights[1, 5] = 2.0, -1.0, -0.001
    pictures = plots.weight_pictures(weights, image_size=2)
    assert pictures.shape == (3, 3, 2, 2)
    assert pictures.flatten(1)[0, :3].tolist() == [1.0, 0.25, 0.5]
    assert pictures.flatten(1)[1, 5] == 0.0
    assert (pictures[2] == 0.5).all()


@pytest.mark.parametrize("most", [2, 16])
def test_mistakes_come_most_confident_first(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("catdog.plots.contact_sheet", lambda *arguments: seen.extend(arguments))
    labels = torch.tensor([0.0, 0.0, 1.0, 1.0])
    probabilities = torch.tensor([0.9, 0.2, 0.01, 0.4])
    photos = torch.arange(4, dtype=torch.uint8).reshape(4, 1, 1, 1).expand(4, 3, 2, 2)
    plots.mistakes(photos.__getitem__, labels, probabilities, ("cat", "dog"), most)
    shown, captions, title = seen
    assert captions == ["dog as cat, 99%", "cat as dog, 90%", "dog as cat, 60%"][:most]
    assert [photo.getpixel((0, 0))[0] for photo in shown] == [2, 0, 3][:most]
    assert "3 mistakes in 4" in title


def test_a_contact_sheet_shows_its_photos_in_rows() -> None:
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    photos = [Image.new("RGB", (8, 8), color) for color in colors]
    sheet = plots.contact_sheet(photos, ["one", "two", "three"], "title", columns=2)
    pixels = np.asarray(sheet)
    found = [np.argwhere((pixels == color).all(axis=2)).mean(axis=0).tolist() for color in colors]
    (top, left), (same_top, right), (bottom, same_left) = found
    assert top == same_top < bottom
    assert left == same_left < right


@given(st.lists(st.text(max_size=80), min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
@example(["a name without an end" * 9, "word " * 30, "Egyptian_Mau as American_Bulldog_Terrier, 99%\n" + 99 * "W"])
def test_captions_of_a_contact_sheet_stay_in_their_columns(captions: list[str]) -> None:
    photos = [Image.new("RGB", (8, 8), "red")] * len(captions)
    sheet = plots.contact_sheet(photos, captions, "title " * 40, columns=2)
    side = (sheet.width - 3 * 12) // 2
    below_title = next(row for row in range(sheet.height) if (np.asarray(sheet)[row] == (255, 0, 0)).all(1).any())
    pixels = np.asarray(sheet)[below_title:]
    for left in (0, 12 + side, 2 * (12 + side)):
        assert (pixels[:, left + 1 : left + 11] == 255).all()  # between the columns, and at the edges
    assert (pixels[-6:] == 255).all()


def test_no_mistake_is_an_empty_sheet() -> None:
    photo = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    sheet = plots.mistakes(photo.__getitem__, torch.tensor([1.0]), torch.tensor([0.9]), ("cat", "dog"))
    assert sheet.height < 100


@pytest.mark.parametrize(
    ("widths", "circles", "lines", "parameters"),
    [
        ([49152, 5, 5, 3, 1], 5 + 5 + 5 + 3 + 1, 25 + 25 + 15 + 3, ["245,765", "30", "18", "4", "245,817"]),
        ([7, 1], 5 + 1, 5, ["8", "8"]),
    ],
)
def test_a_network_is_drawn_with_all_its_parameters_counted(
    widths: list[int], circles: int, lines: int, parameters: list[str]
) -> None:
    (axes,) = plots.network_diagram(widths).axes
    texts = [text.get_text() for text in axes.texts]
    counted = [text.split()[-2] for text in texts if text.endswith(" parameters")]
    assert counted == parameters
    assert sum(np.shape(column.get_offsets())[0] for column in axes.collections) == circles
    assert len(axes.lines) == lines
    assert f"$x_{{{widths[0]}}}$" in texts


def test_a_fixed_first_layer_is_told_and_not_counted() -> None:
    (axes,) = plots.network_diagram([3072, 4, 1], fixed=("PCA whitening", 256)).axes
    texts = [text.get_text() for text in axes.texts]
    assert "PCA whitening\n256 numbers" in texts
    assert "hidden layer 1\n4 × ReLU" in texts
    counted = [text.split()[-2] for text in texts if text.endswith(" parameters")]
    assert counted == [f"{257 * 4:,}", "5", f"{257 * 4 + 5:,}"]

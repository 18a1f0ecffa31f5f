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
    """Points of the lines, (points, 2); those of the stars that mark epochs are "*" for tested weights, "o" for others.

    Test results with error bars are by their label, which begins with "tested" or "other".
    """
    lines = {str(line.get_label()): line for line in axes.lines if not str(line.get_label()).startswith("_")}
    for bar in error_bars(axes):
        face = {"black": "*", "white": "o"}[str(bar.lines[0].get_markerfacecolor())]
        label = str(bar.get_label())
        lines[face if label.startswith("_") else label.partition(" ")[0]] = bar.lines[0]
    return {name: np.asarray(line.get_xydata(), dtype=float) for name, line in lines.items()}


def error_bars(axes: Axes) -> Any:
    return axes.containers


def record_of(*replicas: dict[str, Any], **more: Any) -> dict[str, Any]:
    last = replicas[0]["history"][-1]
    record = {"net": "shallow [4]", "epochs": last["epoch"], "weights": "last", "other_weights": [], "tested": 50}
    accuracy = {"test/acc": 0.6, "test/acc_interval": (0.5, 0.75), "test/acc_sd": 0.1, "baseline": {"val": 0.55}}
    return record | accuracy | {"replicas": replicas} | more


def test_curves_are_the_mean_of_all_replicas_and_mark_the_tested_weights_of_each() -> None:
    replicas: list[dict[str, Any]] = []
    for tested in (1, 2):
        rows: Any = [
            {"epoch": n, "step": 7 * n, "train/loss": 1 / n, "val/acc": n * tested / 10, "val/loss": abs(n - tested)}
            for n in (1, 2)
        ]
        replicas.append({"history": rows, "tested_epoch": tested})
    last = {"weights": "last", "epochs": [2, 2], "test/acc": 0.7, "test/acc_interval": None}
    figure = plots.curves(record_of(*replicas, weights="best", other_weights=[last]))
    loss, accuracy = map(lines_of, figure.axes)
    np.testing.assert_allclose(loss["training, mean ± sd"], [[1.0, 1.0], [2, 0.5]])
    np.testing.assert_allclose(accuracy["validation, mean ± sd"], [[1, 0.15], [2, 0.3]])
    np.testing.assert_allclose(accuracy["*"], [[1, 0.1], [2, 0.4]])
    np.testing.assert_allclose(accuracy["o"], [[2, 0.2], [2, 0.4]])
    np.testing.assert_allclose(accuracy["always naming the larger class"][:, 1], 0.55)
    assert (accuracy["tested"][0, 1], accuracy["other"][0, 1]) == (0.6, 0.7)
    assert accuracy["tested"][0, 0] > 2  # clear of the curves
    (bar,) = (bar for bar in error_bars(figure.axes[1]) if str(bar.get_label()).startswith("tested"))
    np.testing.assert_allclose(bar.lines[2][0].get_segments()[0][:, 1], [0.5, 0.75])
    (legend,) = figure.legends
    texts = " ".join(text.get_text() for text in legend.get_texts())
    assert "tested weights, with the lowest validation loss (epochs 1 to 2): 60.0 % [50.0, 75.0]" in texts
    assert "at the end of training (epoch 2): 70.0 % of" in texts
    assert figure.get_suptitle().startswith("shallow [4], mean of 2 nets, epochs 1 to 2: 60.0 %")


def test_curves_show_the_rows_that_have_a_metric_where_they_are_within_the_epochs() -> None:
    """Validation twice an epoch, and not in every one; the tested weights are of a step without any."""
    rows: list[dict[str, Any]] = [
        {"epoch": 1, "step": 5, "val/acc": 0.5},
        {"epoch": 1, "step": 10, "seconds": 1.0, "train/loss": 0.7, "val/acc": 0.6},
        {"epoch": 2, "step": 20, "seconds": 1.0, "train/loss": 0.6},
    ]
    record = record_of({"history": rows, "tested_epoch": None})
    loss, accuracy = map(lines_of, plots.curves(record).axes)
    np.testing.assert_allclose(loss["training"], [[1, 0.7], [2, 0.6]])
    np.testing.assert_allclose(accuracy["validation"], [[0.5, 0.5], [1, 0.6]])
    assert len(accuracy["*"]) == 0


def test_weight_pictures_are_grey_at_zero_and_scaled_per_unit() -> None:
    weights = torch.zeros(3, 12)
    weights[0, 0], weights[0, 1], weights[1, 5] = 2.0, -1.0, -0.001
    pictures = plots.weight_pictures(weights, image_size=2)
    assert pictures.shape == (3, 3, 2, 2)
    assert pictures.flatten(1)[0, :3].tolist() == [1.0, 0.25, 0.5]
    assert pictures.flatten(1)[1, 5] == 0.0
    assert (pictures[2] == 0.5).all()


def test_mistakes_of_either_kind_come_by_their_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def contact_sheet(*arguments: Any) -> Image.Image:
        seen.append(arguments)
        return Image.new("RGB", (1, 1))

    monkeypatch.setattr("catdog.plots.contact_sheet", contact_sheet)
    labels, probabilities = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0]), torch.tensor([0.9, 0.2, 0.4, 0.01, 0.3])
    photos = torch.arange(5, dtype=torch.uint8).reshape(5, 1, 1, 1).expand(5, 3, 2, 2)
    names = [f"folder/{number}.jpg" for number in range(5)]
    plots.mistakes(photos.__getitem__, names, labels, probabilities, ("cat", "dog"), most=2)
    (cats, cat_captions, cat_title), (dogs, dog_captions, dog_title) = seen
    assert cat_captions == ["0.jpg\n90 % sure, loss 2.30"]
    assert dog_captions == ["3.jpg\n99 % sure, loss 4.61", "4.jpg\n70 % sure, loss 1.20"]
    assert [[photo.getpixel((0, 0))[0] for photo in photos] for photos in (cats, dogs)] == [[0], [3, 4]]
    assert cat_title.startswith("cat taken for dog: 1 of 2")
    assert dog_title.startswith("dog taken for cat: 3 of 3")


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

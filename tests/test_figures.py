import numpy as np
import pytest
import torch

from catdog import figures


def test_curves_show_every_epoch_of_both_parts_and_mark_the_best() -> None:
    epochs = [
        {"epoch": n, "train/loss": 1 / n, "train/acc": 0.6, "val/loss": abs(n - 2) + 0.5, "val/acc": n / 10}
        for n in (1, 2, 3)
    ]
    figure = figures.curves(epochs, title="hidden layers [4]: 0.6", chance=0.55)
    loss, accuracy = figure.axes
    lines = {line.get_label(): np.asarray(line.get_xydata(), dtype=float) for line in accuracy.lines}
    np.testing.assert_allclose(lines["validation"], [[1, 0.1], [2, 0.2], [3, 0.3]])
    np.testing.assert_allclose(lines["best checkpoint"], [[2, 0.2]])
    np.testing.assert_allclose((lines["chance 0.55"])[:, 1], 0.55)
    np.testing.assert_allclose(np.asarray(loss.lines[0].get_ydata(), dtype=float), [1, 1 / 2, 1 / 3])
    assert figure.get_suptitle() == "hidden layers [4]: 0.6"


def test_weight_pictures_are_grey_at_zero_and_scaled_per_unit() -> None:
    weights = torch.zeros(3, 12)
    weights[0, 0], weights[0, 1], weights[1, 5] = 2.0, -1.0, -0.001
    pictures = figures.weight_pictures(weights, image_size=2)
    assert pictures.shape == (3, 3, 2, 2)
    assert pictures.flatten(1)[0, :3].tolist() == [1.0, 0.25, 0.5]
    assert pictures.flatten(1)[1, 5] == 0.0
    assert (pictures[2] == 0.5).all()


@pytest.mark.parametrize("most", [2, 16])
def test_mistakes_come_most_confident_first(most: int) -> None:
    labels = torch.tensor([0.0, 0.0, 1.0, 1.0])
    probabilities = torch.tensor([0.9, 0.2, 0.01, 0.4])
    figure = figures.mistakes(torch.zeros(4, 3, 2, 2, dtype=torch.uint8), labels, probabilities, ("cat", "dog"), most)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["dog as cat, 99%", "cat as dog, 90%", "dog as cat, 60%"][:most]
    assert "3 mistakes in 4" in figure.get_suptitle()


def test_no_mistake_is_an_empty_sheet() -> None:
    photo = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    figure = figures.mistakes(photo, torch.tensor([1.0]), torch.tensor([0.9]), ("cat", "dog"))
    assert not any(axes.get_title() for axes in figure.axes)

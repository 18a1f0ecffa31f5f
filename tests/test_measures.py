import json

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from catdog.figures.evaluation import draw
from catdog.inference.measures import BINS, calibrated_errors, measure, measure_one, reliability
from catdog.statistics import mean_accuracy, wilson_interval

GENERATOR = torch.Generator().manual_seed(0)
LABELS = (torch.rand(150, generator=GENERATOR) < 0.4).float()
LOGITS = 2 * torch.randn(3, 150, generator=GENERATOR) + LABELS
FIRST = LOGITS[0].double().numpy().round(1), LABELS.bool().numpy()  # rounded, so that there are ties


def average_precision(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """The sum over thresholds of precision × gain in recall."""
    area = found = 0.0
    for threshold in sorted(set(scores), reverse=True):
        taken = scores >= threshold
        recall = float(labels[taken].sum() / labels.sum())
        area += float(labels[taken].mean()) * (recall - found)
        found = recall
    return area


def test_every_number_of_a_net_is_what_it_is_by_hand() -> None:
    logits, labels = FIRST
    found = measure_one(torch.from_numpy(logits), LABELS.int())
    probabilities, verdicts = 1 / (1 + np.exp(-logits)), logits > 0
    counts = [[int(((labels == is_) & (verdicts == taken)).sum()) for taken in (0, 1)] for is_ in (0, 1)]
    assert found["confusion_matrix"] == counts
    assert found["accuracy"] == pytest.approx((verdicts == labels).mean())
    assert found["accuracy_interval"] == wilson_interval(counts[0][0] + counts[1][1], 150)
    for label, of_class in enumerate(found["classes"]):
        right, taken, own = counts[label][label], counts[0][label] + counts[1][label], sum(counts[label])
        expected = {"precision": right / taken, "recall": right / own, "f1": 2 * right / (taken + own), "photos": own}
        area = average_precision(logits if label else -logits, labels == label)
        assert of_class == pytest.approx(expected | {"average_precision": area})
    pairs = np.sign(logits[labels][:, None] - logits[~labels][None]) / 2 + 0.5
    assert found["roc_auc"] == pytest.approx(pairs.mean())
    assert found["average_precision"] == found["classes"][1]["average_precision"]
    assert found["brier"] == pytest.approx(((probabilities - labels) ** 2).mean())
    likelihood = np.where(labels, probabilities, 1 - probabilities)
    assert found["bce"] == pytest.approx(-np.log(likelihood).mean())
    bins = np.floor(probabilities * BINS)
    gaps = [abs((labels - probabilities)[bins == number].sum()) for number in range(BINS)]
    assert found["calibration_error"] == pytest.approx(sum(gaps) / 150)
    listed = [(row["photos"], row["mean_probability"], row["of_class_1"]) for row in found["reliability"]]
    inside = [bins == number for number in np.unique(bins)]
    np.testing.assert_allclose(listed, [(own.sum(), probabilities[own].mean(), labels[own].sum()) for own in inside])


def test_the_headline_of_several_nets_is_what_a_single_one_does() -> None:
    found = measure(LOGITS, LABELS, seeds=[4, 5, 6])
    correct = ((LOGITS > 0) == (LABELS > 0.5)).double().numpy()
    assert [net["seed"] for net in found["nets"]] == [4, 5, 6]
    mean, *interval = mean_accuracy(correct)
    assert found["headline"]["what"] == "mean accuracy of 3 nets"
    assert found["headline"]["accuracy"] == found["mean"]["accuracy"] == pytest.approx(mean)
    assert found["headline"]["interval"] == pytest.approx(interval)
    assert found["sd"]["accuracy"] == pytest.approx(correct.mean(axis=1).std(ddof=1))
    areas = [net["roc_auc"] for net in found["nets"]]
    assert found["mean"]["roc_auc"] == pytest.approx(np.mean(areas))
    together = LOGITS.double().sigmoid().mean(0)
    assert found["ensemble"]["accuracy"] == pytest.approx(((together > 0.5) == (LABELS > 0.5)).double().mean().item())
    assert found["ensemble"]["brier"] == pytest.approx((together - LABELS).square().mean().item())


def test_a_single_net_is_its_own_headline_and_no_ensemble() -> None:
    found = measure(LOGITS[:1], LABELS, seeds=[0])
    assert found["ensemble"] is None
    assert found["headline"]["accuracy"] == found["nets"][0]["accuracy"]
    assert found["headline"]["interval"] == found["nets"][0]["accuracy_interval"]
    assert set(found["sd"].values()) == {None}


@pytest.mark.parametrize("nets", [1, 3])
@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        ([0.3, -2.0, 1.0], [1, 1, 1]),
        ([0.3, -2.0, 1.0], [0, 0, 0]),
        ([-0.1, -0.1, -0.1], [0, 1, 1]),
        ([0.4], [1]),
        ([9000.0, -9000.0, 0.0], [0, 0, 1]),
        ([0.2, 0.9, 0.5], [0, 1, 1]),  # which torchmetrics would take for probabilities
    ],
    ids=["only ones", "only zeros", "dead net", "one photo", "huge", "between 0 and 1"],
)
def test_photos_and_nets_at_the_edge_are_measured_and_drawn(
    nets: int, logits: list[float], labels: list[float]
) -> None:
    given, truth = torch.tensor(logits).repeat(nets, 1), torch.tensor(labels)
    found = measure(given, truth, range(nets))
    text = json.dumps(found, allow_nan=False)
    assert "Infinity" not in text
    assert (found["mean"]["roc_auc"] is None) == (len(set(labels)) == 1)
    own = found["nets"][0]
    assert own["accuracy"] == pytest.approx(np.mean([(z > 0) == bool(y) for z, y in zip(logits, labels, strict=True)]))
    assert sum(row["photos"] for row in own["reliability"]) == len(labels)
    draw(given.double(), truth, found, ("cats", "dogs"), "a net")


def test_a_class_that_is_never_named_has_no_precision() -> None:
    cats, dogs = measure_one(torch.tensor([-1.0, -2.0]).double(), torch.tensor([0, 1]))["classes"]
    assert (dogs["precision"], dogs["recall"], dogs["f1"]) == (None, 0, 0)
    assert (cats["precision"], cats["recall"]) == (0.5, 1)


def test_a_calibrated_net_has_the_error_that_is_foretold() -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.uniform(0.1, 0.9, size=200)
    foretold, seen = calibrated_errors(probabilities), []
    for _ in range(300):
        labels = torch.from_numpy((rng.random(200) < probabilities).astype(np.int64))
        rows = reliability(probabilities, labels.numpy())
        seen.append(sum(abs(row["of_class_1"] - row["photos"] * row["mean_probability"]) for row in rows) / 200)
    assert foretold["mean"] == pytest.approx(np.mean(seen), abs=0.004)
    assert np.mean(np.array(seen) <= foretold["quantile_95"]) == pytest.approx(0.95, abs=0.04)

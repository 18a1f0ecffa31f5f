import runpy
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from catdog.data import to_images
from catdog.inference.attribution import contributions
from catdog.inference.inspect import Inspection, inspect, inspect_run, page
from catdog.inference.predictor import Predictor
from catdog.inference.runs import FinishedRun
from catdog.model import CatDogClassifier
from conftest import RECIPE, ROOT, RunOf, make_classifier

COLORS = torch.tensor([[0, 0, 0], [255, 0, 0], [255, 255, 255], [255, 0, 0]], dtype=torch.uint8)  # 0 becomes -1, 255 1
LABELS = torch.tensor([0.0, 1, 0, 1])


def inspected(classifier: CatDogClassifier, replica: int = 0, photos: int = 4) -> Inspection:
    """Inspect a network on photos of one color: black, red, white, red."""
    pixels = COLORS[:photos, :, None, None].repeat(1, 1, *2 * [classifier.hparams["image_size"]])
    return inspect(Predictor(classifier), replica, ["a", "b", "c", "d"][:photos], pixels, LABELS[:photos])


def with_weights(hidden: list[int], *values: list[Any]) -> CatDogClassifier:
    """Build a network for photos of one pixel with these weights and biases."""
    classifier = make_classifier(hidden=hidden, image_size=1)
    for parameter, value in zip(classifier.parameters(), values, strict=True):
        parameter.data = torch.tensor([value])
    return classifier


class Page(HTMLParser):
    """Tags, with their attributes, and text of a page that loads and runs nothing."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        assert "url(" not in html
        assert "@import" not in html
        assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in self.tags}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            assert not name.startswith("on")
            if name in ("src", "href", "srcset", "style"):
                assert str(value).startswith("data:image/" if name == "src" else "height:")
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def titles(self) -> set[str]:
        return {attributes.get("title") or "" for _, attributes in self.tags}


def test_unit_statistics_are_those_computed_by_hand() -> None:
    weights = [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    found = inspected(with_weights([4], weights, [0.0, -2.0, -1.0, 0.5], [[-2.0, 1.0, 7.0, 1.0]], [0.25]))
    (units,) = found.layers
    statistics = units[["active", "active_0", "active_1", "mean", "sd", "balance"]]
    constant, dead = [1, 1, 1, 0.5, 0, 1], [0, 0, 0, 0, 0, 0]  # come after units with a variable contribution
    values = [[0.75, 0.5, 1, -1.5, 0.75**0.5, -1], [0.25, 0.5, 0, 0.25, 3**0.5 / 4, 1], constant, dead]
    by_hand = pd.DataFrame(values, index=[0, 1, 3, 2], columns=statistics.columns)
    pd.testing.assert_frame_equal(statistics, by_hand, check_dtype=False, atol=1e-6)
    assert units["top_photos"].map(list).to_list() == [[1, 2, 3], [2], [0, 1, 2, 3], []]
    logits = {1: -1.25, 3: -1.25, 0: 0.75, 2: -0.25}
    assert found.photos.index.to_list() == list(logits)  # most confident first
    assert found.photos["logit"].to_dict() == pytest.approx(logits, abs=1e-6)


def test_later_layers_decide_the_contribution_of_a_unit(run_of: RunOf) -> None:
    first, second = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [[3.0, 0.0], [-1.0, 0.5]]
    classifier = with_weights([2, 2], first, [0.0, 0.0], second, [0.0, 0.0], [[-2.0, 5.0]], [0.0])
    found = inspected(classifier, photos=3)
    # Only the second layer's dead unit has a weight for the first layer's second unit.
    assert [layer["balance"].to_dict() for layer in found.layers] == [{0: -1, 1: 0}] * 2
    # Red and white have the same activation.
    mean = torch.tensor([[1 - 1 / 3, 0 + 1 / 3, 0 + 1 / 3], [0, 0, 0]])
    torch.testing.assert_close(found.pictures[1]["weighted mean"], mean)
    text = page(found, FinishedRun.open(run_of(1)).record, 0, classifier.hparams)
    assert all(words in text for words in ("contributes to cats", "no contribution", "dead unit", "On 1 of the photos"))


@given(st.integers(0, 1000), st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_without_biases_the_contributions_of_every_layer_add_up_to_the_logit(seed: int, hidden: list[int]) -> None:
    classifier = make_classifier(hidden=hidden, seed=seed, replicas=2, image_size=3)
    for name, parameter in classifier.named_parameters():
        parameter.data *= not name.endswith("bias")
    images = to_images(255 * torch.rand(20, 3, 3, 3, generator=torch.Generator().manual_seed(seed)))
    for _, added in contributions(classifier, images):
        torch.testing.assert_close(added.sum(2), classifier.logits(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"whitening": 20}, {"whitening": 20, "hog": 10}])
def test_the_change_in_training_is_from_the_seeds_initial_weights_or_unknown(options: dict[str, int]) -> None:
    classifier, other = (make_classifier(hidden=[3], seed=seed, replicas=2, **options) for seed in (5, 7))
    classifier.network.fit(torch.randn(60, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    start, weight = classifier.network.input_weights.clone(), classifier.network.get_parameter("layers.0.weight").data
    weight[1] += torch.linspace(-1e-2, 1e-2, weight[1].numel()).reshape_as(weight[1])
    change = inspected(classifier, replica=1).pictures[0]["change in training"]
    torch.testing.assert_close(change, classifier.network.input_weights[1] - start[1])
    other.load_state_dict(classifier.state_dict())
    assert list(inspected(other, replica=1).pictures[0]) == ["weights"]


def test_a_page_shows_the_runs_own_test_photos_and_predictions(run_of: RunOf, tmp_path: Path) -> None:
    written = inspect_run(run_of(3), tmp_path / "new folder", seed=2)
    shown = Page(written.read_text(encoding="utf-8"))
    assert "This page inspects seed 2" in shown.text
    for one in pd.read_csv(run_of(3) / "predictions.csv").query("seed == 2").to_dict("records"):
        confidence = max(one["probability"], 1 - one["probability"])
        assert f"{one['path']}: {one['path'][:4]}, {confidence:.1%}" in shown.titles


def test_the_command_prints_the_path_of_its_page(
    run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["inspect_run.py", *arguments])
        runpy.run_path(str(ROOT / "scripts/inspect_run.py"), run_name="__main__")

    folder = Path(shutil.copytree(run_of(1), tmp_path / "run"))
    command(str(folder))
    assert capsys.readouterr().out == f"{folder / 'inspection.html'}\n"
    with pytest.raises(SystemExit, match=r"catdog: .* holds no finished run"):
        command(str(tmp_path))
    with pytest.raises(SystemExit, match=r"has no seed 7; it has 0$"):
        command(str(folder), "--seed", "7")


def test_odd_names_are_shown_escaped(run_of: RunOf) -> None:
    attack = "<img src=x onerror=alert(1)>\"'&</title><script>alert(2)</script>"
    classifier = make_classifier(hidden=[1], class_names=(attack, "dogs\n" + 80 * "w"))
    found = inspected(classifier, photos=3)
    found.photos.loc[[0, 1, 2], "path"] = [attack, "line\nbreak", "bytes\udcff\u202e"]
    record = FinishedRun.open(run_of(1)).record | {"config": {"data": {"root": f"/photos/{attack}\udcff"}}}
    html = page(found, record, 0, classifier.hparams)
    html.encode()
    shown = Page(html)
    assert attack in shown.text
    assert {attack, r"'line\nbreak'", r"'bytes\udcff\u202e'"} <= {title.split(": ")[0] for title in shown.titles}


@pytest.mark.parametrize("photos", [1, 4])
@pytest.mark.parametrize(
    ("hidden", "options"), [([], {}), ([1, 2], {}), ([2000, 20], {}), ([5], RECIPE | {"whitening": 2, "hog": 2})]
)
def test_every_network_has_a_page(hidden: list[int], options: dict[str, Any], photos: int, run_of: RunOf) -> None:
    classifier = make_classifier(hidden=hidden, replicas=3, **options)
    classifier.network.fit(torch.randn(20, 3, 8, 8))
    text = Page(page(inspected(classifier, 2, photos), FinishedRun.open(run_of(3)).record, 2, classifier.hparams)).text
    left_out = [width - 16 for width in hidden if width > 16]
    assert all(f"The other {count:,} units are left out" in text for count in left_out)
    assert text.count("are left out") == len(left_out)
    assert ("Highest z" in text) == (not hidden)
    assert ("PCA whitening turns" in text) == ("ten views of the photo" in text) == bool(options)
    assert text.count("Hidden layer") == 2 * len(hidden)
    assert "nan" not in text.lower()

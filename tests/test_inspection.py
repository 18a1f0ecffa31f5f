import runpy
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from catdog.errors import InputError
from catdog.inference.inspect import Inspection, Layer, inspect
from catdog.inference.inspection_page import inspect_run, page
from catdog.inference.predictor import Predictor
from catdog.inference.runs import FinishedRun
from catdog.model import CatDogClassifier
from conftest import RECIPE, ROOT, RunOf, make_classifier

OPTIONS = make_classifier().hparams
BLACK, RED, WHITE = (0, 0, 0), (255, 0, 0), (255, 255, 255)


def classifier(hidden: list[int], size: int = 1, **arguments: Any) -> CatDogClassifier:
    return make_classifier(hidden=hidden, image_size=size, **arguments)


def with_weights(hidden: list[int], *layers: tuple[list[list[float]], list[float]]) -> Predictor:
    """A network for photos of one pixel with these weights and biases."""
    net = classifier(hidden)
    values = [value for pair in layers for value in pair]
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), values, strict=True):
            parameter.copy_(torch.tensor([value]))
    return Predictor(net)


def photos_of(*colors: tuple[int, int, int]) -> Tensor:
    return torch.tensor(colors, dtype=torch.uint8).reshape(-1, 3, 1, 1)


def rounded(values: Tensor) -> Any:
    return values.mul(1000).round().div(1000).tolist()


def look_into(net: Predictor, *colors: tuple[int, int, int], replica: int = 0) -> Inspection:
    names = [f"{number}.png" for number in range(len(colors))]
    labels = torch.tensor([float(number % 2) for number in range(len(colors))])
    return inspect(net, replica, names, photos_of(*colors), labels)


def record_of(inspection: Inspection, replicas: int = 1, **changes: Any) -> dict[str, Any]:
    """What the record of a run with these networks holds, as far as a page tells of it."""
    interval = (0.4, 0.6)
    each = {"test/acc": 0.5, "test/acc_interval": interval, "tested_epoch": 2, "val/dead": 1.0}
    return {
        "net": "small",
        "hidden": [len(layer.units) for layer in inspection.layers],
        "parameters": 10,
        "epochs": 3,
        "photos": {"train": 80, "val": 10, "test": 10},
        "config": {"data": {}},
        "replicas": [{"seed": seed, **each} for seed in range(replicas)],
        "versions": {"catdog": "0.1.0"},
        "test/acc": 0.5,
        "test/acc_interval": interval,
        "test/acc_sd": 0.01,
    } | changes


def test_units_are_measured_as_by_hand() -> None:
    weights = [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    net = with_weights([4], (weights, [0.0, -2.0, -1.0, 0.5]), ([[-2.0, 1.0, 7.0, 1.0]], [0.25]))
    found = look_into(net, BLACK, RED, WHITE, RED)
    (layer,) = found.layers
    # A colour channel counts −1 where it is 0, 1 where it is 255.
    assert rounded(layer.activations) == [[0, 0, 0, 0.5], [1, 0, 0, 0.5], [1, 1, 0, 0.5], [1, 0, 0, 0.5]]
    assert rounded(layer.contributions) == [[0, 0, 0, 0.5], [-2, 0, 0, 0.5], [-2, 1, 0, 0.5], [-2, 0, 0, 0.5]]
    assert rounded(found.logits) == [0.75, -1.25, -0.25, -1.25]
    units = layer.units
    assert [unit.active for unit in units] == [0.75, 0.25, 0, 1]
    assert [unit.active_on for unit in units] == [{0: 0.5, 1: 1}, {0: 0.5, 1: 0}, {0: 0, 1: 0}, {0: 1, 1: 1}]
    assert [unit.vote for unit in units] == [0, 1, None, 1]
    assert [unit.heard for unit in units] == [True, True, False, True]
    assert [unit.mean for unit in units] == pytest.approx([-1.5, 0.25, 0, 0.5])
    assert [unit.spread for unit in units] == pytest.approx([0.75**0.5, 3**0.5 / 4, 0, 0])
    assert layer.silent == 0
    assert [layer.exciting(unit, most=2) for unit in units] == [[1, 2], [2], [], [0, 1]]
    # A unit whose contribution is always the same moves nothing, and the dead come last.
    assert [unit.number for unit in layer.ranking] == [1, 2, 4, 3]
    typical = layer.typical([units[1], units[2]], found.pixels)
    torch.testing.assert_close(typical[0], torch.tensor([1.0, 1, 1]) - torch.tensor([0.5, -0.5, -0.5]))
    assert (typical[1] == 0).all()


def test_a_unit_of_an_earlier_layer_votes_through_those_after_it() -> None:
    first = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    second = ([[3.0, 0.0], [-1.0, 0.5]], [0.0, 0.0])
    net = with_weights([2, 2], (first, [0.0, 0.0]), second, ([[-2.0, 5.0]], [0.0]))
    found = look_into(net, BLACK, RED, WHITE)
    # The first layer's second unit could be heard through the second layer's second one only, which is dead.
    assert rounded(found.layers[0].contributions) == [[0, 0], [-6, 0], [-6, 0]]
    assert rounded(found.layers[1].contributions) == [[0, 0], [-6, 0], [-6, 0]]
    heard, unheard = found.layers[0].units
    assert heard.vote == 0
    assert unheard.active > 0
    assert not unheard.heard
    assert found.layers[1].silent == 1


def test_a_unit_that_speaks_for_both_classes_has_no_vote() -> None:
    contributions = torch.tensor([[3.0, 1.0], [-1.0, -1.0]])
    layer = Layer(contributions.abs(), contributions, torch.zeros(2))
    assert [unit.vote for unit in layer.units] == [1, None]


@given(st.integers(0, 1000), st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_without_biases_the_contributions_of_every_layer_add_up_to_the_logit(seed: int, hidden: list[int]) -> None:
    net = classifier(hidden, seed=seed, replicas=2, size=3)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.mul_(0 if name.endswith("bias") else 1)
    pixels = torch.randint(0, 256, (20, 3, 3, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    found = inspect(Predictor(net), 1, [str(number) for number in range(20)], pixels, torch.zeros(20))
    for layer in found.layers:
        torch.testing.assert_close(layer.contributions.sum(1), found.logits, rtol=1e-4, atol=1e-5)


def test_the_surest_photos_come_first_and_know_right_from_wrong() -> None:
    found = look_into(with_weights([], ([[1.0, 0.0, 0.0]], [0.0])), BLACK, BLACK, RED, RED)
    found = replace(found, logits=torch.tensor([-1.0, -2.0, 3.0, 4.0]), labels=torch.tensor([0.0, 1.0, 1.0, 1.0]))
    assert found.answers(1, right=True) == [3, 2]
    assert found.answers(1, right=False) == [1]
    assert found.answers(0, right=True) == [0]
    assert found.answers(0, right=False) == []


@pytest.mark.parametrize("options", [{}, {"whitening": 20}, {"whitening": 20, "hog": 10}])
def test_what_is_learnt_is_the_change_since_the_seeds_weights(options: dict[str, int]) -> None:
    net = classifier([3], seed=5, replicas=2, size=8, **options)
    net.network.fit(torch.randn(60, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    start, weight = net.network.input_weights.clone(), net.network.get_parameter("layers.0.weight").detach()
    weight[1] += torch.linspace(-1e-2, 1e-2, weight[1].numel()).reshape_as(weight[1])
    pixels = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    learnt = inspect(Predictor(net), 1, ["a", "b"], pixels, torch.zeros(2)).learnt
    assert learnt is not None
    torch.testing.assert_close(learnt, net.network.input_weights[1] - start[1])


def test_what_is_learnt_is_unknown_for_weights_that_began_with_another_seed() -> None:
    net, other = classifier([3], seed=5, size=8), classifier([3], seed=6, size=8)
    net.load_state_dict(other.state_dict())
    found = inspect(Predictor(net), 0, ["a"], torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1))
    assert found.learnt is None
    text = page(found, record_of(found), 0, OPTIONS)
    assert "cannot show how training has changed them" in text
    assert "learnt<" not in text


class Tags(HTMLParser):
    """The tags of a page that have to be closed are, in order; keeps them with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def assert_stands_alone(html: str) -> Tags:
    """Nothing is loaded or run."""
    tags = Tags(html)
    for tag, attributes in tags.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form")
        assert not any(name.startswith("on") for name in attributes)
        for name in attributes.keys() & {"src", "href", "srcset", "style"}:
            assert (attributes[name] or "").startswith("data:image/" if name == "src" else "height:")
    assert "url(" not in html
    assert "@import" not in html
    return tags


@pytest.mark.parametrize(("replicas", "seed"), [(1, None), (3, 2)])
def test_a_run_leaves_a_page(run_of: RunOf, replicas: int, seed: int | None, tmp_path: Path) -> None:
    written = inspect_run(run_of(replicas), tmp_path / "new folder", seed)
    assert written == tmp_path / "new folder" / "inspection.html"
    tags = assert_stands_alone(written.read_text(encoding="utf-8"))
    assert "test accuracy" in tags.text
    assert ("the marked one, seed 2, is shown" in tags.text) == (replicas > 1)
    titles = [attributes["title"] or "" for tag, attributes in tags.tags if tag == "img" and "title" in attributes]
    assert any(title.startswith(("cats/", "dogs/")) for title in titles)


def test_the_photos_and_the_answers_are_those_of_the_runs_own_test(run_of: RunOf) -> None:
    run = FinishedRun.open(run_of(3))
    data = run.data()
    pixels = data.store.pixels[data.test.rows]
    found = inspect(Predictor.load(run.checkpoint), 2, data.test.names, pixels, data.test.labels)
    written = pd.read_csv(run.folder / "predictions.csv").query("seed == 2")
    assert written["path"].to_list() == found.names
    expected = torch.tensor(written["probability"].to_numpy(), dtype=torch.float32)
    torch.testing.assert_close(found.logits.sigmoid(), expected)


def test_a_seed_that_was_not_trained_gets_a_sentence(run_of: RunOf, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no seed 7; it has 0, 1, 2"):
        inspect_run(run_of(3), tmp_path, seed=7)


def test_the_command_prints_where_its_page_is(
    run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(run_of(1), tmp_path / "run"))
    monkeypatch.setattr(sys, "argv", ["inspect_run.py", str(folder)])
    runpy.run_path(str(ROOT / "scripts/inspect_run.py"), run_name="__main__")
    assert capsys.readouterr().out == f"{folder / 'inspection.html'}\n"
    (tmp_path / "file").touch()
    for arguments, sentence in (
        ([str(tmp_path)], "catdog: .* holds no finished run"),
        ([str(folder), "--out", str(tmp_path / "file")], "catdog: .*file: File exists"),
    ):
        monkeypatch.setattr(sys, "argv", ["inspect_run.py", *arguments])
        with pytest.raises(SystemExit, match=sentence):
            runpy.run_path(str(ROOT / "scripts/inspect_run.py"), run_name="__main__")


def test_odd_names_are_shown_as_they_are_and_do_nothing() -> None:
    attack = "<img src=x onerror=alert(1)>\"'&</title><script>alert(2)</script>"
    found = look_into(with_weights([1], ([[1.0, 0.0, 0.0]], [0.5]), ([[1.0]], [0.0])), BLACK, RED, WHITE)
    names = [f"{attack}.png", "line\nbreak.png", "bytes\udcff\u202e.png"]
    found = replace(found, names=names, class_names=(attack, "dogs\n" + 80 * "w"))
    record = record_of(found, config={"data": {"image_size": 1, "root": f"/photos/{attack}\udcff"}})
    html = page(found, record, 0, OPTIONS)
    tags = assert_stands_alone(html)
    assert attack in tags.text
    titles = {(attributes.get("title") or "").split(".png")[0] for tag, attributes in tags.tags if tag == "img"}
    escaped = {attack, r"'line\nbreak", r"'bytes\udcff\u202e"}
    assert escaped <= titles <= escaped | {"", "weights"}
    html.encode()


@pytest.mark.parametrize(
    ("hidden", "replicas", "options"),
    [([], 2, {}), ([1, 2], 2, {}), ([2000, 20], 1, {}), ([5], 2, RECIPE | {"whitening": 2, "hog": 0})],
)
def test_every_net_has_a_page(hidden: list[int], replicas: int, options: dict[str, Any]) -> None:
    net = classifier(hidden, replicas=replicas, **options)
    net.network.fit(torch.randn(20, 3, 1, 1))
    found = look_into(Predictor(net), BLACK, RED, WHITE, replica=replicas - 1)
    tags = assert_stands_alone(page(found, record_of(found, replicas), replicas - 1, net.hparams))
    left_out = [width - 16 for width in hidden if width > 16]
    assert tags.text.count("are left out") == len(left_out)
    assert all(f"{count:,} are left out" in tags.text for count in left_out)
    assert ("Highest z" in tags.text) == (not hidden)
    told = ("PCA whitening turns", "ten views of a photo (ten-crop)")
    assert all((words in tags.text) == bool(options) for words in told)
    assert tags.text.count("Hidden layer") == 2 * len(hidden)


def test_one_photo_of_one_class_is_enough() -> None:
    found = look_into(Predictor(classifier([2, 2])), BLACK)
    text = assert_stands_alone(page(found, record_of(found), 0, OPTIONS)).text
    assert "nan" not in text.lower()

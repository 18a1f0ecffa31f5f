import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from browser import browsing
from catdog.data import to_images
from catdog.inference.attribution import attributions
from catdog.inference.inspect import Inspection, accuracies_without, inspect, inspect_run, page
from catdog.inference.predictor import Predictor
from catdog.inference.runs import FinishedRun
from catdog.model import CatDogClassifier
from conftest import RECIPE, RunOf, Script, make_classifier

CHROMIUM = shutil.which("chromium")
COLORS = torch.tensor([[0, 0, 0], [255, 0, 0], [255, 255, 255], [255, 0, 0]], dtype=torch.uint8)  # 0 becomes -1, 255 1
LABELS = torch.tensor([0.0, 1, 0, 1])


def colored(classifier: CatDogClassifier, photos: int = 4) -> torch.Tensor:
    """Make photos of one color: black, red, white, red."""
    return COLORS[:photos, :, None, None].repeat(1, 1, *2 * [classifier.hparams["image_size"]])


def inspected(classifier: CatDogClassifier, replica: int = 0, photos: int = 4) -> Inspection:
    """Inspect a network on photos of one color."""
    names, pixels = ["a", "b", "c", "d"][:photos], colored(classifier, photos)
    return inspect(Predictor(classifier), [replica], names, pixels, LABELS[:photos])[replica]


def page_of(found: dict[int, Inspection], run: Path, classifier: CatDogClassifier, **record: Any) -> str:
    """Render a page as of a run, whose record may be changed."""
    photos = len(next(iter(found.values())).photos)
    return page(found, colored(classifier, photos), FinishedRun.open(run).record | record, classifier.hparams)


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
        self.titles: set[str] = set()  # of the photos, and the page's own
        self.feed(html)
        assert "url(" not in html
        assert "@import" not in html
        assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in self.tags}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            assert not name.startswith("on")
            if name in ("src", "href", "srcset", "style"):
                own = {"style": "height:", "href": "#photo-" if tag == "use" else "data:image/"}
                assert str(value).startswith(own.get(name, "data:image/"))
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data
        self.titles |= {data} if self.tags and self.tags[-1][0] == "title" else set()


def test_unit_statistics_are_those_computed_by_hand() -> None:
    weights = [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    found = inspected(with_weights([4], weights, [0.0, -2.0, -1.0, 0.5], [[-2.0, 1.0, 7.0, 1.0]], [0.25]))
    (units,) = found.layers
    statistics = units[["active", "active_0", "active_1", "mean", "sd", "sign"]]
    constant, dead = [1, 1, 1, 0.5, 0, 1], [0, 0, 0, 0, 0, 0]  # come after units with a variable attribution
    values = [[0.75, 0.5, 1, -1.5, 0.75**0.5, -1], [0.25, 0.5, 0, 0.25, 3**0.5 / 4, 1], constant, dead]
    by_hand = pd.DataFrame(values, index=[0, 1, 3, 2], columns=statistics.columns)
    pd.testing.assert_frame_equal(statistics, by_hand, check_dtype=False, atol=1e-6)
    assert units["top_photos"].map(list).to_list() == [[1, 2, 3], [2], [0, 1, 2, 3], []]
    logits = {1: -1.25, 3: -1.25, 0: 0.75, 2: -0.25}
    assert found.photos.index.to_list() == list(logits)  # most confident first
    assert found.photos["logit"].to_dict() == pytest.approx(logits, abs=1e-6)


def test_later_layers_decide_the_attribution_to_a_unit(run_of: RunOf) -> None:
    first, second = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [[3.0, 0.0], [-1.0, 0.5]]
    classifier = with_weights([2, 2], first, [0.0, 0.0], second, [0.0, 0.0], [[-2.0, 5.0]], [0.0])
    found = inspected(classifier, photos=3)
    # Only the second layer's dead unit has a weight for the first layer's second unit.
    assert [layer["sign"].to_dict() for layer in found.layers] == [{0: -1, 1: 0}] * 2
    # Red and white have the same activation.
    mean = torch.tensor([[1 - 1 / 3, 0 + 1 / 3, 0 + 1 / 3], [0, 0, 0]])
    torch.testing.assert_close(found.pictures[1]["weighted mean"], mean)
    text = page_of({0: found}, run_of(1), classifier)
    words = ("mostly negative attribution: cats", "negative output weight: cats", "dead unit", "On 1 of the photos")
    assert all(word in text for word in words)


@given(st.integers(0, 1000), st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_without_biases_the_attributions_of_every_layer_add_up_to_the_logit(seed: int, hidden: list[int]) -> None:
    classifier = make_classifier(hidden=hidden, seed=seed, replicas=2, image_size=3)
    for name, parameter in classifier.named_parameters():
        parameter.data *= not name.endswith("bias")
    images = to_images(255 * torch.rand(20, 3, 3, 3, generator=torch.Generator().manual_seed(seed)))
    for _, added in attributions(classifier, images):
        torch.testing.assert_close(added.sum(2), classifier.logits(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"whitening": 20}, {"whitening": 20, "hog": 10}])
def test_the_change_in_training_is_from_the_seeds_initial_weights(options: dict[str, int]) -> None:
    classifier = make_classifier(hidden=[3], seed=5, replicas=2, **options)
    classifier.network.fit(torch.randn(60, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    start, weight = classifier.network.input_weights.clone(), classifier.network.get_parameter("layers.0.weight").data
    weight[1] += torch.linspace(-1e-2, 1e-2, weight[1].numel()).reshape_as(weight[1])
    change = inspected(classifier, replica=1).pictures[0]["change in training"]
    torch.testing.assert_close(change, classifier.network.input_weights[1] - start[1])


def test_a_page_shows_the_runs_own_test_photos_and_predictions(run_of: RunOf, tmp_path: Path) -> None:
    written = inspect_run(run_of(3), tmp_path / "new folder")
    shown = Page(written.read_text(encoding="utf-8"))
    assert re.findall(r"The net of seed (\d)", shown.text) == ["0", "1", "2"]
    for one in pd.read_csv(run_of(3) / "predictions.csv").to_dict("records"):
        confidence = max(one["probability"], 1 - one["probability"])
        assert f"{one['path']}: {one['path'][:4]}, {100 * confidence:.1f}\u00a0%" in shown.titles


def test_the_command_prints_the_path_of_its_page(run_of: RunOf, tmp_path: Path, script: Script) -> None:
    folder = Path(shutil.copytree(run_of(1), tmp_path / "run"))
    assert script("scripts/inspect_run.py", str(folder)).stdout == f"{folder / 'inspection.html'}\n"
    assert re.match("catdog: .* holds no finished run", str(script("scripts/inspect_run.py", str(tmp_path)).status))


def test_odd_names_are_shown_escaped(run_of: RunOf) -> None:
    attack = "<img src=x onerror=alert(1)>\"'&</title><script>alert(2)</script>"
    classifier = make_classifier(hidden=[1], class_names=(attack, "dogs\n" + 80 * "w"))
    found = inspected(classifier, photos=3)
    found.photos.loc[[0, 1, 2], "path"] = [attack, "line\nbreak", "bytes\udcff\u202e"]
    html = page_of({0: found}, run_of(1), classifier, config={"data": {"root": f"/photos/{attack}\udcff"}})
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
    found = {2: inspected(classifier, 2, photos)}
    text = Page(page_of(found, run_of(3), classifier, hidden=hidden)).text
    left_out = [width - 16 for width in hidden if width > 16]
    assert all(f"The other {count:,} units are left out" in text for count in left_out)
    assert text.count("are left out") == len(left_out)
    assert ("Highest z" in text) == (not hidden)
    assert ("PCA whitening turns" in text) == ("ten views of the photo" in text) == bool(options)
    assert ("Without HOG, this net is right for" in text) == bool(options)
    assert "The page shows 1 of the 3 nets" in text
    assert text.count("Hidden layer") == 2 * len(hidden)
    assert "nan" not in text.lower()


def test_a_part_that_a_net_does_not_use_is_not_missed() -> None:
    classifier = make_classifier(replicas=2, whitening=4, hog=4)
    pixels = torch.randint(256, (60, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    classifier.network.fit(to_images(pixels.float()))
    weight, bias = (classifier.network.get_parameter(f"layers.0.{name}").data for name in ("weight", "bias"))
    weight[0, :, 4:], weight[1, :, :4], bias[:] = 0, 0, 0.01  # net 0 has no use for HOG, net 1 none for the pixels
    model = Predictor(classifier)
    labels = (model.logits(pixels)[0] > 0).float()  # by which net 0 is always right
    whole = ((model.logits(pixels) > 0) == (labels > 0)).float().mean(1)
    without = accuracies_without(model, pixels, labels)
    assert [without["HOG"][0], without["pixels"][1]] == whole.tolist()
    assert [without["HOG"][1], without["pixels"][0]] == 2 * [labels.mean()]  # all that is left is the bias
    assert 0.2 < labels.mean() < 0.8


@pytest.mark.parametrize(("interval", "noise"), [([0.51, 0.9], False), ([0.4, 0.8], True)])
def test_a_page_opens_with_its_verdict_and_counts_mistakes(interval: list[float], noise: bool, run_of: RunOf) -> None:
    classifier = with_weights([], [[1.0, 0.0, 0.0]], [0.0])  # red and white are dogs to it
    baseline = {"test": 0.5, "val": 0.5}
    record = {"test/acc": 0.7, "test/acc_interval": interval, "tested": 4, "baseline": baseline}
    text = Page(page_of({0: inspected(classifier)}, run_of(1), classifier, **record)).text
    ends = "{:.1f}, {:.1f}".format(*(100 * end for end in interval))
    assert text.index(f"This net is right for 70.0 % [{ends}] of 4 photos") < text.index("Learning curves")
    assert ("always naming one class is right for 50.0 %. Read what follows as noise." in text) == noise
    table = "predicted cats predicted dogs true cats 1 (50 %) 1 (50 %) true dogs 0 (0 %) 2 (100 %)"
    assert table in " ".join(text.split())
    assert [text.count(f"predicted: {name}true: ") for name in ("cats", "dogs")] == [1, 3]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_phone_shows_one_net_after_the_other(run_of: RunOf, tmp_path: Path) -> None:
    classifier = make_classifier(hidden=[20, 2], replicas=3, class_names=("cats", 60 * "d"))
    names = [f"folder/{40 * 'long name '}{number}.png" for number in range(4)]
    found = inspect(Predictor(classifier), [1, 0, 2], names, colored(classifier), LABELS)
    written = tmp_path / "page.html"
    written.write_text(page_of(found, run_of(3), classifier, hidden=[20, 2]), encoding="utf-8")
    with browsing(str(CHROMIUM), tmp_path / "profile") as browser:
        browser.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
        browser.call("Page.navigate", url=written.as_uri())
        browser.wait_for("document.readyState === 'complete' && document.images.length > 5")
        for seed in (1, 2, 0):
            browser.evaluate(f"[...document.querySelectorAll('label')].find(one => one.innerText == ' {seed}').click()")
            assert re.findall(r"The net of seed (\d)", browser.text()) == [str(seed)]
            assert browser.evaluate("document.documentElement.scrollWidth") == 390
            for label, name in zip(LABELS, names, strict=True):
                assert re.search(f"true: {'cd'[int(label)]}.*\n{name[7:]}", browser.text())
        assert browser.evaluate("[...document.images].every(one => one.naturalWidth > 0)")
        assert browser.evaluate("[...document.querySelectorAll('#net-0 use')].every(one => one.getBBox().width > 0)")
        assert [url for url in browser.requested if not url.startswith("data:")] == [written.as_uri()]

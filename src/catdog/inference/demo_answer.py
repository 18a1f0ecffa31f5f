"""Text of the demo's page, as HTML: cat or dog, and what the net went by."""

import base64
import html
import io
from statistics import mean, stdev

from PIL import Image
from torch import Tensor

from catdog.errors import InputError
from catdog.inference.demo_explanation import Explanation, Unit, explain, read_photo
from catdog.inference.predictor import Predictor
from catdog.names import net_title

COARSE = 64  # pixels; smaller pictures are shown with their squares, larger ones smoothly

STYLE = """
.gradio-container {width: 100%; max-width: 58rem !important; margin: 0 auto !important; padding: 0 !important}
.gradio-container main {padding: 2.5rem .6rem !important}
.html-container:has(.catdog) {padding: 0 !important}
.catdog {--first: #1d5fa8; --second: #b04d06; --quiet: #59616e; line-height: 1.5; color: var(--body-text-color)}
.dark .catdog {--first: #7db7f5; --second: #f0a35e; --quiet: #a9b1bd}
.catdog h1 {font-size: 1.9rem; font-weight: 600; margin: 0; overflow-wrap: anywhere}
.catdog h2 {font-size: 1.15rem; font-weight: 600; margin: 2.2rem 0 .2rem}
.catdog p {margin: .2rem 0; overflow-wrap: anywhere}
.catdog .first {color: var(--first)}
.catdog .second {color: var(--second)}
.catdog .quiet {color: var(--quiet)}
.catdog p.quiet, .catdog figcaption {font-size: .9rem; line-height: 1.45}
.catdog img {display: block; width: 100%; aspect-ratio: 1; border-radius: .5rem}
.catdog img.coarse {image-rendering: pixelated}
.catdog .answer {display: grid; grid-template-columns: 13rem 1fr; gap: 2rem; align-items: center; margin-top: 1rem}
.catdog .verdict {font-size: 2.6rem; font-weight: 600; line-height: 1.15; overflow-wrap: anywhere}
.catdog .scale {position: relative; height: .9rem; margin: 1.5rem 0 .4rem; border-radius: .45rem;
  background: linear-gradient(90deg, var(--first), var(--border-color-primary) 50%, var(--second))}
.catdog .scale b {position: absolute; top: -.75rem; margin-left: -.4rem; border: .4rem solid transparent;
  border-top: .6rem solid var(--body-text-color); border-bottom: 0}
.catdog .scale i {position: absolute; top: .15rem; width: .6rem; height: .6rem; margin-left: -.3rem; border-radius: 50%;
  background: var(--body-background-fill); border: 2px solid var(--body-text-color); box-sizing: border-box}
.catdog .ends {display: flex; justify-content: space-between; gap: 1rem; font-size: .9rem; overflow-wrap: anywhere}
.catdog .units {display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 1.4rem 1.2rem; margin-top: 1rem}
.catdog figure {margin: 0}
.catdog figcaption {margin-top: .4rem; overflow-wrap: anywhere}
.catdog .vote {font-weight: 600; font-size: 1rem}
.catdog .bar {height: .3rem; border-radius: .15rem; margin: .2rem 0; background: var(--border-color-primary)}
.catdog .bar div {height: 100%; border-radius: .15rem; background: var(--quiet)}
.catdog .refused {margin-top: 1rem; padding: .9rem 1.1rem; border-left: .3rem solid #b04d06;
  background: var(--background-fill-secondary)}
@media (max-width: 40rem) {
  .catdog .answer {grid-template-columns: 1fr; gap: 1rem}
  .catdog .answer > img {width: 9rem}
  .catdog .units {grid-template-columns: repeat(2, minmax(0, 1fr))}
}
"""


def heading(model: Predictor, name: str) -> str:
    """The top of the page, as HTML; `name` says where the networks come from."""
    first, second = map(_text, model.class_names)
    nets = len(model.classifier.seeds)
    told = f"{net_title(model.classifier.hparams)}{f', {nets} nets' if nets > 1 else ''} · {_text(name)}"
    return f'<div class="catdog"><h1>{first} or {second}?</h1><p class="quiet">{told}</p></div>'


def answer(model: Predictor, path: str) -> str:
    """The page's answer to a photo's file, as HTML: the verdict and its reasons, or why the file cannot be read."""
    try:
        pixels = read_photo(path, model.image_size)
    except InputError as error:
        return f'<div class="catdog"><p class="refused" role="alert">{_text(str(error))}.</p></div>'
    explanation = explain(model, pixels)
    first, second = map(_text, model.class_names)
    reasons = _units if model.classifier.hparams["hidden"] else _weights
    told = _verdict(explanation, (first, second)) + reasons(explanation, (first, second)) + _limits(model)
    return f'<div class="catdog">{told}</div>'


def _limits(model: Predictor) -> str:
    """Name what the pictures of the units leave out."""
    options = model.classifier.hparams
    remarks = [
        "The verdict is the mean over ten views of the photo (ten-crop); activity and votes are of the photo."
        * bool(options["test_time_augmentation"]),
        "What the units make of the HOG features is in their votes, but not in the pictures." * bool(options["hog"]),
    ]
    return "".join(f'<p class="quiet">{remark}</p>' for remark in remarks if remark)


def _verdict(explanation: Explanation, names: tuple[str, str]) -> str:
    probabilities = explanation.probabilities.tolist()
    average = mean(probabilities)
    size = explanation.pixels.shape[1]
    dots = "".join(f'<i style="left: {value:.2%}"></i>' for value in probabilities)
    return (
        f'<div class="answer">{_picture(explanation.pixels, f"the photo in {size}×{size} pixels")}'
        f'<div><div class="verdict {_side(average - 0.5)}">{names[average > 0.5]} {max(average, 1 - average):.1%}</div>'
        f'<div class="scale"><b style="left: {average:.2%}"></b>{dots}</div>'
        f'<div class="ends"><span class="first">{names[0]}</span><span class="second">{names[1]}</span></div>'
        f'<p class="quiet">{_spread(probabilities, names)}</p>'
        f'<p class="quiet">The photo is shown as the net sees it, in {size}×{size} pixels.</p></div></div>'
    )


def _spread(probabilities: list[float], names: tuple[str, str]) -> str:
    if len(probabilities) == 1:
        return f"The probability of {names[1]} is {probabilities[0]:.3f}."
    return (
        f"The probability of {names[1]} is {mean(probabilities):.3f}, the mean of {len(probabilities)} nets: they say "
        f"{min(probabilities):.3f} to {max(probabilities):.3f}, standard deviation {stdev(probabilities):.3f}."
    )


def _units(explanation: Explanation, names: tuple[str, str]) -> str:
    units, count = explanation.units, explanation.unit_count
    shown = f"{len(units)} of {count} units" if len(units) < count else "All units" if count > 1 else "Its only unit"
    several = len(explanation.probabilities) > 1
    strongest = max(abs(unit.activation) for unit in units) or 1
    figures = []
    for unit in units:
        title = f"net {unit.replica + 1}, unit {unit.number + 1}" if several else f"unit {unit.number + 1}"
        activity = (
            f'<div class="bar"><div style="width: {abs(unit.activation) / strongest:.0%}"></div></div>'
            f'<div class="quiet">activity {unit.activation:.2f}</div>'
        )
        figures.append(_figure(unit, title, activity, names))
    return (
        "<h2>What the first layer went by</h2>"
        f'<p class="quiet">{shown}, with the largest votes first. A picture shows a unit\'s weights: the unit becomes '
        "active where the photo has the picture's colours, and grey does not count. Its vote is how far it moves the "
        f'net\'s logit.</p><div class="units">{"".join(figures)}</div>'
    )


def _weights(explanation: Explanation, names: tuple[str, str]) -> str:
    """The reasons of networks without hidden units."""
    figures = (_figure(unit, f"net {unit.replica + 1}", "", names) for unit in explanation.units)
    return (
        "<h2>What it went by</h2>"
        '<p class="quiet">There are no hidden units, the weights lead from the pixels to the verdict: where the photo '
        f"has the picture's colours, that speaks for {names[1]}, and grey does not count. A vote is a net's logit.</p>"
        f'<div class="units">{"".join(figures)}</div>'
    )


def _figure(unit: Unit, title: str, activity: str, names: tuple[str, str]) -> str:
    vote = f"{abs(unit.vote):.2f} for {names[unit.vote > 0]}" if unit.vote else "no vote"
    return (
        f"<figure>{_picture(unit.picture.mul(255).round().byte(), f'weights of {title}')}"
        f'<figcaption><div class="vote {_side(unit.vote)}">{vote}</div><div class="quiet">{title}</div>{activity}'
        "</figcaption></figure>"
    )


def _side(value: float) -> str:
    """The style of the class that a vote above or below 0 is for."""
    return "second" if value > 0 else "first" if value < 0 else "quiet"


def _picture(pixels: Tensor, text: str) -> str:
    """An image, uint8 (3, height, width), and what stands for it where it cannot be seen."""
    file = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(file, "png")
    source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return f'<img src="{source}" alt="{text}"{" class=coarse" if pixels.shape[1] < COARSE else ""}>'


def _text(text: str) -> str:
    """A text for HTML; what is no UTF-8 in a name shows as escapes."""
    return html.escape(text.encode("utf-8", "backslashreplace").decode())

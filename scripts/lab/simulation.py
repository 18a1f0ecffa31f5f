"""Check `catdog.statistics.paired_difference` on simulated studies of known true difference; print Markdown tables.

`python scripts/lab/simulation.py` takes some minutes; `docs/statistics.md` describes the model and its parameters.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm, t

from catdog.statistics import paired_difference

Floats = NDArray[np.float64]
Method = Callable[[Floats, Floats], tuple[float, float]]  # both nets' matrices → ends of the interval
ACCURACY = 0.605
DIFFERENCES = (0.01, 0.02, 0.03, 0.05, 0.08)


@dataclass(frozen=True)
class Effects:
    """Standard deviations, on the logit scale, of the random effects on whether a prediction is correct.

    At accuracy 0.605 an effect of 0.15 common to all photos shifts the accuracy by 0.02.
    """

    photo: float = 2.1  # difficulty of a photo, the same for both nets
    photo_net: float = 1.2  # difficulty of a photo for one net; each prediction is then a Bernoulli draw
    run: float = 0.15  # initial weights and order of batches, per net and run
    training: float = 0.10  # training photos: once per net, and once common to both nets
    overlap: float = 8 / 9  # correlation of the training effects of two folds: share of their training photos in common


@dataclass(frozen=True)
class Design:
    """A study: `folds` test sets of `photos` each, `seeds` runs on each.

    With one fold the true difference is that of nets trained on this fold's training photos, unless `new_training`.
    """

    name: str
    folds: int
    seeds: int
    photos: int = 200
    new_training: bool = False

    def training(self, effects: Effects) -> float:
        """Return the training-set effect per net if the true difference averages over training sets, otherwise 0."""
        return effects.training if self.folds > 1 or self.new_training else 0.0


DESIGNS = (
    Design("one split, 1 seed", 1, 1),
    Design("one split, 2 seeds", 1, 2),
    Design("one split, 5 seeds", 1, 5),
    Design("one split, 10 seeds", 1, 10),
    Design("ten folds, 1 seed each", 10, 1),
    Design("ten folds, 3 seeds each", 10, 3),
)


def base_logit(accuracy: float, design: Design, effects: Effects) -> float:
    """Find the constant that gives a net this expected accuracy."""
    spread = math.hypot(effects.photo, effects.photo_net, effects.run, effects.training, design.training(effects))
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)  # over standard normal effects
    shares = weights / weights.sum()
    return float(brentq(lambda base: float(expit(base + spread * nodes) @ shares) - accuracy, -10, 10))


def draw(
    design: Design, difference: float, studies: int, rng: np.random.Generator, effects: Effects | None = None
) -> NDArray[np.bool_]:
    """Draw which predictions are correct, (studies, 2 nets, folds, seeds, photos), net 0 better by `difference`."""
    effects = effects or Effects()
    shape = (studies, 2, design.folds, design.seeds, design.photos)
    accuracies = (ACCURACY + difference / 2, ACCURACY - difference / 2)
    base = np.array([base_logit(accuracy, design, effects) for accuracy in accuracies])
    logits = base[:, None, None, None] + rng.normal(0, effects.photo, (studies, 1, design.folds, 1, design.photos))
    logits = logits + rng.normal(0, effects.photo_net, (studies, 2, design.folds, 1, design.photos))
    for nets, size in ((1, effects.training), (2, design.training(effects))):
        logits += rng.normal(0, size * math.sqrt(effects.overlap), (studies, nets, 1, 1, 1))
        logits += rng.normal(0, size * math.sqrt(1 - effects.overlap), (studies, nets, design.folds, 1, 1))
    logits = logits + rng.normal(0, effects.run, (*shape[:4], 1))
    return rng.random(shape) < expit(logits)


def as_matrices(correct: NDArray[np.bool_]) -> Floats:
    """Reshape a study, (2, folds, seeds, photos), to (2, runs, all photos) with NaN for the photos of other folds."""
    nets, folds, seeds, photos = correct.shape
    matrix = np.full((nets, folds, seeds, folds, photos), np.nan)
    for fold in range(folds):
        matrix[:, fold, :, fold] = correct[:, fold]
    return matrix.reshape(nets, folds * seeds, folds * photos)


def draw_studies(
    design: Design, difference: float, studies: int, rng: np.random.Generator, effects: Effects | None = None
) -> Iterator[Floats]:
    """Yield the studies one by one, (2, runs, photos), drawn a hundred at a time to bound the memory."""
    for start in range(0, studies, 100):
        for correct in draw(design, difference, min(100, studies - start), rng, effects):
            yield as_matrices(correct)


@dataclass(frozen=True)
class Score:
    """Results of many studies of the same design and true difference."""

    found: float  # fraction of studies with p < 0.05
    covered: float  # fraction of studies whose interval contains the true difference
    width: float  # mean width
    oracle: float  # 2 × 1.96 × the standard deviation of the estimate over the studies
    detectable: float  # median minimum detectable difference


def chosen(a: Floats, b: Floats) -> tuple[float, float]:
    """Compute the project's interval."""
    result = paired_difference(a, b)
    return result.low, result.high


def pooled(a: Floats, b: Floats) -> tuple[float, float]:
    """Compute the normal interval that takes all predictions as independent."""
    difference = (a - b)[~np.isnan(a)]
    half = norm.ppf(0.975) * difference.std(ddof=1) / math.sqrt(difference.size)
    return difference.mean() - half, difference.mean() + half


def paired_t(a: Floats, b: Floats, training: float = 0) -> tuple[float, float]:
    """Compute Student's t interval over runs; Nadeau and Bengio's correction adds `training` = test / train size."""
    per_run = np.nanmean(a - b, axis=1)
    half = t.ppf(0.975, len(per_run) - 1) * per_run.std(ddof=1) * math.sqrt(1 / len(per_run) + training)
    return per_run.mean() - half, per_run.mean() + half


def bootstrap(rng: np.random.Generator, a: Floats, b: Floats, draws: int = 400) -> tuple[float, float]:
    """Compute Owen's pigeonhole bootstrap interval: runs and photos resampled separately; percentiles."""
    tested = ~np.isnan(a)
    difference = np.where(tested, a - b, 0.0)
    runs, photos = a.shape
    run_weights = rng.multinomial(runs, np.full(runs, 1 / runs), draws).astype(float)
    photo_weights = rng.multinomial(photos, np.full(photos, 1 / photos), draws).astype(float)
    total = ((run_weights @ difference) * photo_weights).sum(axis=1)
    means = total / ((run_weights @ tested) * photo_weights).sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Format a Markdown table."""
    return "".join("| " + " | ".join(row) + " |\n" for row in (header, ("---",) * len(header), *rows))


def run(design: Design, difference: float, studies: int, seed: int, effects: Effects | None = None) -> Score:
    """Score the project's method on studies of one design; the same seed gives the same studies."""
    drawn = draw_studies(design, difference, studies, np.random.default_rng(seed), effects)
    results = [paired_difference(a, b) for a, b in drawn]
    rows = [(result.mean, result.low, result.high, result.p_value, result.detectable) for result in results]
    mean, low, high, p_value, detectable = np.array(rows).T
    return Score(
        found=float((p_value < 0.05).mean()),
        covered=float(((low <= difference) & (difference <= high)).mean()),
        width=float((high - low).mean()),
        oracle=float(2 * norm.ppf(0.975) * mean.std(ddof=1)),
        detectable=float(np.median(detectable)),
    )


def report_row(name: str, result: Score) -> tuple[str, ...]:
    """Format the scores of a case without a true difference: false alarms, coverage, widths in points."""
    widths = (f"{100 * result.width:.1f}", f"{100 * result.oracle:.1f}", f"{result.width / result.oracle:.2f}")
    return name, f"{100 * result.found:.1f}", f"{100 * result.covered:.1f}", *widths


def main_table(studies: int, seed: int) -> str:
    """Tabulate false alarms, coverage, widths; then the power at each true difference and at `detectable`."""
    null, power = [], []
    for design in DESIGNS:
        equal = run(design, 0.0, studies, seed)
        scores = [run(design, difference, studies, seed) for difference in DIFFERENCES]
        null.append((*report_row(design.name, equal), f"{100 * min(result.covered for result in scores):.1f}"))
        at_detectable = run(design, equal.detectable, studies, seed).found
        found = tuple(f"{100 * result.found:.0f}" for result in scores)
        power.append((design.name, *found, f"{100 * equal.detectable:.1f}", f"{100 * at_detectable:.0f}"))
    widths = ("mean width", "oracle width", "ratio")
    first = table(("design", "false alarms %", "coverage %", *widths, "lowest coverage % at 1 to 8 points"), null)
    points = (f"{100 * difference:.0f}" for difference in DIFFERENCES)
    return first + "\n" + table(("design, found % at", *points, "detectable", "found % there"), power)


def sensitivity_table(studies: int, seed: int) -> str:
    """Tabulate false alarms and coverage under other effects than the assumed ones."""
    cases = {
        "run effect doubled": Effects(run=0.3),
        "no run effect": Effects(run=0.0),
        "training effect halved": Effects(training=0.05),
        "training effect 1.5 times": Effects(training=0.15),
    }
    rows = []
    for design in (DESIGNS[0], DESIGNS[2], *DESIGNS[4:]):
        for name, effects in cases.items():
            if "run" in name or design.folds > 1:
                rows.append(report_row(f"{design.name}, {name}", run(design, 0.0, studies, seed, effects)))
    for seeds in (1, 5, 10):
        design = Design(f"one split, {seeds} seed(s), judged for other training photos", 1, seeds, new_training=True)
        rows.append(report_row(design.name, run(design, 0.0, studies, seed)))
    return table(("case", "false alarms %", "coverage %", "mean width", "oracle width", "ratio"), rows)


def method_table(studies: int, seed: int) -> str:
    """Tabulate false alarms and mean width (points) of other methods on the same studies of equal nets."""
    rows: list[tuple[str, ...]] = []
    for design in (DESIGNS[0], *DESIGNS[2:]):
        methods: dict[str, Method] = {"chosen": chosen, "all tests pooled": pooled}
        if design.folds * design.seeds > 1:
            resampling = partial(bootstrap, np.random.default_rng(seed + 1))
            methods |= {"paired t over runs": paired_t, "pigeonhole bootstrap": resampling}
        if design.folds > 1:
            methods["corrected t over runs"] = partial(paired_t, training=1 / 9)
        for name, method in methods.items():
            drawn = draw_studies(design, 0.0, studies, np.random.default_rng(seed))
            low, high = np.array([method(a, b) for a, b in drawn]).T
            alarms = float(((low > 0) | (high < 0)).mean())
            rows.append((design.name, name, f"{100 * alarms:.1f}", f"{100 * (high - low).mean():.1f}"))
    return table(("design", "method", "false alarms %", "mean width"), rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000, help="per design and true difference (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the drawn studies (default 0)")
    options = parser.parse_args()
    versions = f"numpy {np.__version__}, scipy {scipy.__version__}, Python {sys.version.split()[0]}"
    print(f"{options.studies} studies per line, seed {options.seed}; {versions}\n")
    print(main_table(options.studies, options.seed))
    print(sensitivity_table(options.studies, options.seed))
    print(method_table(min(options.studies, 500), options.seed))


if __name__ == "__main__":
    main()

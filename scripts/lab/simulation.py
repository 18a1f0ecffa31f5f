"""Checks `catdog.statistics.paired_difference` on studies whose true difference is known; prints markdown tables.

`python scripts/lab/simulation.py` takes some minutes; `docs/statistics.md` tells the model and its sizes.
"""

import argparse
import math
import sys
from collections.abc import Callable
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
Method = Callable[[Floats, Floats], tuple[float, ...]]  # both nets' matrices to the interval's ends
Row = dict[str, str]  # a line of a table: column → cell
ACCURACY = 0.605
DIFFERENCES = (0.01, 0.02, 0.03, 0.05, 0.08)
METHOD_COLUMNS = ("false alarms %", "mean width")


@dataclass(frozen=True)
class Effects:
    """Standard deviations on the logit scale of what makes a photo's prediction right or wrong.

    At accuracy 0.605 an effect of 0.15 that all photos share moves the accuracy by 0.02.
    """

    photo: float = 2.1  # difficulty of a photo, the same for both nets
    photo_net: float = 1.2  # difficulty of a photo for one net; the rest of each photo and run is a coin with that bias
    run: float = 0.15  # initial weights and order of batches, per net and run
    training: float = 0.10  # training photos, per net; and once more the same for both nets
    overlap: float = 8 / 9  # correlation of the training effects of two folds: share of their training photos in common


ASSUMED = Effects()


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
        """The net's own training-set effect as far as the true difference is a mean over it."""
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


def draw(design: Design, difference: float, studies: int, rng: np.random.Generator, effects: Effects) -> Floats:
    """Correctness of both nets, (studies, 2 nets, runs, photos), where net 0 is better by `difference`.

    Runs are folds × seeds; photos are those of all folds, NaN outside a run's own.
    """
    folds, seeds, photos = design.folds, design.seeds, design.photos
    base = [base_logit(ACCURACY + sign * difference / 2, design, effects) for sign in (1, -1)]
    logits = np.reshape(base, (2, 1, 1, 1)) + rng.normal(0, effects.photo, (studies, 1, folds, 1, photos))
    logits = logits + rng.normal(0, effects.photo_net, (studies, 2, folds, 1, photos))
    for nets, size in ((1, effects.training), (2, design.training(effects))):
        logits += rng.normal(0, size * math.sqrt(effects.overlap), (studies, nets, 1, 1, 1))
        logits += rng.normal(0, size * math.sqrt(1 - effects.overlap), (studies, nets, folds, 1, 1))
    logits = logits + rng.normal(0, effects.run, (studies, 2, folds, seeds, 1))
    correct = rng.random(logits.shape) < expit(logits)
    own_fold = np.eye(folds, dtype=bool)[:, None, :, None]
    return np.where(own_fold, correct[..., None, :], np.nan).reshape(studies, 2, folds * seeds, folds * photos)


def chosen(a: Floats, b: Floats) -> tuple[float, float, float]:
    """The project's interval, and the minimum detectable difference."""
    result = paired_difference(a, b)
    return result.low, result.high, result.detectable


def pooled(a: Floats, b: Floats) -> tuple[float, float]:
    """Count every test of a photo as independent."""
    difference = (a - b)[~np.isnan(a)]
    half = norm.ppf(0.975) * difference.std(ddof=1) / math.sqrt(difference.size)
    return difference.mean() - half, difference.mean() + half


def paired_t(a: Floats, b: Floats, training: float = 0) -> tuple[float, float]:
    """Student's t over the runs' differences; Nadeau and Bengio's correction adds `training` = test / train size."""
    per_run = np.nanmean(a - b, axis=1)
    half = t.ppf(0.975, len(per_run) - 1) * per_run.std(ddof=1) * math.sqrt(1 / len(per_run) + training)
    return per_run.mean() - half, per_run.mean() + half


def bootstrap(rng: np.random.Generator, a: Floats, b: Floats, draws: int = 400) -> tuple[float, float]:
    """Owen's pigeonhole bootstrap: runs and photos drawn with replacement, separately; percentiles."""
    tested = ~np.isnan(a)
    difference = np.where(tested, a - b, 0.0)
    runs, photos = a.shape
    run_weights = rng.multinomial(runs, np.full(runs, 1 / runs), draws).astype(float)
    photo_weights = rng.multinomial(photos, np.full(photos, 1 / photos), draws).astype(float)
    total = ((run_weights @ difference) * photo_weights).sum(axis=1)
    means = total / ((run_weights @ tested) * photo_weights).sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


@dataclass(frozen=True)
class Score:
    """Results of many studies of the same design and true difference, in percent and percentage points."""

    found: float  # share of studies whose interval leaves out 0
    covered: float  # share of studies whose interval holds the true difference
    width: float  # mean width
    oracle: float  # 2 × 1.96 × the standard deviation of the estimate over the studies
    detectable: float  # median; NaN for a method that gives none

    def cells(self) -> Row:
        """Cells of a table about equal nets."""
        shares = {"false alarms %": f"{self.found:.1f}", "coverage %": f"{self.covered:.1f}"}
        widths = {"mean width": f"{self.width:.1f}", "oracle width": f"{self.oracle:.1f}"}
        return shares | widths | {"ratio": f"{self.width / self.oracle:.2f}"}


def run(
    design: Design, difference: float, studies: int, seed: int, effects: Effects = ASSUMED, method: Method = chosen
) -> Score:
    """Judge studies of one design; the same seed gives the same studies, drawn a hundred at a time to bound memory."""
    rng = np.random.default_rng(seed)
    counts = [min(100, studies - start) for start in range(0, studies, 100)]
    rows = [
        (np.nanmean(a - b), *method(a, b)) for count in counts for a, b in draw(design, difference, count, rng, effects)
    ]
    mean, low, high, *detectable = 100 * np.array(rows).T
    return Score(
        found=100 * float(((low > 0) | (high < 0)).mean()),
        covered=100 * float(((low <= 100 * difference) & (100 * difference <= high)).mean()),
        width=float((high - low).mean()),
        oracle=float(2 * norm.ppf(0.975) * mean.std(ddof=1)),
        detectable=float(np.median(detectable[0])) if detectable else math.nan,
    )


def main_tables(studies: int, seed: int) -> tuple[list[Row], list[Row]]:
    """False alarms, coverage, widths; then how often each true difference is found, and what `detectable` says."""
    null, power = [], []
    for design in DESIGNS:
        equal = run(design, 0.0, studies, seed)
        scores = {f"{100 * difference:.0f}": run(design, difference, studies, seed) for difference in DIFFERENCES}
        lowest = min(score.covered for score in scores.values())
        there = run(design, equal.detectable / 100, studies, seed)
        null.append({"design": design.name} | equal.cells() | {"lowest coverage % at 1 to 8 points": f"{lowest:.1f}"})
        found = {points: f"{score.found:.0f}" for points, score in scores.items()}
        detectable = {"detectable": f"{equal.detectable:.1f}", "found % there": f"{there.found:.0f}"}
        power.append({"design, found % at": design.name} | found | detectable)
    return null, power


def sensitivity_table(studies: int, seed: int) -> list[Row]:
    """False alarms and coverage where the effects are not as assumed."""
    changed = {
        "run effect doubled": Effects(run=0.3),
        "no run effect": Effects(run=0.0),
        "training effect halved": Effects(training=0.05),
        "training effect 1.5 times": Effects(training=0.15),
    }
    cases = [
        (f"{design.name}, {name}", design, effects)
        for design in (DESIGNS[0], DESIGNS[2], *DESIGNS[4:])
        for name, effects in changed.items()
        if "run" in name or design.folds > 1
    ]
    for seeds in (1, 5, 10):
        name = f"one split, {seeds} seed(s), judged for other training photos"
        cases.append((name, Design(name, 1, seeds, new_training=True), ASSUMED))
    return [{"case": name} | run(design, 0.0, studies, seed, effects).cells() for name, design, effects in cases]


def method_table(studies: int, seed: int) -> list[Row]:
    """False alarms and mean width (points) of other methods on the same studies of equal nets."""
    rows = []
    for design in (DESIGNS[0], *DESIGNS[2:]):
        methods: dict[str, Method] = {"chosen": chosen, "all tests pooled": pooled}
        if design.folds * design.seeds > 1:
            resampling = partial(bootstrap, np.random.default_rng(seed + 1))
            methods |= {"paired t over runs": paired_t, "pigeonhole bootstrap": resampling}
        if design.folds > 1:
            methods["corrected t over runs"] = partial(paired_t, training=1 / 9)
        for name, method in methods.items():
            cells = run(design, 0.0, studies, seed, method=method).cells()
            rows.append({"design": design.name, "method": name} | {key: cells[key] for key in METHOD_COLUMNS})
    return rows


def main() -> None:
    """Print the tables in markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000, help="per design and true difference (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the drawn studies (default 0)")
    options = parser.parse_args()
    versions = f"numpy {np.__version__}, scipy {scipy.__version__}, Python {sys.version.split()[0]}"
    print(f"{options.studies} studies per line, seed {options.seed}; {versions}\n")
    tables = (
        *main_tables(options.studies, options.seed),
        sensitivity_table(options.studies, options.seed),
        method_table(min(options.studies, 500), options.seed),
    )
    for rows in tables:
        for cells in (rows[0], ["---"] * len(rows[0]), *(row.values() for row in rows)):
            print(f"| {' | '.join(cells)} |")
        print()


if __name__ == "__main__":
    main()

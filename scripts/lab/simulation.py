"""Checks both answers of `catdog.statistics` on drawn studies whose true difference is known; prints markdown tables.

`python scripts/lab/simulation.py` takes some minutes; `docs/statistics.md` explains the designs. `--null FOLDER` checks
them on real runs of one net instead, whose replicas it splits at random into two settings.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray
from scipy.stats import norm

from catdog.statistics import Estimate, for_any_photos, for_these_photos

Floats = NDArray[np.float64]
Sets = NDArray[np.int64]
Answer = Callable[[Floats, Sets], Estimate | None]
# A prediction is correct if its score is above 0. Scores are normal with variance 1, which consists of the difficulty
# of a photo for both nets, that for one net, and chance; half of the second is drawn anew with the training set.
ACCURACY, PHOTO, PHOTO_NET = 0.605, 0.59, 0.07
POINT = 0.01 / norm.pdf(norm.ppf(ACCURACY))  # shift of the score that moves the accuracy by one point
WEIGHTS, ORDER, TRAINING = 0.92, 0.4, 0.5  # standard deviations of effects per net in points: seeds are the first two
TRAINING_BOUND = 1.3  # upper bound of the last
FOLDS_SHARE = 7 / 9  # of their training photos, on average: of eight folds neighbours share seven, others six
OVERLAP = 200 / 1600  # test photos over training photos of a fold
DIFFERENCES = (0.0, 0.01, 0.02, 0.04)


@dataclass(frozen=True)
class Design:
    """Study of two nets: `sets` training sets, `replicas` runs on each, and `photos` test photos.

    Folds test `photos` each, others all the same ones. Replicas share their order of batches, seeds have one each.
    """

    sets: int
    replicas: int
    photos: int
    folds: bool = False
    seeds: bool = False
    training: float = TRAINING
    order: float = ORDER

    def __str__(self) -> str:
        sets, runs = "fold" if self.folds else "set", "seed" if self.seeds else "replica"
        counts = f"{self.sets} {sets}{'s' * (self.sets > 1)} × {self.replicas} {runs}{'s' * (self.replicas > 1)}"
        return f"{counts}, {self.photos:,} photos{' each' * self.folds}"


SEEDS = [Design(1, 5, 200, seeds=True), Design(1, 10, 200, seeds=True), Design(1, 10, 1600, seeds=True)]
SETS = [Design(sets, replicas, 1600) for sets in (3, 8) for replicas in (4, 8)]
FOLDS = [Design(sets, 1, 200, folds=True, seeds=True) for sets in (5, 10)] + [Design(10, 8, 200, folds=True)]


def draw(design: Design, difference: float, fixed: bool, studies: int, rng: np.random.Generator) -> NDArray[np.bool]:
    """Draw the correctness of both nets (studies, 2 nets, sets, replicas, photos); net 0 is better by `difference`.

    It is better over all training sets, or over those of each study if these are `fixed`: then their effects sum to 0.
    """
    sets, replicas = design.sets, design.replicas
    photos = (sets if design.folds else 1, 1, design.photos)
    shared = FOLDS_SHARE if design.folds else 0.0

    def effects(variance: float, *shape: int) -> NDArray[np.float32]:
        return np.float32(math.sqrt(variance)) * rng.standard_normal((studies, *shape), dtype=np.float32)

    training = effects(shared * design.training**2, 2, 1) + effects((1 - shared) * design.training**2, 2, sets)
    training -= training.mean(axis=2, keepdims=True) if fixed else 0
    order = effects(design.order**2, 2, sets, replicas if design.seeds else 1)
    runs = np.float32(POINT) * (training[..., None] + order + effects(WEIGHTS**2, 2, sets, replicas))
    runs += norm.ppf(ACCURACY + np.reshape([difference, -difference], (2, 1, 1)) / 2)
    scores = effects(1 - PHOTO - PHOTO_NET, 2, sets, replicas, design.photos)
    scores += effects(PHOTO, 1, *photos) + effects(PHOTO_NET / 2, 2, *photos)
    scores += effects(PHOTO_NET / 2, 2, sets, 1, design.photos) + runs[..., None]
    return scores > 0


def matrix(study: NDArray[np.bool], folds: bool) -> tuple[Floats, Sets]:
    """Lay out the difference of both nets' correctness as (runs, photos), NaN outside a run's own fold."""
    values = study[0].astype(float) - study[1]
    sets, replicas, _ = values.shape
    if folds:
        values = np.where(np.eye(sets, dtype=bool)[:, None, :, None], values[:, :, None], np.nan)
    return values.reshape(sets * replicas, -1), np.repeat(np.arange(sets), replicas)


def sizes(rng: np.random.Generator, sets: int = 4, replicas: int = 8, photos: int = 1600) -> str:
    """Measure the effects' sizes on drawn studies, by analysis of variance of the paired differences."""
    correct = draw(Design(sets, replicas, photos, seeds=True), 0.0, False, 100, rng)
    values = correct[:, 0].astype(float) - correct[:, 1]
    cell = values.var(axis=2, ddof=1).mean()
    photo = values.mean(axis=2).var(axis=2, ddof=1).mean() - cell / replicas
    run = values.mean(axis=3).var(axis=2, ddof=1).mean() - cell / photos
    of_set = (cell / replicas + photo / 2) / photos + run / replicas
    training = values.mean(axis=(2, 3)).var(axis=1, ddof=1).mean() - of_set
    points = [100 * math.sqrt(variance / 2) for variance in (run, training)]
    return (
        f"drawn: accuracy {correct.mean():.3f}; standard deviations per net in points: seeds {points[0]:.2f}, training "
        f"sets {points[1]:.2f}; variances: net by photo {photo / 2:.4f} per net, seed by photo {cell:.2f} per pair"
    )


def independent(values: Floats) -> Estimate:
    """Estimate the mean of independent draws."""
    return Estimate(float(values.mean()), float(values.std(ddof=1)) / math.sqrt(values.size), values.size - 1)


def judge(design: Design, difference: float, fixed: bool, studies: int, seed: int, answer: Answer) -> pd.DataFrame:
    """Answer studies of one design, drawn 50 at a time to bound memory: a row each, in points; see `draw`."""
    rng, rows = np.random.default_rng(seed), []
    for start in range(0, studies, 50):
        drawn = draw(design, difference, fixed, min(50, studies - start), rng)
        answers = [answer(*matrix(study, design.folds)) for study in drawn]
        rows += [(found.mean, *found.interval, found.detectable()) for found in answers if found]
    return 100 * pd.DataFrame(rows, columns=["mean", "low", "high", "detectable"])


def holding(answers: pd.DataFrame, difference: float) -> float:
    """Compute the percentage of intervals that hold this difference."""
    return float(100 * ((answers.low <= 100 * difference) & (answers.high >= 100 * difference)).mean())


def line(design: Design, fixed: bool, studies: int, seed: int) -> list[str]:
    """Make a line of the table; its last cell is of a harder case, if there is one."""
    answer = for_these_photos if fixed else partial(for_any_photos, overlap=OVERLAP * design.folds)
    harder = replace(design, training=TRAINING_BOUND)
    if fixed:  # a run's replicas are judged for its own order of batches
        design, harder = (design, design) if design.seeds else (replace(design, order=0.0), design)
    bounds = {}
    for case in dict.fromkeys((harder, design)):
        answers = [judge(case, difference, fixed, studies, seed, answer) for difference in DIFFERENCES]
        held = [holding(*pair) for pair in zip(answers, DIFFERENCES, strict=True)]
        bounds[case] = f"{100 - held[0]:.1f} / {min(held):.1f}"
    equal, detectable = answers[0], answers[0].detectable.median()
    width, oracle = (equal.high - equal.low).mean(), 2 * norm.ppf(0.975) * equal["mean"].std()
    there = judge(design, detectable / 100, fixed, studies, seed + 1, answer)
    numbers = f"{width:.1f}", f"{width / oracle:.2f}", f"{detectable:.1f}", f"{100 - holding(there, 0):.0f}"
    return ["these" if fixed else "any", str(design), bounds.pop(design), *numbers, *(bounds.values() or [""])]


def null(folder: Path, halvings: int, seed: int) -> str:
    """Split the replicas of each run of one net at random into two equal settings; count verdicts at the 5 % level."""
    files = sorted(folder.rglob("metrics.json"))
    records = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    tests = pd.concat([pd.read_csv(file.with_name("predictions.csv")) for file in files], keys=range(len(files)))
    tests["correct"] = ((tests.probability >= 0.5) == (tests.label == 1)).astype(float)
    correct = tests.rename_axis(["run", None]).pivot_table("correct", ["run", "seed"], "path")  # NaN: not tested
    values, sets = correct.to_numpy(), correct.index.get_level_values("run").to_numpy()
    photos, folds = records[0]["photos"], {record["fold"] for record in records}
    overlap = photos["test"] / photos["train"] if len(folds) > 1 else 0.0
    rng, verdicts = np.random.default_rng(seed), []
    for _ in range(halvings):
        orders = [rng.permutation(np.flatnonzero(sets == run)) for run in range(len(files))]
        pairs = np.concatenate([order[: len(order) // 2 * 2].reshape(-1, 2) for order in orders])
        halved = values[pairs[:, 0]] - values[pairs[:, 1]], sets[pairs[:, 0]]
        answers = for_these_photos(*halved), for_any_photos(*halved, overlap)
        verdicts.append([math.nan if found is None else found.p_value < 0.05 for found in answers])
    these, any_photos = 100 * np.mean(verdicts, axis=0)
    return f"{len(files)} runs, {halvings} halvings: for these photos {these:.1f} %, for any photos {any_photos:.1f} %"


def main() -> None:
    """Print the table in markdown and other methods' false alarms, or the result of `--null`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=2000, help="per design and difference, or halvings of --null")
    parser.add_argument("--seed", type=int, default=0, help="of the drawn studies or halvings")
    parser.add_argument("--null", type=Path, metavar="FOLDER", help="finished runs of one net with replicas")
    options = parser.parse_args()
    studies, seed = options.studies, options.seed
    if options.null:
        print(null(options.null, studies, seed))
        return
    versions = f"numpy {np.__version__}, scipy {scipy.__version__}, Python {sys.version.split()[0]}"
    print(f"{studies} studies per line, seed {seed}; {versions}; {sizes(np.random.default_rng(seed))}\n")
    print("| photos | design | false alarms / coverage | width | of oracle | detectable | found there | harder case |")
    print("|---" * 8 + "|")
    for fixed, designs in ((True, (*SEEDS, Design(1, 8, 1600), *SETS, *FOLDS)), (False, (*SETS, *FOLDS))):
        for design in designs:
            print(f"| {' | '.join(line(design, fixed, studies, seed))} |", flush=True)
    naive: tuple[Answer, Answer] = (
        lambda values, sets: independent(values[~np.isnan(values)]),
        lambda values, sets: independent(np.nanmean(values, axis=1)),
    )
    print("\nFalse alarms of all tests pooled, and of t over runs:")
    for design in (SEEDS[1], SETS[2], *FOLDS[1:]):
        alarms = [100 - holding(judge(design, 0, True, studies, seed, answer), 0) for answer in naive]
        print(f"{design}: {alarms[0]:.1f}, {alarms[1]:.1f}")


if __name__ == "__main__":
    main()

"""Verdict: tested difference between two settings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from catdog.statistics import Estimate, for_any_photos, for_these_photos, holm
from catdog.study.settings import Setting, differing, training_sets

# These get no verdict: hardware should not change the accuracy, and other photos have no training set in common.
UNTESTED_KEYS = (
    "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy", "data.train_photos", "data.root",
    "data.source.",
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """Difference between two settings, and what it says about training photos."""

    first: Setting
    second: Setting
    key: str  # configuration key in which they differ
    mean: float  # of the accuracies' difference; NaN if no runs or photos are in common
    these: Estimate | None  # for these training photos; None if there are too few runs
    others: Estimate | None  # for any training photos of this kind; None if there are too few training sets
    pairs: int  # pairs of runs
    sets: int  # training sets
    photos: int  # test photos
    remarks: tuple[str, ...]  # on the pairing of runs, one sentence each
    comparisons: int = 1  # among which the p-value is corrected (Holm)
    p_value: float = np.nan  # corrected; NaN if undecided

    @property
    def tested(self) -> Estimate | None:
        """Estimate that the verdict rests on: for any training photos if there is one, else for these."""
        return self.others or self.these

    @property
    def subject(self) -> str:
        """Name the comparison, such as "deep against shallow, 100 epochs, 1,600 training photos"."""
        if self.key == "trainer.max_epochs":
            return f"{self.second.net}, {self.first.epochs} against {self.second.label[len(self.second.net) + 2 :]}"
        return f"{self.first.net} against {self.second.label}"

    @property
    def word(self) -> str:
        """Say whether the first setting is "better" or "worse", or that the difference is undecided or not found."""
        if self.tested is None:
            return "undecided"
        return "no difference found" if self.p_value >= 0.05 else "better" if self.mean > 0 else "worse"

    @property
    def brief(self) -> str:
        """Format the verdict in one line, with the interval that it rests on."""
        size = "no runs or photos in common" if np.isnan(self.mean) else f"{points(self.mean)} points"
        return f"{self.subject}: {self.word}, {size}" + (f" {interval(self.tested)}" if self.tested else "")

    def __str__(self) -> str:
        """Format the verdict as sentences."""
        if self.tested is None:
            tests = f"{_count(self.pairs, 'pair')} of runs and {_count(self.photos, 'test photo')}"
            return f"{self.brief}; {tests} are too few."
        populations = {"any": self.others, "these": self.these}
        answers = [f"{interval(found)} for {name} training photos" for name, found in populations.items() if found]
        detectable = points(self.tested.detectable(self.comparisons))
        text = (
            f"{self.subject}: {self.word}, {points(self.mean)} points {' and '.join(answers)}, p = {self.p_value:.2g}. "
            f"With {_count(self.sets, 'training set')}, {_count(self.pairs, 'pair')} of runs and {self.photos:,} test "
            f"photos, a true difference of {detectable} points would be detected in 80 % of such studies."
        )
        return text if self.others else f"{text} Too few training sets to speak of others."


def verdicts(settings: Sequence[Setting]) -> tuple[list[Verdict], list[Verdict]]:
    """Test each pair of settings that differ in a single key, such as hidden widths or epochs.

    Returns the primary comparison, if the settings' configurations name one, which is tested alone, and all others,
    which share their level (Holm).
    """
    primary: list[tuple[Setting, Setting, str]] = []
    rest: list[tuple[Setting, Setting, str]] = []
    for second, first in combinations([setting for setting in settings if setting.runs], 2):
        keys = differing([first.keys, second.keys])
        if len(keys) == 1 and not keys[0].startswith(UNTESTED_KEYS):
            if second.is_side("first") and first.is_side("second"):
                first, second = second, first
            named = first.is_side("first") and second.is_side("second")
            (primary if named else rest).append((first, second, keys[0]))
    rest.sort(key=lambda pair: pair[2] != "model.hidden")  # between nets first
    return _corrected([_compare(*pair) for pair in primary]), _corrected([_compare(*pair) for pair in rest])


def _corrected(family: Sequence[Verdict]) -> list[Verdict]:
    """Correct the p-values of a family of comparisons."""
    p_values = {number: verdict.tested.p_value for number, verdict in enumerate(family) if verdict.tested}
    corrected = dict(zip(p_values, holm([*p_values.values()]), strict=True))
    return [replace(v, comparisons=len(p_values), p_value=corrected.get(n, np.nan)) for n, v in enumerate(family)]


def _compare(first: Setting, second: Setting, key: str) -> Verdict:
    """Estimate the difference from the runs that both settings have on the same training set with the same seeds."""
    one, other = first.correct, second.correct
    runs, photos = one.index.intersection(other.index), one.columns.intersection(other.columns)
    values = one.loc[runs, photos].to_numpy(dtype=float) - other.loc[runs, photos].to_numpy(dtype=float)
    sets = training_sets(runs)
    estimable = min(values.shape) > 0
    these = for_these_photos(values, sets) if estimable else None
    return Verdict(
        first, second, key,
        mean=these.mean if these else float(np.nanmean(values)) if estimable else np.nan,
        these=these,
        others=for_any_photos(values, sets, first.overlap) if estimable else None,
        pairs=len(runs), sets=len(set(sets)), photos=len(photos),
        remarks=tuple(_remarks(first, second, len(runs))),
    )  # fmt: skip


def _remarks(first: Setting, second: Setting, pairs: int) -> Iterator[str]:
    """Yield a sentence for each of: runs that are there twice, runs without a partner."""
    for setting, other in ((first, second), (second, first)):
        if twice := len(setting.runs) - (different := len(setting.correct)):
            yield f"{setting.label}: {_count(twice, 'run')} there twice, counted once."
        if alone := different - pairs:
            yield (
                f"{setting.label}: {_count(alone, 'run')} without a partner of the same seeds and training set in "
                f"{other.label}, left out of that comparison."
            )


def interval(estimate: Estimate) -> str:
    """Format a 95 % interval in percentage points."""
    return "[{}, {}]".format(*map(points, estimate.interval))


def points(share: float) -> str:
    """Format a fraction in percentage points."""
    return "–" if np.isnan(share) else f"{100 * share:.1f}".replace("-", "−")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"

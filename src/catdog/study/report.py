"""Report on many runs: table of settings, tests of their differences, figure of learning curves."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from catdog import plots
from catdog.statistics import Difference, holm, paired_difference
from catdog.study.settings import MACHINE_KEYS, Setting, collect, differing
from catdog.study.table import table, to_markdown

logger = logging.getLogger(__name__)

MAX_PAIRS = 30


@dataclass(frozen=True)
class Verdict:
    """Tested difference between two settings, with the p-value corrected for all pairs (Holm)."""

    first: Setting
    second: Setting
    key: str  # configuration key in which they differ
    difference: Difference
    p_value: float

    def __str__(self) -> str:
        """Format the verdict as one sentence."""
        first, second, found = self.first, self.second, self.difference
        better, than, at = f"{first.net} is", second.net, f" at {_epochs(first.epochs)}"
        between = f"{first.net} and {second.net}{at}"
        if self.key == "trainer.max_epochs":
            better, than, at = f"{_epochs(first.epochs)} of {first.net} are", str(second.epochs), ""
            between = f"{first.epochs} and {second.epochs} epochs of {first.net}"
        ends = (found.low, found.high) if self.p_value >= 0.05 or found.mean > 0 else (-found.high, -found.low)
        interval = f"[{_points(ends[0])}, {_points(ends[1])}], p = {self.p_value:.2g}"
        if self.p_value < 0.05:
            word = "better" if found.mean > 0 else "worse"
            return f"{better} {word} than {than}{at} by {_points(abs(found.mean))} points {interval}"
        return (
            f"no difference was found between {between}: {_points(found.mean)} points {interval}; "
            f"with {found.photos:,} test photos and {found.runs} pair{'s' * (found.runs > 1)} of runs, a true "
            f"difference of {_points(min(found.detectable, 1))} points would be detected in 80 % of such studies"
        )


@dataclass(frozen=True)
class Report:
    """Comparison of many runs."""

    settings: list[Setting]
    rows: list[dict[str, Any]]  # see `table`
    verdicts: list[Verdict]

    @property
    def failed(self) -> int:
        """Number of runs that failed."""
        return sum(other["status"] == "failed" for setting in self.settings for other in setting.others)

    def __str__(self) -> str:
        """Format table and verdicts in Markdown."""
        lines = [f"- {verdict}" for verdict in self.verdicts]
        if len(lines) > 1:
            lines += ["", f"Intervals are of each pair alone; p is corrected for the {len(lines)} pairs (Holm)."]
        runs = [run for setting in self.settings for run in setting.runs]
        if self.verdicts and len({(run["split_seed"], run["fold"]) for run in runs}) == 1:
            lines += ["", "All runs share one split: this holds for its training photos; data.fold=0,1,… tries others."]
        if any(run["replicas"] > 1 for run in runs):
            lines += ["", "Replicas count as seeds: they differ in initial weights, but share split and batch order."]
        return "\n".join([to_markdown(self.rows), *lines, ""])

    def save(self, folder: Path) -> None:
        """Write comparison.csv, comparison.md and comparison.png."""
        folder.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(self.rows).to_csv(folder / "comparison.csv", index=False)
        text = str(self)
        if finished := [setting for setting in self.settings if setting.runs]:
            curves = [(setting.net, setting.epochs, [run["history"] for run in setting.runs]) for setting in finished]
            shares = [run["baseline"]["val"] for setting in finished for run in setting.runs]
            plots.comparison(curves, float(np.mean(shares))).savefig(folder / "comparison.png", dpi=110)
            text += "\n![Learning curves](comparison.png)\n"
        (folder / "comparison.md").write_text(text, encoding="utf-8")


def compare(folders: Sequence[Path]) -> Report:
    """Compare all runs below the folders.

    Raises:
        InputError: there is no run below the folders.
    """
    settings = collect(folders)
    return Report(settings, table(settings), verdicts(settings))


def verdicts(settings: Sequence[Setting]) -> list[Verdict]:
    """Test each pair of settings that differ in a single key, such as hidden widths or epochs.

    Runs are paired by seed and split. Returns no verdicts if there are more than MAX_PAIRS pairs.
    """
    pairs = []
    for second, first in combinations([setting for setting in settings if setting.runs], 2):
        keys = differing([first.keys, second.keys])
        if len(keys) == 1 and not MACHINE_KEYS & set(keys):
            pairs.append((first, second, keys[0]))
    if len(pairs) > MAX_PAIRS:
        logger.info("no verdicts: %d pairs of settings are more than %d", len(pairs), MAX_PAIRS)
        return []
    pairs.sort(key=lambda pair: pair[2] != "model.hidden")  # between nets first
    found = [(pair, difference) for pair in pairs if (difference := _difference(*pair[:2])) is not None]
    corrected = holm([difference.p_value for _, difference in found])
    return [Verdict(*pair, difference, p) for (pair, difference), p in zip(found, corrected, strict=True)]


def _difference(first: Setting, second: Setting) -> Difference | None:
    one, other = first.correct(), second.correct()
    runs, photos = one.index.intersection(other.index), one.columns.intersection(other.columns)
    if runs.empty or len(photos) < 2:
        return None
    a, b = (frame.loc[runs, photos].to_numpy(dtype=float) for frame in (one, other))
    return paired_difference(a, b)


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"


def _points(share: float) -> str:
    return f"{100 * share:.1f}".replace("-", "−")

"""Many runs' records → a table, a figure and a verdict."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from catdog import figures
from catdog.statistics import Difference, holm, mean_accuracy, paired_difference, wilson_interval
from catdog.study.settings import MACHINE_KEYS, Setting, collect

logger = logging.getLogger(__name__)

MOST_PAIRS = 30
ACCURACY = ("test_acc", "test_acc_low", "test_acc_high")
KNOWN_TESTS = {"test/acc", "test/acc_interval", "test/acc_sd", "test/loss"}
COLUMNS = (
    "net", "epochs", "on", "runs", "hidden layers", "parameters", "seeds", "folds", "test accuracy [95 %]",
    "validation", "train loss", "dead nets", "takes off at epoch (quartiles)", "s per epoch", "photos per s",
    "s in all",
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """Difference between two settings, with the p-value corrected for all pairs (Holm)."""

    first: Setting
    second: Setting
    key: str  # the one that differs
    difference: Difference
    p_value: float

    def __str__(self) -> str:
        """One sentence."""
        first, second, where = self.first, self.second, f" at {_epochs(self.first.epochs)}"
        better, than, between = f"{first.net} is", second.net, f"{first.net} and {second.net}{where}"
        if self.key == "trainer.max_epochs":
            better, than, where = f"{_epochs(first.epochs)} of {first.net} are", str(second.epochs), ""
            between = f"{first.epochs} and {second.epochs} epochs of {first.net}"
        found = self.difference
        certainty = f"p = {self.p_value:.2g}"
        if self.p_value < 0.05:
            word, low, high = (
                ("better", found.low, found.high) if found.mean > 0 else ("worse", -found.high, -found.low)
            )
            points = f"{_points(abs(found.mean))} points [{_points(low)}, {_points(high)}]"
            return f"{better} {word} than {than}{where} by {points}, {certainty}"
        points = f"{_points(found.mean)} points [{_points(found.low)}, {_points(found.high)}]"
        return (
            f"no difference was found between {between}: {points}, {certainty}; "
            f"with {found.photos:,} test photos and {found.runs} pair{'s' * (found.runs > 1)} of runs, "
            f"differences under {100 * min(found.detectable, 1):.0f} points go unseen"
        )


@dataclass(frozen=True)
class Report:
    """Comparison of many runs.

    Attributes:
        settings: the runs, grouped.
        rows: a row per setting; see `table`.
        verdicts: the pairs of settings.
    """

    settings: list[Setting]
    rows: pd.DataFrame
    verdicts: list[Verdict]

    @property
    def failed(self) -> int:
        """The number of runs that failed."""
        return sum(other["status"] == "failed" for setting in self.settings for other in setting.others)

    def __str__(self) -> str:
        """Table and verdicts in Markdown."""
        lines = [f"- {verdict}" for verdict in self.verdicts]
        if len(lines) > 1:
            lines += ["", f"Intervals are of each pair alone; p is corrected for the {len(lines)} pairs (Holm)."]
        runs = [run for setting in self.settings for run in setting.runs]
        if self.verdicts and len({(run["split_seed"], run["fold"]) for run in runs}) == 1:
            lines += ["", "All runs share one split: this holds for its training photos; data.fold=0,1,… tries others."]
        if any(run["replicas"] > 1 for run in runs):
            lines += ["", "Replicas count as seeds: own initial weights, but the split and batch order of their run."]
        return "\n".join([_markdown(self.rows), *lines, ""])

    def save(self, folder: Path) -> None:
        """Write comparison.csv, comparison.md and comparison.png."""
        folder.mkdir(parents=True, exist_ok=True)
        self.rows.to_csv(folder / "comparison.csv", index=False)
        text = str(self)
        if any(setting.runs for setting in self.settings):
            _figure(self.settings).savefig(folder / "comparison.png", dpi=110)
            text += "\n![Learning curves](comparison.png)\n"
        (folder / "comparison.md").write_text(text, encoding="utf-8")


def compare(folders: Sequence[Path]) -> Report:
    """Compare all runs below the folders.

    Raises:
        InputError: there is no run below the folders.
    """
    settings = collect(folders)
    return Report(settings, table(settings), verdicts(settings))


def table(settings: Sequence[Setting]) -> pd.DataFrame:
    """Make one row per setting; accuracies are fractions, times are seconds.

    A tested metric besides accuracy and loss has a column, such as `test_f1`, if all finished runs have it.
    """
    tested = [{key for key in run if key.startswith("test/")} for setting in settings for run in setting.runs]
    further = sorted(set.intersection(*tested) - KNOWN_TESTS) if tested else []
    return pd.DataFrame([row for setting in settings for row in _rows(setting, further)])


def _rows(setting: Setting, further: Sequence[str]) -> list[dict[str, Any]]:
    head = {"net": setting.net, "epochs": setting.epochs, "accelerator": setting.accelerator}
    outcomes = Counter(f"{other['status']}: {other['reason']}" for other in setting.others)
    rows: list[dict[str, Any]] = [{**head, "status": status, "runs": runs} for status, runs in outcomes.items()]
    runs = setting.runs
    if runs:
        correct = setting.correct().to_numpy(dtype=float)
        enough = correct.shape[1] > 1  # else the module has no predict_step
        accuracy, low, high = mean_accuracy(correct) if enough else (_mean(runs, "test/acc"), np.nan, np.nan)
        takeoffs = [epoch for run in runs if (epoch := takeoff_epoch(run)) is not None]
        quartiles = np.percentile(takeoffs, [25, 50, 75]) if takeoffs else [np.nan] * 3
        finished = {
            "depth": runs[0]["depth"],
            "parameters": runs[0]["parameters"],
            "runs": len(runs),
            "seeds": len({run["seed"] for run in runs}),
            "folds": len({run["fold"] for run in runs}),
            "test_acc": accuracy,
            "test_acc_low": low,
            "test_acc_high": high,
            "val_acc": _mean(runs, "val/acc"),
            **{key.replace("/", "_"): _mean(runs, key) for key in further},
            "train_loss": float(np.mean([_last(run["history"], "train/loss") for run in runs])),
            "dead_nets": sum(run.get("val/dead", 0) > 0 for run in runs),
            "takeoff_epoch": quartiles[1],
            "takeoff_low": quartiles[0],
            "takeoff_high": quartiles[2],
            "took_off": len(takeoffs),
            "seconds_per_epoch": _mean(runs, "seconds_per_epoch"),
            "photos_per_second": runs[0]["photos"]["train"] / _mean(runs, "seconds_per_epoch"),
            "seconds": float(sum(run["seconds"] for run in runs)),
        }
        rows.insert(0, {**head, "status": "finished", **finished})
    return rows


def verdicts(settings: Sequence[Setting]) -> list[Verdict]:
    """The differences of settings that differ in one key: of a deeper net from a shallower, of more epochs from less.

    Only runs of the same seed and split are compared. None where there would be more than MOST_PAIRS pairs.
    """
    pairs = []
    for second, first in combinations([setting for setting in settings if setting.runs], 2):
        keys = {key for key in first.keys | second.keys if first.keys.get(key) != second.keys.get(key)}
        if len(keys) == 1 and not keys & set(MACHINE_KEYS):
            pairs.append((first, second, keys.pop()))
    if len(pairs) > MOST_PAIRS:
        logger.info("no verdicts: %d pairs of settings are more than %d", len(pairs), MOST_PAIRS)
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


def takeoff_epoch(run: dict[str, Any], window: int = 5) -> int | None:
    """The first epoch from which on a run's validation accuracy stays above chance by its 95 % interval (Wilson).

    The accuracy is smoothed: the mean of the last `window` validations. None if it does not get there.
    """
    photos, rows = run["photos"]["val"], [row for row in run["history"] if "val/acc" in row]
    enough = next(n for n in range(photos + 1) if n == photos or wilson_interval(n, photos)[0] > run["chance"])
    accuracy = pd.Series([row["val/acc"] for row in rows], dtype=float)
    above = accuracy.rolling(window, min_periods=1).mean() * photos >= enough
    stays = above[::-1].cummin()[::-1]
    return int(rows[int(stays.argmax())]["epoch"]) if rows and stays.iloc[-1] else None


def _figure(settings: Sequence[Setting]) -> Figure:
    finished = [setting for setting in settings if setting.runs]
    curves = [(setting.net, setting.epochs, [run["history"] for run in setting.runs]) for setting in finished]
    return figures.comparison(curves, chance=_mean([run for setting in finished for run in setting.runs], "chance"))


def _markdown(rows: pd.DataFrame) -> str:
    """Format the table for people: percent, and what belongs together in one column."""
    further = [name for name in map(str, rows) if name.startswith("test_") and name not in ACCURACY]
    header = [*COLUMNS, *(name.replace("_", " ", 1) for name in further)]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for _, row in rows.iterrows():
        cells = _cells(row, further)
        lines.append("| " + " | ".join(cells + [""] * (len(header) - len(cells))) + " |")
    return "\n".join(lines) + "\n"


def _cells(row: "pd.Series[Any]", further: Sequence[str]) -> list[str]:
    head = [str(row["net"]), str(row["epochs"]), str(row["accelerator"])]
    if row["status"] != "finished":
        return [*head, f"{row['runs']:.0f}", str(row["status"])]
    takeoff = f"{row['takeoff_epoch']:.0f} ({row['takeoff_low']:.0f}–{row['takeoff_high']:.0f})"
    cells = [
        *(f"{row[name]:,.0f}" for name in ("runs", "depth", "parameters", "seeds", "folds")),
        f"{100 * row['test_acc']:.1f} % [{100 * row['test_acc_low']:.1f}, {100 * row['test_acc_high']:.1f}]",
        f"{100 * row['val_acc']:.1f} %",
        f"{row['train_loss']:.3f}",
        f"{row['dead_nets']:.0f}",
        (takeoff if row["took_off"] else "–") + f", {row['took_off']:.0f} of {row['runs']:.0f}",
        f"{row['seconds_per_epoch']:.2f}",
        f"{row['photos_per_second']:,.0f}",
        f"{row['seconds']:.0f}",
        *(f"{row[name]:.3f}" for name in further),
    ]
    return [*head, *("–" if cell.startswith("nan") else cell.replace(" [nan, nan]", "") for cell in cells)]


def _mean(runs: Iterable[dict[str, Any]], key: str) -> float:
    return float(np.mean([run.get(key, np.nan) for run in runs]))


def _last(history: Sequence[dict[str, Any]], key: str) -> float:
    return float([np.nan, *(row[key] for row in history if key in row)][-1])


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"


def _points(share: float) -> str:
    return f"{100 * share:.1f}".replace("-", "−")

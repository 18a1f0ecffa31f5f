"""Table of settings: accuracy with its interval, start of learning, speed."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from catdog.statistics import for_any_photos, for_these_photos, wilson_interval
from catdog.study.settings import TRAINING_SET, Setting, training_sets

LEARNING = 0.95  # of the class entropy; learning is training loss below this for LASTING epochs
LASTING = 3
SETTLED, LOW, HIGH = 30, 0.6, 0.7  # the course note: after epoch 30 the deep net nears 70 %, and is rarely below 60 %
KNOWN_TESTS = {"test/acc", "test/acc_interval", "test/acc_sd", "test/loss"}
ACCURACY = "test accuracy [95 %]"
COLUMNS = {
    "net": "{net}",
    "training photos": "{photos:,}",
    "epochs": "{epochs}",
    "on": "{accelerator}",
    "runs": "{runs}",
    ACCURACY: "{test_acc:.1%} [{test_acc_low:.1%}, {test_acc_high:.1%}]",
    "interval for": "{interval_for}",
    "best validation [quartiles]": "{best:.1%} [{best_low:.1%}, {best_high:.1%}]",
    "best epoch [quartiles]": "{best_epoch:.0f} [{best_epoch_low:.0f}, {best_epoch_high:.0f}]",
    "start of learning at epoch [quartiles]": "{learning:.0f} [{learning_low:.0f}, {learning_high:.0f}]",
    "epochs below 60 % after 30 [quartiles]": "{below:.0%} [{below_low:.0%}, {below_high:.0%}]",
    "train loss": "{train_loss:.3f}",
    "dead nets": "{dead_nets}",
    "s per epoch": "{seconds_per_epoch:.2f}",
}  # of the Markdown table: title and cell format; comparison.csv has more, unrounded
BRIEF = ["net", "training photos", "epochs", "runs", ACCURACY]  # columns that a terminal shows
SPELLING = {r"\bnan%?": "–", r" \[–, –\]": "", r"\binf\b": "never", r"%(?=[,\]])": "", "%": " %"}  # of cells, in order


def table(settings: Sequence[Setting]) -> list[dict[str, Any]]:
    """Build one row per setting; accuracies are fractions, times are seconds.

    Further test metrics that all finished runs have are columns, such as `test_f1`. Unfinished runs of a setting follow
    it, one row per kind of outcome.
    """
    tested = [{key for key in run if key.startswith("test/")} for setting in settings for run in setting.runs]
    further = sorted(set.intersection(*tested) - KNOWN_TESTS) if tested else []
    rows: list[dict[str, Any]] = []
    for setting in settings:
        head = {name: getattr(setting, name) for name in ("net", "photos", "epochs", "accelerator")}
        if setting.runs:
            rows.append(head | {"status": "finished"} | _numbers(setting, further))
        outcomes = (f"{run['status']}: {re.sub('[,;] got .*', '', run['reason'])}" for run in setting.others)
        rows += [head | {"status": status, "runs": runs} for status, runs in Counter(outcomes).items()]
    return rows


def _numbers(setting: Setting, further: Sequence[str]) -> dict[str, Any]:
    """Summarize the finished runs of a setting."""
    runs, photos = setting.runs, setting.photos
    accuracy, (low, high), population = accuracy_interval(setting)
    return {
        **{name: runs[0][name] for name in ("depth", "parameters")},
        "runs": len(runs),
        "training_sets": len({tuple(run[key] for key in TRAINING_SET) for run in runs}),
        "test_acc": accuracy,
        "test_acc_low": low,
        "test_acc_high": high,
        "interval_for": population,
        **{key.replace("/", "_"): _mean(runs, key) for key in ("val/acc", *further)},
        **_quartiles("best", [accuracy for _, accuracy in map(_best_epoch, runs)]),
        "reaching": sum(accuracy >= HIGH for _, accuracy in map(_best_epoch, runs)),
        **_quartiles("best_epoch", [epoch for epoch, _ in map(_best_epoch, runs)]),
        **_quartiles("learning", [start_of_learning(run["history"], run["baseline"]["train"]) for run in runs]),
        **_quartiles("below", [_share_below(run) for run in runs]),
        "train_loss": _mean([run["history"][-1] for run in runs], "train/loss"),
        "dead_nets": sum(run.get("val/dead", 0) > 0 for run in runs),
        "seconds_per_epoch": _mean(runs, "seconds_per_epoch"),
        "photos_per_second": math.nan if setting.is_rehearsal else photos / _mean(runs, "seconds_per_epoch"),
        "seconds": float(sum(run["seconds"] for run in runs)),
    }


def accuracy_interval(setting: Setting) -> tuple[float, tuple[float, float], str]:
    """Compute a setting's mean test accuracy, its 95 % interval, NaN if unknown, and the population that it is for."""
    correct = setting.correct
    values, sets, mean = correct.to_numpy(dtype=float), training_sets(correct.index), _mean(setting.runs, "test/acc")
    if values.size and len(values) == 1:
        return mean, wilson_interval(int(np.nansum(values)), int(np.isfinite(values).sum())), "this very net"
    any_photos, these = for_any_photos(values, sets, setting.overlap), for_these_photos(values, sets)
    if (found := any_photos or these) is None:
        return mean, (np.nan, np.nan), "too few runs"
    low, high = found.interval
    return found.mean, (max(low, 0.0), min(high, 1.0)), f"{'any' if any_photos else 'these'} training photos"


def validation(run: dict[str, Any]) -> list[tuple[float, float]]:
    """List a run's epochs that have a validation accuracy, with that accuracy, which was computed in float32."""
    return [(row["epoch"], round(row["val/acc"], 6)) for row in run["history"] if "val/acc" in row]


def _best_epoch(run: dict[str, Any]) -> tuple[float, float]:
    """Find the first epoch with the largest validation accuracy, and that accuracy; NaN without validation."""
    return max(validation(run), key=lambda row: row[1], default=(np.nan, np.nan))


def _share_below(run: dict[str, Any]) -> float:
    """Compute the share of epochs after SETTLED with a validation accuracy below LOW; NaN if there are none."""
    late = [accuracy < LOW for epoch, accuracy in validation(run) if epoch > SETTLED]
    return float(np.mean(late)) if late else np.nan


def _quartiles(name: str, values: Sequence[float]) -> dict[str, float]:
    """Compute median and quartiles of single runs, as values that occur; infinity counts as the largest."""
    low, median, high = np.percentile(values, [25, 50, 75], method="inverted_cdf")
    return {name: median, f"{name}_low": low, f"{name}_high": high}


def start_of_learning(history: Sequence[dict[str, Any]], majority: float) -> float:
    """Find the first epoch from which training loss stays below LEARNING of the class entropy for LASTING epochs.

    The class entropy is the loss of always predicting the class frequencies, of which `majority` is the larger. Returns
    infinity if learning never starts, NaN if there are too few epochs to tell.
    """
    entropy = -sum(share * math.log(share) for share in (majority, 1 - majority) if share)
    rows = [(row["epoch"], row["train/loss"]) for row in history if "train/loss" in row]
    below = [loss < LEARNING * entropy for _, loss in rows]
    starts = (rows[n][0] for n in range(len(rows) - LASTING + 1) if all(below[n : n + LASTING]))
    return float(next(starts, math.inf if len(rows) >= LASTING else math.nan))


def to_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Format the table as Markdown, with rounded numbers."""
    return markdown([COLUMNS, ["---"] * len(COLUMNS), *map(_cells, rows)])


def markdown(rows: Iterable[Iterable[str]]) -> str:
    """Format rows as a Markdown table; the second one must be of dashes."""
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def to_text(rows: Sequence[dict[str, Any]]) -> str:
    """Format the columns of BRIEF for a terminal of 80 columns; a net's name that is too long is cut."""
    cells = pd.DataFrame(map(_cells, rows), columns=[*COLUMNS])[BRIEF]
    cells[ACCURACY] = cells[ACCURACY].str.partition(": ")[0]  # without why a run failed
    return cells.to_string(index=False, max_colwidth=28)  # a line fits into 80 columns


def _cells(row: dict[str, Any]) -> list[str]:
    """Format a row's cells; runs that did not finish have their outcome in place of the accuracy, and no numbers."""
    values = defaultdict(lambda: math.nan, row | {name: row[name] or math.nan for name in ("photos", "epochs")})
    cells = {title: form.format_map(values) for title, form in COLUMNS.items()}
    for pattern, text in SPELLING.items():
        cells = {title: re.sub(pattern, text, cell) for title, cell in cells.items()}
    if row["status"] != "finished":
        cells[ACCURACY] = row["status"]
    return [*cells.values()]


def _mean(runs: Iterable[dict[str, Any]], key: str) -> float:
    return float(np.mean([run.get(key, np.nan) for run in runs]))

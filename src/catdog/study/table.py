"""Table of settings: accuracy with its interval, start of learning, speed."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from catdog.statistics import mean_accuracy
from catdog.study.settings import Setting

LEARNING = 0.95  # of the class entropy; learning is training loss below this for LASTING epochs
LASTING = 3
KNOWN_TESTS = {"test/acc", "test/acc_interval", "test/acc_sd", "test/loss"}
START = "start of learning at epoch [quartiles]"
COLUMNS = {
    "net": "{net}",
    "epochs": "{epochs}",
    "on": "{accelerator}",
    "runs": "{runs}",
    "hidden layers": "{depth}",
    "parameters": "{parameters:,}",
    "seeds": "{seeds}",
    "folds": "{folds}",
    "test accuracy [95 %]": "{test_acc:.1%} [{test_acc_low:.1%}, {test_acc_high:.1%}]",
    "validation": "{val_acc:.1%}",
    "train loss": "{train_loss:.3f}",
    "dead nets": "{dead_nets}",
    START: "{learning:.0f} [{learning_low:.0f}, {learning_high:.0f}]",
    "s per epoch": "{seconds_per_epoch:.2f}",
    "photos per s": "{photos_per_second:,.0f}",
    "s in all": "{seconds:.0f}",
}  # of the Markdown table: title and cell format; comparison.csv has the unrounded numbers


def table(settings: Sequence[Setting]) -> list[dict[str, Any]]:
    """Build one row per setting; accuracies are fractions, times are seconds.

    Further test metrics have columns, such as `test_f1`, if all finished runs have them. Unfinished runs of a setting
    follow it, one row per kind of outcome.
    """
    tested = [{key for key in run if key.startswith("test/")} for setting in settings for run in setting.runs]
    further = sorted(set.intersection(*tested) - KNOWN_TESTS) if tested else []
    rows: list[dict[str, Any]] = []
    for setting in settings:
        head = {"net": setting.net, "epochs": setting.epochs, "accelerator": setting.accelerator}
        if setting.runs:
            rows.append(head | {"status": "finished"} | _numbers(setting, further))
        outcomes = Counter(f"{other['status']}: {other['reason']}" for other in setting.others)
        rows += [head | {"status": status, "runs": runs} for status, runs in outcomes.items()]
    return rows


def _numbers(setting: Setting, further: Sequence[str]) -> dict[str, Any]:
    """Summarize the finished runs of a setting."""
    runs, correct = setting.runs, setting.correct().to_numpy(dtype=float)
    enough = correct.shape[1] > 1  # otherwise the module has no predict_step
    accuracy, low, high = mean_accuracy(correct) if enough else (_mean(runs, "test/acc"), np.nan, np.nan)
    starts = [start_of_learning(run["history"], run["baseline"]["train"]) for run in runs]
    learning_low, learning, learning_high = np.percentile(starts, [25, 50, 75], method="inverted_cdf")
    return {
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
        "train_loss": _mean([run["history"][-1] for run in runs], "train/loss"),
        "dead_nets": sum(run.get("val/dead", 0) > 0 for run in runs),
        "learning": learning,
        "learning_low": learning_low,
        "learning_high": learning_high,
        "seconds_per_epoch": _mean(runs, "seconds_per_epoch"),
        "photos_per_second": runs[0]["photos"]["train"] / _mean(runs, "seconds_per_epoch"),
        "seconds": float(sum(run["seconds"] for run in runs)),
    }


def start_of_learning(history: Sequence[dict[str, Any]], majority: float) -> float:
    """Find the first epoch from which training loss stays below LEARNING of the class entropy for LASTING epochs.

    The class entropy, -p ln p - (1 - p) ln(1 - p), is the loss of always predicting the class frequencies, of which
    `majority` is the larger. Returns infinity if learning never starts.
    """
    entropy = -sum(share * math.log(share) for share in (majority, 1 - majority) if share)
    rows = [(row["epoch"], row["train/loss"]) for row in history if "train/loss" in row]
    below = [loss < LEARNING * entropy for _, loss in rows]
    starts = (rows[n][0] for n in range(len(rows) - LASTING + 1) if all(below[n : n + LASTING]))
    return float(next(starts, math.inf))


def to_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Format the table as Markdown, with rounded numbers."""
    names = {name for row in rows for name in row}
    further = sorted(name for name in names if name.startswith("test_") and not name.startswith("test_acc"))
    columns = COLUMNS | {name.replace("_", " ", 1): f"{{{name}:.3f}}" for name in further}
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        if row["status"] == "finished":
            start = COLUMNS[START].format_map(row).replace("inf", "never")
            cells = [start if title == START else cell.format_map(row) for title, cell in columns.items()]
        else:
            cells = [str(row[name]) for name in ("net", "epochs", "accelerator", "runs", "status")]
            cells += [""] * (len(columns) - len(cells))
        shown = ("–" if cell.startswith("nan") else cell.replace(" [nan%, nan%]", "") for cell in cells)
        lines.append(f"| {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def _mean(runs: Iterable[dict[str, Any]], key: str) -> float:
    return float(np.mean([run.get(key, np.nan) for run in runs]))

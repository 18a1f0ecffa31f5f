"""Figure of a study: test accuracies with intervals, and learning curves."""

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from catdog.study.settings import TRAINING_SET, Setting
from catdog.study.table import accuracy_interval, validation
from catdog.study.verdict import Verdict

PHOTOS = "data.train_photos"  # key of the data axis
MAX_CURVES = 8  # more are no longer told apart
APART = 1.03  # ratio of the places of two nets on the axis of training photos


def comparison(settings: Sequence[Setting], primary: Sequence[Verdict]) -> Figure:
    """Draw test accuracies on the left, validation accuracies on the right, the primary verdict as the title.

    Left: a row per setting with its 95 % interval, those of the primary comparison on top; if the settings differ in
    the number of training photos, accuracy against photos instead, a line per net. Right: mean over runs and a band of
    ±1 standard error, a line per net.
    """
    finished = [setting for setting in settings if setting.runs]
    compared = [side for verdict in primary for side in (verdict.first, verdict.second)]
    several_sizes = len({setting.keys.get(PHOTOS) for setting in finished}) > 1
    rows = [*compared, *(setting for setting in finished if setting not in compared)]
    height = 5.0 if several_sizes else max(4.5, 1.2 + 0.34 * len(rows))
    figure = Figure(figsize=(13, height), layout="constrained")
    if primary:
        figure.suptitle("\n".join(textwrap.fill(verdict.brief, 110) for verdict in primary), weight="bold")
    left, right = figure.subplots(1, 2)
    colors = {net: f"C{n % 10}" for n, net in enumerate(dict.fromkeys(setting.net for setting in finished))}
    shown = compared or [s for s in finished if s.epochs == max(other.epochs for other in finished)]
    if several_sizes:
        _plot_sizes(left, [s for s in finished if s.epochs == shown[0].epochs], colors)
    else:
        _plot_rows(left, rows, colors)
    # the last setting of each net with as many training photos has the most epochs
    longest = {setting.net: setting for setting in finished if setting.keys.get(PHOTOS) == shown[0].keys.get(PHOTOS)}
    _plot_curves(right, list(longest.values())[:MAX_CURVES], colors)
    for axes, part in ((left, "test"), (right, "val")):
        draw, axis = (axes.axhline, axes.yaxis) if several_sizes or axes is right else (axes.axvline, axes.xaxis)
        baselines = [run["baseline"][part] for setting in finished for run in setting.runs]
        label = f"majority class{', mean of folds' * (len(set(baselines)) > 1)} {100 * np.mean(baselines):.1f} %"
        draw(float(np.mean(baselines)), color="gray", linestyle="--", label=label)
        axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return figure


def _plot_rows(axes: Axes, rows: Sequence[Setting], colors: dict[str, str]) -> None:
    """Draw a forest plot."""
    found = [accuracy_interval(setting) for setting in reversed(rows)]
    populations = dict.fromkeys(population for _, ends, population in found if not np.isnan(ends[0]))
    for height, (setting, (accuracy, ends, _)) in enumerate(zip(reversed(rows), found, strict=True)):
        axes.plot(ends, [height, height], color=colors[setting.net], linewidth=2)
        axes.plot(accuracy, height, "o", color=colors[setting.net])
    axes.set_yticks(range(len(rows)), [setting.label.rpartition(", ")[0] for setting in reversed(rows)])
    whose = f" (intervals for {' or '.join(populations)})" if populations else "; too few runs for intervals"
    axes.set(title="Test accuracy, with 95 % intervals", xlabel=f"accuracy{whose}")


def _plot_sizes(axes: Axes, settings: Sequence[Setting], colors: dict[str, str]) -> None:
    """Plot test accuracy against the number of training photos, on a log scale."""
    for number, net in enumerate(dict.fromkeys(setting.net for setting in settings)):
        own = [setting for setting in settings if setting.net == net]
        accuracies, intervals, _ = zip(*(accuracy_interval(setting) for setting in own), strict=True)
        photos, spread = [setting.photos for setting in own], np.abs(np.transpose(intervals) - accuracies)
        shifted = [count * APART**number for count in photos]  # so that intervals do not hide each other
        axes.errorbar(shifted, accuracies, spread, color=colors[net], marker="o", capsize=3, label=net)
    axes.set_xscale("log")
    sizes = sorted({setting.photos for setting in settings})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.set(title=f"Test accuracy after {settings[0].epochs} epochs, 95 % intervals", xlabel="training photos (log)")


def _plot_curves(axes: Axes, settings: Sequence[Setting], colors: dict[str, str]) -> None:
    """Plot validation accuracy against epochs: mean over training sets, or runs of a single one, ±1 standard error."""
    for setting in settings:
        sets = pd.MultiIndex.from_tuples([tuple(run[key] for key in TRAINING_SET) for run in setting.runs])
        curves = pd.DataFrame([dict(validation(run)) for run in setting.runs], sets).dropna(axis=1).sort_index(axis=1)
        if curves.empty:
            continue
        if sets.nunique() > 1:
            curves = curves.groupby(level=[0, 1, 2]).mean()
        mean, error, color = curves.mean(), curves.sem().fillna(0), colors[setting.net]
        axes.plot(mean, color=color, marker="o" if len(mean) == 1 else "", label=setting.net)
        axes.fill_between(mean.index, mean - error, mean + error, color=color, alpha=0.2, linewidth=0)
    axes.set_title(f"Validation accuracy ±1 standard error, {settings[0].photos:,} training photos", loc="right")
    axes.set(xlabel="epoch", ylabel="accuracy")

"""Report on many runs: main answer, table of settings, tests of their differences, figure."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from catdog.study import figure
from catdog.study.settings import Setting, collect
from catdog.study.table import markdown, table, to_markdown, to_text
from catdog.study.verdict import Verdict, interval, points, verdicts

SHOWN = 6  # exploratory comparisons, and reasons and notes, that a terminal shows
WIDTH = 80  # columns of a terminal
REPLICAS = "Replicas share the order of batches: what holds for these training photos holds for this order of them."


@dataclass(frozen=True)
class Report:
    """Comparison of many runs."""

    settings: list[Setting]
    rows: list[dict[str, Any]]  # see `table`
    primary: list[Verdict]  # the comparison that the study was made for
    exploratory: list[Verdict]  # all others

    @property
    def notes(self) -> list[str]:
        """Sentences on what the verdicts rest on."""
        notes = [remark for verdict in (*self.primary, *self.exploratory) for remark in verdict.remarks]
        if any(row.get("interval_for") == "this very net" for row in self.rows):
            notes.append("The interval of a single run is that of this very net, on other photos of this kind.")
        runs = [(setting, run) for setting in self.settings for run in setting.runs]
        if any(run["epochs"] < setting.epochs for setting, run in runs):
            notes.insert(0, "Some runs ended before the epochs named here: by max_steps, max_time or a callback.")
        if any(setting.is_rehearsal for setting, _ in runs):
            notes.insert(0, "A rehearsal: limit_train_batches or overfit_batches left out a part of each epoch.")
        if any(run["replicas"] > 1 for _, run in runs):
            notes.append(REPLICAS)
        return list(dict.fromkeys(notes))

    def summary(self) -> str:
        """Format main answer, brief table and the found differences for a terminal."""
        found = sorted(self.exploratory, key=lambda verdict: not verdict.p_value < 0.05)[:SHOWN]
        main = [textwrap.fill(str(verdict), WIDTH) for verdict in self.primary]
        count, kind = len(self.exploratory), "Exploratory" if main else "Comparisons"
        heading = [f"{kind} ({len(found)} of {count}; verdicts allow for their number, intervals do not):"]
        outcomes = [*dict.fromkeys(row["status"] for row in self.rows if row["status"] != "finished")]
        bullets = [verdict.brief if count > 1 else str(verdict) for verdict in found] + outcomes[:SHOWN]
        bullets += self.notes[:SHOWN]
        lines = [textwrap.fill(bullet, WIDTH, initial_indent="- ", subsequent_indent="  ") for bullet in bullets]
        return "\n\n".join([*main, to_text(self.rows), "\n".join([*heading * (count > (0 if main else 1)), *lines])])

    def __str__(self) -> str:
        """Format the whole report in Markdown."""
        parts = [f"**{verdict}**" for verdict in self.primary]
        parts += [to_markdown(self.rows), "\n".join(f"- {note}" for note in self.notes)]
        if self.exploratory:
            count = self.exploratory[0].comparisons
            correction = f", and p is corrected for being {count} comparisons (Holm)" if count > 1 else ""
            parts += [
                f"## {'Exploratory c' if self.primary else 'C'}omparisons",
                f"Differences are in percentage points; each interval is 95 % of its own comparison{correction}. "
                '"Detectable" is the true difference that 80 % of such studies would detect.',
                _comparisons(self.exploratory),
            ]
        return "\n\n".join(part.strip() for part in parts if part) + "\n"

    def save(self, folder: Path) -> None:
        """Write comparison.csv, comparison.md and comparison.png."""
        folder.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(self.rows).to_csv(folder / "comparison.csv", index=False)
        text = str(self)
        if any(setting.runs for setting in self.settings):
            figure.comparison(self.settings, self.primary).savefig(folder / "comparison.png", dpi=110)
            text += "\n![Test accuracy with intervals, and validation accuracy against epochs](comparison.png)\n"
        (folder / "comparison.md").write_text(text, encoding="utf-8")


def compare(folders: Sequence[Path]) -> Report:
    """Compare all runs below the folders; see `collect`."""
    settings = collect(folders)
    return Report(settings, table(settings), *verdicts(settings))


def _comparisons(family: Sequence[Verdict]) -> str:
    """Format a table of comparisons in Markdown."""
    titles = ("comparison", "difference", "any training photos", "these training photos", "p", "verdict", "detectable")
    rows = [titles, ["---"] * len(titles)]
    for verdict in family:
        intervals = [interval(found) if found else "–" for found in (verdict.others, verdict.these)]
        detectable = points(verdict.tested.detectable(verdict.comparisons)) if verdict.tested else "–"
        p_value = f"{verdict.p_value:.2g}" if verdict.tested else "–"
        rows.append([verdict.subject, points(verdict.mean), *intervals, p_value, verdict.word, detectable])
    return markdown(rows)

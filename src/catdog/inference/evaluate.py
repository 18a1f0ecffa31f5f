"""A run or a checkpoint on labelled photos: what it gets right, how sure it is of it, and where it fails."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catdog import figures
from catdog.environment import environment
from catdog.errors import InputError
from catdog.figures.evaluation import draw
from catdog.files import write_atomically
from catdog.inference.measures import measure, with_interval
from catdog.inference.predictor import Predictor
from catdog.inference.runs import FinishedRun
from catdog.inference.samples import Sample, of_folder, of_test_part
from catdog.model.metrics import mean_logits
from catdog.names import net_title, shown

MOST_MISTAKES = 16  # on the sheet
NUMBERS = {
    "accuracy": "accuracy",
    "roc_auc": "area under the ROC curve",
    "average_precision": "average precision",
    "brier": "Brier score",
    "bce": "binary cross-entropy",
    "calibration_error": "expected calibration error",
}


@dataclass(frozen=True)
class Evaluation:
    """A checkpoint, its networks, the photos, and all that was measured."""

    checkpoint: Path
    model: Predictor
    sample: Sample
    measured: Mapping[str, Any]

    @classmethod
    def of(cls, checkpoint: Path, run: FinishedRun | None, data: str | Path | None) -> "Evaluation":
        """Evaluate a checkpoint.

        Args:
            checkpoint: its file.
            run: the finished run that left it, if known.
            data: a folder with two class sub-folders; None: the run's test part.

        Raises:
            InputError: there is no such checkpoint, or there are no photos for it.
        """
        model = Predictor.load(checkpoint)
        if data is not None:
            sample = of_folder(model, run, data)
        elif run is not None:
            sample = of_test_part(model, run)
        else:
            raise InputError(f"{str(checkpoint)!r} lies in no finished run's folder; name photos with --data FOLDER")
        return cls(checkpoint, model, sample, measure(sample.logits, sample.labels, model.classifier.seeds))

    def save(self, folder: Path) -> None:
        """Write `evaluation.png`, `mistakes.png` and last of all `evaluation.json`.

        Raises:
            InputError: they cannot be written there.
        """
        sample, names = self.sample, self.model.class_names
        logits = mean_logits(sample.logits.double(), dim=0)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            figure = draw(sample.logits.double(), sample.labels, self.measured, names, self.title)
            figure.savefig(folder / "evaluation.png", dpi=110)
            worst = figures.worst_mistakes(sample.labels, logits.sigmoid())
            pictures = [sample.picture(position) for position in worst[:MOST_MISTAKES].tolist()]
            sheet = figures.mistakes_sheet(pictures, worst, sample.labels, logits.sigmoid(), names)
            sheet.save(folder / "mistakes.png")
            write_atomically(folder / "evaluation.json", json.dumps(self.record(), indent=2))
        except OSError as error:
            raise InputError(f"{str(folder)!r} cannot be written to: {error.strerror or error}") from error

    def record(self) -> dict[str, Any]:
        """Build the content of `evaluation.json`: all that was measured, and of what."""
        ones = int(self.sample.labels.sum())
        names = self.model.class_names
        return {
            "checkpoint": str(self.checkpoint),
            "checkpoint_sha256": hashlib.sha256(self.checkpoint.read_bytes()).hexdigest(),
            "hidden": list(self.model.classifier.hparams["hidden"]),
            "image_size": self.model.image_size,
            "class_names": list(names),
            "photos": {
                "origin": self.sample.origin,
                "count": len(self.sample.labels),
                "of_class": dict(zip(names, (len(self.sample.labels) - ones, ones), strict=True)),
                "taken_for": dict(self.sample.taken_for),
                "trained_on": self.sample.trained_on,
                "unreadable": dict(self.sample.unreadable),
            },
            **self.measured,
            **environment(),
        }

    @property
    def title(self) -> str:
        """The net, its checkpoint and the photos in one line."""
        net = net_title(self.model.classifier.hparams)
        count = len(self.sample.labels)
        return f"{net}, {self.checkpoint.name}, {count:,} photo{'s' * (count != 1)} of {self.sample.origin}"

    def __str__(self) -> str:
        return "\n".join([self.title, *_remarks(self.sample, self.model), *_table(self.measured), *self._classes()])

    def _classes(self) -> list[str]:
        """A line for each class, of the net or of the ensemble."""
        one = self.measured["ensemble"] or self.measured["nets"][0]
        names = [shown(name) for name in self.model.class_names]
        width = max(len("of the ensemble"), *map(len, names))
        heading = "of the ensemble" if self.measured["ensemble"] else "class"
        lines = [f"  {heading:{width}}  precision  recall     F1  photos"]
        for name, of_class in zip(names, one["classes"], strict=True):
            precision, recall, f1 = (_short(of_class[key]) for key in ("precision", "recall", "f1"))
            lines.append(f"  {name:{width}}  {precision:>9}  {recall:>6}  {f1:>5}  {of_class['photos']:6,}")
        return lines


def places(model: str | Path, data: str | Path | None) -> tuple[Path, FinishedRun | None, Path]:
    """The checkpoint that a command's argument means, the finished run it comes from, and where its evaluation goes.

    That is `evaluation` in the run's folder, with the names of a checkpoint that is not the tested one and of other
    photos added; a checkpoint that lies elsewhere has it beside it.

    Raises:
        InputError: `model` is a folder in which no run has finished.
    """
    run = FinishedRun.open(model) if Path(model).is_dir() else FinishedRun.of_checkpoint(model)
    checkpoint = run.checkpoint if run is not None and Path(model).is_dir() else Path(model)
    tested = run is not None and checkpoint.absolute() == run.checkpoint.absolute()
    names = ["evaluation"] if tested else ["evaluation", checkpoint.stem]
    names += [Path(data).resolve().name] if data is not None else []
    return checkpoint, run, (run.folder if run is not None else checkpoint.parent) / "-".join(names)


def _remarks(sample: Sample, model: Predictor) -> list[str]:
    """List what has to be known to read the numbers."""
    remarks = [f"folder {shown(name)} is taken for class {shown(own)}" for name, own in sample.taken_for.items()]
    if sample.unreadable:
        remarks.append(f"{len(sample.unreadable):,} unreadable photos are left out; evaluation.json lists them")
    if sample.trained_on:
        remarks.append(
            f"{sample.trained_on:,} of the photos are ones that the run trained on or chose its epoch by, so the "
            "numbers are better than on new photos"
        )
    ones = int(sample.labels.sum())
    larger = int(2 * ones > len(sample.labels))
    share = max(ones, len(sample.labels) - ones) / len(sample.labels)
    remarks.append(f"always naming {shown(model.class_names[larger])} would be right for {share:.3f}")
    return [f"  {remark}" for remark in remarks]


def _table(measured: Mapping[str, Any]) -> list[str]:
    """A line for each number: of the net; or the nets' mean, their standard deviation, and the ensemble."""
    nets, ensemble = measured["nets"], measured["ensemble"]
    if ensemble is None:
        rows = [(title, with_interval(nets[0], name)) for name, title in NUMBERS.items()]
        return [f"  {title:28}{text}" for title, text in rows]
    lines = [f"  {'':28}{f'mean of {len(nets)} nets':24}{'sd':8}ensemble"]
    for name, title in NUMBERS.items():
        mean = with_interval(measured["mean"], name)
        lines.append(f"  {title:28}{mean:24}{_short(measured['sd'][name]):8}{with_interval(ensemble, name)}")
    return lines


def _short(number: float | None) -> str:
    return "none" if number is None else f"{number:.3f}"

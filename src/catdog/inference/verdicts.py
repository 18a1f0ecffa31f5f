"""Predictions as people and programs read them: lines, CSV, JSON, a sheet of photos."""

import csv
import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from catdog.data import FileSource, UnreadablePhotoError
from catdog.errors import InputError
from catdog.figures import contact_sheet
from catdog.figures.photos import SIDE
from catdog.files import write_atomically
from catdog.inference.predict import Prediction, predict
from catdog.inference.predictor import Predictor
from catdog.inference.runs import checkpoint_of
from catdog.names import shown

COLUMNS = ("path", "verdict", "confidence", "probability", "sd", "reason")
MOST_ON_SHEET = 100  # photos
SHEET_SUFFIXES = (".jpeg", ".jpg", ".png")
ALL_READ, NONE_READ, SOME_UNREADABLE = 0, 1, 3  # exit statuses; 2 is the command line's


@dataclass(frozen=True)
class Files:
    """Files to write all predictions to, besides the lines on standard output; None: nowhere.

    Raises:
        InputError: a file's folder is not there, in its place is something else than a file, or the sheet's name has
            another suffix than SHEET_SUFFIXES.
    """

    csv: Path | None = None
    json: Path | None = None
    sheet: Path | None = None

    def __post_init__(self) -> None:
        for path in (self.csv, self.json, self.sheet):
            if path is not None and not path.absolute().parent.is_dir():
                raise InputError(f"{str(path)!r} cannot be written: there is no folder {str(path.parent)!r}")
            if path is not None and path.exists() and not path.is_file():  # a renamed file would take its place
                raise InputError(f"{str(path)!r} cannot be written: it is there and no regular file")
        if self.sheet is not None and self.sheet.suffix.lower() not in SHEET_SUFFIXES:
            raise InputError(f"the sheet's name must end in {', '.join(SHEET_SUFFIXES)}, got {str(self.sheet)!r}")


def tell(trained: str | Path, paths: Sequence[str], files: Files) -> int:
    """Print a line for every photo as soon as it is known, write the files; returns the exit status.

    Photos that cannot be read are told of on standard error.

    Args:
        trained: a finished run's folder, or a checkpoint's file.
        paths: of photos and folders; see `predict`.
        files: to write.

    Raises:
        InputError: there is no such model, or a file cannot be written.
    """
    checkpoint = checkpoint_of(trained)
    model = Predictor.load(checkpoint)
    print(header(model), flush=True)
    predictions = []
    for prediction in predict(model, paths, progress=not sys.stdout.isatty()):  # there, the lines themselves show it
        predictions.append(prediction)
        if prediction.reason:
            # By tqdm, which takes its bar away meanwhile.
            tqdm.write(f"catdog: {prediction.path!r} could not be read: {prediction.reason}", file=sys.stderr)
        else:
            print(line(model, prediction), flush=True)
    for path, write in (
        (files.csv, lambda path: write_atomically(path, as_csv(model, predictions))),
        (files.json, lambda path: write_atomically(path, as_json(model, predictions, checkpoint))),
        (files.sheet, lambda path: sheet(model, predictions).save(path)),
    ):
        if path is not None:
            try:
                write(path.resolve())
            except OSError as error:
                raise InputError(f"{str(path)!r} cannot be written: {error.strerror}") from error
    return _status(predictions)


def _status(predictions: Sequence[Prediction]) -> int:
    unreadable = sum(bool(prediction.reason) for prediction in predictions)
    if not unreadable and predictions:
        return ALL_READ
    print(f"catdog: {unreadable:,} of {len(predictions):,} photos could not be read", file=sys.stderr)
    return NONE_READ if unreadable == len(predictions) else SOME_UNREADABLE


def header(model: Predictor) -> str:
    """Names of the columns of `line`."""
    sd = "     sd" if len(model.classifier.seeds) > 1 else ""
    return f"{'verdict':{_width(model)}}  confidence{sd}  path"


def line(model: Predictor, prediction: Prediction) -> str:
    """Verdict, confidence, with several replicas its spread, and path; the path is last, as it can hold spaces."""
    sd = "" if prediction.sd is None else f"  {prediction.sd:.3f}"
    verdict = shown(model.class_names[prediction.verdict])
    return f"{verdict:{_width(model)}}  {prediction.confidence:10.3f}{sd}  {shown(prediction.path)}"


def _width(model: Predictor) -> int:
    return max(len("verdict"), *(len(shown(name)) for name in model.class_names))


def _row(model: Predictor, prediction: Prediction) -> list[str | float | None]:
    if prediction.reason:
        return [prediction.path, None, None, None, None, prediction.reason]
    verdict = model.class_names[prediction.verdict]
    return [prediction.path, verdict, prediction.confidence, prediction.probability, prediction.sd, None]


def as_csv(model: Predictor, predictions: Sequence[Prediction]) -> str:
    """A row for every photo: COLUMNS, of which `probability` is that of class 1, as in a run's predictions.csv."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(_row(model, prediction) for prediction in predictions)
    return text.getvalue()


def as_json(model: Predictor, predictions: Sequence[Prediction], checkpoint: Path) -> str:
    """As `as_csv`, with the probabilities of every replica and what they come from."""
    content = {
        "checkpoint": str(checkpoint),
        "class_names": list(model.class_names),
        "seeds": list(model.classifier.seeds),
        "photos": [
            dict(zip(COLUMNS, _row(model, prediction), strict=True)) | {"replicas": list(prediction.probabilities)}
            for prediction in predictions
        ],
    }
    return json.dumps(content, indent=2)


def sheet(model: Predictor, predictions: Sequence[Prediction]) -> Image.Image:
    """The first MOST_ON_SHEET photos with verdict and confidence below; they are decoded once more."""
    source = FileSource(Path(), model.class_names, [(prediction.path, 0) for prediction in predictions])
    pictures, captions = [], []
    readable = [number for number, prediction in enumerate(predictions) if not prediction.reason]
    for number in readable[:MOST_ON_SHEET]:
        prediction = predictions[number]
        try:
            pictures.append(Image.fromarray(source.read(number, SIDE)))
        except UnreadablePhotoError:  # it went away meanwhile
            continue
        verdict = shown(model.class_names[prediction.verdict])
        captions.append(f"{verdict}, {prediction.confidence:.0%}\n{shown(os.path.basename(prediction.path))}")
    count = f"the first {len(pictures)} of " if len(pictures) < len(readable) else ""
    unreadable = len(predictions) - len(readable)
    title = f"{count}{len(readable):,} photo{'s' * (len(readable) != 1)}" + f", {unreadable:,} unreadable" * bool(
        unreadable
    )
    return contact_sheet(pictures, captions, title, columns=4 if len(pictures) <= 24 else 8)

"""Predictions for anybody's photos: lines, CSV, JSON, a sheet of photos."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean, stdev
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from catdog.data import FileSource, UnreadablePhotoError, read_all
from catdog.data.photos import PHOTO_SUFFIXES, photo_paths
from catdog.errors import InputError
from catdog.files import csv_text, write_atomically
from catdog.inference.predictor import Predictor
from catdog.inference.runs import locate
from catdog.names import shown
from catdog.plots import SIDE, contact_sheet

COLUMNS = ("path", "prediction", "confidence", "probability", "sd", "reason")
BATCH = 64  # photos given to the networks at a time
MOST_ON_SHEET = 100  # photos
SHEET_SUFFIXES = (".jpeg", ".jpg", ".png")
ALL_READ, NONE_READ, SOME_UNREADABLE = 0, 1, 3  # exit statuses; 2 is the command line's


@dataclass(frozen=True)
class Prediction:
    """Prediction for a photo, or why there is none.

    Attributes:
        path: as it was given, or found.
        probabilities: of class 1, one of each replica; empty for a photo that cannot be read.
        class_names: names of class 0 and class 1.
        reason: why the photo cannot be read; empty for one that can.
    """

    path: str
    probabilities: tuple[float, ...]
    class_names: tuple[str, str]
    reason: str = ""

    def row(self) -> dict[str, str | float | None]:
        """Give the values of COLUMNS; what does not apply is None.

        `confidence` is the probability of the predicted class and `probability` that of class 1, means over the
        replicas; `sd` is the latter's standard deviation over them.
        """
        if self.reason:
            return dict.fromkeys(COLUMNS) | {"path": self.path, "reason": self.reason}
        probability = fmean(self.probabilities)
        sd = stdev(self.probabilities) if len(self.probabilities) > 1 else None
        predicted, confidence = self.class_names[probability > 0.5], max(probability, 1 - probability)
        return dict(zip(COLUMNS, (self.path, predicted, confidence, probability, sd, None), strict=True))


def predict(model: Predictor, paths: Sequence[str], progress: bool = True) -> Iterator[Prediction]:
    """Predict every photo that the paths name, in order, each as soon as it is known.

    The prediction for a photo does not depend on the others; the memory is that of some hundred resized photos.

    Args:
        model: the networks.
        paths: of photos, and of folders, which are searched at any depth.
        progress: whether a terminal may show a bar.

    Raises:
        InputError: a folder has no photo, or cannot be listed.
    """
    source = FileSource(Path(), model.class_names, [(name, 0) for path in paths for name in _search(path)])
    # Always as many photos at a time, some of them left over at the end: products of other shapes round otherwise.
    pixels = np.zeros((BATCH, 3, model.image_size, model.image_size), dtype=np.uint8)
    photos = zip(source.names, read_all(source, model.image_size, progress), strict=True)
    while batch := list(islice(photos, BATCH)):
        for row, (_, photo) in enumerate(batch):
            if not isinstance(photo, UnreadablePhotoError):
                pixels[row] = photo.transpose(2, 0, 1)
        probabilities = model.logits(torch.from_numpy(pixels)).double().sigmoid().T.tolist()
        for (name, photo), own in zip(batch, probabilities, strict=False):
            if isinstance(photo, UnreadablePhotoError):
                yield Prediction(name, (), model.class_names, str(photo))
            else:
                yield Prediction(name, tuple(own), model.class_names)


def _search(path: str) -> list[str]:
    """List the photos below a folder, or the path itself if it is none."""
    if not os.path.isdir(path):
        return [path]
    if found := sorted(os.path.join(path, name) for name in photo_paths(Path(path), "")):
        return found
    raise InputError(f"the folder {path!r} has no photo ({', '.join(PHOTO_SUFFIXES)})")


def expand(arguments: Sequence[str], standard_input: BinaryIO, ends_with_nul: bool) -> list[str]:
    """Put the paths that standard input holds, one per line or each ended by a NUL byte, in the place of every `-`.

    Raises:
        InputError: it has NUL bytes where lines were expected, as photos themselves have.
    """
    content = standard_input.read() if "-" in arguments else b""
    if not ends_with_nul and b"\0" in content:
        raise InputError("standard input has NUL bytes: it must hold paths, one per line, or with --null ended by NUL")
    lines = content.split(b"\0") if ends_with_nul else content.splitlines()
    named = [os.fsdecode(line) for line in lines if line]
    return [path for argument in arguments for path in (named if argument == "-" else [argument])]


def print_predictions(
    trained: str | Path, paths: Sequence[str], csv_file: Path | None, json_file: Path | None, sheet_file: Path | None
) -> int:
    """Print a line for every photo as soon as it is known, write the files, and return the exit status.

    Args:
        trained: a finished run's folder, or a checkpoint's file.
        paths: of photos and folders; see `predict`.
        csv_file: file to write all predictions to; None: none.
        json_file: likewise, with the probabilities of every replica.
        sheet_file: picture of the first MOST_ON_SHEET photos with their predictions; None: none.

    Raises:
        InputError: there is no such model, or a file cannot be written.
    """
    _check_files(csv_file, json_file, sheet_file)
    checkpoint = locate(trained)[0]
    model = Predictor.load(checkpoint)
    predictions = _print_lines(model, paths)
    if csv_file is not None:
        write_atomically(csv_file.resolve(), csv_text(COLUMNS, (own.row().values() for own in predictions)))
    if json_file is not None:
        write_atomically(json_file.resolve(), _as_json(model, predictions, checkpoint))
    if sheet_file is not None:
        draw_sheet(predictions).save(sheet_file)
    unreadable = sum(bool(prediction.reason) for prediction in predictions)
    if unreadable or not predictions:
        print(f"catdog: {unreadable:,} of {len(predictions):,} photos could not be read", file=sys.stderr)
        return NONE_READ if unreadable == len(predictions) else SOME_UNREADABLE
    return ALL_READ


def _print_lines(model: Predictor, paths: Sequence[str]) -> list[Prediction]:
    """Predict, and print predicted class, confidence, with several replicas its spread, and path of each photo."""
    width = max(len("prediction"), *(len(shown(name)) for name in model.class_names))
    several = len(model.classifier.seeds) > 1
    print(f"{'prediction':{width}}  confidence{'     sd' * several}  path", flush=True)
    predictions = []
    for prediction in predict(model, paths, progress=not sys.stdout.isatty()):  # there, the lines show it
        predictions.append(prediction)
        if prediction.reason:  # by tqdm, which takes its bar away meanwhile
            tqdm.write(f"catdog: {prediction.path!r} could not be read: {prediction.reason}", file=sys.stderr)
            continue
        row = prediction.row()
        sd = f"  {row['sd']:.3f}" if several else ""
        name = shown(str(row["prediction"]))
        print(f"{name:{width}}  {row['confidence']:10.3f}{sd}  {shown(prediction.path)}", flush=True)
    return predictions


def _check_files(*paths: Path | None) -> None:
    """Raise an InputError for a file that could not be written once all photos are predicted."""
    for path in paths:
        if path is not None and not path.absolute().parent.is_dir():
            raise InputError(f"{str(path)!r} cannot be written: there is no folder {str(path.parent)!r}")
        if path is not None and path.exists() and not path.is_file():  # a renamed file would take its place
            raise InputError(f"{str(path)!r} cannot be written: it is there and no regular file")
    if (sheet := paths[-1]) is not None and sheet.suffix.lower() not in SHEET_SUFFIXES:
        raise InputError(f"the sheet's name must end in {', '.join(SHEET_SUFFIXES)}, got {str(sheet)!r}")


def _as_json(model: Predictor, predictions: Sequence[Prediction], checkpoint: Path) -> str:
    content = {
        "checkpoint": str(checkpoint),
        "class_names": list(model.class_names),
        "seeds": list(model.classifier.seeds),
        "photos": [prediction.row() | {"replicas": list(prediction.probabilities)} for prediction in predictions],
    }
    return json.dumps(content, indent=2)


def draw_sheet(predictions: Sequence[Prediction]) -> Image.Image:
    """Draw the first MOST_ON_SHEET photos with prediction and confidence below; they are decoded once more."""
    readable = [prediction for prediction in predictions if not prediction.reason]
    source = FileSource(Path(), ("", ""), [(prediction.path, 0) for prediction in readable[:MOST_ON_SHEET]])
    pictures, captions = [], []
    for prediction, photo in zip(readable, read_all(source, SIDE), strict=False):
        if isinstance(photo, UnreadablePhotoError):  # it went away meanwhile
            continue
        row = prediction.row()
        pictures.append(Image.fromarray(photo))
        name = shown(os.path.basename(prediction.path))
        captions.append(f"{shown(str(row['prediction']))}, {row['confidence']:.0%}\n{name}")
    count = f"the first {len(pictures)} of " if len(pictures) < len(readable) else ""
    unreadable = len(predictions) - len(readable)
    title = f"{count}{len(readable):,} photo{'s' * (len(readable) != 1)}"
    title += f", {unreadable:,} unreadable" if unreadable else ""
    return contact_sheet(pictures, captions, title, columns=4 if len(pictures) <= 24 else 8)

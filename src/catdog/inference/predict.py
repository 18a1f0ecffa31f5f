"""Predictions for photos: printed lines, CSV, a contact sheet."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean, stdev
from typing import Self

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from catdog.data import read_all
from catdog.data.photos import PHOTO_SUFFIXES, FileSource, UnreadablePhotoError, photo_paths
from catdog.errors import InputError
from catdog.files import csv_text, write_atomically
from catdog.inference.predictor import Predictor
from catdog.inference.runs import locate
from catdog.names import measured, shown
from catdog.plots import CLASS_COLORS, SIDE, contact_sheet

COLUMNS = ("path", "prediction", "confidence", "probability", "sd", "undecided", "reason")  # of CSV
BATCH = 64  # photos per forward pass
MAX_ON_SHEET, BAR = 100, 10  # photos; pixels: the height of the confidence bar
SHEET_SUFFIXES = (".jpeg", ".jpg", ".png")
MARK = "(undecided)"  # after the class, without a space, so that a line's fields stay the same
UNDECIDED = 0.6  # confidence below which an answer is little better than a guess: docs/after-training.md


@dataclass(frozen=True)
class Prediction:
    """Prediction for a photo, or the reason that it cannot be read."""

    path: str  # as given, or as found in a folder
    reason: str | None = None  # set if the photo cannot be read; all other attributes then have their defaults
    replicas: tuple[float, ...] = ()  # probability of class 1 by each replica
    probability: float | None = None  # their mean
    sd: float | None = None  # their standard deviation; None for a single one
    prediction: str | None = None  # name of the predicted class
    confidence: float | None = None  # probability of the predicted class
    undecided: bool = False  # confidence below UNDECIDED

    @classmethod
    def of(cls, path: str, replicas: Sequence[float], class_names: Sequence[str]) -> Self:
        """Predict by the mean probability of the replicas."""
        mean, sd = fmean(replicas), stdev(replicas) if len(replicas) > 1 else None
        sure = max(mean, 1 - mean)
        return cls(path, None, tuple(replicas), mean, sd, class_names[mean > 0.5], sure, sure < UNDECIDED)


def predict(model: Predictor, paths: Sequence[str], progress: bool = True) -> Iterator[Prediction]:
    """Yield the prediction for every photo that the paths name, in order, batch by batch.

    Folders are searched at any depth; InputError if one has no photo, or cannot be listed. The prediction for a photo
    does not depend on the others; memory holds some hundred resized photos.
    """
    names: list[str] = []
    for path in paths:
        found = sorted(os.path.join(path, n) for n in photo_paths(Path(path), "")) if os.path.isdir(path) else [path]
        if not found:
            raise InputError(f"the folder {path!r} has no photo ({', '.join(PHOTO_SUFFIXES)})")
        names += found
    source = FileSource(Path(), model.class_names, [(name, 0) for name in names])
    # A constant batch shape, filled with old photos at the end: matrix products of other shapes round differently.
    pixels = np.zeros((BATCH, 3, model.image_size, model.image_size), dtype=np.uint8)
    photos = zip(names, read_all(source, model.image_size, progress), strict=True)
    while batch := list(islice(photos, BATCH)):
        for row, (_, photo) in enumerate(batch):
            pixels[row] = 0 if isinstance(photo, UnreadablePhotoError) else photo.transpose(2, 0, 1)
        probabilities = model.logits(torch.from_numpy(pixels)).double().sigmoid().T.tolist()
        for (name, photo), replicas in zip(batch, probabilities, strict=False):
            unreadable = isinstance(photo, UnreadablePhotoError)
            yield Prediction(name, str(photo)) if unreadable else Prediction.of(name, replicas, model.class_names)


def print_predictions(trained: str | Path, paths: Sequence[str], csv_file: Path | None, sheet_file: Path | None) -> int:
    """Print a line for every photo of `paths`, write the requested files, return the exit status.

    `trained` is a finished run's folder, or a checkpoint's file. InputError if it is neither, or a file is unwritable.
    """
    for path in (csv_file, sheet_file):  # before predicting
        if path is not None and not path.absolute().parent.is_dir():
            raise InputError(f"{str(path)!r} cannot be written: there is no folder {str(path.parent)!r}")
        if path is not None and path.exists() and not path.is_file():  # renaming would replace it
            raise InputError(f"{str(path)!r} cannot be written: it is there and no regular file")
    if sheet_file is not None and sheet_file.suffix.lower() not in SHEET_SUFFIXES:
        raise InputError(f"the sheet's name must end in {', '.join(SHEET_SUFFIXES)}, got {str(sheet_file)!r}")
    checkpoint, run = locate(trained)
    predictions = list(_print_lines(Predictor.load(checkpoint), paths))
    if csv_file is not None:
        rows = ([getattr(prediction, name) for name in COLUMNS] for prediction in predictions)
        write_atomically(csv_file.resolve(), csv_text(COLUMNS, rows))
    if sheet_file is not None:
        draw_sheet(predictions).save(sheet_file)
    if run is not None and checkpoint.resolve() == run.checkpoint.resolve():
        print(f"{run.folder}: {measured(run.record)}", file=sys.stderr)
    unreadable = sum(prediction.reason is not None for prediction in predictions)
    return 1 if unreadable == len(predictions) else 3 if unreadable else 0  # 2 is the command line's


def _print_lines(model: Predictor, paths: Sequence[str]) -> Iterator[Prediction]:
    """Predict each photo; print class, confidence, standard deviation of several replicas, and path; then the total."""
    width = len(MARK) + max(map(len, map(shown, model.class_names)))
    several = len(model.classifier.seeds) > 1
    counts = dict.fromkeys((*model.class_names, "of these undecided", "unreadable"), 0)
    print(f"{'prediction':{width}}  confidence{'     sd' * several}  path", flush=True)
    for one in predict(model, paths, progress=not sys.stdout.isatty()):  # a terminal shows the lines
        if one.reason is not None:  # `tqdm.write` keeps the bar intact
            tqdm.write(f"catdog: {one.path!r} could not be read: {one.reason}", file=sys.stderr)
        else:
            name = shown(str(one.prediction)) + MARK * one.undecided
            line = f"{name:{width}}  {one.confidence:10.3f}{f'  {one.sd:.3f}' if several else ''}"
            print(f"{line}  {shown(one.path)}", flush=True)
        counts[one.prediction or "unreadable"] += 1
        counts["of these undecided"] += one.undecided
        yield one
    parts = [f"{n:,} {shown(name)}" for name, n in counts.items() if n or name in model.class_names]
    print(", ".join(parts), file=sys.stderr)  # standard output has a line per photo only


def draw_sheet(predictions: Sequence[Prediction]) -> Image.Image:
    """Draw the first MAX_ON_SHEET photos with prediction and confidence below; photos are decoded again."""
    source = FileSource(Path(), ("", ""), [(prediction.path, 0) for prediction in predictions[:MAX_ON_SHEET]])
    tiles, captions = [], []
    for one, photo in zip(predictions, read_all(source, SIDE), strict=False):
        tile = Image.new("RGB", (SIDE, SIDE + BAR), "gainsboro")
        if one.probability is None or one.confidence is None or isinstance(photo, UnreadablePhotoError):
            text = f"unreadable: {one.reason or photo}"
        else:
            color, length = CLASS_COLORS[one.probability > 0.5], round((2 * one.confidence - 1) * SIDE)
            tile.paste(Image.fromarray(photo))
            tile.paste("gray" if one.undecided else color, (0, SIDE, length, SIDE + BAR))
            text = f"{shown(str(one.prediction))}{', undecided' * one.undecided}, {int(100 * one.confidence)} %"
        tiles.append(tile)
        captions.append(f"{text}\n{shown(Path(one.path).name)}")
    count = f"the first {len(tiles)} of " if len(tiles) < len(predictions) else ""
    title = f"{count}{len(predictions):,} photo{'s' * (len(predictions) != 1)}; bar: confidence, from 50 % to 100 %"
    return contact_sheet(tiles, captions, title, columns=4 if len(tiles) <= 24 else 8)

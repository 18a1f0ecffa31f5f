"""From paths to a prediction for every photo."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from catdog.data import FileSource, UnreadablePhotoError, read_all
from catdog.data.photos import PHOTO_SUFFIXES, photo_paths
from catdog.data.store import digest_pixels
from catdog.errors import InputError
from catdog.inference.predictor import Predictor

BATCH = 64  # photos given to the networks at a time


class PathSource(FileSource):
    """Photos of any paths, in the order they were given, each as often as it was.

    A folder stands for the photos at any depth below it, as `FolderSource` finds them. One without photos, or that
    cannot be listed, is an unreadable photo.

    Args:
        paths: of files and folders, or of nothing.
        class_names: names of class 0 and class 1.
    """

    def __init__(self, paths: Sequence[str], class_names: tuple[str, str]) -> None:
        self._reasons: dict[str, str] = {}  # of folders
        names = [name for path in paths for name in (self._search(path) if os.path.isdir(path) else [path])]
        super().__init__(Path(), class_names, [(name, 0) for name in names])

    def _search(self, folder: str) -> list[str]:
        unlisted: list[str] = []

        def note(error: OSError) -> None:
            self._reasons[str(error.filename)] = f"the folder cannot be listed: {error.strerror}"
            unlisted.append(str(error.filename))

        found = [os.path.join(folder, name) for name in photo_paths(Path(folder), "", note)]
        if not found and not unlisted:
            self._reasons[folder] = f"the folder has no photo ({', '.join(PHOTO_SUFFIXES)})"
            return [folder]
        return sorted(found + unlisted)

    def read(self, index: int, image_size: int) -> NDArray[np.uint8]:
        """As `FileSource.read`."""
        if (why := self._reasons.get(self.names[index])) is not None:
            raise UnreadablePhotoError(why)
        return super().read(index, image_size)


class Judged(NamedTuple):
    """Logits of networks for a photo.

    Attributes:
        logits: of class 1, float32 (replicas,).
        digest: of the photo's pixels, see `digest_pixels`.
    """

    logits: Tensor
    digest: str


@dataclass(frozen=True)
class Prediction:
    """The verdict on a photo, or why there is none.

    Attributes:
        path: as it was given, or found.
        probabilities: of class 1, one of each replica; empty for a photo that cannot be read.
        reason: why it cannot be read; empty for one that can.
    """

    path: str
    probabilities: tuple[float, ...]
    reason: str = ""

    @property
    def probability(self) -> float:
        """Of class 1, the mean over the replicas."""
        return fmean(self.probabilities)

    @property
    def verdict(self) -> int:
        """The likelier class, 0 or 1."""
        return int(self.probability > 0.5)

    @property
    def confidence(self) -> float:
        """The probability of the verdict, from 0.5 to 1."""
        return max(self.probability, 1 - self.probability)

    @property
    def sd(self) -> float | None:
        """The standard deviation of the probability between replicas; None for a single one."""
        return stdev(self.probabilities) if len(self.probabilities) > 1 else None


def judge(
    model: Predictor, source: FileSource, progress: bool = True
) -> Iterator[tuple[str, Judged | UnreadablePhotoError]]:
    """The name of every photo of a source with what the networks say of it, or why it cannot be read, in order.

    The memory it takes is that of some hundred resized photos. What is said of a photo does not depend on the others.
    """
    size = model.image_size
    # Always as many photos at a time, some of them left over at the end: products of other shapes round otherwise.
    pixels = np.zeros((BATCH, 3, size, size), dtype=np.uint8)
    readings = zip(source.names, read_all(source, size, progress), strict=True)
    while batch := list(islice(readings, BATCH)):
        for row, (_, photo) in enumerate(batch):
            if not isinstance(photo, UnreadablePhotoError):
                pixels[row] = photo.transpose(2, 0, 1)
        logits = model.logits(torch.from_numpy(pixels)).T
        for row, (name, photo) in enumerate(batch):
            unreadable = isinstance(photo, UnreadablePhotoError)
            yield name, cast(Any, photo) if unreadable else Judged(logits[row], digest_pixels(cast(Any, photo)))


def predict(model: Predictor, paths: Sequence[str], progress: bool = True) -> Iterator[Prediction]:
    """A prediction for every photo that the paths name, in order, each as soon as it is known.

    Args:
        model: the networks.
        paths: of photos and folders, see `PathSource`.
        progress: whether a terminal may show how far it is.
    """
    for name, judged in judge(model, PathSource(paths, model.class_names), progress):
        if isinstance(judged, Judged):
            yield Prediction(name, tuple(judged.logits.double().sigmoid().tolist()))
        else:
            yield Prediction(name, (), str(judged))


def expand(arguments: Sequence[str], standard_input: BinaryIO | None, ends_with_nul: bool) -> list[str]:
    """The paths that a command's arguments name, with those that standard input holds in the place of every `-`.

    Args:
        arguments: paths, or `-`.
        standard_input: read to its end, where a `-` asks for it: paths, one per line, or each ended by a NUL byte.
        ends_with_nul: whether it is by NUL bytes.

    Raises:
        InputError: it has NUL bytes where lines were expected, as photos themselves have.
    """
    if "-" in arguments and standard_input is None:
        raise InputError("- reads paths from standard input, which is closed")
    content = standard_input.read() if "-" in arguments and standard_input is not None else b""
    if not ends_with_nul and b"\0" in content:
        raise InputError(
            "standard input has NUL bytes: it must hold paths, one per line; paths that end with NUL need --null, "
            "and a photo has to be given as a file"
        )
    lines = content.split(b"\0") if ends_with_nul else content.splitlines()
    named = [os.fsdecode(line) for line in lines if line]
    return [path for argument in arguments for path in (named if argument == "-" else [argument])]

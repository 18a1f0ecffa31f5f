"""Labelled photos with what networks say of them: a run's test part, or a folder of anybody's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from catdog.data import CatDogDataModule, FolderSource, UnreadablePhotoError
from catdog.errors import InputError
from catdog.figures.photos import SIDE
from catdog.inference.predict import judge
from catdog.inference.predictor import Predictor
from catdog.inference.runs import FinishedRun

SUFFIX_OF_PLURAL = "s"


@dataclass(frozen=True)
class Sample:
    """Labelled photos and what the networks say of them.

    Attributes:
        origin: where the photos come from, for people.
        labels: 0 or 1, by the checkpoint's classes, (photos,).
        logits: of class 1, float32 (replicas, photos).
        picture: makes a photo, by its position.
        unreadable: name → reason, of the photos that are left out.
        taken_for: the folder's class names → the checkpoint's, where they differ.
        trained_on: how many of the photos have the same pixels as one that the run trained on or chose its epoch by;
            None: not known.
    """

    origin: str
    labels: Tensor
    logits: Tensor
    picture: Callable[[int], Image.Image]
    unreadable: Mapping[str, str]
    taken_for: Mapping[str, str] = field(default_factory=dict)
    trained_on: int | None = None


def of_test_part(model: Predictor, run: FinishedRun) -> Sample:
    """The test part of a run.

    Raises:
        InputError: its photos are no longer there, or no longer the same, or the networks are not of this run.
    """
    data = run.data()
    if (model.image_size, model.class_names) != (data.image_size, tuple(data.class_names)):
        raise InputError(f"the checkpoint is not of the run in {str(run.folder)!r}; name photos with --data FOLDER")
    test, pixels = data.test, data.store.pixels
    logits = torch.cat([model.logits(pixels[rows]) for rows in test.rows.split(512)], dim=1)

    def picture(position: int) -> Image.Image:
        return Image.fromarray(data.source.read(int(test.rows[position]), SIDE))  # larger than what the net sees

    origin = f"the test part of {str(run.folder)!r}"
    digests = [data.store.digests[row] for row in test.rows.tolist()]
    # A store tells of all parts' unreadable photos alike.
    return Sample(origin, test.labels, logits, picture, data.store.unreadable, trained_on=_trained_on(data, digests))


def of_folder(model: Predictor, run: FinishedRun | None, data: str | Path) -> Sample:
    """All photos of a folder with two class sub-folders.

    Args:
        model: the networks.
        run: that they come from, if known.
        data: the folder.

    Raises:
        InputError: there is no such folder, its classes are not the checkpoint's, or none of its photos can be read.
    """
    try:
        source = FolderSource(data)
    except InputError as error:
        raise InputError(str(error).replace("data.root", "--data", 1)) from error
    taken_for = match_classes(source.class_names, model.class_names)
    classes = [model.class_names.index(taken_for[name]) for name in source.class_names]
    judged, rows, unreadable = [], [], {}
    for row, (name, result) in enumerate(judge(model, source)):
        if isinstance(result, UnreadablePhotoError):
            unreadable[name] = str(result)
            continue
        judged.append(result)
        rows.append(row)
    if not judged:
        name, reason = next(iter(unreadable.items()))
        raise InputError(f"--data: none of {len(unreadable)} photos can be read; the first is {name!r} ({reason})")
    own = _photos_of(run)
    return Sample(
        origin=repr(str(data)),
        labels=torch.tensor([float(classes[source.labels[row]]) for row in rows]),
        logits=torch.stack([result.logits for result in judged], dim=1),
        picture=lambda position: Image.fromarray(source.read(rows[position], SIDE)),
        unreadable=unreadable,
        taken_for={name: own for name, own in taken_for.items() if name != own},
        trained_on=_trained_on(own, [result.digest for result in judged]) if own is not None else None,
    )


def match_classes(found: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """Match a folder's two classes to a checkpoint's two: by name, else whatever the case or a plural s.

    Raises:
        InputError: the names do not fit one to one.
    """

    def singular(name: str) -> str:
        return name.casefold().removesuffix(SUFFIX_OF_PLURAL)

    for alike in (str, str.casefold, singular):
        meant = {alike(name): name for name in known}
        if len(meant) == 2 and {alike(name) for name in found} == set(meant):
            return {name: meant[alike(name)] for name in found}
    raise InputError(
        f"--data: its class folders {found[0]!r} and {found[1]!r} are not the checkpoint's classes "
        f"{known[0]!r} and {known[1]!r}; rename them"
    )


def _trained_on(data: CatDogDataModule, digests: Sequence[str]) -> int:
    """Count the photos with the same pixels as one that the run has trained on, or chosen its epoch by."""
    seen = {data.store.digests[row] for part in (data.train, data.val) for row in part.rows.tolist()}
    return sum(digest in seen for digest in digests)


def _photos_of(run: FinishedRun | None) -> CatDogDataModule | None:
    """A run's photos; None if they are gone."""
    try:
        return None if run is None else run.data()
    except InputError:
        return None

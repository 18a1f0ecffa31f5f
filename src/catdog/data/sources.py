"""Where photos come from: names and labels in sorted order, pixels one photo at a time."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catdog.errors import InputError

PHOTO_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


class UnreadablePhotoError(Exception):
    """A photo that cannot be decoded; the message says why."""


class PhotoSource(Protocol):
    """What a pixel store needs to know of its photos.

    Attributes:
        class_names: names of class 0 and class 1, sorted.
        names: one name per photo, sorted and without repeats.
        labels: the class of each photo, 0 or 1.
    """

    class_names: tuple[str, str]
    names: list[str]
    labels: list[int]

    def fingerprint(self) -> Iterator[str]:
        """Everything the pixels depend on besides the image size, as text."""
        ...

    def read(self, index: int, image_size: int) -> NDArray[np.uint8]:
        """Photo `index` as RGB pixels, shape (image_size, image_size, 3).

        Raises:
            UnreadablePhotoError: the photo cannot be decoded.
        """
        ...


class FileSource:
    """Photos that lie in files below a folder.

    Args:
        root: the folder.
        class_names: names of class 0 and class 1, sorted.
        photos: path relative to `root`, with forward slashes, and class of every photo, sorted.
    """

    def __init__(self, root: Path, class_names: tuple[str, str], photos: Sequence[tuple[str, int]]) -> None:
        self.root = root
        self.class_names = class_names
        self.names = [name for name, _ in photos]
        self.labels = [label for _, label in photos]

    def fingerprint(self) -> Iterator[str]:
        """Each photo's name, size in bytes and time of modification in nanoseconds."""
        for name in self.names:
            try:
                stat = os.stat(self.root / name)
                yield f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}"
            except OSError as error:  # read() will give the reason
                yield f"{name}\0{error.errno}"

    def read(self, index: int, image_size: int) -> NDArray[np.uint8]:
        """Decode and resize one photo, antialiased bilinear; see `PhotoSource.read`."""
        try:
            with Image.open(self.root / self.names[index]) as photo:
                return resize(photo.convert("RGB"), image_size)
        # Pillow's decoders raise many kinds of exceptions on damaged files, SyntaxError and struct.error among them.
        except Exception as error:
            raise UnreadablePhotoError(f"{type(error).__name__}: {error}") from error


class FolderSource(FileSource):
    """A user's own photos: `root` has two class sub-folders, whose sorted names are class 0 and class 1.

    Sub-folders of the class folders are searched too; names that start with a dot are ignored.

    Raises:
        InputError: `root` is missing, has other than two sub-folders, or one without photos.
    """

    def __init__(self, root: str | Path | None) -> None:
        if root is None:
            raise InputError("data.root must be given: a folder with two class sub-folders")
        folder = Path(root)
        if not folder.is_dir():
            raise InputError(f"data.root: no folder at '{root}'; it must be a folder with two class sub-folders")
        classes = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        if len(classes) != 2:
            found = ", ".join(f"'{name}'" for name in classes) or "none"
            raise InputError(
                f"data.root: '{root}' must have exactly two class sub-folders, found {len(classes)}: {found}"
            )
        photos = sorted((path, label) for label, name in enumerate(classes) for path in _photo_paths(folder, name))
        super().__init__(folder, (classes[0], classes[1]), photos)
        for label, name in enumerate(classes):
            if label not in self.labels:
                raise InputError(
                    f"data.root: class folder '{folder / name}' has no photo ({', '.join(PHOTO_SUFFIXES)})"
                )


def resize(photo: Image.Image, image_size: int) -> NDArray[np.uint8]:
    """An RGB photo as a square of `image_size` pixels: uint8 (image_size, image_size, 3), antialiased bilinear."""
    return np.asarray(photo.resize((image_size, image_size), Image.Resampling.BILINEAR))


def _photo_paths(root: Path, class_name: str) -> Iterator[str]:
    """Paths of a class's photos, relative to `root`, with forward slashes on every system."""
    for folder, subfolders, files in os.walk(root / class_name):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(PHOTO_SUFFIXES) and not name.startswith("."):
                yield (Path(folder) / name).relative_to(root).as_posix()

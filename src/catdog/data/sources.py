"""Where photos come from: names and labels in sorted order, pixels one photo at a time."""

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catdog.data.decoding import UnreadablePhotoError, decode, lack, open_photo, reason, thumbnail
from catdog.errors import InputError

logger = logging.getLogger(__name__)

PHOTO_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
THUMBNAIL_FOLDERS = ("@eaDir", "__MACOSX")  # copies and notes that other programs leave beside the photos


class Photo(NamedTuple):
    """A decoded photo.

    Attributes:
        pixels: RGB, uint8 (image_size, image_size, 3).
        digest: SHA-256 of the bytes that they were decoded from, in hexadecimal.
    """

    pixels: NDArray[np.uint8]
    digest: str


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

    def read(self, index: int, image_size: int) -> Photo:
        """Photo `index`, resized to a square of `image_size` pixels.

        Raises:
            UnreadablePhotoError: the photo cannot be decoded.
            InputError: the machine lacks memory or open files for it, now.
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
        """Each photo's name, size in bytes, time of modification in nanoseconds, and whether it may be read.

        A photo that is replaced by another of the same name, size and time goes unnoticed.
        """
        for name in self.names:
            try:
                status = os.stat(self.root / name)
                yield f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0{os.access(self.root / name, os.R_OK)}"
            except OSError as error:  # read() will give the reason
                yield f"{name}\0{error.errno}"

    def read(self, index: int, image_size: int) -> Photo:
        """Decode and resize one photo, antialiased bilinear; see `PhotoSource.read` and `decode`."""
        with self._open(index) as file:
            pixels = decode(file, image_size)
            file.seek(0)
            return Photo(pixels, hashlib.file_digest(file, "sha256").hexdigest())

    def thumbnail(self, index: int, side: int) -> Image.Image:
        """One photo in its own proportions, at most `side` pixels high and wide; raises what `read` does."""
        with self._open(index) as file:
            return thumbnail(file, side)

    @contextmanager
    def _open(self, index: int) -> Iterator[BufferedReader]:
        try:
            with open_photo(self.root / self.names[index]) as file:
                yield file
        except Exception as error:  # of many kinds, see decode()
            if (missing := lack(error)) is not None:  # would be kept in the store for ever
                raise InputError(
                    f"{self.names[index]!r} could not be read ({missing}), which need not be the photo's fault; "
                    "repeat the command when the machine has room"
                ) from error
            raise UnreadablePhotoError(reason(error)) from error


class FolderSource(FileSource):
    """A user's own photos: `root` has two class sub-folders, whose sorted names are class 0 and class 1.

    Sub-folders of the class folders are searched too, but not links to folders. Names that start with a dot, and the
    folders of `THUMBNAIL_FOLDERS`, are ignored.

    Raises:
        InputError: `root` is missing, has other than two sub-folders, or one without photos; a folder cannot be read.
    """

    def __init__(self, root: str | Path | None) -> None:
        if root is None:
            raise InputError("data.root must be given: a folder with two class sub-folders")
        folder = Path(root)
        if not os.path.isdir(folder):
            raise InputError(f"data.root: no folder at {str(root)!r}; it must be a folder with two class sub-folders")
        classes = _class_names(folder)
        photos = sorted(
            (path, label) for label, name in enumerate(classes) for path in photo_paths(folder, name, _refuse)
        )
        super().__init__(folder, classes, photos)
        for label, name in enumerate(classes):
            if label not in self.labels:
                raise InputError(
                    f"data.root: class folder {str(folder / name)!r} has no photo ({', '.join(PHOTO_SUFFIXES)})"
                )


def _class_names(root: Path) -> tuple[str, str]:
    try:
        names = sorted(path.name for path in root.iterdir() if path.is_dir() and not _is_ignored(path.name))
    except OSError as error:
        raise _unlisted(error) from error
    if len(names) != 2:
        found = ", ".join(map(repr, names)) or "none"
        raise InputError(
            f"data.root: {str(root)!r} must have exactly two class sub-folders, found {len(names)}: {found}"
        )
    return names[0], names[1]


def photo_paths(root: Path, subfolder: str, refuse: Callable[[OSError], None]) -> Iterator[str]:
    """Paths of the photos at any depth below a sub-folder, relative to `root`, with forward slashes on every system.

    What `FolderSource` ignores is ignored; `refuse` is told of each folder that cannot be listed.
    """
    for folder, subfolders, files in os.walk(root / subfolder, onerror=refuse):
        subfolders[:] = [name for name in subfolders if not _is_ignored(name)]
        for name in subfolders:
            if os.path.islink(os.path.join(folder, name)):  # may lead back here, or to the other class
                logger.warning("linked folders are not searched for photos: %r", os.path.join(folder, name))
        for name in files:
            if name.lower().endswith(PHOTO_SUFFIXES) and not _is_ignored(name):
                yield (Path(folder) / name).relative_to(root).as_posix()


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name in THUMBNAIL_FOLDERS


def _refuse(error: OSError) -> None:
    raise _unlisted(error) from error


def _unlisted(error: OSError) -> InputError:
    # repr() of a name shows as escapes what a terminal or a log cannot: line breaks, bytes that are not UTF-8
    return InputError(f"data.root: the folder {str(error.filename)!r} cannot be listed: {error.strerror}")

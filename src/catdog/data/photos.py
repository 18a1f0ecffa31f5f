"""Photo sources: names and labels in sorted order, pixels one photo at a time, right or with a reason."""

import errno
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from catdog.errors import InputError

logger = logging.getLogger(__name__)

PHOTO_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
THUMBNAIL_FOLDERS = ("@eaDir", "__MACOSX")  # copies and notes that other programs leave beside the photos
# By content, whatever the name. Not all that Pillow knows: some of its formats start other programs, such as EPS.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
MOST_PIXELS = 100_000_000  # in one photo; they take 400 MB while it is decoded, a transparent WebP up to 1.6 GB
LARGE = 25_000_000  # pixels; larger photos are decoded one at a time, as many at once would fill the memory
MOST_BYTES = 2**28  # of a file, because some decoders read all of it first
LONGEST_REASON = 200  # letters
LACKS = (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT)  # of the machine, not of a photo
_one_large = threading.Lock()
# In bytes. Every thread would keep the memory of its last photo, were that in blocks of under 32 MB, as by default.
Image.core.set_block_size(2**26)  # type: ignore[attr-defined]


class UnreadablePhotoError(Exception):
    """A photo that cannot be decoded; the message says why, in one line."""


class PhotoSource(Protocol):
    """Photos for a pixel store; any class with these attributes and methods is one.

    Attributes:
        class_names: names of class 0 and class 1, sorted.
        names: one name per photo, sorted and without repeats.
        labels: the class of each photo, 0 or 1.
    """

    class_names: tuple[str, str]
    names: list[str]
    labels: list[int]

    def fingerprint(self) -> Iterator[str]:
        """Yield all that the pixels depend on besides the image size, as text."""

    def read(self, index: int, image_size: int) -> NDArray[np.uint8]:
        """Read photo `index`: RGB, uint8 (image_size, image_size, 3).

        Raises:
            UnreadablePhotoError: the photo cannot be decoded.
            InputError: the machine lacks memory or open files for it, now.
        """


class FileSource:
    """Photos in files below a folder.

    Args:
        root: the folder.
        class_names: names of class 0 and class 1, sorted.
        photos: path relative to `root`, with forward slashes, and class of every photo, sorted.
    """

    def __init__(self, root: Path, class_names: tuple[str, str], photos: Sequence[tuple[str, int]]) -> None:
        self.root, self.class_names = root, class_names
        self.names = [name for name, _ in photos]
        self.labels = [label for _, label in photos]

    def fingerprint(self) -> Iterator[str]:
        """Yield each photo's name, size in bytes, modification time in nanoseconds, and whether it may be read.

        A photo that is replaced by another of the same name, size and time goes unnoticed.
        """
        for name in self.names:
            try:
                status = os.stat(self.root / name)
                yield f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0{os.access(self.root / name, os.R_OK)}"
            except OSError as error:  # read() will give the reason
                yield f"{name}\0{error.errno}"

    def read(self, index: int, image_size: int) -> NDArray[np.uint8]:
        """Decode and resize one photo; see `PhotoSource.read` and `decode`."""
        path = self.root / self.names[index]
        try:
            size = path.stat().st_size
            if not path.is_file():  # opening a pipe would wait for whoever writes to it
                raise UnreadablePhotoError("not a regular file")
            if not 0 < size <= MOST_BYTES:
                raise UnreadablePhotoError(f"{size} bytes; a photo has 1 to {MOST_BYTES}")
            with open(path, "rb") as file:
                return decode(file, image_size)
        except Exception as error:  # of many kinds, see decode()
            number = errno.ENOMEM if isinstance(error, MemoryError) else getattr(error, "errno", None)
            if number not in LACKS:
                raise UnreadablePhotoError(_reason(error)) from error
            raise InputError(  # another time the photo may be whole, and a store would leave it out for ever
                f"{self.names[index]!r} could not be read ({os.strerror(number)}), which need not be the photo's "
                "fault; repeat the command when the machine has room"
            ) from error


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
        names = sorted(name for name in next(os.walk(folder, onerror=_refuse))[1] if not _is_ignored(name))
        if len(names) != 2:
            found = f"found {len(names)}: {', '.join(map(repr, names)) or 'none'}"
            raise InputError(f"data.root: {str(root)!r} must have exactly two class sub-folders, {found}")
        photos = [[(path, label) for path in photo_paths(folder, name)] for label, name in enumerate(names)]
        super().__init__(folder, (names[0], names[1]), sorted(photos[0] + photos[1]))
        for name, own in zip(names, photos, strict=True):
            if not own:
                raise InputError(f"data.root: {str(folder / name)!r} has no photo ({', '.join(PHOTO_SUFFIXES)})")


def photo_paths(root: Path, subfolder: str) -> Iterator[str]:
    """Yield the paths of the photos at any depth below a sub-folder, relative to `root`, with forward slashes.

    Ignores what `FolderSource` ignores.

    Raises:
        InputError: a folder cannot be listed.
    """
    for folder, subfolders, files in os.walk(root / subfolder, onerror=_refuse):
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
    # repr() of a name shows as escapes what a terminal or a log cannot: line breaks, bytes that are not UTF-8
    raise InputError(f"the folder {str(error.filename)!r} cannot be listed: {error.strerror}") from error


def decode(file: BinaryIO, image_size: int) -> NDArray[np.uint8]:
    """Decode a photo to RGB, uint8 (image_size, image_size, 3), resized by Pillow's antialiased bilinear filter.

    Of several frames it is the first. It is turned upright, if its EXIF data can be read and say how; what is
    transparent lies on white; 16 bits become the upper 8. Colour profiles are not applied.

    Raises:
        UnreadablePhotoError: the photo has more than `MOST_PIXELS`; found before they are decoded.
        Exception: any other, from Pillow's decoders, SyntaxError and struct.error among them.
    """
    photo = Image.open(file, formats=FORMATS)
    if photo.width * photo.height > MOST_PIXELS:
        raise UnreadablePhotoError(f"{photo.width}×{photo.height} pixels are more than {MOST_PIXELS}")
    with _one_large if photo.width * photo.height > LARGE else nullcontext():
        photo.load()  # here, because Pillow complains of damage once only, and takes the photo for loaded from then on
        with suppress(Exception):  # damaged EXIF data; the pixels are whole nevertheless
            ImageOps.exif_transpose(photo, in_place=True)
        return np.asarray(_on_white(photo).resize((image_size, image_size), Image.Resampling.BILINEAR))


def _on_white(photo: Image.Image) -> Image.Image:
    if photo.mode.startswith("I;16"):  # Pillow itself would cut off what is brighter than 255
        levels = np.asarray(photo)
        grey = (levels >> 8).astype(np.uint8)
        grey[levels == photo.info.get("transparency", -1)] = 255
        photo = Image.fromarray(grey)
    if not photo.has_transparency_data:
        return photo.convert("RGB")
    photo = photo.convert("RGBA")
    white = Image.new("RGB", photo.size, "white")
    white.paste(photo, mask=photo)
    return white


def _reason(error: Exception) -> str:
    """Say why a photo cannot be decoded, in one line without the path."""
    if isinstance(error, UnidentifiedImageError):
        return f"no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    return (text if isinstance(error, UnreadablePhotoError) else f"{type(error).__name__}: {text}")[:LONGEST_REASON]

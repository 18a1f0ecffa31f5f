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
IGNORED = (".", "@eaDir", "__MACOSX")  # starts of names: hidden, or copies that other programs leave beside photos
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")  # by content; others of Pillow's, such as EPS, start other programs
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
    """Photos for a pixel store; any class with these attributes and methods is one."""

    class_names: tuple[str, str]  # of class 0 and class 1, sorted
    names: list[str]  # one per photo, sorted and without repeats
    labels: list[int]  # the class of each photo, 0 or 1

    def fingerprint(self) -> Iterator[str]:
        """Yield all that the pixels depend on besides the image size, as text."""

    def read(self, index: int, image_size: int) -> NDArray[np.uint8]:
        """Read photo `index`: RGB, uint8 (image_size, image_size, 3).

        Raises:
            UnreadablePhotoError: the photo cannot be decoded.
            InputError: the machine lacks memory or open files for it, now.
        """


class FileSource:
    """Photos in files: `photos` holds the path below `root`, with forward slashes, and the class of each, sorted."""

    def __init__(self, root: Path, class_names: tuple[str, str], photos: Sequence[tuple[str, int]]) -> None:
        self.root, self.class_names = root, class_names
        self.names = [name for name, _ in photos]
        self.labels = [label for _, label in photos]

    def fingerprint(self) -> Iterator[str]:
        """Yield each photo's name, size in bytes, modification time in nanoseconds, and whether it may be read."""
        for name in self.names:
            try:
                status = os.stat(self.root / name)
                yield f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0{os.access(self.root / name, os.R_OK)}"
            except OSError as error:  # read() will give the reason
                yield f"{name}\0{error.errno}"

    def read(self, index: int, image_size: int) -> NDArray[np.uint8]:
        """Decode and resize one photo by Pillow's antialiased bilinear filter; see `PhotoSource.read`.

        Of several frames it is the first. It is turned upright, if its EXIF data can be read and say how; what is
        transparent lies on white; 16 bits become the upper 8. Colour profiles are not applied.
        """
        path = self.root / self.names[index]
        try:
            size = path.stat().st_size
            if not 0 < size <= MOST_BYTES:  # also pipes, which would wait for whoever writes to them, and devices: 0
                raise UnreadablePhotoError(f"{size} bytes; a photo has 1 to {MOST_BYTES}")
            with open(path, "rb") as file:
                return _decode(file, image_size)
        except UnreadablePhotoError:
            raise
        except UnidentifiedImageError as error:
            raise UnreadablePhotoError(f"no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image") from error
        except Exception as error:  # of many kinds; Pillow's decoders raise SyntaxError and struct.error, too
            number = errno.ENOMEM if isinstance(error, MemoryError) else getattr(error, "errno", None)
            if number in LACKS:  # another time the photo may be whole, and a store would leave it out for ever
                raise InputError(
                    f"{self.names[index]!r} could not be read ({os.strerror(number)}), which need not be the photo's "
                    "fault; repeat the command when the machine has room"
                ) from error
            why = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            raise UnreadablePhotoError(" ".join(why.split())[:LONGEST_REASON]) from error


class FolderSource(FileSource):
    """A user's own photos: `root` has two class sub-folders, whose sorted names are class 0 and class 1.

    Sub-folders of the class folders are searched at any depth, but not links to folders, nor names that start with one
    of `IGNORED`.

    Raises:
        InputError: `root` is missing, or has not two sub-folders with photos; a folder cannot be read.
    """

    def __init__(self, root: str | Path) -> None:
        if not os.path.isdir(root):
            raise InputError(f"data.root: no folder at {str(root)!r}; it must be a folder with two class sub-folders")
        names = sorted(name for name in next(os.walk(root, onerror=_refuse))[1] if not name.startswith(IGNORED))
        photos = [[(path, label) for path in photo_paths(Path(root), name)] for label, name in enumerate(names[:2])]
        if len(names) != 2 or not all(photos):
            raise InputError(
                f"data.root: {str(root)!r} must have exactly two class sub-folders, each with photos "
                f"({', '.join(PHOTO_SUFFIXES)}), found {', '.join(map(repr, names)) or 'none'}"
            )
        super().__init__(Path(root), (names[0], names[1]), sorted(photos[0] + photos[1]))


def photo_paths(root: Path, subfolder: str) -> Iterator[str]:
    """Yield the paths, relative to `root` and with forward slashes, that `FolderSource` finds below a sub-folder.

    Raises:
        InputError: a folder cannot be listed.
    """
    for folder, subfolders, files in os.walk(root / subfolder, onerror=_refuse):
        subfolders[:] = [name for name in subfolders if not name.startswith(IGNORED)]
        for path in (os.path.join(folder, name) for name in subfolders):
            if os.path.islink(path):  # may lead back here, or to the other class
                logger.warning("linked folders are not searched for photos: %r", path)
        for name in files:
            if name.lower().endswith(PHOTO_SUFFIXES) and not name.startswith(IGNORED):
                yield (Path(folder) / name).relative_to(root).as_posix()


def _refuse(error: OSError) -> None:
    # repr() of a name shows as escapes what a terminal or a log cannot: line breaks, bytes that are not UTF-8
    raise InputError(f"the folder {str(error.filename)!r} cannot be listed: {error.strerror}") from error


def _decode(file: BinaryIO, image_size: int) -> NDArray[np.uint8]:
    photo: Image.Image = Image.open(file, formats=FORMATS)
    if (pixels := photo.width * photo.height) > MOST_PIXELS:
        raise UnreadablePhotoError(f"{photo.width}×{photo.height} pixels are more than {MOST_PIXELS}")
    with _one_large if pixels > LARGE else nullcontext():
        photo.load()  # here, because Pillow complains of damage once only, and takes the photo for loaded from then on
        with suppress(Exception):  # damaged EXIF data; the pixels are whole nevertheless
            ImageOps.exif_transpose(photo, in_place=True)
        if photo.mode.startswith("I;16"):  # Pillow itself would cut off what is brighter than 255
            levels = np.asarray(photo)
            is_transparent = levels == photo.info.get("transparency", -1)
            photo = Image.fromarray(np.where(is_transparent, 255, levels >> 8).astype(np.uint8))
        if photo.has_transparency_data:
            layers = photo.convert("RGBA")
            photo = Image.new("RGB", photo.size, "white")
            photo.paste(layers, mask=layers)
        return np.asarray(photo.convert("RGB").resize((image_size, image_size), Image.Resampling.BILINEAR))

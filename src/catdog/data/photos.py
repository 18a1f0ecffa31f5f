"""Photo sources: sorted names and labels, and photos decoded one at a time."""

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
IGNORED_PREFIXES = (".", "@eaDir", "__MACOSX")  # hidden files, and thumbnails and metadata of other programs
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")  # by content; some of Pillow's others, such as EPS, run other programs
MAX_PIXELS = 100_000_000  # of a photo; decoding one takes 400 MB, a transparent WebP up to 1.6 GB
LARGE_PHOTO = 25_000_000  # pixels; larger photos are decoded one at a time, to bound memory
MAX_FILE_BYTES = 2**28  # because some decoders read the whole file first
MACHINE_ERRORS = (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT)  # not the photo's fault
_large_photo_lock = threading.Lock()
# Bytes. With blocks under 32 MB, Pillow's default, malloc would keep each thread's last photo in memory.
Image.core.set_block_size(2**26)  # type: ignore[attr-defined]


class UnreadablePhotoError(Exception):
    """A photo that cannot be decoded; the message gives the reason in one line."""


class PhotoSource(Protocol):
    """Protocol of a data set of photos that a pixel store can be built from."""

    class_names: tuple[str, str]  # of class 0 and class 1, sorted
    names: list[str]  # one per photo, sorted and unique
    labels: list[int]  # the class of each photo, 0 or 1

    def fingerprint(self) -> Iterator[str]:
        """Yield strings that identify the pixels: they change whenever the pixels may have changed."""

    def read(self, index: int, image_size: int) -> NDArray[np.uint8]:
        """Decode photo `index` to RGB, uint8 (image_size, image_size, 3).

        UnreadablePhotoError if it cannot be decoded; InputError if that is the machine's fault, not the photo's.
        """


class FileSource:
    """Photos in files; `photos` are sorted pairs (path relative to `root`, with forward slashes; class)."""

    def __init__(self, root: Path, class_names: tuple[str, str], photos: Sequence[tuple[str, int]]) -> None:
        self.root, self.class_names = root, class_names
        self.names = [name for name, _ in photos]
        self.labels = [label for _, label in photos]

    def fingerprint(self) -> Iterator[str]:
        """Yield each photo's name, size in bytes, modification time in nanoseconds and readability."""
        for name in self.names:
            try:
                status = os.stat(self.root / name)
                yield f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0{os.access(self.root / name, os.R_OK)}"
            except OSError as error:  # read() reports it
                yield f"{name}\0{error.errno}"

    def read(self, index: int, image_size: int) -> NDArray[np.uint8]:
        """Decode one photo and resize it with Pillow's antialiased bilinear filter; see `PhotoSource.read`.

        Animations give their first frame. The EXIF orientation is applied if it can be read, transparency is blended
        with white, and 16-bit values are cut to their upper 8 bits. Colour profiles are ignored.
        """
        path = self.root / self.names[index]
        try:
            size = path.stat().st_size
            if not 0 < size <= MAX_FILE_BYTES:  # 0 also for devices, and for pipes, which would block
                raise UnreadablePhotoError(f"{size} bytes; a photo has 1 to {MAX_FILE_BYTES}")
            with open(path, "rb") as file:
                return _decode(file, image_size)
        except UnreadablePhotoError:
            raise
        except UnidentifiedImageError as error:
            raise UnreadablePhotoError(f"no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image") from error
        except Exception as error:  # Pillow's decoders raise many, even SyntaxError and struct.error
            number = errno.ENOMEM if isinstance(error, MemoryError) else getattr(error, "errno", None)
            if number in MACHINE_ERRORS:  # a later try may succeed, but a store would omit the photo for good
                why = f"({os.strerror(number)}), which need not be its fault; repeat the command when there is room"
                raise InputError(f"{self.names[index]!r} could not be read {why}") from error
            why = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            raise UnreadablePhotoError(" ".join(why.split())[:200]) from error


class FolderSource(FileSource):
    """Photos in a folder `root` with two class sub-folders, whose sorted names are class 0 and class 1.

    Class folders are searched recursively, except for links to folders and names that start with IGNORED_PREFIXES.
    Raises InputError if `root` is missing or has no two sub-folders with photos, or a folder cannot be read.
    """

    def __init__(self, root: str | Path) -> None:
        if not os.path.isdir(root):
            raise InputError(f"data.root: no folder at {str(root)!r}; it must be a folder with two class sub-folders")
        folders = next(os.walk(root, onerror=_raise_unlistable))[1]
        names = sorted(name for name in folders if not name.startswith(IGNORED_PREFIXES))
        photos = [[(path, label) for path in photo_paths(Path(root), name)] for label, name in enumerate(names[:2])]
        if len(names) != 2 or not all(photos):
            wanted = f"exactly two class sub-folders, each with photos ({', '.join(PHOTO_SUFFIXES)})"
            found = ", ".join(map(repr, names)) or "none"
            raise InputError(f"data.root: {str(root)!r} must have {wanted}, found {found}")
        super().__init__(Path(root), (names[0], names[1]), sorted(photos[0] + photos[1]))


def photo_paths(root: Path, subfolder: str) -> Iterator[str]:
    """Yield the paths of all photos below a sub-folder, relative to `root` and with forward slashes."""
    for folder, subfolders, files in os.walk(root / subfolder, onerror=_raise_unlistable):
        subfolders[:] = [name for name in subfolders if not name.startswith(IGNORED_PREFIXES)]
        for path in (os.path.join(folder, name) for name in subfolders):
            if os.path.islink(path):  # may be a cycle, or lead to the other class
                logger.warning("linked folders are not searched for photos: %r", path)
        for name in files:
            if name.lower().endswith(PHOTO_SUFFIXES) and not name.startswith(IGNORED_PREFIXES):
                yield (Path(folder) / name).relative_to(root).as_posix()


def _raise_unlistable(error: OSError) -> None:
    # repr() escapes what a terminal or log cannot show: line breaks, bytes that are not UTF-8
    raise InputError(f"the folder {str(error.filename)!r} cannot be listed: {error.strerror}") from error


def _decode(file: BinaryIO, image_size: int) -> NDArray[np.uint8]:
    photo: Image.Image = Image.open(file, formats=FORMATS)
    if (pixels := photo.width * photo.height) > MAX_PIXELS:
        raise UnreadablePhotoError(f"{photo.width}×{photo.height} pixels are more than {MAX_PIXELS}")
    with _large_photo_lock if pixels > LARGE_PHOTO else nullcontext():
        photo.load()  # outside suppress(): Pillow reports damage only once, then treats the photo as loaded
        with suppress(Exception):  # EXIF data may be damaged while the pixels are intact
            ImageOps.exif_transpose(photo, in_place=True)
        if photo.mode.startswith("I;16"):  # Pillow's own conversion would clip at 255
            levels = np.asarray(photo)
            is_transparent = levels == photo.info.get("transparency", -1)
            photo = Image.fromarray(np.where(is_transparent, 255, levels >> 8).astype(np.uint8))
        if photo.has_transparency_data:
            layers = photo.convert("RGBA")
            photo = Image.new("RGB", photo.size, "white")
            photo.paste(layers, mask=layers)
        return np.asarray(photo.convert("RGB").resize((image_size, image_size), Image.Resampling.BILINEAR))

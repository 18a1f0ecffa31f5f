"""From a photo's file to upright RGB pixels: whatever lies in the file, they are right, or there is a reason."""

import errno
import os
import stat
import threading
from collections.abc import Callable
from contextlib import nullcontext
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

# By content, whatever the name. Not all that Pillow knows: some of its formats start other programs, such as EPS.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
MOST_PIXELS = 100_000_000  # in one photo; they take 400 MB while it is decoded, a transparent WebP up to 1.6 GB
LARGE = 25_000_000  # pixels; larger photos are decoded one at a time, as many at once would fill the memory
MOST_BYTES = 2**28  # of a file, because some decoders read all of it first
LONGEST_REASON = 200  # letters
LACKS = (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT)  # of the machine, not of a photo
_one_large = threading.Lock()
Finished = TypeVar("Finished")
# In bytes. Every thread would keep the memory of its last photo, were that in blocks of under 32 MB, as by default.
Image.core.set_block_size(2**26)  # type: ignore[attr-defined]

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # what turns a photo upright, by its EXIF orientation


class UnreadablePhotoError(Exception):
    """A photo that cannot be decoded; the message says why, in one line."""


def open_photo(path: Path) -> BufferedReader:
    """Open a regular file of a sensible size; unlike `open`, this does not wait for whoever writes to a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and 0 < status.st_size <= MOST_BYTES:
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise UnreadablePhotoError("not a regular file")
    raise UnreadablePhotoError(f"{status.st_size} bytes; a photo has 1 to {MOST_BYTES}")


def decode(file: BinaryIO, image_size: int) -> NDArray[np.uint8]:
    """The photo in a file as a square of `image_size` pixels, see `resize`.

    Of several frames it is the first. It is turned upright, if its EXIF data can be read and say how; what is
    transparent lies on white; 16 bits become the upper 8. Colour profiles are not applied.

    Raises:
        UnreadablePhotoError: the photo has more than `MOST_PIXELS`; found before they are decoded.
        Exception: any other, from Pillow's decoders, SyntaxError and struct.error among them.
    """
    return _decode(file, lambda photo: resize(photo, image_size))


def thumbnail(file: BinaryIO, side: int) -> Image.Image:
    """The photo in its own proportions, at most `side` pixels high and wide, RGB; otherwise as `decode` gives it."""
    return _decode(file, lambda photo: _shrink(photo, side))


def _decode(file: BinaryIO, finish: Callable[[Image.Image], Finished]) -> Finished:
    photo = Image.open(file, formats=FORMATS)
    if photo.width * photo.height > MOST_PIXELS:
        raise UnreadablePhotoError(f"{photo.width}×{photo.height} pixels are more than {MOST_PIXELS}")
    with _one_large if photo.width * photo.height > LARGE else nullcontext():
        return finish(_upright(photo))


def _upright(photo: Image.Image) -> Image.Image:
    photo.load()  # here, because Pillow complains of damage once only, and takes the photo for loaded from then on
    pixels = _on_white(photo)
    turn = UPRIGHT.get(_orientation(photo))
    return pixels if turn is None else pixels.transpose(turn)


def resize(photo: Image.Image, image_size: int) -> NDArray[np.uint8]:
    """An RGB photo as a square of `image_size` pixels: uint8 (image_size, image_size, 3), antialiased bilinear."""
    return np.asarray(photo.resize((image_size, image_size), Image.Resampling.BILINEAR))


def _shrink(photo: Image.Image, side: int) -> Image.Image:
    scale = side / max(photo.size)
    width, height = (max(round(length * scale), 1) for length in photo.size)
    return photo.resize((width, height), Image.Resampling.BILINEAR)


def reason(error: Exception) -> str:
    """Why a photo cannot be decoded, in one line without the path."""
    if isinstance(error, UnidentifiedImageError):
        return f"no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    return (text if isinstance(error, UnreadablePhotoError) else f"{type(error).__name__}: {text}")[:LONGEST_REASON]


def lack(error: Exception) -> str | None:
    """What the machine lacks, if it is for that that a photo cannot be decoded: another time it may be whole."""
    number = errno.ENOMEM if isinstance(error, MemoryError) else getattr(error, "errno", None)
    return os.strerror(number) if number in LACKS else None


def _on_white(photo: Image.Image) -> Image.Image:
    if photo.mode.startswith("I;16"):  # Pillow itself would cut off what is brighter than 255
        levels = np.asarray(photo)
        grey = (levels >> 8).astype(np.uint8)
        grey[levels == photo.info.get("transparency", -1)] = 255
        return Image.fromarray(grey).convert("RGB")
    if not photo.has_transparency_data:
        return photo if photo.mode == "RGB" else photo.convert("RGB")  # which would copy it
    photo = photo if photo.mode == "RGBA" else photo.convert("RGBA")
    white = Image.new("RGB", photo.size, "white")
    white.paste(photo, mask=photo)
    return white


def _orientation(photo: Image.Image) -> int:
    try:
        return int(photo.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF data; the pixels are whole nevertheless
        return 1

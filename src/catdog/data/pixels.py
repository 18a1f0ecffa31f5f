"""PixelStore: every photo decoded and resized once, then memory-mapped by every later run."""

import copy
import hashlib
import json
import logging
import os
import shutil
import warnings
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from errno import ENOSPC
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from catdog.data.decoding import UnreadablePhotoError
from catdog.data.sources import Photo, PhotoSource
from catdog.errors import InputError
from catdog.locking import alone

logger = logging.getLogger(__name__)

VERSION = 2  # of the files below; a store of another version has another key
PIXELS, INDEX, CHECKSUMS = "pixels.u8", "index.json", "checksums.json"
MOST_BUILDS = 3  # in a row, while the photos change
MINUS_ONE = torch.tensor(-1.0)


@dataclass(frozen=True)
class StoreIndex:
    """What `index.json` holds: the photos in the order of the pixels, and those that could not be read."""

    image_size: int
    names: list[str]
    labels: list[int]
    digests: list[str]
    unreadable: dict[str, str]


class PixelStore:
    """The pixels of all readable photos of a source.

    Attributes:
        pixels: uint8 (photos, 3, image_size, image_size), mapped from the file, read when touched.
        labels: float32 (photos,), 0 or 1.
        names: the photos' names, in the order of the pixels, sorted.
        digests: SHA-256 of each photo's bytes, in hexadecimal, in the same order.
        unreadable: name → reason, for the photos that are left out.

    Raises:
        OSError, ValueError: there is no whole store of this version in the folder.
    """

    def __init__(self, folder: Path) -> None:
        index_text = (folder / INDEX).read_bytes()
        with open(folder / PIXELS, "rb") as file:
            if json.loads((folder / CHECKSUMS).read_text()) != _checksums(folder.name, _crc32(file), index_text):
                raise ValueError(f"'{folder}' is damaged")
            index = StoreIndex(**json.loads(index_text))
            shape = (len(index.names), 3, index.image_size, index.image_size)
            # Copy-on-write, because PyTorch knows no read-only tensors; nothing here writes to it.
            mapped = np.memmap(file, dtype=np.uint8, mode="c", shape=shape) if index.names else np.empty(shape)
        self.pixels = torch.from_numpy(mapped)
        self.labels = torch.tensor(index.labels, dtype=torch.float32)
        self.names = index.names
        self.digests = index.digests
        self.unreadable = index.unreadable

    @classmethod
    def of(cls, source: PhotoSource, image_size: int, cache_dir: str | Path) -> "PixelStore":
        """Open the store of these photos under `cache_dir`, after building it if it is not there whole.

        Raises:
            InputError: the disk is full or cannot be written to, or the photos keep changing.
        """
        for _ in range(MOST_BUILDS):
            folder = Path(cache_dir) / store_key(source, image_size)
            if store := cls._open(folder) or cls._build(source, image_size, folder):
                return store
            logger.warning("photos changed while they were read; they are read anew")
        raise InputError("the photos keep changing while they are read; run again when nothing writes to them")

    @classmethod
    def _open(cls, folder: Path) -> "PixelStore | None":
        try:
            return cls(folder)
        except (OSError, ValueError, RecursionError):  # the last from JSON that is nested without end
            return None

    @classmethod
    def _build(cls, source: PhotoSource, image_size: int, folder: Path) -> "PixelStore | None":
        """Build a store, unless another process did meanwhile; None if the photos changed."""
        needed = len(source.names) * 3 * image_size**2
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            lock = folder.with_name(f".{folder.name}.lock")
            with alone(lock, waiting="another process is reading the photos; waiting for it"):
                if (store := cls._open(folder)) is not None:
                    return store
                if folder.exists():
                    logger.warning("the pixel store '%s' is damaged; it is built anew", folder)
                    shutil.rmtree(folder)
                if needed > _free_space(folder):
                    raise OSError(ENOSPC, os.strerror(ENOSPC))
                return cls(folder) if _write_whole(source, image_size, folder) else None
        except OSError as error:
            raise InputError(
                f"data.cache_dir: no store can be written to '{folder.parent}' ({error.strerror}); "
                f"it takes {needed / 1e6:.1f} MB, {_free_space(folder) / 1e6:.1f} MB are free"
            ) from error

    def to(self, device: torch.device) -> "PixelStore":
        """The same store with pixels and labels in the memory of a device."""
        moved = copy.copy(self)
        moved.pixels, moved.labels = self.pixels.to(device), self.labels.to(device)
        return moved

    def gather(self, rows: Tensor, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pixels (len(rows), 3, image_size, image_size) and labels (len(rows),) of the photos at `rows`, int64.

        The pixels are written to `out`, if that is given.
        """
        return torch.index_select(self.pixels, 0, rows, out=out), self.labels.index_select(0, rows)


def to_images(values: Tensor, out: Tensor | None = None) -> Tensor:
    """Pixel values from 0 to 255 as the images that networks take, float32 in [-1, 1], in one pass.

    Args:
        values: of any shape, float32 if `out` is given.
        out: where to, may be `values`.
    """
    return torch.add(MINUS_ONE, values, alpha=1 / 127.5, out=out)


def store_key(source: PhotoSource, image_size: int) -> str:
    """The name of a store's folder: a hash of all that its pixels depend on."""
    digest = hashlib.sha256(f"{VERSION}\0{image_size}\0{source.class_names}".encode())
    for line in source.fingerprint():
        digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()[:16]


def _free_space(folder: Path) -> int:
    """Bytes free where the folder is, or would be."""
    while not os.path.exists(folder):
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _write_whole(source: PhotoSource, image_size: int, folder: Path) -> bool:
    """Write a store beside its place and rename it, so that a folder with the right name is whole.

    Returns whether the photos are still those that the folder is named after; only then is it left.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # from a build that was killed
    try:
        partial.mkdir()
        _write(source, image_size, partial, key=folder.name)
        if store_key(source, image_size) != folder.name:
            return False
        os.rename(partial, folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return True


def _write(source: PhotoSource, image_size: int, folder: Path, key: str) -> None:
    """Write all photos in order, and have them on the disk before this returns."""
    index = StoreIndex(image_size, names=[], labels=[], digests=[], unreadable={})
    checksum = 0
    with open(folder / PIXELS, "wb") as file:
        for position, photo in enumerate(read_all(source, image_size)):
            name = source.names[position]
            if isinstance(photo, UnreadablePhotoError):
                index.unreadable[name] = str(photo)
                continue
            pixels = photo.pixels.transpose(2, 0, 1).tobytes()
            file.write(pixels)
            checksum = zlib.crc32(pixels, checksum)
            index.names.append(name)
            index.labels.append(source.labels[position])
            index.digests.append(photo.digest)
    index_text = json.dumps(asdict(index)).encode()
    (folder / INDEX).write_bytes(index_text)
    (folder / CHECKSUMS).write_text(json.dumps(_checksums(key, checksum, index_text)))
    for path in (folder / PIXELS, folder / INDEX, folder / CHECKSUMS, folder):
        _sync(path)


def _checksums(key: str, pixels: int, index_text: bytes) -> dict[str, int | str]:
    """What `checksums.json` holds: a whole store under another one's name is none either."""
    return {"version": VERSION, "key": key, PIXELS: pixels, INDEX: zlib.crc32(index_text)}


def _crc32(file: BinaryIO) -> int:
    """The checksum of a file, read in pieces: of a file cut short, a mapping would end the process."""
    checksum = 0
    while piece := file.read(2**20):
        checksum = zlib.crc32(piece, checksum)
    return checksum


def _sync(path: Path) -> None:
    """Have a file or folder on the disk, so that it outlives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_all(source: PhotoSource, image_size: int, progress: bool = True) -> Iterator[Photo | UnreadablePhotoError]:
    """Read all photos in order, several at a time: decoders let other threads run.

    With `progress`, a bar on a terminal shows how far it is. Raises what `PhotoSource.read` does, but gives
    UnreadablePhotoErrors back.
    """

    def read(position: int) -> Photo | UnreadablePhotoError:
        try:
            return source.read(position, image_size)
        except UnreadablePhotoError as error:
            return error

    threads, total = os.cpu_count() or 1, len(source.names)
    reading: deque[Future[Photo | UnreadablePhotoError]] = deque()
    # disable=None: no bar where the output is not a terminal
    bar = tqdm(desc="reading photos", total=total, unit="photo", leave=False, disable=None if progress else True)
    # Here, because what is ignored is ignored in all threads: remarks on odd files, which are decoded or listed.
    with bar, warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")
        for position in range(total):
            reading.append(pool.submit(read, position))
            if len(reading) > 4 * threads:  # not all at once: where disks are slow, they would fill the memory
                yield reading.popleft().result()
                bar.update()
        for future in reading:
            yield future.result()
            bar.update()

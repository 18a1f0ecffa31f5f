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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from errno import ENOSPC
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from catdog.data.photos import Photo, PhotoSource, UnreadablePhotoError
from catdog.errors import InputError
from catdog.files import hold

logger = logging.getLogger(__name__)

VERSION = 3  # of the files below; a store of another version has another key
PIXELS, INDEX, CHECKSUM = "pixels.u8", "index.json", "checksum"
MOST_BUILDS = 3  # in a row, while the photos change


@dataclass(frozen=True)
class Part:
    """Some photos of a store.

    Attributes:
        rows: their rows, int64 (photos,).
        names: their names.
        labels: float32 (photos,), 0 or 1.
    """

    rows: Tensor
    names: list[str]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.rows)


class PixelStore:
    """The pixels of all readable photos of a source.

    Attributes:
        pixels: uint8 (photos, 3, image_size, image_size), mapped from the file, read when touched.
        labels: float32 (photos,), 0 or 1.
        names: the photos' names, in the order of the pixels, sorted.
        digests: SHA-256 of each photo's bytes, in hexadecimal, in the same order.
        unreadable: name → reason, for the photos that are left out.
    """

    def __init__(self, folder: Path) -> None:
        index = json.loads((folder / INDEX).read_text())
        self.names: list[str] = [name for name, _, _ in index["photos"]]
        self.labels = torch.tensor([label for _, label, _ in index["photos"]], dtype=torch.float32)
        self.digests: list[str] = [digest for _, _, digest in index["photos"]]
        self.unreadable: dict[str, str] = index["unreadable"]
        shape = (len(self.names), 3, index["image_size"], index["image_size"])
        # Copy-on-write, because PyTorch knows no read-only tensors; nothing here writes to it.
        mapped = np.memmap(folder / PIXELS, np.uint8, "c", shape=shape) if self.names else np.empty(shape, np.uint8)
        self.pixels = torch.from_numpy(mapped)

    @classmethod
    def of(cls, source: PhotoSource, image_size: int, cache_dir: str | Path) -> "PixelStore":
        """Open the store of these photos under `cache_dir`, after building it if it is not there whole.

        Raises:
            InputError: the disk is full or cannot be written to, or the photos keep changing.
        """
        for _ in range(MOST_BUILDS):
            folder = Path(cache_dir) / store_key(source, image_size)
            if is_whole(folder) or _build(source, image_size, folder):
                return cls(folder)
            logger.warning("photos changed while they were read; reading them again")
        raise InputError("the photos keep changing while they are read; run again when nothing writes to them")

    def on(self, device: torch.device, cache: bool | str) -> "PixelStore":
        """Copy pixels and labels to the memory of a device, or not; "auto": where they take at most half of a GPU's."""
        if cache == "auto":
            cache = device.type == "cuda" and 2 * self.pixels.nbytes <= torch.cuda.mem_get_info(device)[0]
        if not cache:
            return self
        moved = copy.copy(self)
        moved.pixels, moved.labels = self.pixels.to(device), self.labels.to(device)
        return moved

    def part(self, rows: Tensor) -> Part:
        """Select the photos at `rows`, int64 (photos,)."""
        return Part(rows, [self.names[row] for row in rows.tolist()], self.labels[rows])

    def gather(self, rows: Tensor, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Gather pixels (photos, 3, image_size, image_size), into `out` if given, and labels (photos,) at `rows`."""
        return torch.index_select(self.pixels, 0, rows, out=out), self.labels.index_select(0, rows)


def store_key(source: PhotoSource, image_size: int) -> str:
    """Hash all that a store's pixels depend on: the name of its folder."""
    digest = hashlib.sha256(f"{VERSION}\0{image_size}\0{source.class_names}".encode())
    for line in source.fingerprint():
        digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()[:16]


def is_whole(folder: Path) -> bool:
    """Tell whether a folder holds a store that is whole and of the photos that its name says."""
    try:
        return (folder / CHECKSUM).read_bytes() == _checksum(folder, folder.name)
    except OSError:
        return False


def _checksum(folder: Path, key: str) -> bytes:
    """Compute the checksum of a store's files and key: a store whose key differs from its folder name is invalid."""
    checksum = zlib.crc32(key.encode() + (folder / INDEX).read_bytes())
    with open(folder / PIXELS, "rb") as file:
        while piece := file.read(2**20):  # in pieces: a mapping of a file cut short would end the process
            checksum = zlib.crc32(piece, checksum)
    return f"{checksum:08x}".encode()


def _build(source: PhotoSource, image_size: int, folder: Path) -> bool:
    """Write a store beside its place and rename it, unless another process did meanwhile.

    Returns False if the photos are no longer those that the folder is named after; then nothing is left.
    """
    needed, partial = len(source.names) * 3 * image_size**2, folder.with_name(f".{folder.name}.partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with hold(folder.with_name(f".{folder.name}.lock"), waiting="another process is reading the photos"):
            if is_whole(folder):
                return True
            if folder.exists():
                logger.warning("the pixel store '%s' is damaged; it is built anew", folder)
            for left in (folder, partial):  # the latter from a build that was killed
                shutil.rmtree(left, ignore_errors=True)
            if needed > (free := shutil.disk_usage(folder.parent).free):
                raise OSError(ENOSPC, f"{os.strerror(ENOSPC)}: {free / 1e6:.1f} MB are free")
            try:
                _write(source, image_size, partial, folder.name)
                if store_key(source, image_size) != folder.name:
                    return False
                os.rename(partial, folder)
                _flush(folder.parent)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        sentence = f"data.cache_dir: no store can be written to '{folder.parent}' ({error.strerror})"
        raise InputError(f"{sentence}; it takes {needed / 1e6:.1f} MB") from error
    return True


def _write(source: PhotoSource, image_size: int, folder: Path, key: str) -> None:
    """Write all photos in order, and flush them to the disk, so that they outlive a power cut."""
    photos: list[tuple[str, int, str]] = []
    unreadable: dict[str, str] = {}
    folder.mkdir()
    with open(folder / PIXELS, "wb") as file:
        for name, label, photo in zip(source.names, source.labels, read_all(source, image_size), strict=True):
            if isinstance(photo, UnreadablePhotoError):
                unreadable[name] = str(photo)
            else:
                file.write(photo.pixels.transpose(2, 0, 1).tobytes())
                photos.append((name, int(label), photo.digest))
    index = {"image_size": image_size, "photos": photos, "unreadable": unreadable}
    (folder / INDEX).write_text(json.dumps(index))
    (folder / CHECKSUM).write_bytes(_checksum(folder, key))
    for path in (*folder.iterdir(), folder):
        _flush(path)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
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

    threads, shown = os.cpu_count() or 1, None if progress else True  # None: no bar where the output is no terminal
    positions = iter(tqdm(range(len(source.names)), "reading photos", unit="photo", leave=False, disable=shown))
    # Here, because what is ignored is ignored in all threads: remarks on odd files, which are decoded or listed.
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")
        # Not all at once: where disks are slow, they would fill the memory.
        reading = deque(pool.submit(read, position) for position in islice(positions, 4 * threads))
        while reading:
            yield reading.popleft().result()
            reading.extend(pool.submit(read, position) for position in islice(positions, 1))

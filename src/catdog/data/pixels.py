"""PixelStore: every photo decoded and resized once, then memory-mapped by every later run."""

import copy
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from catdog.data.sources import PhotoSource, UnreadablePhotoError

VERSION = 1  # of the files below; a store of another version has another key
PIXELS, INDEX = "pixels.u8", "index.json"


@dataclass(frozen=True)
class StoreIndex:
    """What `index.json` holds: the photos in the order of the pixels, and those that could not be read."""

    image_size: int
    names: list[str]
    labels: list[int]
    unreadable: dict[str, str]


class PixelStore:
    """The pixels of all readable photos of a source.

    Attributes:
        pixels: uint8 (photos, 3, image_size, image_size), mapped from the file, read when touched.
        labels: float32 (photos,), 0 or 1.
        names: the photos' names, in the order of the pixels, sorted.
        unreadable: name → reason, for the photos that are left out.
    """

    def __init__(self, folder: Path) -> None:
        index = StoreIndex(**json.loads((folder / INDEX).read_text()))
        shape = (len(index.names), 3, index.image_size, index.image_size)
        # Copy-on-write, because PyTorch knows no read-only tensors; nothing here writes to it.
        mapped = np.memmap(folder / PIXELS, dtype=np.uint8, mode="c", shape=shape) if index.names else np.empty(shape)
        self.pixels = torch.from_numpy(mapped)
        self.labels = torch.tensor(index.labels, dtype=torch.float32)
        self.names = index.names
        self.unreadable = index.unreadable

    @classmethod
    def of(cls, source: PhotoSource, image_size: int, cache_dir: str | Path) -> "PixelStore":
        """Open the store of these photos under `cache_dir`, after building it if it is not there yet."""
        folder = Path(cache_dir) / store_key(source, image_size)
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_name(f".{folder.name}.lock")):  # of several processes, one reads the photos
                if not folder.exists():
                    _build(source, image_size, folder)
        return cls(folder)

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


def store_key(source: PhotoSource, image_size: int) -> str:
    """The name of a store's folder: a hash of all that its pixels depend on."""
    digest = hashlib.sha256(f"{VERSION}\0{image_size}\0{source.class_names}".encode())
    for line in source.fingerprint():
        digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()[:16]


def _build(source: PhotoSource, image_size: int, folder: Path) -> None:
    """Write a store beside its place and rename it, so that a folder with the right name is always whole."""
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write(source, image_size, partial)
        os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(source: PhotoSource, image_size: int, folder: Path) -> None:
    """Read all photos, several at a time (decoders let other threads run), and write them in order."""
    index = StoreIndex(image_size, names=[], labels=[], unreadable={})
    with open(folder / PIXELS, "wb") as file:
        for position, photo in enumerate(_read_all(source, image_size)):
            name = source.names[position]
            if isinstance(photo, UnreadablePhotoError):
                index.unreadable[name] = str(photo)
                continue
            file.write(photo.transpose(2, 0, 1).tobytes())
            index.names.append(name)
            index.labels.append(source.labels[position])
    (folder / INDEX).write_text(json.dumps(asdict(index)))


def _read_all(source: PhotoSource, image_size: int) -> Iterator[NDArray[np.uint8] | UnreadablePhotoError]:
    def read(position: int) -> NDArray[np.uint8] | UnreadablePhotoError:
        try:
            return source.read(position, image_size)
        except UnreadablePhotoError as error:
            return error

    total = len(source.names)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        photos = pool.map(read, range(total))
        # disable=None: no bar where the output is not a terminal
        yield from tqdm(photos, desc="reading photos", total=total, unit="photo", leave=False, disable=None)

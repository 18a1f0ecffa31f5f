"""PixelStore: photos are decoded and resized once, then memory-mapped by every later run."""

import copy
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from tqdm import tqdm

from catdog.data.photos import PhotoSource, UnreadablePhotoError
from catdog.errors import InputError, reason

VERSION = 4  # of the file format; part of the key
PIXELS, INDEX = "pixels.u8", "index.json"
Decoded = NDArray[np.uint8] | UnreadablePhotoError


class PixelStore:
    """Decoded pixels of all photos of a source.

    Attributes:
        names: the photos' names, sorted; all other attributes have the same order.
        labels: float32 (photos,), 0 or 1.
        pixels: uint8 (photos, 3, image_size, image_size), memory-mapped; 0 for an unreadable photo.
        digests: SHA-256 of each photo's pixels, in hexadecimal; an unreadable photo has its name instead.
        unreadable: name → reason.
    """

    def __init__(self, folder: Path, source: PhotoSource) -> None:
        self.names, self.labels = source.names, torch.tensor(source.labels, dtype=torch.float32)
        checksum, _, content = (folder / INDEX).read_text().partition("\n")
        if checksum != digest(f"{folder.name}{content}".encode()):
            raise ValueError(f"the index of '{folder}' is damaged")
        shape, self.digests, self.unreadable = json.loads(content)
        # Copy-on-write, because PyTorch has no read-only tensors; nothing writes to it.
        self.pixels = torch.from_numpy(np.memmap(folder / PIXELS, np.uint8, "c").reshape(shape))

    @classmethod
    def of(cls, source: PhotoSource, image_size: int, cache_dir: str | Path) -> "PixelStore":
        """Open the store of these photos, or build it; InputError if it cannot be written, or they change meanwhile."""
        folder = Path(cache_dir) / store_key(source, image_size)
        with suppress(OSError, ValueError):  # it is missing or damaged
            return cls(folder, source)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_name(f".{folder.name}.lock")):
                with suppress(OSError, ValueError):  # another process may have built it meanwhile
                    return cls(folder, source)
                _build(source, image_size, folder)
        except OSError as error:
            megabytes = len(source.names) * 3 * image_size**2 / 1e6
            sentence = f"data.cache_dir: no store can be written to '{folder.parent}' ({reason(error)})"
            raise InputError(f"{sentence}; it takes {megabytes:.1f} MB") from error
        return cls(folder, source)

    def on(self, device: torch.device) -> "PixelStore":
        """Return a copy in the GPU's memory if it fits into half of the free memory, else the store itself."""
        if device.type != "cuda" or 2 * self.pixels.nbytes > torch.cuda.mem_get_info(device)[0]:
            return self
        moved = copy.copy(self)
        moved.pixels, moved.labels = self.pixels.to(device), self.labels.to(device)
        return moved


def store_key(source: PhotoSource, image_size: int) -> str:
    """Compute a store's folder name: a hash of everything that its pixels depend on."""
    lines = "".join(f"{line}\n" for line in source.fingerprint())
    return digest(f"{VERSION}\0{image_size}\0{source.class_names}{lines}".encode("utf-8", "surrogateescape"))[:16]


def digest(content: bytes) -> str:
    """Compute the SHA-256, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _build(source: PhotoSource, image_size: int, folder: Path) -> None:
    """Write a store under a temporary name, then rename it."""
    partial, digests, unreadable = folder.with_name(f".{folder.name}.partial"), [], {}
    for stale in (folder, partial):  # a damaged store, and the remains of a killed build
        shutil.rmtree(stale, ignore_errors=True)
    try:
        partial.mkdir()
        with open(partial / PIXELS, "wb") as file:
            for name, photo in zip(source.names, read_all(source, image_size), strict=True):
                if isinstance(photo, UnreadablePhotoError):
                    unreadable[name] = str(photo)
                    photo = np.zeros((image_size, image_size, 3), np.uint8)
                digests.append(name if name in unreadable else digest(photo.tobytes()))
                file.write(photo.transpose(2, 0, 1).tobytes())
        (partial / PIXELS).chmod(0o444)  # truncating a mapped file would crash runs with a bus error
        content = json.dumps([(len(digests), 3, image_size, image_size), digests, unreadable])
        (partial / INDEX).write_text(f"{digest(f'{folder.name}{content}'.encode())}\n{content}")
        if store_key(source, image_size) != folder.name:
            raise InputError("photos changed while they were read; repeat the command once nothing changes them")
        os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_all(source: PhotoSource, image_size: int, progress: bool = True) -> Iterator[Decoded]:
    """Decode all photos with several threads; yield the pixels, or the error, of each in order."""

    def read(position: int) -> Decoded:
        try:
            return source.read(position, image_size)
        except UnreadablePhotoError as error:
            return error

    positions = iter(tqdm(range(len(source.names)), "reading photos", leave=False, disable=None if progress else True))
    # Outside the threads, because warning filters apply to all of them. Pillow warns of files that it still decodes.
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")
        while chunk := list(islice(positions, 256)):  # without a limit, a slow disk would let memory fill
            yield from pool.map(read, chunk)

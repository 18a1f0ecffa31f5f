"""Public data sets of cat and dog photos, downloaded on first use."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.request import Request, urlopen

from filelock import FileLock
from tqdm import tqdm

from catdog.data.photos import FileSource, FolderSource
from catdog.errors import InputError

CLASS_NAMES = ("cats", "dogs")
TIMEOUT = 30.0  # seconds to connect, and between two reads


class Archive(NamedTuple):
    """Archive of a public data set, pinned by its SHA-256."""

    url: str  # ends with the file name
    size: int  # bytes
    sha256: str  # 64 hexadecimal digits
    folder: str  # the one to extract from the archive


# Sizes and SHA-256 are copied from other projects, not computed from a download of ours. Oxford: TensorFlow Datasets,
# datasets/oxford_iiit_pet/checksums.tsv; independent downloads agree with it and with the MD5 that torchvision pins.
# Microsoft: Hugging Face, datasets/cats_vs_dogs/dataset_infos.json; GoMLX pins the same SHA-256.
OXFORD_IMAGES = Archive(
    url="https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz",
    size=791918971,
    sha256="67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
    folder="images",
)
OXFORD_ANNOTATIONS = Archive(
    url="https://www.robots.ox.ac.uk/~vgg/data/pets/data/annotations.tar.gz",
    size=19173078,
    sha256="52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
    folder="annotations",
)
MICROSOFT_PHOTOS = Archive(
    url="https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/kagglecatsanddogs_5340.zip",
    size=824887076,
    sha256="b7974bd00a84a99921f36ee4403f089853777b5ae8d151c76a86e64900334af9",
    folder="PetImages",
)


class OxfordPetsSource(FileSource):
    """Oxford-IIIT Pet photos, labelled like torchvision's `OxfordIIITPet(target_types="binary-category")`.

    The published trainval and test lists are merged. torchvision's class reads the same folders, but returns labels
    only together with decoded photos. `images` and `annotations` are downloaded into `root` if missing; see `obtain`.
    """

    def __init__(self, root: str | Path, images: Archive = OXFORD_IMAGES, labels: Archive = OXFORD_ANNOTATIONS) -> None:
        folder = obtain((images, labels), root)
        lists = [folder / labels.folder / f"{part}.txt" for part in ("trainval", "test")]
        lines = [line.split() for path in lists for line in path.read_text().splitlines()]
        # name, breed, species (1: cat, 2: dog), number
        photos = sorted((f"{name}.jpg", int(species) - 1) for name, _, species, _ in lines)
        super().__init__(folder / images.folder, CLASS_NAMES, photos)


class MicrosoftSource(FolderSource):
    """Microsoft's 25,000 photos, known from the Asirra captcha and Kaggle's Dogs vs. Cats.

    The folder `PetImages` is downloaded into `root` if missing; see `obtain`.
    """

    def __init__(self, root: str | Path, photos: Archive = MICROSOFT_PHOTOS) -> None:
        super().__init__(obtain((photos,), root) / photos.folder)
        self.class_names = CLASS_NAMES


def obtain(archives: Sequence[Archive], root: str | Path) -> Path:
    """Download and unpack the archives whose folders are missing in `root`, one process at a time; return `root`.

    An existing folder is taken to be complete. An interrupted download is resumed by the next call, and the archive is
    deleted after unpacking. An archive that the user put into `root` is verified and kept.

    Raises:
        InputError: an archive cannot be downloaded or has another SHA-256; the message lists the files to download.
    """
    root = Path(root)
    if all((root / archive.folder).is_dir() for archive in archives):
        return root  # no lock, because `root` may be read-only
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".lock"):
            for archive in archives:
                if not (root / archive.folder).is_dir():
                    _unpack(archive, root)
    except (OSError, HTTPException) as error:
        missing = (archive for archive in archives if not (root / archive.folder).is_dir())
        files = (f"{file.url} ({file.size:,} bytes, SHA-256 {file.sha256})" for file in missing)
        raise InputError(
            f"no photos ({error}): repeat the command to resume, or download by hand {' and '.join(files)} "
            f"into the folder '{root.absolute()}'"
        ) from error
    return root


def _unpack(archive: Archive, root: Path) -> None:
    """Verify an archive, downloaded if missing, and unpack it; the rename comes last, so its folder is complete."""
    name = archive.url.rpartition("/")[2]
    provided, partial, staging = root / name, root / f"{name}.partial", root / f".{name}.unpacked"
    path = provided if provided.exists() else _download(archive, partial)
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != archive.sha256:
        partial.unlink(missing_ok=True)  # may mix two versions of the file, so start over next time
        raise OSError(f"'{path.absolute()}' is another file, with SHA-256 {found}")
    shutil.rmtree(staging, ignore_errors=True)  # left behind by a killed process
    kind = "zip" if name.endswith(".zip") else "gztar"
    shutil.unpack_archive(path, staging, kind, filter=None if kind == "zip" else "data")
    os.rename(staging / archive.folder, root / archive.folder)
    shutil.rmtree(staging)
    partial.unlink(missing_ok=True)


def _download(archive: Archive, partial: Path) -> Path:
    """Download into `partial`, resuming after its last byte if the server supports ranges."""
    received = partial.stat().st_size if partial.exists() else 0
    if received < archive.size:
        request = Request(archive.url, headers={"User-Agent": "catdog", "Range": f"bytes={received}-"})
        with (
            urlopen(request, timeout=TIMEOUT) as response,
            open(partial, "ab" if response.status == 206 else "wb") as file,
            tqdm(None, partial.stem, archive.size, initial=file.tell(), unit="B", unit_scale=True, disable=None) as bar,
        ):
            while chunk := response.read1(2**20):
                bar.update(file.write(chunk))
        if (received := partial.stat().st_size) < archive.size:
            raise OSError(f"the connection broke after {received:,} of {archive.size:,} bytes")
    return partial

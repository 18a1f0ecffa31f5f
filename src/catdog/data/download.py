"""Public data sets of cat and dog photos, downloaded on first use."""

import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock
from torch.hub import download_url_to_file

from catdog.data.photos import FileSource, FolderSource
from catdog.errors import InputError

CLASS_NAMES = ("cats", "dogs")


class Archive(NamedTuple):
    """Archive of a public data set, pinned by its SHA-256."""

    url: str  # ends with the file name
    sha256: str  # 64 hexadecimal digits
    folder: str  # the one to extract from the archive


# The SHA-256 are copied, not computed from a download of ours: Oxford's from TensorFlow Datasets,
# oxford_iiit_pet/checksums.tsv; Microsoft's from Hugging Face, cats_vs_dogs/dataset_infos.json, which GoMLX pins too.
OXFORD = "https://www.robots.ox.ac.uk/~vgg/data/pets/data"
OXFORD_IMAGES = Archive(
    f"{OXFORD}/images.tar.gz", "67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d", "images"
)
OXFORD_LABELS = Archive(
    f"{OXFORD}/annotations.tar.gz", "52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91", "annotations"
)
MICROSOFT_PHOTOS = Archive(
    "https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/kagglecatsanddogs_5340.zip",
    "b7974bd00a84a99921f36ee4403f089853777b5ae8d151c76a86e64900334af9", "PetImages",
)  # fmt: skip


class OxfordPetsSource(FileSource):
    """Oxford-IIIT Pet photos, labelled like torchvision's `OxfordIIITPet(target_types="binary-category")`.

    The published trainval and test lists are merged. All are downloaded into `root` if missing; see `obtain`.
    """

    def __init__(self, root: str | Path, images: Archive = OXFORD_IMAGES, labels: Archive = OXFORD_LABELS) -> None:
        folder = obtain((images, labels), root)
        lists = [folder / labels.folder / f"{part}.txt" for part in ("trainval", "test")]
        lines = [line.split() for path in lists for line in path.read_text().splitlines()]
        # name, breed, species (1: cat, 2: dog), number
        photos = sorted((f"{name}.jpg", int(species) - 1) for name, _, species, _ in lines)
        super().__init__(folder / images.folder, CLASS_NAMES, photos)


class MicrosoftSource(FolderSource):
    """Microsoft's 25,000 photos, known from Kaggle's Dogs vs. Cats; downloaded into `root` if missing, see `obtain`."""

    def __init__(self, root: str | Path, photos: Archive = MICROSOFT_PHOTOS) -> None:
        super().__init__(obtain((photos,), root) / photos.folder)
        self.class_names = CLASS_NAMES


def obtain(archives: Sequence[Archive], root: str | Path) -> Path:
    """Download and unpack the archives whose folders are missing in `root`, one process at a time; return `root`.

    An existing folder is taken to be complete. An archive that the user put into `root` is verified and kept. Raises
    InputError if an archive cannot be downloaded or has another SHA-256; the message lists the files to download.
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
        files = " and ".join(f"{file.url} (SHA-256 {file.sha256})" for file in missing)
        hint = f"repeat the command, or download by hand {files} into the folder '{root.absolute()}'"
        raise InputError(f"no photos ({error}): {hint}") from error
    return root


def _unpack(archive: Archive, root: Path) -> None:
    """Verify an archive, downloaded if missing, and unpack it; the rename comes last, so its folder is complete."""
    name = archive.url.rpartition("/")[2]
    path, staging = root / name, root / f".{name}.unpacked"
    shutil.rmtree(staging, ignore_errors=True)  # left behind by a killed process
    staging.mkdir()
    try:
        if not path.exists():
            path = staging / name
            download_url_to_file(archive.url, str(path), progress=sys.stderr.isatty())
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != archive.sha256:
            raise OSError(f"{name} is damaged or another file, with SHA-256 {found}")
        shutil.unpack_archive(path, staging, filter=None if name.endswith(".zip") else "data")
        os.rename(staging / archive.folder, root / archive.folder)
    finally:
        shutil.rmtree(staging)

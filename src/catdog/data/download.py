"""Published sets of cat and dog photos, downloaded at their first use."""

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
TIMEOUT = 30.0  # seconds without an answer, or without a byte of it


class Archive(NamedTuple):
    """A published archive of photos, pinned."""

    url: str  # ends with the file's name
    size: int  # bytes
    sha256: str  # 64 hexadecimal digits
    folder: str  # in the archive, the one that is wanted


# Sizes and SHA-256 are those that others published; we did not download the archives. Oxford: TensorFlow Datasets,
# datasets/oxford_iiit_pet/checksums.tsv; others who downloaded them found the same, along with the MD5 sums that
# torchvision pins. Microsoft: Hugging Face, datasets/cats_vs_dogs/dataset_infos.json; GoMLX pins the same SHA-256.
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
    """The Oxford-IIIT Pet photos, with the labels of torchvision's `OxfordIIITPet(target_types="binary-category")`.

    The publisher's trainval and test parts are taken together. torchvision's class reads the same folder, but gives a
    label only along with the decoded photo. `root` has, or gets, the folders `images` and `annotations`: see `obtain`.
    """

    def __init__(self, root: str | Path, images: Archive = OXFORD_IMAGES, labels: Archive = OXFORD_ANNOTATIONS) -> None:
        folder = obtain((images, labels), root)
        lists = [folder / labels.folder / f"{part}.txt" for part in ("trainval", "test")]
        lines = [line.split() for path in lists for line in path.read_text().splitlines()]
        # name, breed, species (1: cat, 2: dog), number
        photos = sorted((f"{name}.jpg", int(species) - 1) for name, _, species, _ in lines)
        super().__init__(folder / images.folder, CLASS_NAMES, photos)


class MicrosoftSource(FolderSource):
    """The 25,000 photos of Microsoft's archive, which are those of the Asirra captcha and of Kaggle's Dogs vs. Cats.

    `root` has, or gets, the folder `PetImages`: see `obtain`.
    """

    def __init__(self, root: str | Path, photos: Archive = MICROSOFT_PHOTOS) -> None:
        super().__init__(obtain((photos,), root) / photos.folder)
        self.class_names = CLASS_NAMES


def obtain(archives: Sequence[Archive], root: str | Path) -> Path:
    """Download and unpack what `root` lacks of the archives' folders; of several processes one does it.

    A folder that is there is taken for whole. A download that broke is resumed at the next start, and deleted once it
    is unpacked; an archive that the user put into `root` is checked and kept.

    Raises:
        InputError: an archive cannot be downloaded, or is not the pinned one; the sentence says what to put where.
    """
    root = Path(root)
    if all((root / archive.folder).is_dir() for archive in archives):
        return root  # without the lock, as `root` may be read-only
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
            f"no photos ({error}): repeat the command to go on, or download by hand {' and '.join(files)} "
            f"into the folder '{root.absolute()}'"
        ) from error
    return root


def _unpack(archive: Archive, root: Path) -> None:
    """Unpack the user's archive or a download, beside the place, so that a folder with the right name is whole."""
    name = archive.url.rpartition("/")[2]
    given, partial, beside = root / name, root / f"{name}.partial", root / f".{name}.unpacked"
    path = given if given.exists() else _download(archive, partial)
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != archive.sha256:
        partial.unlink(missing_ok=True)  # may be halves of two files, so the next start begins anew
        raise OSError(f"'{path.absolute()}' is another file, with SHA-256 {found}")
    shutil.rmtree(beside, ignore_errors=True)  # from an unpacking that was killed
    kind = "zip" if name.endswith(".zip") else "gztar"
    shutil.unpack_archive(path, beside, kind, filter=None if kind == "zip" else "data")
    os.rename(beside / archive.folder, root / archive.folder)
    shutil.rmtree(beside)
    partial.unlink(missing_ok=True)


def _download(archive: Archive, partial: Path) -> Path:
    """Append the bytes that `partial` lacks, or write all if the server cannot begin in the middle."""
    have = partial.stat().st_size if partial.exists() else 0
    if have < archive.size:
        asked = Request(archive.url, headers={"User-Agent": "catdog", "Range": f"bytes={have}-"})
        with (
            urlopen(asked, timeout=TIMEOUT) as response,
            open(partial, "ab" if response.status == 206 else "wb") as file,
            tqdm(None, partial.stem, archive.size, initial=file.tell(), unit="B", unit_scale=True, disable=None) as bar,
        ):
            while chunk := response.read1(2**20):
                bar.update(file.write(chunk))
        if (have := partial.stat().st_size) < archive.size:
            raise OSError(f"the connection broke after {have:,} of {archive.size:,} bytes")
    return partial

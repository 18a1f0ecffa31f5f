"""Published sets of cat and dog photos, downloaded at their first use."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from tqdm import tqdm

from catdog.data.photos import FileSource, FolderSource
from catdog.errors import InputError
from catdog.files import hold

CLASS_NAMES = ("cats", "dogs")
TIMEOUT = 30.0  # seconds without an answer, or without a byte of it
CHUNK = 1 << 20  # bytes


@dataclass(frozen=True)
class Archive:
    """A published archive of photos, pinned."""

    url: str  # https
    size: int  # bytes
    sha256: str  # 64 hexadecimal digits
    folder: str  # in the archive, the one that is wanted

    @property
    def name(self) -> str:
        """The file's name, the last part of its URL."""
        return PurePosixPath(urlsplit(self.url).path).name


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
    label only along with the decoded photo.

    Args:
        root: the folder that has, or gets, the folders `images` and `annotations`.
        images: the archive of the photos.
        annotations: the archive of their labels.

    Raises:
        InputError: there are no photos, and they cannot be downloaded.
    """

    def __init__(
        self, root: str | Path | None, images: Archive = OXFORD_IMAGES, annotations: Archive = OXFORD_ANNOTATIONS
    ) -> None:
        folder = obtain((images, annotations), root)
        lists = [folder / annotations.folder / f"{part}.txt" for part in ("trainval", "test")]
        lines = [line.split() for path in lists for line in path.read_text().splitlines()]
        # name, breed, species (1: cat, 2: dog), number
        photos = sorted((f"{name}.jpg", int(species) - 1) for name, _, species, _ in lines)
        super().__init__(folder / images.folder, CLASS_NAMES, photos)


class MicrosoftSource(FolderSource):
    """The 25,000 photos of Microsoft's archive, which are those of the Asirra captcha and of Kaggle's Dogs vs. Cats.

    Args:
        root: the folder that has, or gets, the folder `PetImages`.
        photos: the archive.

    Raises:
        InputError: there are no photos, and they cannot be downloaded.
    """

    def __init__(self, root: str | Path | None, photos: Archive = MICROSOFT_PHOTOS) -> None:
        super().__init__(obtain((photos,), root) / photos.folder)
        self.class_names = CLASS_NAMES


def obtain(archives: Sequence[Archive], root: str | Path | None) -> Path:
    """Download and unpack what `root` lacks of the archives' folders; of several processes one does it.

    A folder that is there is taken for whole. A download that broke is resumed at the next start, and deleted once it
    is unpacked; an archive that the user put into `root` is checked and kept.

    Raises:
        InputError: an archive cannot be downloaded, or is not the pinned one; the sentence says what to put where.
    """
    if root is None:
        raise InputError("data.root must be given: the folder where the photos lie, or are downloaded to")
    root = Path(root)

    def missing() -> list[Archive]:
        return [archive for archive in archives if not (root / archive.folder).is_dir()]

    if not missing():
        return root  # without the lock, as `root` may be read-only
    root.mkdir(parents=True, exist_ok=True)
    with hold(root / ".lock", waiting="another process is downloading the photos"):
        for archive in missing():
            try:
                path = _fetch(archive, root)
            except (OSError, HTTPException) as error:
                files = (f"{file.url} ({file.size:,} bytes, SHA-256 {file.sha256})" for file in missing())
                raise InputError(
                    f"no photos ({error}): repeat the command to go on, or download by hand {' and '.join(files)} "
                    f"into the folder '{root.absolute()}'"
                ) from error
            _unpack(path, archive, root)
    return root


def _fetch(archive: Archive, root: Path) -> Path:
    """Find the archive that the user put into `root`, or download it to `NAME.partial`; check its SHA-256."""
    given, partial = root / archive.name, root / f"{archive.name}.partial"
    if not given.exists():
        _download(archive, partial)
    path = given if given.exists() else partial
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != archive.sha256:
        if path == partial:
            partial.unlink()  # may be halves of two files, so the next start begins anew
        raise OSError(f"'{path.absolute()}' {'is' if path == given else 'was'} another file, with SHA-256 {found}")
    return path


def _download(archive: Archive, partial: Path) -> None:
    """Append the bytes that `partial` lacks, or write all if the server cannot begin in the middle."""
    have = partial.stat().st_size if partial.exists() else 0
    if have >= archive.size:
        return
    asked = Request(archive.url, headers={"User-Agent": "catdog", "Range": f"bytes={have}-"})
    with urlopen(asked, timeout=TIMEOUT) as response:
        if not response.url.startswith(("https://", "http://127.0.0.1:")):  # after redirects; the latter for tests
            raise OSError(f"'{response.url}' is not https")
        have = have if response.status == 206 else 0
        if response.length is None or have + response.length != archive.size:
            raise OSError(f"the server's file has not the pinned {archive.size:,} bytes")
        with (
            open(partial, "ab" if have else "wb") as file,
            tqdm(desc=archive.name, initial=have, total=archive.size, unit="B", unit_scale=True, disable=None) as bar,
        ):
            while chunk := response.read1(CHUNK):
                bar.update(file.write(chunk))
    if (have := partial.stat().st_size) < archive.size:
        raise OSError(f"the connection broke after {have:,} of {archive.size:,} bytes")


def _unpack(path: Path, archive: Archive, root: Path) -> None:
    """Unpack beside the place and rename, so that a folder with the right name is always whole."""
    beside = root / f".{archive.name}.unpacked"
    shutil.rmtree(beside, ignore_errors=True)  # from an unpacking that was killed
    kind = "zip" if archive.name.endswith(".zip") else "gztar"
    try:
        shutil.unpack_archive(path, beside, kind, filter=None if kind == "zip" else "data")
        os.rename(beside / archive.folder, root / archive.folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    if path.name != archive.name:  # a download, not the user's
        path.unlink()

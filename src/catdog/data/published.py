"""Published sets of cat and dog photos, downloaded at their first use."""

from collections.abc import Iterator
from pathlib import Path

from catdog.data.archives import obtain
from catdog.data.downloads import Archive
from catdog.data.sources import FileSource, FolderSource
from catdog.errors import InputError

CLASS_NAMES = ("cats", "dogs")


class OxfordPetsSource(FileSource):
    """The Oxford-IIIT Pet photos, of which torchvision's `OxfordIIITPet` makes the binary category: cat or dog.

    The publisher's trainval and test parts are taken together, in the order of their names. torchvision's class reads
    the same folder, but tells paths and labels only by decoding every photo, hence the reading here.

    Args:
        root: the folder that has, or gets, the folders `images` and `annotations`.
        images: the archive of the photos.
        annotations: the archive of what they show.

    Raises:
        InputError: there are no photos, and they cannot be downloaded.
    """

    def __init__(self, root: str | Path | None, images: Archive, annotations: Archive) -> None:
        folder = _folder(root)
        obtain((images, annotations), folder)
        parts = (folder / annotations.folder / f"{part}.txt" for part in ("trainval", "test"))
        super().__init__(folder / images.folder, CLASS_NAMES, sorted(photo for part in parts for photo in _read(part)))


class MicrosoftSource(FolderSource):
    """The 25,000 photos of Microsoft's archive, which are those of the Asirra captcha and of Kaggle's Dogs vs. Cats.

    Args:
        root: the folder that has, or gets, the folder `PetImages`.
        photos: the archive.

    Raises:
        InputError: there are no photos, and they cannot be downloaded.
    """

    def __init__(self, root: str | Path | None, photos: Archive) -> None:
        folder = _folder(root)
        obtain((photos,), folder)
        super().__init__(folder / photos.folder)
        self.class_names = CLASS_NAMES


def _folder(root: str | Path | None) -> Path:
    if root is None:
        raise InputError("data.root must be given: the folder where the photos lie, or are downloaded to")
    return Path(root)


def _read(part: Path) -> Iterator[tuple[str, int]]:
    """File name and class of a list's photos; a line is name, breed, species (1: cat, 2: dog), number."""
    for line in part.read_text().splitlines():
        name, _, species, _ = line.split()
        yield f"{name}.jpg", int(species) - 1

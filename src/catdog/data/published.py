"""Published sets of cat and dog photos, downloaded at their first use."""

from collections.abc import Iterator
from pathlib import Path

from catdog.data.archives import obtain
from catdog.data.downloads import Archive
from catdog.data.photos import FileSource, FolderSource
from catdog.errors import InputError

CLASS_NAMES = ("cats", "dogs")
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

    def __init__(
        self, root: str | Path | None, images: Archive = OXFORD_IMAGES, annotations: Archive = OXFORD_ANNOTATIONS
    ) -> None:
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

    def __init__(self, root: str | Path | None, photos: Archive = MICROSOFT_PHOTOS) -> None:
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

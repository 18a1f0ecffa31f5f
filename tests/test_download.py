"""The published sets, from small archives of the same structure on this machine, with the faults of servers."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from torchvision.datasets import OxfordIIITPet

from catdog.data import MicrosoftSource, OxfordPetsSource
from catdog.data.download import Archive, obtain
from catdog.data.photos import UnreadablePhotoError
from catdog.errors import InputError
from mirror import Mirror


class Published(NamedTuple):
    """A photo in an archive on a server, and the folder that gets it."""

    mirror: Mirror
    archive: Archive
    photo: bytes
    root: Path

    def obtain(self) -> None:
        obtain([self.archive], self.root)

    def arrive(self, *others: str) -> bool:
        """Download; tell if the photo is there, and nothing else but the lock and `others`."""
        self.obtain()
        photos = {path.name: path.read_bytes() for path in (self.root / "photos").iterdir()}
        return photos == {"1.jpg": self.photo} and set(os.listdir(self.root)) == {"photos", ".lock", *others}


@pytest.fixture
def published(mirror: Mirror, tmp_path: Path, request: pytest.FixtureRequest) -> Published:
    for folder in ("photos", "root"):
        (tmp_path / folder).mkdir()
    (tmp_path / "photos/1.jpg").write_bytes(photo := os.urandom(40_000))
    archive = mirror.publish(tmp_path / "photos", getattr(request, "param", "zip"))
    return Published(mirror, archive, photo, tmp_path / "root")


@pytest.mark.parametrize("published", ["zip", "gztar"], indirect=True)
def test_many_at_once_download_and_unpack_once_also_after_one_was_killed(published: Published) -> None:
    name = published.archive.url.rpartition("/")[2]
    left = published.root / f".{name}.unpacked/photos/half.jpg"
    left.parent.mkdir(parents=True)
    left.touch()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: published.obtain(), range(4)))
    assert published.arrive()
    assert published.mirror.requests == [f"/{name}"]


def test_a_broken_transfer_or_another_file_is_refused_and_the_same_command_begins_anew(published: Published) -> None:
    whole = published.mirror.files["/photos.zip"]
    for sent in (whole[:1_000], b"another file"):
        published.mirror.files["/photos.zip"] = sent
        published.mirror.length = len(whole)
        with pytest.raises(InputError, match=r"photos.zip is damaged or another file, with SHA-256 [0-9a-f]{64}\)"):
            published.obtain()
        assert os.listdir(published.root) == [".lock"]
    published.mirror.files["/photos.zip"] = whole
    assert published.arrive()


def test_the_users_archive_is_checked_unpacked_and_kept(published: Published) -> None:
    given = published.root / "photos.zip"
    given.write_bytes(b"another file")
    with pytest.raises(InputError, match=r"\(photos.zip is damaged or another file, with SHA-256 "):
        published.obtain()
    given.write_bytes(published.mirror.files["/photos.zip"])
    assert published.arrive("photos.zip")
    assert published.mirror.requests == []


def test_oxford_pets_are_what_torchvision_reads(mirror: Mirror, oxford_root: Path, tmp_path: Path) -> None:
    source = OxfordPetsSource(tmp_path, *(mirror.publish(oxford_root / n, "gztar") for n in ("images", "annotations")))
    expected: dict[str, int] = {}
    for part in ("trainval", "test"):
        theirs = OxfordIIITPet(oxford_root.parent, part, "binary-category")
        expected |= {path.name: label for path, label in zip(theirs._images, theirs._bin_labels, strict=True)}
    assert source.class_names == ("cats", "dogs")
    assert list(zip(source.names, source.labels, strict=True)) == sorted(expected.items())
    for index in range(len(source.names)):  # GIF and CMYK among them
        source.read(index, 16)


def test_microsofts_broken_files_are_unreadable_and_other_files_no_photos(microsoft_root: Path) -> None:
    source = MicrosoftSource(microsoft_root)
    assert source.class_names == ("cats", "dogs")
    assert (source.labels.count(0), source.labels.count(1)) == (101, 101)
    for broken in ("Cat/666.jpg", "Dog/11702.jpg"):
        with pytest.raises(UnreadablePhotoError):
            source.read(source.names.index(broken), 16)


def test_without_the_files_a_sentence_says_what_to_download_by_hand(mirror: Mirror, tmp_path: Path) -> None:
    refused = Archive("http://127.0.0.1:9/a.tar.gz", "a" * 64, "images")
    absent = Archive(f"{mirror.url}/b.tar.gz", "b" * 64, "annotations")
    for images, annotations, reason in (
        (refused, absent, r"<urlopen error \[Errno \d+\] Connection refused>"),
        (absent, refused, "HTTP Error 404: Not Found"),
    ):
        files = (f"{file.url} \\(SHA-256 {file.sha256}\\)" for file in (images, annotations))
        hint = f"repeat the command, or download by hand {' and '.join(files)} into the folder '{tmp_path}'"
        with pytest.raises(InputError, match=rf"^no photos \({reason}\): {hint}$"):
            OxfordPetsSource(tmp_path, images, annotations)

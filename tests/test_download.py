"""The published sets, from small archives of the same structure on this machine, with the faults of servers."""

import os
import re
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from torchvision.datasets import OxfordIIITPet

from catdog.data import Archive, MicrosoftSource, OxfordPetsSource, UnreadablePhotoError, download
from catdog.data.download import obtain
from catdog.errors import InputError
from conftest import TrainPy
from mirror import Mirror


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSES", (0, 0, 0, 0))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("cats", "dogs"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "1.jpg").write_bytes(os.urandom(20_000))
    return tmp_path / "photos"


@pytest.fixture
def archive(mirror: Mirror, photos: Path) -> Archive:
    return mirror.publish(photos)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def is_whole(root: Path, photos: Path, *others: str) -> bool:
    """Whether the photos are those published, and nothing else is left but the lock and `others`."""
    contents = [[path.read_bytes() for path in sorted(place.rglob("*.jpg"))] for place in (root / "photos", photos)]
    return contents[0] == contents[1] and {path.name for path in root.iterdir()} <= {"photos", ".lock", *others}


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_many_at_once_download_and_unpack_once(mirror: Mirror, photos: Path, root: Path, kind: str) -> None:
    threads = [threading.Thread(target=obtain, args=([mirror.publish(photos, kind)], root)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert is_whole(root, photos)
    assert mirror.requests == ["bytes=0-"]


def test_a_broken_transfer_is_resumed_in_the_same_run_and_the_next(
    mirror: Mirror, archive: Archive, photos: Path, root: Path
) -> None:
    mirror.breaks = [1_000, 1_000, 0, 1_000, 1_000, 500]
    with pytest.raises(InputError, match=rf"the connection broke after 4,000 of {archive.size:,} bytes"):
        obtain([archive], root)
    obtain([archive], root)
    assert is_whole(root, photos)
    assert mirror.requests == [f"bytes={have}-" for have in (0, 1000, 2000, 2000, 3000, 4000, 4500)]


def test_a_server_that_cannot_begin_in_the_middle_sends_all_again(
    mirror: Mirror, archive: Archive, photos: Path, root: Path
) -> None:
    mirror.answers_ranges, mirror.breaks = False, [10_000]
    obtain([archive], root)
    assert is_whole(root, photos)


@pytest.mark.parametrize("left", [b"of another file", b"of another file" * 10_000])
def test_what_is_left_of_another_file_is_thrown_away(archive: Archive, photos: Path, root: Path, left: bytes) -> None:
    (root / "photos.zip.partial").write_bytes(left)
    with pytest.raises(InputError, match=r"photos.zip.partial' was another file, with SHA-256 [0-9a-f]{64}\)"):
        obtain([archive], root)
    obtain([archive], root)
    assert is_whole(root, photos)


def test_the_users_archive_is_checked_unpacked_and_kept(
    mirror: Mirror, archive: Archive, photos: Path, root: Path
) -> None:
    given = root / "photos.zip"
    given.write_bytes(b"another file")
    with pytest.raises(InputError, match=rf"\('{given}' is another file, with SHA-256 "):
        obtain([archive], root)
    assert given.read_bytes() == b"another file"
    given.write_bytes(mirror.files["/photos.zip"])
    obtain([archive], root)
    assert is_whole(root, photos, "photos.zip")
    assert given.exists()
    assert mirror.requests == []


@pytest.mark.parametrize("target", ["http://localhost:{}/photos.zip", "file:///photos.zip"])
def test_nothing_is_written_from_where_the_line_is_not_encrypted(
    mirror: Mirror, archive: Archive, root: Path, target: str
) -> None:
    mirror.redirect = target.format(mirror.server_port)
    with pytest.raises(InputError, match="no photos"):
        obtain([archive], root)
    assert [path.name for path in root.iterdir()] == [".lock"]


def test_a_file_of_another_size_is_refused_before_a_byte_is_written(archive: Archive, root: Path) -> None:
    with pytest.raises(InputError, match="the server's file has not the pinned 7 bytes"):
        obtain([replace(archive, size=7)], root)
    assert [path.name for path in root.iterdir()] == [".lock"]


def test_an_unpacking_that_was_killed_is_done_again(archive: Archive, photos: Path, root: Path) -> None:
    (root / ".photos.zip.unpacked" / "photos").mkdir(parents=True)
    (root / ".photos.zip.unpacked" / "photos" / "half.jpg").touch()
    obtain([archive], root)
    assert is_whole(root, photos)


def test_oxford_pets_are_what_torchvision_reads(oxford_root: Path) -> None:
    source = OxfordPetsSource(oxford_root)
    expected: dict[str, int] = {}
    for part in ("trainval", "test"):
        theirs = OxfordIIITPet(oxford_root.parent, part, "binary-category")
        expected |= {path.name: label for path, label in zip(theirs._images, theirs._bin_labels, strict=True)}
    assert list(zip(source.names, source.labels, strict=True)) == sorted(expected.items())
    assert (source.class_names, source.labels.count(0), source.labels.count(1)) == (("cats", "dogs"), 19, 41)
    for index in range(len(source.names)):  # GIF and CMYK among them
        assert source.read(index, 16).shape == (16, 16, 3)


def test_microsofts_broken_files_are_unreadable_and_other_files_no_photos(microsoft_root: Path) -> None:
    source = MicrosoftSource(microsoft_root)
    assert source.class_names == ("cats", "dogs")
    assert (len(source.names), source.labels.count(0)) == (202, 101)
    for broken in ("Cat/666.jpg", "Dog/11702.jpg"):
        with pytest.raises(UnreadablePhotoError):
            source.read(source.names.index(broken), 16)


def pins(**archives: Archive) -> list[str]:
    """A command's arguments that put archives in the place of the published ones."""
    options = {key: {"_target_": "catdog.data.Archive"} | asdict(archive) for key, archive in archives.items()}
    return [f"+data.source.{key}.{name}={value}" for key in options for name, value in options[key].items()]


def test_the_command_downloads_and_trains(mirror: Mirror, oxford_root: Path, tmp_path: Path, train_py: TrainPy) -> None:
    archives = {name: mirror.publish(oxford_root / name, "gztar") for name in ("images", "annotations")}
    done = train_py("data=oxford_pets", *pins(**archives), "data.image_size=16", "model=logistic", "trainer=cpu")
    assert done.status == 0
    assert len(list(tmp_path.glob("outputs/runs/*/metrics.json"))) == 1


def test_without_the_files_the_command_says_what_to_download_by_hand(
    mirror: Mirror, tmp_path: Path, train_py: TrainPy
) -> None:
    refused = Archive("http://127.0.0.1:9/a.tar.gz", 1_000, "a" * 64, "images")
    absent = Archive(f"{mirror.url}/b.tar.gz", 1_000, "b" * 64, "annotations")
    for images, annotations, reason in (
        (refused, absent, r"\[Errno \d+\] Connection refused"),
        (absent, refused, "HTTP Error 404: Not Found"),
    ):
        done = train_py("data=oxford_pets", *pins(images=images, annotations=annotations))
        wanted = " and ".join(f"{file.url} (1,000 bytes, SHA-256 {file.sha256})" for file in (images, annotations))
        assert re.fullmatch(
            rf"catdog: no photos \({reason}\): download by hand {re.escape(wanted)} into the folder "
            rf"'{tmp_path}/outputs/photos/oxford-iiit-pet'",
            str(done.status),
        )
    assert train_py("data=microsoft", "data.root=null").status == (
        "catdog: data.root must be given: the folder where the photos lie, or are downloaded to"
    )

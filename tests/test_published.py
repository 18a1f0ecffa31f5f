"""The published sets, from small archives of the same structure on this machine."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from torchvision.datasets import OxfordIIITPet

from catdog.data import Archive, MicrosoftSource, OxfordPetsSource, UnreadablePhotoError
from catdog.errors import InputError
from conftest import TrainPy
from mirror import Mirror, tar_of, zip_of

OXFORD = ("images", "annotations")


@pytest.fixture
def oxford(mirror: Mirror, oxford_root: Path) -> dict[str, Archive]:
    return {name: mirror.publish(f"{name}.tar.gz", tar_of(oxford_root / name), name) for name in OXFORD}


@pytest.fixture
def microsoft(mirror: Mirror, microsoft_root: Path) -> Archive:
    return mirror.publish("kagglecatsanddogs_5340.zip", zip_of(microsoft_root / "PetImages"), "PetImages")


def pins(key: str, archive: Archive) -> list[str]:
    """A command's arguments that put an archive in the place of the published one."""
    options = {"_target_": "catdog.data.Archive"} | asdict(archive)
    return [f"+data.source.{key}.{name}={value}" for name, value in options.items()]


def test_oxford_pets_are_what_torchvision_reads(oxford: dict[str, Archive], tmp_path: Path) -> None:
    source = OxfordPetsSource(tmp_path / "oxford-iiit-pet", **oxford)
    assert source.names == sorted(source.names)
    expected: dict[str, int] = {}
    for part in ("trainval", "test"):
        theirs = OxfordIIITPet(tmp_path, part, "binary-category")
        expected |= {path.name: label for path, label in zip(theirs._images, theirs._bin_labels, strict=True)}
    assert dict(zip(source.names, source.labels, strict=True)) == expected
    assert (source.class_names, source.labels.count(0), source.labels.count(1)) == (("cats", "dogs"), 19, 41)
    for index in range(len(source.names)):  # GIF and CMYK among them
        assert source.read(index, 16).shape == (16, 16, 3)


def test_microsofts_broken_files_are_unreadable_and_other_files_no_photos(microsoft: Archive, tmp_path: Path) -> None:
    source = MicrosoftSource(tmp_path, microsoft)
    assert source.class_names == ("cats", "dogs")
    assert (len(source.names), source.labels.count(0)) == (202, 101)
    unreadable = []
    for index, name in enumerate(source.names):
        try:
            source.read(index, 16)
        except UnreadablePhotoError:
            unreadable.append(name)
    assert unreadable == ["Cat/666.jpg", "Dog/11702.jpg"]


def test_photos_that_were_unpacked_by_hand_are_used(
    mirror: Mirror, oxford: dict[str, Archive], oxford_root: Path, microsoft: Archive, microsoft_root: Path
) -> None:
    assert len(OxfordPetsSource(oxford_root, **oxford).names) == 60
    assert len(MicrosoftSource(microsoft_root, microsoft).names) == 202
    assert mirror.requests == []


def test_the_folder_cannot_be_left_out(microsoft: Archive) -> None:
    with pytest.raises(InputError, match="data.root must be given"):
        MicrosoftSource(None, microsoft)


def test_the_command_downloads_and_trains(oxford: dict[str, Archive], tmp_path: Path, train_py: TrainPy) -> None:
    overrides = (override for key, archive in oxford.items() for override in pins(key, archive))
    done = train_py("data=oxford_pets", *overrides, "data.image_size=16", "model=logistic", "trainer=cpu")
    assert done.status == 0
    (run,) = (tmp_path / "outputs/runs").iterdir()
    assert json.loads((run / "metrics.json").read_text())["chance"] == pytest.approx(4 / 6)
    photos = tmp_path / "outputs/photos/oxford-iiit-pet"
    assert {path.name for path in photos.iterdir()} <= {"annotations", "images", ".lock"}


def test_without_a_network_the_command_says_what_to_download_by_hand(
    microsoft: Archive, tmp_path: Path, train_py: TrainPy
) -> None:
    nobody = replace(microsoft, url="http://127.0.0.1:9/kagglecatsanddogs_5340.zip")
    done = train_py("data=microsoft", *pins("photos", nobody))
    assert done.status == (
        f"catdog: no photos (Connection refused): download by hand {nobody.url} ({nobody.size:,} bytes, SHA-256 "
        f"{nobody.sha256}) into the folder '{tmp_path / 'outputs/photos/microsoft'}'"
    )

"""From an archive to a folder: unsafe ones refused, unfinished ones done again."""

import io
import os
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipInfo

import pytest

from catdog.data import Archive
from catdog.data.archives import obtain
from catdog.errors import InputError
from mirror import Mirror, tar_of, zip_of


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "published" / "photos"
    for name in ("cats/1.jpg", "cats/2.jpg", "dogs/1.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(os.urandom(2_000))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tar_with(member: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        info = tarfile.TarInfo(member)
        info.type, info.linkname, info.size = kind, link, size
        archive.addfile(info, io.BytesIO(bytes(size)))
    return target.getvalue()


def zip_with(member: str | ZipInfo, size: int = 1) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", ZIP_DEFLATED) as archive:
        archive.writestr(member, bytes(size), ZIP_DEFLATED)
    return target.getvalue()


def link(name: str) -> ZipInfo:
    info = ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info


def encrypted(content: bytes) -> bytes:
    """The same zip archive, said to be encrypted in its directory."""
    place = content.rindex(b"PK\1\2") + 8
    return content[:place] + b"\1" + content[place + 1 :]


@pytest.mark.parametrize(("name", "pack"), [("photos.tar.gz", tar_of), ("photos.zip", zip_of)])
def test_an_archive_becomes_its_folder_and_nothing_else_is_left(
    mirror: Mirror, photos: Path, tmp_path: Path, name: str, pack: Callable[[Path], bytes]
) -> None:
    archive, root = mirror.publish(name, pack(photos)), tmp_path / "a" / "root"
    for _ in range(2):
        obtain([archive], root)
    assert contents(root / "photos") == contents(photos)
    assert {path.name for path in root.iterdir()} <= {"photos", ".lock"}
    assert len(mirror.requests) == 1


def test_the_users_archive_is_unpacked_and_kept(mirror: Mirror, photos: Path, tmp_path: Path) -> None:
    archive = mirror.publish("photos.zip", zip_of(photos))
    (tmp_path / "photos.zip").write_bytes(mirror.files["/photos.zip"])
    obtain([archive], tmp_path)
    assert contents(tmp_path / "photos") == contents(photos)
    assert (tmp_path / "photos.zip").exists()
    assert mirror.requests == []


def test_a_folder_that_is_there_is_used_without_writing(mirror: Mirror, photos: Path) -> None:
    obtain([mirror.publish("photos.zip", b"not asked for")], photos.parent)
    assert [path.name for path in photos.parent.iterdir()] == ["photos"]


UNSAFE = {
    "tar-parent": (tar_with("../outside.jpg"), "outside the destination"),
    "tar-absolute": (tar_with("/outside.jpg"), "no folder 'photos'"),  # the filter makes it relative, so harmless
    "tar-link-out": (tar_with("photos/link", tarfile.SYMTYPE, "../../outside"), "a link or a special file"),
    "tar-link-inside": (tar_with("photos/link", tarfile.SYMTYPE, "1.jpg"), "a link or a special file"),
    "tar-link-absolute": (tar_with("photos/link", tarfile.SYMTYPE, "/etc"), "a link or a special file"),
    "tar-hard-link-out": (tar_with("photos/link", tarfile.LNKTYPE, "../outside"), "a link or a special file"),
    "tar-pipe": (tar_with("photos/pipe", tarfile.FIFOTYPE), "a link or a special file"),
    "tar-bomb": (tar_with("photos/1.jpg", size=1_000_000), "more than 10 times its size"),
    "tar-cut-off": (tar_with("photos/1.jpg")[:-20], "ended"),
    "zip-parent": (zip_with("../outside.jpg"), "outside its folder, '../outside.jpg'"),
    "zip-parent-inside": (zip_with("photos/../../outside.jpg"), "outside its folder"),
    "zip-backslash": (zip_with("..\\outside.jpg"), "outside its folder"),
    "zip-absolute": (zip_with("/outside.jpg"), "outside its folder"),
    "zip-drive": (zip_with("C:outside.jpg"), "outside its folder"),
    "zip-link": (zip_with(link("photos/link")), "a link or an encrypted file"),
    "zip-encrypted": (encrypted(zip_with("photos/1.jpg")), "a link or an encrypted file"),
    "zip-bomb": (zip_with("photos/1.jpg", size=1_000_000), "more than 10 times its size"),
    "zip-other-folder": (zip_with("cats/1.jpg"), "no folder 'photos'"),
    "tar-none": (b"no archive at all", "could not be opened"),
    "zip-none": (b"no archive at all", "not a zip file"),
}


@pytest.mark.parametrize("case", UNSAFE)
def test_unsafe_and_damaged_archives_are_refused(mirror: Mirror, tmp_path: Path, case: str) -> None:
    content, reason = UNSAFE[case]
    root, name = tmp_path / "root", f"photos.{case[:3]}"
    with pytest.raises(InputError, match=reason):
        obtain([mirror.publish(name, content)], root)
    assert {path.name for path in root.iterdir()} <= {".lock", f"{name}.partial"}
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_a_zip_that_lies_about_its_sizes_writes_no_more_than_it_says(mirror: Mirror, tmp_path: Path) -> None:
    content = zip_with("photos/1.jpg", 1_000_000).replace(
        (1_000_000).to_bytes(4, "little"), (500).to_bytes(4, "little")
    )
    with pytest.raises(InputError, match="Bad CRC-32"):
        obtain([mirror.publish("photos.zip", content)], tmp_path)
    assert not (tmp_path / "photos").exists()


def test_an_unpacking_that_was_killed_is_done_again(
    mirror: Mirror, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, root = mirror.publish("photos.zip", zip_of(photos)), tmp_path / "root"
    with monkeypatch.context() as patch:  # what a kill leaves, as nothing is cleaned up
        patch.setattr(zipfile.ZipFile, "_extract_member", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            obtain([archive], root)
    (root / ".photos.zip.unpacked" / "photos").mkdir(parents=True, exist_ok=True)
    (root / ".photos.zip.unpacked" / "photos" / "half.jpg").touch()
    obtain([archive], root)
    assert contents(root / "photos") == contents(photos)
    assert {path.name for path in root.iterdir()} <= {"photos", ".lock"}
    assert len(mirror.requests) == 1


def test_many_at_once_download_once(mirror: Mirror, photos: Path, tmp_path: Path) -> None:
    archive, root = mirror.publish("photos.zip", zip_of(photos)), tmp_path / "root"
    mirror.pause = 0.05
    threads = [threading.Thread(target=obtain, args=([archive], root)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents(root / "photos") == contents(photos)
    assert len(mirror.requests) == 1


def test_the_sentence_names_every_file_that_is_missing_and_its_place(mirror: Mirror, tmp_path: Path) -> None:
    wanted = [mirror.publish(name, name.encode(), folder=name[0]) for name in ("a.zip", "b.zip", "c.zip")]
    (tmp_path / "b").mkdir()
    mirror.files.clear()
    with pytest.raises(InputError) as caught:
        obtain(wanted, tmp_path)
    assert str(caught.value) == (
        f"no photos (HTTP Error 404: Not Found): download by hand"
        f" {mirror.url}/a.zip (5 bytes, SHA-256 {wanted[0].sha256}) and"
        f" {mirror.url}/c.zip (5 bytes, SHA-256 {wanted[2].sha256}) into the folder '{tmp_path}'"
    )


def test_a_size_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the size of https://a/b must be a whole number of at least 1, got 'large'"):
        obtain([Archive("https://a/b", "large", "", "photos")], tmp_path)  # type: ignore[arg-type]

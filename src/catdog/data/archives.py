"""Archives: from a download to a folder of photos, whatever breaks off in between."""

import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

from filelock import FileLock

from catdog.data.downloads import Archive, DownloadError, fetch
from catdog.errors import InputError, check_whole_number

LARGEST_GROWTH = 10  # photos are compressed already: what unpacks to more than this times its size is no set of them


class UnsafeArchiveError(Exception):
    """An archive that would write where it must not, or more than there can be in it."""


DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, NotImplementedError)


def obtain(archives: Sequence[Archive], root: Path) -> None:
    """Have the wanted folder of every archive in `root`; what is missing is downloaded and unpacked.

    Of several processes one does it, and the others wait. A folder that is there is whole, or was put there by the
    user. Downloads are deleted once they are unpacked; an archive that the user put into `root` is kept.

    Raises:
        InputError: an archive cannot be had or unpacked; the sentence says what to put where by hand.
    """
    for archive in archives:
        check_whole_number(f"the size of {archive.url}", archive.size, least=1)
    if not _missing(archives, root):
        return  # without the lock, as `root` may be read-only
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".lock"):
            for archive in _missing(archives, root):
                _provide(archive, root)
    except (DownloadError, UnsafeArchiveError, *DAMAGED) as error:
        files = " and ".join(
            f"{archive.url} ({archive.size:,} bytes, SHA-256 {archive.sha256})" for archive in _missing(archives, root)
        )
        reason = str(error) or type(error).__name__
        raise InputError(
            f"no photos ({reason}): download by hand {files} into the folder '{root.absolute()}'"
        ) from error


def _missing(archives: Sequence[Archive], root: Path) -> list[Archive]:
    return [archive for archive in archives if not (root / archive.folder).is_dir()]


def _provide(archive: Archive, root: Path) -> None:
    """Unpack beside the place and rename, so that a folder with the right name is always whole."""
    path = fetch(archive, root)
    partial = root / f".{archive.name}.unpacked"
    shutil.rmtree(partial, ignore_errors=True)  # of a start that was killed here
    try:
        (unpack_zip if archive.name.endswith(".zip") else unpack_tar)(path, partial)
        if not (partial / archive.folder).is_dir():
            raise UnsafeArchiveError(f"'{path.name}' has no folder '{archive.folder}'")
        os.rename(partial / archive.folder, root / archive.folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    if path.name != archive.name:  # a download, not the user's
        path.unlink()


def unpack_tar(path: Path, folder: Path) -> None:
    """Unpack with Python's `data` filter, which refuses what leaves the folder, and without links.

    Before Python 3.11.13 the filter lets some chains of links lead outside (CVE-2025-4517).

    Raises:
        tarfile.TarError: the archive is damaged, or unsafe.
        UnsafeArchiveError: it is far too large, or has what is no file or folder.
    """
    allowed = LARGEST_GROWTH * path.stat().st_size

    def admit(member: tarfile.TarInfo, destination: str) -> tarfile.TarInfo:
        nonlocal allowed
        allowed -= member.size
        _check_size(allowed, path)
        if not (member.isfile() or member.isdir()):
            raise UnsafeArchiveError(f"'{path.name}' has a link or a special file, '{member.name}'")
        return tarfile.data_filter(member, destination)

    with tarfile.open(path) as archive:
        archive.extractall(folder, filter=admit)


def unpack_zip(path: Path, folder: Path) -> None:
    """Unpack after a look at every name, and at the sizes, of which zipfile writes no byte more than is declared.

    Raises:
        zipfile.BadZipFile: the archive is damaged.
        UnsafeArchiveError: a file would lie outside the folder, is a link or encrypted, or all are far too large.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _check_size(LARGEST_GROWTH * path.stat().st_size - sum(member.file_size for member in members), path)
        for member in members:
            place = PureWindowsPath(member.filename)  # knows drives and both slashes
            if place.anchor or ".." in place.parts:
                raise UnsafeArchiveError(f"'{path.name}' has a file outside its folder, '{member.filename}'")
            if stat.S_ISLNK(member.external_attr >> 16) or member.flag_bits & 1:
                raise UnsafeArchiveError(f"'{path.name}' has a link or an encrypted file, '{member.filename}'")
        archive.extractall(folder)


def _check_size(left: int, path: Path) -> None:
    if left < 0:
        raise UnsafeArchiveError(f"'{path.name}' would unpack to more than {LARGEST_GROWTH} times its size")

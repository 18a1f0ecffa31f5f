"""One file from a server on this machine, with every fault we could think of."""

import random
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from catdog.data import Archive, downloads
from catdog.data.downloads import DownloadError, fetch
from mirror import Mirror

CONTENT = random.Random(0).randbytes(100_000)
START = f"""
import importlib.util, sys
from pathlib import Path
sys.modules["downloads"] = module = importlib.util.module_from_spec(
    spec := importlib.util.spec_from_file_location("downloads", {downloads.__file__!r})
)
spec.loader.exec_module(module)  # without the package, which takes seconds to import
url, size, sha256, folder = sys.argv[1:]
module.fetch(module.Archive(url, int(size), sha256, "photos"), Path(folder))
"""


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "PAUSES", (0, 0, 0, 0))


@pytest.fixture
def archive(mirror: Mirror) -> Archive:
    return mirror.publish("photos.zip", CONTENT)


def ranges(mirror: Mirror) -> list[str | None]:
    return [asked for _, asked in mirror.requests]


def test_a_file_is_downloaded_once_and_whole(mirror: Mirror, archive: Archive, tmp_path: Path) -> None:
    path = fetch(archive, tmp_path)
    assert path.read_bytes() == CONTENT
    assert fetch(archive, tmp_path) == path
    assert ranges(mirror) == [None]
    assert [entry.name for entry in tmp_path.iterdir()] == ["photos.zip.partial"]


def test_a_broken_transfer_goes_on_where_it_broke(mirror: Mirror, archive: Archive, tmp_path: Path) -> None:
    mirror.breaks = [30_000, 0, 50_001]
    assert fetch(archive, tmp_path).read_bytes() == CONTENT
    assert ranges(mirror) == [None, "bytes=30000-", "bytes=30000-", "bytes=80001-"]


def test_a_server_that_cannot_begin_in_the_middle_sends_all_again(
    mirror: Mirror, archive: Archive, tmp_path: Path
) -> None:
    mirror.answers_ranges, mirror.breaks = False, [30_000]
    assert fetch(archive, tmp_path).read_bytes() == CONTENT
    assert len(mirror.requests) == 2


def test_after_five_broken_transfers_the_next_start_goes_on(mirror: Mirror, archive: Archive, tmp_path: Path) -> None:
    mirror.breaks = [10_000] * 5
    with pytest.raises(DownloadError, match="the connection broke after 50,000 of 100,000 bytes"):
        fetch(archive, tmp_path)
    assert fetch(archive, tmp_path).read_bytes() == CONTENT
    assert ranges(mirror)[-1] == "bytes=50000-"


def test_a_download_that_was_killed_goes_on_at_the_next_start(mirror: Mirror, archive: Archive, tmp_path: Path) -> None:
    mirror.pause = 0.02  # per 4 kB: half a second in all
    partial = tmp_path / "photos.zip.partial"
    arguments = (archive.url, str(archive.size), archive.sha256, str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", START, *arguments]) as process:
        while not partial.exists() or partial.stat().st_size < 8_000:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    have = partial.stat().st_size
    assert have < archive.size
    assert partial.read_bytes() == CONTENT[:have]
    assert fetch(archive, tmp_path).read_bytes() == CONTENT
    assert ranges(mirror) == [None, f"bytes={have}-"]


@pytest.mark.parametrize("status", [503, 500, 429])
def test_a_busy_server_is_asked_again(mirror: Mirror, archive: Archive, tmp_path: Path, status: int) -> None:
    mirror.statuses = [status, status]
    assert fetch(archive, tmp_path).read_bytes() == CONTENT


def test_a_silent_server_is_asked_again(
    mirror: Mirror, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "TIMEOUT", 0.1)
    mirror.pause = 0.3
    with pytest.raises(DownloadError, match="timed out"):
        fetch(archive, tmp_path)
    assert len(mirror.requests) == 5
    mirror.pause = 0
    assert fetch(archive, tmp_path).read_bytes() == CONTENT


def test_a_missing_file_is_not_asked_for_again(mirror: Mirror, archive: Archive, tmp_path: Path) -> None:
    mirror.files.clear()
    with pytest.raises(DownloadError, match="404"):
        fetch(archive, tmp_path)
    assert len(mirror.requests) == 1


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_another_size_is_refused_before_it_is_downloaded(
    mirror: Mirror, archive: Archive, tmp_path: Path, change: int
) -> None:
    with pytest.raises(DownloadError, match=f"has 100,000 bytes, not the pinned {100_000 + change:,}"):
        fetch(replace(archive, size=archive.size + change), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_more_is_written_than_the_pinned_size(mirror: Mirror, archive: Archive, tmp_path: Path) -> None:
    mirror.declares_size = False
    with pytest.raises(DownloadError, match="sends more than the pinned 70,000 bytes"):
        fetch(replace(archive, size=70_000), tmp_path)
    assert (tmp_path / "photos.zip.partial").stat().st_size <= 70_000


def test_a_file_that_ends_early_is_refused(mirror: Mirror, archive: Archive, tmp_path: Path) -> None:
    mirror.declares_size = False
    with pytest.raises(DownloadError, match="broke after 100,000 of 100,001 bytes"):
        fetch(replace(archive, size=100_001), tmp_path)


def test_a_wrong_checksum_is_refused_and_nothing_kept(mirror: Mirror, archive: Archive, tmp_path: Path) -> None:
    mirror.files["/photos.zip"] = CONTENT[:-1] + b"!"
    with pytest.raises(DownloadError, match="its SHA-256 is [0-9a-f]{64}, not the pinned one"):
        fetch(archive, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert len(mirror.requests) == 1


@pytest.mark.parametrize("left", [b"of another file" * 1000, b"", CONTENT + b"more", b"!" + CONTENT[1:]])
def test_what_is_left_of_another_file_is_replaced(
    mirror: Mirror, archive: Archive, tmp_path: Path, left: bytes
) -> None:
    (tmp_path / "photos.zip.partial").write_bytes(left)
    assert fetch(archive, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("shift", [-10, -1])
def test_an_answer_that_begins_too_early_is_put_where_it_belongs(
    mirror: Mirror, archive: Archive, tmp_path: Path, shift: int
) -> None:
    (tmp_path / "photos.zip.partial").write_bytes(CONTENT[:11])
    mirror.shift = shift
    assert fetch(archive, tmp_path).read_bytes() == CONTENT


def test_an_answer_that_begins_too_late_is_refused(mirror: Mirror, archive: Archive, tmp_path: Path) -> None:
    mirror.shift = 1
    with pytest.raises(DownloadError, match="another part of the file than asked for"):
        fetch(archive, tmp_path)


def test_the_users_own_file_is_used(mirror: Mirror, archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "photos.zip").write_bytes(CONTENT)
    assert fetch(archive, tmp_path) == tmp_path / "photos.zip"
    assert mirror.requests == []


def test_another_file_under_the_name_is_named_and_kept(mirror: Mirror, archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "photos.zip").write_bytes(b"another file")
    with pytest.raises(DownloadError, match=rf"'{tmp_path}/photos.zip' is another file, with SHA-256 [0-9a-f]{{64}}"):
        fetch(archive, tmp_path)
    assert (tmp_path / "photos.zip").read_bytes() == b"another file"


@pytest.mark.parametrize("url", ["http://example.org/photos.zip", "file:///photos.zip", "ftp://localhost/photos.zip"])
def test_only_https_is_asked(
    mirror: Mirror, archive: Archive, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "create_connection", lambda *arguments, **options: pytest.fail("asked"))
    with pytest.raises(DownloadError, match="is not https"):
        fetch(replace(archive, url=url), tmp_path)


def test_redirects_are_followed_to_https_and_this_machine_only(
    mirror: Mirror, archive: Archive, tmp_path: Path
) -> None:
    elsewhere = replace(archive, url=f"{mirror.url}/elsewhere")
    for target in ("http://example.org/photos.zip", "ftp://localhost/photos.zip"):
        mirror.redirects["/elsewhere"] = target
        with pytest.raises(DownloadError, match=f"'{target}' is not https"):
            fetch(elsewhere, tmp_path)
    mirror.redirects["/elsewhere"] = archive.url
    mirror.breaks = [10_000]
    assert fetch(elsewhere, tmp_path).read_bytes() == CONTENT
    assert ranges(mirror)[-1] == "bytes=10000-"


def test_from_https_nothing_leads_back_to_http() -> None:
    with pytest.raises(DownloadError, match="is not https"):
        downloads._check_url("http://localhost/photos.zip", or_loopback=False)


def test_without_a_network_there_is_one_try(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "PAUSES", (60,))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and nobody listens
        with pytest.raises(DownloadError, match="Connection refused"):
            fetch(replace(archive, url=f"http://127.0.0.1:{unused.getsockname()[1]}/photos.zip"), tmp_path)


def test_without_name_resolution_there_is_one_try(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(*arguments: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(downloads, "PAUSES", (60,))
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    with pytest.raises(DownloadError, match="Name or service not known"):
        fetch(replace(archive, url="https://photos.example.org/photos.zip"), tmp_path)

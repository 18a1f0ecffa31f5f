"""Downloads of published files: resumed where they broke, checked against a pinned size and SHA-256."""

import hashlib
import logging
import re
import ssl
import time
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener, getproxies

from tqdm import tqdm

logger = logging.getLogger(__name__)

PAUSES = (1, 2, 4, 8)  # seconds between five tries
TIMEOUT = 30.0  # seconds without an answer, or without a byte of it
CHUNK = 1 << 20  # bytes
LOOPBACK = ("localhost", "127.0.0.1", "::1")
BROKEN = (ConnectionError, TimeoutError, ssl.SSLError, HTTPException)  # of a transfer that may be gone on with


class DownloadError(Exception):
    """A file that cannot be had; the message says why."""


@dataclass(frozen=True)
class Archive:
    """A published archive of photos, pinned.

    Args:
        url: where it is published: https, or plain http on this very machine.
        size: in bytes.
        sha256: 64 hexadecimal digits.
        folder: the folder in the archive that is wanted.
    """

    url: str
    size: int
    sha256: str
    folder: str

    @property
    def name(self) -> str:
        """The file's name, the last part of its URL."""
        return PurePosixPath(urlsplit(self.url).path).name


def fetch(archive: Archive, folder: Path) -> Path:
    """The archive's file below `folder`: one that the user put there under its name, or else a download.

    A download lies in a file of its own, `NAME.partial`, from the first byte on: what has the archive's name is the
    user's, and never written or deleted. An interrupted download goes on where it broke. Only one process may be at it
    at a time.

    Raises:
        DownloadError: the file cannot be had, or is not the one that is pinned.
    """
    given, partial = folder / archive.name, folder / f"{archive.name}.partial"
    if given.exists():
        if (found := _digest(given)) != archive.sha256:
            raise DownloadError(f"'{given.absolute()}' is another file, with SHA-256 {found}; replace it")
        return given
    _check_url(archive.url)
    logger.info("downloading %s (%.0f MB)", archive.url, archive.size / 1e6)
    for pause in (*PAUSES, None):
        try:
            _go_on(archive, partial)
            break
        except (OSError, HTTPException) as error:
            if pause is None or not _may_pass(error):
                raise DownloadError(_reason(error)) from error
            time.sleep(pause)
    return partial


def _go_on(archive: Archive, partial: Path) -> None:
    """Download what is missing of the file, and check the whole."""
    resumed = partial.exists()
    if not resumed or partial.stat().st_size != archive.size:
        _transfer(archive, partial)
    if (found := _digest(partial)) == archive.sha256:
        return
    partial.unlink()  # nothing in it can be relied on
    if not resumed:
        raise DownloadError(f"its SHA-256 is {found}, not the pinned one")
    raise ConnectionError("the parts of the file do not fit together")  # as when it was replaced meanwhile


def _transfer(archive: Archive, partial: Path) -> None:
    """One request: append the bytes that the file lacks, or all of them if the server cannot begin in the middle."""
    have = partial.stat().st_size if partial.exists() else 0
    request = Request(archive.url, headers={"User-Agent": "catdog"} | ({"Range": f"bytes={have}-"} if have else {}))
    # Plain http stays on this machine, so only https goes through a proxy.
    proxies = {scheme: proxy for scheme, proxy in getproxies().items() if scheme == "https"}
    try:
        response = build_opener(ProxyHandler(proxies), _CheckedRedirects).open(request, timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code == 416:  # we have more than the server does, so what we have is of another file
            partial.unlink()
        raise
    with response:
        start = _first_byte(response, archive, have)
        with open(partial, "ab") as file:
            file.truncate(start)
            _append(response, file, archive, start)


def _first_byte(response: HTTPResponse, archive: Archive, have: int) -> int:
    """Find the position in the file where the answer begins; refuse one of another size before writing."""
    if response.status != 206:
        start, total = 0, response.length
    elif match := re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "")):
        start, total = int(match[1]), None if match[2] == "*" else int(match[2])
    else:
        start, total = have + 1, None
    if total not in (None, archive.size):
        raise DownloadError(f"the server's file has {total:,} bytes, not the pinned {archive.size:,}")
    if start > have:
        raise DownloadError("the server answers with another part of the file than asked for")
    return start


def _append(response: HTTPResponse, file: IO[bytes], archive: Archive, have: int) -> None:
    # disable=None: no bar where the output is not a terminal
    with tqdm(
        desc=archive.name, initial=have, total=archive.size, unit="B", unit_scale=True, leave=False, disable=None
    ) as bar:
        while chunk := response.read1(CHUNK):
            have += len(chunk)
            if have > archive.size:
                raise DownloadError(f"the server sends more than the pinned {archive.size:,} bytes")
            file.write(chunk)
            bar.update(len(chunk))
    if have < archive.size:
        raise ConnectionError(f"the connection broke after {have:,} of {archive.size:,} bytes")


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _may_pass(error: Exception) -> bool:
    """Tell whether a retry could succeed; without a network, or with the disk full, it could not."""
    if isinstance(error, HTTPError):
        return error.code in (408, 416, 429) or error.code >= 500
    return isinstance(error, BROKEN)


def _reason(error: Exception) -> str:
    if isinstance(error, URLError) and isinstance(error.reason, OSError):
        error = error.reason
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _check_url(url: str, or_loopback: bool = True) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (or_loopback and parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise DownloadError(f"'{url}' is not https")


class _CheckedRedirects(HTTPRedirectHandler):
    """Follows redirects to https only, and from this machine to itself."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        try:
            _check_url(newurl, or_loopback=req.type == "http")
        except DownloadError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)

"""A web server on this machine, with the faults that servers and lines have."""

import hashlib
import io
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from catdog.data import Archive


class Mirror(ThreadingHTTPServer):
    """What is served, how badly, and what was asked for.

    Attributes:
        files: path → bytes.
        breaks: after how many bytes each of the next answers breaks off.
        answers_ranges: whether it can begin in the middle.
        shift: how many bytes later it begins than it should.
        declares_size: whether it sends a Content-Length.
        statuses: what it answers to the next requests instead of the file.
        redirects: path → another URL.
        pause: seconds after every 4 kB.
        requests: path and Range of every request so far.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files: dict[str, bytes] = {}
        self.breaks: list[int] = []
        self.answers_ranges = True
        self.shift = 0
        self.declares_size = True
        self.statuses: list[int] = []
        self.redirects: dict[str, str] = {}
        self.pause = 0.0
        self.requests: list[tuple[str, str | None]] = []

    def publish(self, name: str, content: bytes, folder: str = "photos") -> Archive:
        """Serve a file, and pin it."""
        self.files[f"/{name}"] = content
        return Archive(f"{self.url}/{name}", len(content), hashlib.sha256(content).hexdigest(), folder)

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: readers go away."""


class Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        mirror, asked = self.server, self.headers["Range"]
        mirror.requests.append((self.path, asked))
        if self.path in mirror.redirects:
            self.send_response(302)
            self.send_header("Location", mirror.redirects[self.path])
            self.end_headers()
            return
        content = mirror.files.get(self.path, b"")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and mirror.answers_ranges else 0
        start += mirror.shift
        status = 404 if not content else 416 if start >= len(content) else 206 if start else 200
        if mirror.statuses:
            status = mirror.statuses.pop(0)
        if status >= 400:
            self.send_error(status)
            return
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if mirror.declares_size:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = start + mirror.breaks.pop(0) if mirror.breaks else len(content)
        for position in range(start, end, 4096):
            self.wfile.write(content[position : min(position + 4096, end)])
            time.sleep(mirror.pause)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def serving() -> Iterator[Mirror]:
    """A mirror that answers as long as the block lasts."""
    with Mirror() as mirror:
        thread = threading.Thread(target=mirror.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield mirror
        mirror.shutdown()
        thread.join()


def tar_of(folder: Path) -> bytes:
    """A compressed tar archive with the folder in it."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        archive.add(folder, folder.name)
    return target.getvalue()


def zip_of(folder: Path) -> bytes:
    """A zip archive with the folder in it, and a file beside it."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("readme[1].txt", "where it is from")
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder.parent))
    return target.getvalue()

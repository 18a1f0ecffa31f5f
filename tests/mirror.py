"""A web server on this machine, with the faults that servers and lines have."""

import hashlib
import shutil
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from catdog.data.download import Archive


class Mirror(ThreadingHTTPServer):
    """A server of a few files.

    Attributes:
        files: path → bytes.
        length: how many bytes it promises, if not as many as it sends.
        requests: the path of every request so far.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files: dict[str, bytes] = {}
        self.length: int | None = None
        self.requests: list[str] = []

    def publish(self, folder: Path, kind: str = "zip") -> Archive:
        """Serve a folder in an archive, and pin it."""
        with tempfile.TemporaryDirectory() as place:
            path = Path(shutil.make_archive(f"{place}/{folder.name}", kind, folder.parent, folder.name))
            content = self.files[f"/{path.name}"] = path.read_bytes()
        return Archive(f"{self.url}/{path.name}", hashlib.sha256(content).hexdigest(), folder.name)


class Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        mirror = self.server
        mirror.requests.append(self.path)
        time.sleep(0.05)  # so that several at once would all ask
        content = mirror.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(mirror.length or len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

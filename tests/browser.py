"""A headless Chromium, driven over its DevTools protocol: through two pipes, so that it takes no further package."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Page:
    """One tab.

    Attributes:
        requested: addresses that the page has asked for so far.
    """

    def __init__(self, commands: int, answers: int) -> None:
        self.requested: list[str] = []
        self._commands, self._answers, self._received, self._number = commands, answers, b"", 0
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **arguments: Any) -> Any:
        """Have the browser do something; events that come before its answer are noted."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": arguments}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            heard = self._next()
            if heard.get("method") == "Network.requestWillBeSent":
                self.requested.append(heard["params"]["request"]["url"])
            if heard.get("id") == self._number:
                assert "error" not in heard, heard["error"]
                return heard["result"]

    def _next(self) -> Any:
        while b"\0" not in self._received:
            chunk = os.read(self._answers, 2**16)
            assert chunk, "the browser is gone"
            self._received += chunk
        text, self._received = self._received.split(b"\0", 1)
        return json.loads(text)

    def evaluate(self, code: str) -> Any:
        """The value of some JavaScript."""
        return self.call("Runtime.evaluate", expression=code, returnByValue=True)["result"].get("value")

    def wait_for(self, code: str, seconds: float = 30) -> Any:
        """The value of some JavaScript, as soon as it is true."""
        deadline = time.monotonic() + seconds
        while not (value := self.evaluate(code)):
            assert time.monotonic() < deadline, f"waited in vain for {code}; the page says {self.text()!r}"
            time.sleep(0.02)
        return value

    def text(self) -> str:
        """What the page says."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def upload(self, path: Path) -> None:
        """Give a file to the page's only place for one."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        place = self.call("DOM.querySelector", nodeId=root, selector="input[type=file]")["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=place, files=[str(path.resolve())])


@contextmanager
def browsing(browser: str, profile: Path) -> Iterator[Page]:
    """A tab of a browser that keeps its things in the folder `profile`."""
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
    with subprocess.Popen(
        # the protocol is spoken over the files 3 and 4
        ["sh", "-c", 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null', "sh",
         browser, *flags, "--remote-debugging-pipe", f"--user-data-dir={profile}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Page(process.stdin.fileno(), process.stdout.fileno())
        finally:
            process.terminate()

"""A headless Chromium, driven over its DevTools protocol: through two pipes, so that it takes no further package."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Page:
    """One tab, driven through a browser's pipes; `requested` are the addresses that it has asked for so far."""

    def __init__(self, commands: Any, answers: Any) -> None:
        self.requested: list[str] = []
        self._commands, self._answers, self._number = commands, answers, 0
        self._session: dict[str, str] = {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        self.call("Network.enable")

    def call(self, method: str, **arguments: Any) -> Any:
        """Call a method of the protocol and return its result; requests that the page has made are noted."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": arguments} | self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        heard: dict[str, Any] = {}
        while heard.get("id") != self._number:
            text = bytearray()
            while (byte := self._answers.read(1)) != b"\0":
                assert byte, "the browser is gone"
                text += byte
            heard = json.loads(text)
            if heard.get("method") == "Network.requestWillBeSent":
                self.requested.append(heard["params"]["request"]["url"])
        return heard["result"]

    def evaluate(self, code: str) -> Any:
        """Evaluate JavaScript."""
        return self.call("Runtime.evaluate", expression=code, returnByValue=True)["result"].get("value")

    def wait_for(self, code: str, seconds: float = 30) -> None:
        """Wait until some JavaScript is true."""
        deadline = time.monotonic() + seconds
        while not self.evaluate(code):
            assert time.monotonic() < deadline, f"waited in vain for {code}; the page says {self.text()!r}"
            time.sleep(0.02)

    def text(self) -> str:
        """Return the page's text."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def upload(self, *paths: Path) -> None:
        """Give files to the page's only file input."""
        place = self.call("Runtime.evaluate", expression="document.querySelector('input[type=file]')")["result"]
        self.call("DOM.setFileInputFiles", objectId=place["objectId"], files=[str(path.resolve()) for path in paths])


@contextmanager
def browsing(browser: str, profile: Path) -> Iterator[Page]:
    """Open a tab of a browser that keeps its data in the folder `profile`."""
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
    pipes = 'exec "$@" --remote-debugging-pipe 3<&0 4>&1 </dev/null >/dev/null'  # the protocol uses files 3 and 4
    with subprocess.Popen(
        ["sh", "-c", pipes, "sh", browser, *flags, f"--user-data-dir={profile}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            yield Page(process.stdin, process.stdout)
        finally:
            process.terminate()

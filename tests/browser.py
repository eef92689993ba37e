"""Debian's Chromium, without a window, driven by its DevTools protocol: a page that goes on, unlike one that is dumped once."""

from __future__ import annotations

import base64
import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from whimbrel.system.deadline import Deadline, wait_until

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-port=0"]  # fmt: skip
_COMPLAINTS = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")


class Page:
    """A page that is open; ``complaints`` are what its console said, such as of a policy that it broke."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            said = json.loads(self._connection.recv(timeout=60))
            if said.get("method") in _COMPLAINTS:
                self.complaints.append(json.dumps(said["params"])[:500])
            if said.get("id") == self._number:
                assert "error" not in said, said
                result: dict[str, Any] = said["result"]
                return result

    def evaluate(self, script: str) -> Any:
        """The value of an expression of JavaScript, in the page."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)["result"].get("value")

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def wait_for(self, script: str, what: str, seconds: float = 60) -> None:
        """Until the expression is true."""
        wait_until(
            lambda: (self.evaluate(script) or None, str(self.evaluate("document.body.innerText"))[:500]), what, Deadline(seconds)
        )

    def photograph(self, file: Path, width: int = 1300, height: int = 1500, scheme: str = "light") -> None:
        """What it looks like at that size, by day (``light``) or by night (``dark``)."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.evaluate("new Promise((done) => setTimeout(done, 300))")
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A browser with one page, which shows nothing yet."""
    process = subprocess.Popen(["chromium", *FLAGS, f"--user-data-dir={profile}", "about:blank"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        file = profile / "DevToolsActivePort"
        port = wait_until(lambda: (file.read_text().split() if file.exists() else None, "none"), "its port", Deadline(60))[0]
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(asked, timeout=30) as answer:
            address = json.loads(answer.read())["webSocketDebuggerUrl"]
        with connect(address, max_size=None) as connection:
            yield Page(connection)
    finally:
        process.terminate()
        process.wait(20)

"""Headless Chromium, driven over its DevTools pipe: what a page loads, how wide it is, what it looks like.

Debian's package `chromium` is enough; no driver and no library. Messages are JSON, each ended by a NUL.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
SECONDS = 120.0
REQUIRED = "REQUIRE_CHROMIUM"
"""Set where Chromium must be there, as .ci/run does: without it tests fail, which elsewhere are skipped."""


@dataclass
class Browser:
    """One tab. `requests` are the addresses that the page has asked for, `complaints` what its console says."""

    commands: int
    answers: int
    session: str | None = None
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    _last: int = 0
    _events: set[str] = field(default_factory=set)
    _unread: bytes = b""

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of one DevTools command; events that come before it are noted."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._last:
            self._note(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, url: str, *, width: int, height: int = 900, scheme: str = "light") -> None:
        """Loads `url` anew as a screen of this size shows it."""
        self.requests.clear()
        self.complaints.clear()
        self._events.clear()
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=url)
        while "Page.loadEventFired" not in self._events:
            self._note(self._next())

    def value(self, expression: str) -> Any:
        """Of a JavaScript expression, in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """The whole page, not only what fits."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + SECONDS
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self.answers], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            part = os.read(self.answers, 1 << 20)
            assert part, "the browser is gone"
            self._unread += part
        message, _, self._unread = self._unread.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        method, given = event.get("method", ""), event.get("params", {})
        self._events.add(method)
        if method == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
        elif method == "Log.entryAdded":
            self.complaints.append(given["entry"]["text"])


@contextmanager
def chromium(home: Path) -> Iterator[Browser]:
    """A browser with a profile in `home`; where there is none, skips the test or fails it (`REQUIRED`)."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        missing = pytest.fail if os.environ.get(REQUIRED) else pytest.skip
        missing("needs Chromium: apt-get install chromium")
    read_commands, commands = os.pipe()
    answers, write_answers = os.pipe()
    # the browser reads descriptor 3 and writes descriptor 4
    command = ["bash", "-c", f'exec "$0" "$@" 3<&{read_commands} 4>&{write_answers}', program, *FLAGS]
    with (home / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--user-data-dir={home / 'profile'}", "about:blank"],
            pass_fds=(read_commands, write_answers),
            stdout=log,
            stderr=log,
        )
    os.close(read_commands)
    os.close(write_answers)
    browser = Browser(commands, answers)
    try:
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        browser.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for part in ("Page", "Network", "Log", "Runtime"):
            browser.call(f"{part}.enable")
        yield browser
    finally:
        os.close(commands)  # which ends it
        os.close(answers)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

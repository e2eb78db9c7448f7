"""Headless Chromium through its own debugging pipe (the DevTools protocol on two file descriptors): no driver, no package."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_LAUNCH = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Chromium wants the pipe's ends as descriptors 3 and 4."""


def find() -> str | None:
    """Chromium or Chrome: $CHROMIUM, or the first of NAMES on the path."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Tab:
    """One page."""

    def __init__(self, commands: int, answers: Any) -> None:
        self._commands = commands
        self._answers = answers
        self._number = 0
        self._session = ""
        self.errors: list[str] = []
        """Uncaught exceptions and messages of the console's error level."""
        self.requests: list[str] = []
        """Addresses that the page asked for."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command; its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        try:
            os.write(self._commands, json.dumps(message).encode() + b"\0")
        except BrokenPipeError as error:
            raise RuntimeError("Chromium has gone") from error
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])

    def _receive(self) -> dict[str, Any]:
        text = bytearray()
        while (letter := self._answers.read(1)) != b"\0":
            if not letter:
                raise RuntimeError("Chromium has gone")
            text += letter
        answer: dict[str, Any] = json.loads(text)
        given = answer.get("params", {})
        if answer.get("method") == "Runtime.exceptionThrown":
            details = given["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif answer.get("method") == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.errors.append(given["entry"]["text"])
        elif answer.get("method") == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
        return answer

    def open(
        self, path: Path, *, ready: str, size: tuple[int, int] = (1440, 900), dark: bool = False
    ) -> float:
        """Open a file and wait until the expression `ready` is true; seconds that it took."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=size[0],
            height=size[1],
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        started = time.perf_counter()
        self.send("Page.navigate", url=path.resolve().as_uri())
        self.wait(ready)
        return time.perf_counter() - started

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression.

        Raises:
            RuntimeError: it throws.
        """
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"].get("description", expression))
        return found["result"].get("value")

    def wait(self, expression: str, seconds: float = 60) -> None:
        """Until `expression` is true.

        Raises:
            TimeoutError: it is not, in time.
        """
        end = time.perf_counter() + seconds
        while not self.evaluate(expression):
            if time.perf_counter() > end:
                raise TimeoutError(f"{expression} is not true after {seconds} s; {self.errors}")
            time.sleep(0.02)

    def press(self, key: str) -> None:
        """Press and release a key, by its DOM name; one letter is typed."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    def click(self, selector: str) -> None:
        """Click in the middle of the first element that matches."""
        box = self.evaluate(
            f"(() => {{ const r = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def screenshot(self, path: Path) -> None:
        """What is in sight, as a PNG."""
        path.write_bytes(b64decode(self.send("Page.captureScreenshot", format="png")["data"]))


@contextlib.contextmanager
def chromium() -> Iterator[Tab]:
    """A tab of a fresh Chromium.

    Raises:
        RuntimeError: there is none, or it does not start.
    """
    program = find()
    if program is None:
        raise RuntimeError(
            f"no Chromium: none of {', '.join(NAMES)} is on the path, and $CHROMIUM is not set"
        )
    read, commands = os.pipe()
    answers, write = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--hide-scrollbars",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
        ]
        process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, str(read), str(write), program, *flags],
            pass_fds=(read, write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read)
        os.close(write)
        try:
            with os.fdopen(answers, "rb") as stream:
                tab = Tab(commands, stream)
                yield tab
                with contextlib.suppress(RuntimeError):
                    tab.send("Browser.close")
        finally:
            os.close(commands)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

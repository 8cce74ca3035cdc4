"""LLMock (pinned in requirements/test.in): OpenAI's and Anthropic's APIs as somebody else reads them, with faults on
demand and a verdict on how the client behaved. A process of its own on loopback, told over HTTP what to do next.

Of three that were looked at it is the one whose streams can be cut at a point, whose error bodies, tool calls and
Retry-After are each provider's own, and that judges retries.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START_SECONDS = 60.0


class LLMock:
    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def base_url(self, kind: str) -> str:
        return f"{self.url}/v1" if kind == "openai" else f"{self.url}/anthropic"

    def next(self, *behaviors: dict[str, Any]) -> None:
        """What it does with the coming requests, one each unless `times` says more."""
        self._call("POST", "/_llmock/scenario", {"behaviors": behaviors})

    def verdict(self) -> dict[str, Any]:
        found: dict[str, Any] = self._call("GET", "/_llmock/verdict")
        return found

    def requests(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._call("GET", "/_llmock/requests")["requests"]
        return found

    def reset(self) -> None:
        self._call("POST", "/_llmock/reset")

    def alive(self) -> bool:
        try:
            self._call("GET", "/_llmock/scenario")
        except (OSError, urllib.error.URLError):
            return False
        return True

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.loads(response.read() or b"null")


@contextmanager
def llmock(directory: Path, *arguments: str) -> Iterator[LLMock]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = directory / "llmock.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "llmock.cli", "serve", "--port", str(port), *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    server = LLMock(port)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not server.alive():
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"llmock did not start: {log.read_text()}")
            time.sleep(0.05)
        yield server
    finally:
        process.kill()
        process.wait()

"""A second process in the claim's directory, perhaps on another client: what it does there, the claim decides.

`python3 -m integration.posix peer ADDRESS:PORT` serves; a claim that needs a `Peer` gets one and calls functions of
`os` and of `peer_actions` by name. One connection a claim, one line of JSON a call, a line a result; what failed there
with an errno fails here with it. It trusts whoever can connect: the lab's private network, or this machine's loopback.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from types import TracebackType
from typing import Any

from integration.posix import peer_actions

CALL_SECONDS = 50.0
LINE_BYTES_MAX = 1 << 20


class Peer:
    """The claim's end. Results are what JSON carries: a stat is a dict."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("rb")

    @classmethod
    def connect(cls, address: str) -> Peer:
        """`address` is HOST:PORT of a serving peer that sees our working directory under the same path."""
        host, _, port = address.rpartition(":")
        peer = cls(socket.create_connection((host, int(port)), CALL_SECONDS))
        peer("chdir", os.getcwd())
        return peer

    def __call__(self, function: str, *arguments: Any) -> Any:
        """Call it there, and wait for the result. `OSError` with the errno it failed with there."""
        self.start(function, *arguments)
        return self.finish()

    def start(self, function: str, *arguments: Any) -> None:
        """Begin a call there; go on here. `finish` has to follow before the next."""
        self._connection.sendall(json.dumps([function, *arguments]).encode() + b"\n")

    def finish(self) -> Any:
        """The result of what `start` began."""
        line = self._lines.readline(LINE_BYTES_MAX)
        if not line:
            raise AssertionError("the peer hung up")
        answer = json.loads(line)
        if "errno" in answer:
            raise OSError(answer["errno"], answer["error"])
        if "error" in answer:
            raise AssertionError(f"on the peer: {answer['error']}")
        return answer["result"]

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        self._connection.close()


def serve(address: str) -> None:
    """Serve until killed: one claim after the other, each in a process of its own. Says `peer: ready`."""
    host, _, port = address.rpartition(":")
    with socket.create_server((host, int(port)), reuse_port=False) as listener:
        print(f"peer: ready on port {listener.getsockname()[1]}", flush=True)
        while True:
            connection, _peer = listener.accept()
            child = os.fork()
            if child == 0:
                _serve_claim(connection)
                os._exit(0)
            connection.close()
            os.waitpid(child, 0)


def _serve_claim(connection: socket.socket) -> None:
    connection.settimeout(CALL_SECONDS)
    os.umask(0o022)
    try:
        for line in connection.makefile("rb"):
            connection.sendall(json.dumps(_answer(json.loads(line))).encode() + b"\n")
    except OSError as error:
        print(f"peer: {error}", file=sys.stderr)


def _answer(call: list[Any]) -> dict[str, Any]:
    name, *arguments = call
    function = getattr(peer_actions, name, None) or getattr(os, name)
    try:
        return {"result": function(*arguments)}
    except OSError as error:
        return {"errno": error.errno, "error": str(error)}
    except Exception as error:
        return {"error": f"{name}{tuple(arguments)} -> {type(error).__name__}: {error}"}

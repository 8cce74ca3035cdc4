"""Calls tools from inside a container, by SMCP (docs/smcp.md). This file is all it takes: Python and `cryptography`.

    client = SmcpClient.from_environment()
    print(client.call("fs.read", path="/workspace/notes.txt"))

or from a shell: `python smcp_client.py tools`, `python smcp_client.py call fs.read '{"path": "notes.txt"}'`.

The key is made anew for each client and never leaves it. A token that is over is attested again by itself. A reply that
was lost is not asked for again: the tool may have run. It imports nothing else of aegis, so that it can be copied.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PROTOCOL = "smcp/v1"
REPLY_SECONDS = 300.0
REPLY_BYTES_MAX = 16 * 1024 * 1024
UNAUTHORIZED = 401


class SmcpError(Exception):
    """The daemon refused the request itself. `code` is stable."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code


class ToolFailed(Exception):
    """The tool was denied, or it failed; the text says why."""


class SmcpClient:
    """`token`: what opens attesting. Not for several threads at once."""

    def __init__(
        self,
        url: str,
        token: str,
        execution_id: str,
        iteration: int,
        *,
        key: Ed25519PrivateKey | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._execution_id = execution_id
        self._iteration = iteration
        self._key = key or Ed25519PrivateKey.generate()
        self._now = now
        self._security_token = ""
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the daemon is never behind one

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> SmcpClient:
        """KeyError names the variable that is missing; the daemon sets them where the manifest has `smcp: true`."""
        token, execution_id = environ["AEGIS_SMCP_TOKEN"], environ["AEGIS_EXECUTION_ID"]
        return cls(environ["AEGIS_ORCHESTRATOR_URL"], token, execution_id, int(environ["AEGIS_ITERATION"]))

    def tools(self) -> list[dict[str, Any]]:
        """What may be called: name, description, inputSchema."""
        return list(self.request("tools/list", {})["tools"])

    def call(self, tool: str, /, **arguments: Any) -> str:
        """The tool's result. ToolFailed, SmcpError; OSError when the daemon cannot be reached."""
        result = self.request("tools/call", {"name": tool, "arguments": arguments})
        text = "".join(part["text"] for part in result["content"])
        if result["isError"]:
            raise ToolFailed(text)
        return text

    def request(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The `result` of one JSON-RPC request."""
        try:
            return self._invoke(method, params)
        except SmcpError as error:  # refused before anything was done
            if error.status != UNAUTHORIZED or error.code != "unauthorized":
                raise
        self._security_token = ""
        return self._invoke(method, params)

    def attest(self) -> None:
        """Done by itself before the first request."""
        proof = {
            "protocol": PROTOCOL,
            "execution_id": self._execution_id,
            "iteration_number": self._iteration,
            "public_key": encoded(self._key.public_key().public_bytes_raw()),
            "timestamp": int(self._now()),
        }
        granted = self._post("attest", {**proof, "signature": self._signature(proof)}, self._token)
        self._security_token = str(granted["security_token"])

    def _invoke(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if not self._security_token:
            self.attest()
        payload = {"jsonrpc": "2.0", "id": str(uuid.uuid4()), "method": method, "params": dict(params)}
        timestamp = int(self._now())
        envelope = {
            "protocol": PROTOCOL,
            "security_token": self._security_token,
            "timestamp": timestamp,
            "payload": payload,
            "signature": self._signature({"payload": payload, "timestamp": timestamp}),
        }
        return dict(self._post("invoke", envelope, self._security_token)["result"])

    def _signature(self, value: Mapping[str, Any]) -> str:
        return encoded(self._key.sign(canonical_json(value)))

    def _post(self, route: str, message: Mapping[str, Any], token: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        body = canonical_json(message)
        request = urllib.request.Request(f"{self._url}/v1/smcp/{route}", body, headers)  # noqa: S310 - the daemon's
        try:
            with self._opener.open(request, timeout=REPLY_SECONDS) as reply:
                return dict(json.loads(reply.read(REPLY_BYTES_MAX)))
        except urllib.error.HTTPError as error:
            raise _problem(error) from None


def _problem(error: urllib.error.HTTPError) -> SmcpError:
    with error:
        try:
            document = json.loads(error.read(REPLY_BYTES_MAX))
            return SmcpError(error.code, str(document["code"]), f"{document['detail']} {document['next_step']}".strip())
        except (ValueError, KeyError, TypeError):
            return SmcpError(error.code, "no_problem", f"HTTP {error.code} {error.reason}")


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def canonical_json(value: Any) -> bytes:
    """RFC 8785. The daemon's own is `aegis.domain.canonical`, and a test holds the two equal. ValueError."""
    try:
        return _text(value).encode("utf-8")
    except (UnicodeEncodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _text(value: Any) -> str:
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: str(key).encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{_text(str(key))}:{_text(value[key])}" for key in keys) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_text(item) for item in value) + "]"
    if isinstance(value, float):
        return _number(value)
    beyond = isinstance(value, int) and abs(value) > 2**53 - 1
    if beyond and (value.bit_length() > 70 or _number(float(value)) != str(value)):
        raise ValueError("a whole number that a double would change: write it as a string")
    return json.dumps(value, ensure_ascii=False)


def _number(value: float) -> str:
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError("no JSON number")
    if value == 0:
        return "0"
    sign, figures, exponent = Decimal(repr(value)).normalize().as_tuple()
    digits, point = "".join(map(str, figures)), len(figures) + int(exponent)
    if len(digits) <= point <= 21:
        text = digits + "0" * (point - len(digits))
    elif 0 < point <= 21:
        text = f"{digits[:point]}.{digits[point:]}"
    elif -6 < point <= 0:
        text = f"0.{'0' * -point}{digits}"
    else:
        text = digits[0] + (f".{digits[1:]}" if len(digits) > 1 else "") + f"e{point - 1:+d}"
    return f"-{text}" if sign else text


def main(arguments: list[str]) -> int:
    if arguments[:1] not in (["tools"], ["call"]) or len(arguments) != {"tools": 1, "call": 3}[arguments[0]]:
        print(f"usage: {sys.argv[0]} tools | call TOOL ARGUMENTS-AS-JSON", file=sys.stderr)
        return 2
    try:
        client = SmcpClient.from_environment()
        if arguments[0] == "tools":
            print(json.dumps(client.tools(), indent=1))
        else:
            print(client.call(arguments[1], **json.loads(arguments[2])))
    except KeyError as missing:
        print(f"the environment variable {missing.args[0]} is not set", file=sys.stderr)
        return 2
    except (ToolFailed, SmcpError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

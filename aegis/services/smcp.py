"""SMCP: tool calls by processes in the container, signed. The very same tools, policy and events as the model's.

A process attests a public key and gets a token for the iteration it runs in; then it sends envelopes that it signs
(docs/smcp.md). The rules to know:

- The order in which an envelope is looked at: the token (before its body is read), the signature, the time, whether it
  was here before, the iteration, what it asks for. Until the signature is verified every refusal is the same one, and
  nothing about time, executions or tools is told.
- What binds a token to a key is in this memory only, bounded and short-lived. After a restart of the daemon every token
  is void and is attested anew; so nothing sent before can be replayed, though what was seen is forgotten.
- Only where the manifest says so (`security.smcp`).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Protocol

from aegis.domain.execution import Execution
from aegis.domain.smcp import KEY_BYTES, SIGNATURE_BYTES, SKEW_SECONDS, Attestation, Envelope, decode_bytes
from aegis.errors import Conflict, Denied, Overloaded, Refused, Unauthorized
from aegis.ids import new_id
from aegis.ports import Clock, Signer, ToolCall, ToolSpec
from aegis.services.attesting import AttestTokens, workload
from aegis.services.tools import ToolResult

TOKEN_SECONDS: Final = 300
GRANTS_MAX: Final = 16  # of one iteration; the oldest is dropped
ITERATIONS_MAX: Final = 10_000
SEEN_MAX: Final = 10_000  # envelopes of one iteration within the time they could be replayed
_PURPOSE: Final = "smcp+jwt"

Json = dict[str, Any]


class ClockSkew(Unauthorized):
    """Told only to who has signed: an honest peer has to know what to correct."""

    code = "smcp_clock_skew"


class Replayed(Conflict):
    code = "smcp_replayed"


class BadPayload(Refused):
    """Signed as it should be, and no request that SMCP has."""

    code = "smcp_bad_payload"
    status = 400


class Sessions(Protocol):
    """`InnerLoop`, as far as it is needed here. Conflict when the iteration is not under way."""

    def agent_tools(self, execution_id: str, number: int) -> list[ToolSpec]: ...

    async def call_tool(self, execution_id: str, number: int, call: ToolCall) -> ToolResult: ...


@dataclass(frozen=True, slots=True)
class Grant:
    """A token, and the key its envelopes are signed with."""

    token: str
    token_id: str
    public_key: bytes
    execution_id: str
    iteration: int
    expires_at: int


@dataclass(slots=True)
class _Iteration:
    grants: dict[str, Grant] = field(default_factory=dict)
    seen: dict[bytes, int] = field(default_factory=dict)  # digest of key and message -> until when it is remembered


class Smcp:
    def __init__(self, *, signer: Signer, attest_tokens: AttestTokens, sessions: Sessions, clock: Clock) -> None:
        self._signer = signer
        self.may_attest = attest_tokens.accepts
        self._sessions = sessions
        self._clock = clock
        self._iterations: dict[tuple[str, int], _Iteration] = {}

    # ---- attesting ----

    def attest(self, execution: Execution, attestation: Attestation) -> Grant:
        """The caller has shown the execution's token. Denied: not for this agent; Unauthorized: no proof of the key;
        ClockSkew; Conflict: the iteration is not under way."""
        if not execution.manifest.security.smcp:
            raise Denied(
                f"Agent {execution.agent_name} does not allow tool calls from its container",
                next_step="spec.security.smcp: true in its manifest does",
            )
        key = self._proved(attestation)
        self._in_time(attestation.timestamp)
        number = attestation.iteration_number
        self._sessions.agent_tools(execution.id, number)  # Conflict when it is over
        now, token_id = self._now(), new_id()
        expires_at = now + TOKEN_SECONDS
        claims = {
            "sub": execution.id,
            "scp": execution.manifest.security_context,
            "wid": workload(execution.id, number),
            "iat": now,
            "exp": expires_at,
            "jti": token_id,
        }
        token = self._signer.issue(_PURPOSE, claims)
        grant = Grant(token, token_id, key, execution.id, number, expires_at)
        self._remember(grant, now)
        return grant

    def _proved(self, attestation: Attestation) -> bytes:
        try:
            key = decode_bytes(attestation.public_key, KEY_BYTES)
            signature = decode_bytes(attestation.signature, SIGNATURE_BYTES)
            message = attestation.signed()
        except ValueError as error:
            raise BadPayload(f"The attestation cannot be read: {error}") from None
        if not self._signer.verified(key, signature, message):
            raise Unauthorized("The attestation is not signed with the key that it shows")
        return key

    def _remember(self, grant: Grant, now: int) -> None:
        place = (grant.execution_id, grant.iteration)
        self._iterations = {key: kept for key, kept in self._iterations.items() if key == place or _live(kept, now)}
        if place not in self._iterations and len(self._iterations) >= ITERATIONS_MAX:
            raise Overloaded(f"{ITERATIONS_MAX} iterations have attested already, no more can")
        iteration = self._iterations.setdefault(place, _Iteration())
        grants = {key: kept for key, kept in iteration.grants.items() if kept.expires_at > now}
        while len(grants) >= GRANTS_MAX:
            del grants[next(iter(grants))]
        iteration.grants = {**grants, grant.token_id: grant}

    # ---- invoking ----

    def grant_of(self, token: str) -> Grant:
        """Unauthorized, without a word about why."""
        claims = self._signer.claims(_PURPOSE, token)
        execution_id, number = _place(str(claims["wid"]))
        iteration = self._iterations.get((execution_id, number))
        grant = iteration.grants.get(str(claims["jti"])) if iteration is not None else None
        if grant is None or not hmac.compare_digest(grant.token.encode(), token.encode()):
            raise Unauthorized("This token is not valid here")
        return grant

    async def invoke(self, grant: Grant, envelope: Envelope) -> Json:
        """The JSON-RPC answer. Unauthorized, ClockSkew, Replayed, Overloaded, Conflict, BadPayload, in this order."""
        message = self._signed(grant, envelope)
        self._in_time(envelope.timestamp)
        self._first_time(grant, envelope.timestamp, message)
        request = _request(envelope.payload)
        if request.method == "tools/list":
            specs = self._sessions.agent_tools(grant.execution_id, grant.iteration)
            return request.answer({"tools": [_tool(spec) for spec in specs]})
        call = ToolCall(str(request.id), request.name, request.arguments)
        result = await self._sessions.call_tool(grant.execution_id, grant.iteration, call)
        return request.answer({"content": [{"type": "text", "text": result.text}], "isError": result.failed})

    def _signed(self, grant: Grant, envelope: Envelope) -> bytes:
        refused = Unauthorized("This envelope is not signed as its token says")
        try:
            signature, message = decode_bytes(envelope.signature, SIGNATURE_BYTES), envelope.signed()
        except ValueError:
            raise refused from None
        same = hmac.compare_digest(envelope.security_token.encode(), grant.token.encode())
        if not self._signer.verified(grant.public_key, signature, message) or not same or not self._holds(grant):
            raise refused
        return message

    def _holds(self, grant: Grant) -> bool:
        """Still: the body took its time."""
        iteration = self._iterations.get((grant.execution_id, grant.iteration))
        return iteration is not None and grant.token_id in iteration.grants and self._now() < grant.expires_at

    def _in_time(self, timestamp: int) -> None:
        now = self._clock.now().timestamp()
        if abs(now - timestamp) > SKEW_SECONDS:
            raise ClockSkew(
                f"The timestamp {timestamp} is more than {SKEW_SECONDS} s from this node's time, {int(now)}",
                next_step="Sign it again with the present time",
            )

    def _first_time(self, grant: Grant, timestamp: int, message: bytes) -> None:
        """By what was signed and not by the signature, of which the key's owner can make several."""
        iteration = self._iterations[(grant.execution_id, grant.iteration)]
        now, digest = self._now(), sha256(grant.public_key + message).digest()
        if digest in iteration.seen:
            raise Replayed("This envelope was here before", next_step="Give each request an id of its own")
        if len(iteration.seen) >= SEEN_MAX:
            iteration.seen = {key: until for key, until in iteration.seen.items() if until >= now}
            if len(iteration.seen) >= SEEN_MAX:
                raise Overloaded(f"{SEEN_MAX} envelopes have come in {2 * SKEW_SECONDS} s: no more can be told apart")
        iteration.seen[digest] = timestamp + SKEW_SECONDS + 1

    def _now(self) -> int:
        return int(self._clock.now().timestamp())


def _place(wid: str) -> tuple[str, int]:
    execution_id, _, number = wid.rpartition("/")
    return execution_id, int(number) if number.isdigit() else 0


def _live(iteration: _Iteration, now: int) -> bool:
    """What was seen is kept longer than the tokens: the same key may attest again."""
    return any(grant.expires_at + 2 * SKEW_SECONDS > now for grant in iteration.grants.values())


@dataclass(frozen=True, slots=True)
class _Request:
    id: str | int
    method: str
    name: str
    arguments: Json

    def answer(self, result: Json) -> Json:
        return {"jsonrpc": "2.0", "id": self.id, "result": result}


def _request(payload: Mapping[str, Any]) -> _Request:
    """A JSON-RPC request as MCP has them; BadPayload."""
    request_id, method, params = payload.get("id"), payload.get("method"), payload.get("params", {})
    if payload.get("jsonrpc") != "2.0" or set(payload) - {"jsonrpc", "id", "method", "params"}:
        raise BadPayload('The payload is no JSON-RPC request: wanted jsonrpc "2.0", id, method, params, nothing else')
    if isinstance(request_id, bool) or not isinstance(request_id, str | int) or not 0 < len(str(request_id)) <= 64:
        raise BadPayload("The payload's id is not a string or a whole number of at most 64 characters")
    if method not in ("tools/list", "tools/call") or not isinstance(params, dict):
        raise BadPayload(f"The method {method!r:.100} is not tools/list or tools/call")
    if method == "tools/list":
        return _Request(request_id, method, "", {})
    name, arguments = params.get("name"), params.get("arguments", {})
    if not isinstance(name, str) or not isinstance(arguments, dict) or set(params) - {"name", "arguments", "_meta"}:
        raise BadPayload("The params of tools/call are not a name and arguments")
    return _Request(request_id, method, name, arguments)


def _tool(spec: ToolSpec) -> Json:
    return {"name": spec.name, "description": spec.description, "inputSchema": dict(spec.parameters)}

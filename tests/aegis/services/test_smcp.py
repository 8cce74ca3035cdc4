"""SMCP at its core: what an envelope has to be, and in which order it is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aegis.adapters.signing import SigningKeys
from aegis.domain.canonical import canonical_json, parse_json
from aegis.domain.execution import Execution
from aegis.domain.manifest import Security
from aegis.domain.smcp import SKEW_SECONDS, Attestation, Envelope, encode_bytes
from aegis.errors import AegisError, Conflict, Denied, Overloaded, Unauthorized
from aegis.ports import ToolCall, ToolSpec
from aegis.services import smcp as module
from aegis.services.attesting import VARIABLE, AttestTokens
from aegis.services.smcp import GRANTS_MAX, TOKEN_SECONDS, BadPayload, ClockSkew, Grant, Replayed, Smcp
from aegis.services.tools import ToolResult
from tests.support import samples
from tests.support.clock import FakeClock

READ = {"jsonrpc": "2.0", "id": "1", "method": "tools/call", "params": {"name": "fs.read", "arguments": {"path": "a"}}}


class Sessions:
    """One iteration under way, whose only tool says what it was called with."""

    def __init__(self, execution: Execution) -> None:
        self.under_way = (execution.id, 1)
        self.calls: list[ToolCall] = []

    def agent_tools(self, execution_id: str, number: int) -> list[ToolSpec]:
        if (execution_id, number) != self.under_way:
            raise Conflict(f"Iteration {number} is over")
        return [ToolSpec("fs.read", "Read", {"type": "object"})]

    async def call_tool(self, execution_id: str, number: int, call: ToolCall) -> ToolResult:
        self.agent_tools(execution_id, number)
        self.calls.append(call)
        return ToolResult(f"{call.name} {dict(call.arguments)}", failed=call.name != "fs.read")


class Desk:
    def __init__(self, directory: Path) -> None:
        execution = samples.execution()
        manifest = execution.manifest.model_copy(update={"security": Security(smcp=True), "security_context": "coder"})
        self.execution = replace(execution, manifest=manifest)
        self.clock = FakeClock()
        self.keys = SigningKeys(directory, self.clock)
        self.tokens = AttestTokens(self.keys, self.clock)
        self.sessions = Sessions(self.execution)
        self.key = Ed25519PrivateKey.generate()
        self.restart()

    def restart(self) -> None:
        self.smcp = Smcp(signer=self.keys, attest_tokens=self.tokens, sessions=self.sessions, clock=self.clock)

    @property
    def now(self) -> int:
        return int(self.clock.now().timestamp())

    def attestation(self, by: Ed25519PrivateKey | None = None, **changes: Any) -> Attestation:
        key = by or self.key
        plain = Attestation(self.execution.id, 1, encode_bytes(key.public_key().public_bytes_raw()), self.now, "")
        plain = replace(plain, **changes)
        return replace(plain, signature=encode_bytes(key.sign(plain.signed())))

    def attest(self, **changes: Any) -> Grant:
        return self.smcp.attest(self.execution, self.attestation(**changes))

    def envelope(self, grant: Grant, payload: dict[str, Any] = READ, **changes: Any) -> Envelope:
        plain = replace(Envelope(grant.token, self.now, payload, ""), **changes)
        return replace(plain, signature=encode_bytes(self.key.sign(plain.signed())))

    async def invoke(self, envelope: Envelope) -> dict[str, Any]:
        """As the API does it: the token of the header is the envelope's."""
        return await self.smcp.invoke(self.smcp.grant_of(envelope.security_token), envelope)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


# ---- attesting ----


async def test_a_key_that_was_shown_may_call(desk: Desk) -> None:
    grant = desk.attest()
    claims = desk.keys.claims("smcp+jwt", grant.token)
    assert set(claims) == {"sub", "scp", "wid", "iat", "exp", "jti"}
    assert (claims["sub"], claims["scp"], claims["wid"]) == (desk.execution.id, "coder", f"{desk.execution.id}/1")
    assert (claims["exp"] - claims["iat"], claims["exp"]) == (TOKEN_SECONDS, grant.expires_at)
    answer = await desk.invoke(desk.envelope(grant))
    text = "fs.read {'path': 'a'}"
    assert answer == {
        "jsonrpc": "2.0",
        "id": "1",
        "result": {"content": [{"type": "text", "text": text}], "isError": False},
    }


async def test_what_the_policy_denies_is_a_result(desk: Desk) -> None:
    payload = {**READ, "params": {"name": "fs.write", "arguments": {}}}
    answer = await desk.invoke(desk.envelope(desk.attest(), payload))
    assert answer["result"]["isError"] is True


async def test_the_tools_that_may_be_called_are_listed_as_mcp_has_them(desk: Desk) -> None:
    answer = await desk.invoke(desk.envelope(desk.attest(), {"jsonrpc": "2.0", "id": 7, "method": "tools/list"}))
    assert answer["id"] == 7
    assert answer["result"] == {
        "tools": [{"name": "fs.read", "description": "Read", "inputSchema": {"type": "object"}}]
    }


def test_only_agents_whose_manifest_says_so_may_attest(desk: Desk) -> None:
    manifest = desk.execution.manifest.model_copy(update={"security": Security()})
    with pytest.raises(Denied, match="does not allow tool calls from its container"):
        desk.smcp.attest(replace(desk.execution, manifest=manifest), desk.attestation())
    assert desk.tokens.environment(replace(desk.execution, manifest=manifest), 1) == {}


def test_a_key_is_not_taken_without_its_private_half(desk: Desk) -> None:
    stranger = encode_bytes(Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    for changes in ({"public_key": stranger}, {"timestamp": desk.now + 1}, {"iteration_number": 2}):
        with pytest.raises(Unauthorized, match="not signed with the key"):
            desk.smcp.attest(desk.execution, replace(desk.attestation(), **changes))
    for changes in ({"public_key": "AAAA"}, {"signature": "!"}):
        with pytest.raises(BadPayload):
            desk.smcp.attest(desk.execution, replace(desk.attestation(), **changes))
    with pytest.raises(ClockSkew):
        desk.attest(timestamp=desk.now - SKEW_SECONDS - 1)
    with pytest.raises(Conflict, match="Iteration 2 is over"):
        desk.attest(iteration_number=2)


async def test_an_attest_token_is_for_its_iteration_and_its_time_and_opens_nothing_else(desk: Desk) -> None:
    token = desk.tokens.environment(desk.execution, 1)[VARIABLE]
    assert desk.smcp.may_attest(token, desk.execution.id, 1)
    assert not desk.smcp.may_attest(token, desk.execution.id, 2)
    assert not desk.smcp.may_attest(token, samples.execution().id, 1)
    assert not desk.smcp.may_attest("", desk.execution.id, 1)
    with pytest.raises(Unauthorized):
        desk.smcp.grant_of(token)
    grant = desk.attest()
    assert not desk.smcp.may_attest(grant.token, desk.execution.id, 1), "nor the other way round"
    await desk.clock.advance(desk.execution.manifest.resources.timeout_seconds)
    assert desk.smcp.may_attest(token, desk.execution.id, 1), "as long as the iteration can last"
    await desk.clock.advance(3600)
    assert not desk.smcp.may_attest(token, desk.execution.id, 1)


def test_the_oldest_of_too_many_keys_of_one_iteration_is_dropped(desk: Desk) -> None:
    grants = [desk.attest() for _ in range(GRANTS_MAX + 1)]
    assert desk.smcp.grant_of(grants[-1].token) == grants[-1]
    with pytest.raises(Unauthorized):
        desk.smcp.grant_of(grants[0].token)


# ---- what an envelope has to be ----


def flips(data: bytes) -> Iterator[bytes]:
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


async def test_any_flipped_bit_of_an_envelope_is_refused(desk: Desk) -> None:
    """Every single one, of the document as it is sent."""
    sent = desk.envelope(desk.attest())
    whole = canonical_json({field: getattr(sent, field) for field in sent.__slots__})
    for changed in flips(whole):
        try:
            envelope = Envelope(**parse_json(changed))
            await desk.invoke(envelope)
        except (AegisError, ValueError, TypeError, AttributeError):
            continue
        raise AssertionError(f"taken: {changed!r}")
    assert desk.sessions.calls == []
    await desk.invoke(sent)


async def test_until_the_signature_is_verified_nothing_is_told(desk: Desk) -> None:
    grant = desk.attest()
    other = desk.attest(by=Ed25519PrivateKey.generate())
    good = desk.envelope(grant)
    desk.sessions.under_way = ("another", 1)
    wrong = [
        replace(good, signature=encode_bytes(bytes(64))),
        replace(good, signature="short"),
        replace(good, timestamp=0),
        replace(good, payload={}),
        replace(good, payload={"n": 2**60 + 1}),
        replace(good, security_token=other.token),
        desk.envelope(other),
    ]
    refusals = set()
    for envelope in wrong:
        with pytest.raises(Unauthorized) as caught:
            await desk.smcp.invoke(other if envelope is wrong[-1] else grant, envelope)
        refusals.add((caught.value.code, str(caught.value)))
    assert len(refusals) == 1
    assert refusals.pop()[0] == "unauthorized"


@pytest.mark.parametrize(("seconds", "taken"), [(-31, False), (-30, True), (0, True), (30, True), (31, False)])
async def test_a_timestamp_may_be_thirty_seconds_off_either_way(desk: Desk, seconds: int, taken: bool) -> None:
    envelope = desk.envelope(desk.attest(), timestamp=desk.now + seconds)
    if taken:
        await desk.invoke(envelope)
    else:
        with pytest.raises(ClockSkew, match=f"this node's time, {desk.now}"):
            await desk.invoke(envelope)


async def test_an_envelope_is_taken_once_as_long_as_it_could_be_replayed(desk: Desk) -> None:
    envelope = desk.envelope(desk.attest(), timestamp=desk.now + SKEW_SECONDS)
    await desk.invoke(envelope)
    for _ in range(2 * SKEW_SECONDS + 1):
        with pytest.raises(Replayed):
            await desk.invoke(envelope)
        await desk.clock.advance(1)
    with pytest.raises(ClockSkew):
        await desk.invoke(envelope)
    assert len(desk.sessions.calls) == 1


async def test_an_envelope_is_not_taken_again_under_another_token_of_the_same_key(desk: Desk) -> None:
    envelope = desk.envelope(desk.attest())
    await desk.invoke(envelope)
    again = desk.attest()
    with pytest.raises(Replayed):
        await desk.invoke(replace(envelope, security_token=again.token))


async def test_two_calls_of_one_second_are_told_apart_by_their_ids(desk: Desk) -> None:
    grant = desk.attest()
    await desk.invoke(desk.envelope(grant))
    await desk.invoke(desk.envelope(grant, {**READ, "id": "2"}))
    assert len(desk.sessions.calls) == 2


async def test_what_was_seen_is_bounded_and_forgotten_in_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEEN_MAX", 3)
    grant = desk.attest()
    for n in range(3):
        await desk.invoke(desk.envelope(grant, {**READ, "id": n}))
    with pytest.raises(Overloaded):
        await desk.invoke(desk.envelope(grant, {**READ, "id": 3}))
    await desk.clock.advance(SKEW_SECONDS + 2)
    await desk.invoke(desk.envelope(grant, {**READ, "id": 4}))


async def test_a_token_ends_with_its_time_its_iteration_and_the_daemon(desk: Desk) -> None:
    grant = desk.attest()
    desk.sessions.under_way = (desk.execution.id, 2)
    with pytest.raises(Conflict, match="Iteration 1 is over"):
        await desk.invoke(desk.envelope(grant))
    desk.sessions.under_way = (desk.execution.id, 1)
    await desk.clock.advance(TOKEN_SECONDS)
    with pytest.raises(Unauthorized):
        desk.smcp.grant_of(grant.token)
    grant = desk.attest()
    desk.restart()
    with pytest.raises(Unauthorized):
        desk.smcp.grant_of(grant.token)


async def test_a_token_that_ends_while_the_body_is_on_its_way_is_refused(desk: Desk) -> None:
    grant = desk.attest()
    await desk.clock.advance(TOKEN_SECONDS - 1)
    found = desk.smcp.grant_of(grant.token)
    await desk.clock.advance(3 * SKEW_SECONDS)
    another = replace(samples.execution(), manifest=desk.execution.manifest)
    desk.sessions.under_way = (another.id, 1)
    desk.smcp.attest(another, desk.attestation(execution_id=another.id))  # what is over is forgotten now
    with pytest.raises(Unauthorized, match="not signed as its token says"):
        await desk.smcp.invoke(found, desk.envelope(grant))


async def test_iterations_that_are_long_over_are_forgotten(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ITERATIONS_MAX", 1)
    desk.attest()
    desk.sessions.under_way = (desk.execution.id, 2)
    with pytest.raises(Overloaded):
        desk.attest(iteration_number=2)
    await desk.clock.advance(TOKEN_SECONDS + 2 * SKEW_SECONDS)
    desk.attest(iteration_number=2)


@pytest.mark.parametrize(
    "changes",
    [
        {"jsonrpc": "1.0"},
        {"id": None},
        {"id": True},
        {"id": ""},
        {"id": "x" * 65},
        {"method": "tools/delete"},
        {"method": 1},
        {"params": []},
        {"params": {"arguments": {}}},
        {"params": {"name": "fs.read", "arguments": []}},
        {"params": {"name": "fs.read", "more": 1}},
        {"more": 1},
    ],
)
async def test_what_is_no_request_of_mcp_is_told_to_who_signed_it(desk: Desk, changes: dict[str, Any]) -> None:
    with pytest.raises(BadPayload):
        await desk.invoke(desk.envelope(desk.attest(), {**READ, **changes}))
    assert desk.sessions.calls == []

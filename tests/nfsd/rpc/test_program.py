"""Dispatch: every call ends in one reply of the right kind, and nothing a handler raises is lost."""

from collections.abc import Awaitable, Generator
from typing import Any

import pytest

from nfsd.errors import AUTH_TOOWEAK, AuthError, GarbageArgs, RecordError, XdrError
from nfsd.rpc.auth import ANONYMOUS, AUTH_SYS, Credentials, encode_authsys_parms
from nfsd.rpc.message import encode_call, marked, marked_reply_ok
from nfsd.rpc.program import Body, CallName, Dispatcher, Handler, Pending, Reply

PROG, VERS, PROC, XID = 100003, 3, 1, 77
WHO = Credentials(1000, 100, (4,), b"box")


class Failures(list[tuple[Any, CallName, Exception]]):
    def __call__(self, peer: Any, name: CallName, error: Exception) -> None:
        self.append((peer, name, error))


@pytest.fixture
def failures() -> Failures:
    return Failures()


@pytest.fixture
def dispatcher(failures: Failures) -> Dispatcher:
    return Dispatcher(failures)


def serve(dispatcher: Dispatcher, handler: Handler) -> Dispatcher:
    dispatcher.add(PROG, VERS, {PROC: handler})
    return dispatcher


def call(
    dispatcher: Dispatcher, prog: int = PROG, vers: int = VERS, proc: int = PROC, arguments: bytes = b"", **auth: Any
) -> Reply:
    record = bytearray(b"..") + encode_call(XID, prog, vers, proc, arguments, **auth)
    return dispatcher.call("peer", record + b"behind", 2, len(record))


def refused(reply: Reply) -> list[int]:
    """The words of a reply after xid and REPLY."""
    assert isinstance(reply, bytes)
    words = [int.from_bytes(reply[at : at + 4], "big") for at in range(0, len(reply), 4)]
    assert words[:3] == [0x80000000 | (len(reply) - 4), XID, 1]
    return words[3:]


def test_a_handler_sees_peer_caller_and_exactly_its_arguments(dispatcher: Dispatcher) -> None:
    seen: list[tuple[Any, Credentials, bytes]] = []

    def handler(peer: Any, credentials: Credentials, buf: bytearray, offset: int, end: int) -> bytes:
        seen.append((peer, credentials, bytes(buf[offset:end])))
        return b"abcd"

    reply = call(serve(dispatcher, handler), arguments=b"args", flavor=AUTH_SYS, credential=encode_authsys_parms(WHO))
    assert reply == marked_reply_ok(XID, 4) + b"abcd"
    assert seen == [("peer", WHO, b"args")]


def test_parts_go_out_in_order_behind_a_header_that_counts_them(dispatcher: Dispatcher) -> None:
    parts = [b"head", memoryview(b"12345"), b"\0\0\0"]
    reply = call(serve(dispatcher, lambda *_: parts))
    assert reply == [marked_reply_ok(XID, 12), *parts]


def test_no_results_is_an_accepted_reply(dispatcher: Dispatcher) -> None:
    assert call(serve(dispatcher, lambda *_: b"")) == marked_reply_ok(XID, 0)


def test_none_sends_nothing(dispatcher: Dispatcher) -> None:
    assert call(serve(dispatcher, lambda *_: None)) is None


async def finish(body: Body | Exception) -> Body:
    if isinstance(body, Exception):
        raise body
    return body


async def test_an_awaitable_is_handed_back_and_finishes_as_the_same_reply(dispatcher: Dispatcher) -> None:
    for body, expected in [
        (b"abcd", marked_reply_ok(XID, 4) + b"abcd"),
        ([b"ab", b"cd"], [marked_reply_ok(XID, 4), b"ab", b"cd"]),
        (None, None),
    ]:
        reply = call(serve(dispatcher, lambda *_, body=body: finish(body)))  # type: ignore[misc]
        assert isinstance(reply, Pending)
        assert reply.name == (XID, PROG, VERS, PROC)
        assert await reply == expected


async def test_any_object_with_await_will_do(dispatcher: Dispatcher) -> None:
    class Later(Awaitable[Body]):
        def __await__(self) -> Generator[Any, None, Body]:
            return finish(b"late").__await__()

    reply = call(serve(dispatcher, lambda *_: Later()))
    assert isinstance(reply, Pending)
    assert await reply == marked_reply_ok(XID, 4) + b"late"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (XdrError(3, "a name"), [0, 0, 0, 4]),
        (GarbageArgs(), [0, 0, 0, 4]),
        (AuthError(AUTH_TOOWEAK, "no"), [1, 1, AUTH_TOOWEAK]),
    ],
    ids=["XdrError", "RpcError", "AuthError"],
)
async def test_the_peers_mistakes_are_answered_and_not_reported(
    dispatcher: Dispatcher, failures: Failures, error: Exception, words: list[int]
) -> None:
    def handler(*_: Any) -> Body:
        raise error

    assert refused(call(serve(dispatcher, handler))) == words
    reply = call(serve(dispatcher, lambda *_: finish(error)))
    assert isinstance(reply, Pending)
    assert refused(await reply) == words
    assert failures == []


async def test_our_own_mistakes_are_system_err_and_reported(dispatcher: Dispatcher, failures: Failures) -> None:
    error = ZeroDivisionError("ours")

    def handler(*_: Any) -> Body:
        raise error

    assert refused(call(serve(dispatcher, handler))) == [0, 0, 0, 5]
    reply = call(serve(dispatcher, lambda *_: finish(error)))
    assert isinstance(reply, Pending)
    assert refused(await reply) == [0, 0, 0, 5]
    assert failures == [("peer", CallName(XID, PROG, VERS, PROC), error)] * 2


def test_a_result_that_is_no_body_is_our_own_mistake(dispatcher: Dispatcher, failures: Failures) -> None:
    assert refused(call(serve(dispatcher, lambda *_: [1, 2]))) == [0, 0, 0, 5]
    assert [type(error) for _, _, error in failures] == [TypeError]


def test_what_is_not_served_says_so(dispatcher: Dispatcher) -> None:
    serve(dispatcher, lambda *_: b"")
    dispatcher.add(PROG, 5, {})
    assert refused(call(dispatcher, prog=100227)) == [0, 0, 0, 1]
    assert refused(call(dispatcher, vers=4)) == [0, 0, 0, 2, 3, 5]
    assert refused(call(dispatcher, proc=22)) == [0, 0, 0, 3]


def test_refused_credentials_reach_no_handler(dispatcher: Dispatcher, failures: Failures) -> None:
    serve(dispatcher, lambda *_: pytest.fail("reached"))
    assert refused(call(dispatcher, flavor=6, credential=bytes(20))) == [1, 1, AUTH_TOOWEAK]
    assert refused(call(dispatcher, flavor=AUTH_SYS, credential=b"short")) == [1, 1, 1]
    assert failures == []


def test_auth_none_reaches_the_handler_as_nobody(dispatcher: Dispatcher) -> None:
    seen: list[Credentials] = []

    def handler(_: Any, credentials: Credentials, *rest: Any) -> bytes:
        seen.append(credentials)
        return b""

    call(serve(dispatcher, handler))
    assert seen == [ANONYMOUS]


def test_a_call_of_another_rpc_version_is_answered(dispatcher: Dispatcher) -> None:
    record = bytearray(encode_call(XID, PROG, VERS, PROC))
    record[8:12] = (3).to_bytes(4, "big")
    assert refused(dispatcher.call("peer", record, 0, len(record))) == [1, 0, 2, 2]


def test_a_record_that_is_no_call_closes_the_connection(dispatcher: Dispatcher) -> None:
    with pytest.raises(RecordError):
        dispatcher.call("peer", bytearray(marked(b"abc")), 0, 7)

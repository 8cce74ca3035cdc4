"""The proxy on real sockets: what reaches the server, what the client is told, and what no client can bring about."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import struct
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.adapters.proxy import dial
from aegis.adapters.proxy.server import CONNECTIONS_PER_ADDRESS_MAX
from aegis.domain.manifest import NetworkMode
from aegis.errors import WorldError
from tests.support.way_out import WAIT_SECONDS, WayOut, outside

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CLOSING = b"HTTP/1.1 200 OK\r\n\r\nuntil the end"


@pytest.fixture
async def way() -> AsyncIterator[WayOut]:
    way = WayOut(names={"api.test": ["127.0.0.1"], "also.test": ["127.0.0.1"], "metadata.test": ["169.254.169.254"]})
    async with way.listening():
        yield way


# ---- a URL ----


async def test_an_allowed_url_is_fetched_and_the_server_gets_a_plain_request(way: WayOut) -> None:
    async with outside(OK) as server, way.session("api.test"):
        answer = await way.get(f"http://api.test:{server.port}/a?b=c", b"Accept: */*", b"Proxy-Connection: keep-alive")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\nhello")
    [heard] = server.heard
    lines = heard.split(b"\r\n")
    assert lines[0] == b"GET /a?b=c HTTP/1.1"
    assert lines[1] == b"Host: api.test:%d" % server.port
    assert {line.partition(b":")[0].lower() for line in lines[1:] if line} == {
        b"host",
        b"accept",
        b"via",
        b"connection",
    }
    [allowed] = [each for each in way.of("network.allowed") if "bytes_sent" in each]
    assert (allowed["bytes_sent"], allowed["bytes_received"]) == (len(heard), len(OK))


async def test_a_refused_url_is_answered_by_name_and_nobody_is_connected(way: WayOut) -> None:
    async with outside(OK) as server, way.session("api.test"):
        answer = await way.get(f"http://also.test:{server.port}/")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 Forbidden by aegis - also.test:%d is refused: not on " % server.port)
    assert b"aegis: also.test" in body and b"To allow it, add also.test to spec.security" in body
    assert server.heard == []


async def test_the_server_is_the_urls_whatever_the_host_header_says(way: WayOut) -> None:
    async with outside(OK) as server, way.session("api.test"):
        await way.get(f"http://api.test:{server.port}/", b"Host: evil.test")
    assert b"evil.test" not in server.heard[0] and b"Host: api.test:" in server.heard[0]


@pytest.mark.parametrize("url", ["http://metadata.test/", "http://169.254.169.254/latest/meta-data"])
async def test_a_clouds_metadata_is_not_reached_by_name_or_address(way: WayOut, url: str) -> None:
    async with way.session("*.test", "169.254.0.0/16"):
        answer = await way.get(url)
    assert b"403 Forbidden by aegis" in answer and b"a link-local address" in answer


async def test_a_redirect_is_the_clients_to_follow_and_is_judged_again(way: WayOut) -> None:
    moved = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
    async with outside(moved) as server, way.session("api.test"):
        answer = await way.get(f"http://api.test:{server.port}/")
        assert b"302 Found" in answer
        assert b"403 Forbidden" in await way.get("http://169.254.169.254/")


async def test_a_name_is_resolved_once_so_that_a_second_answer_is_never_asked_for(way: WayOut) -> None:
    async with outside(OK) as server, way.session("api.test"):
        assert b"200 OK" in await way.get(f"http://api.test:{server.port}/")
        assert way.resolved == ["api.test"]
        way.names["api.test"] = ["169.254.169.254"]  # what a name server of the attacker's says the next time
        assert b"403 Forbidden" in await way.get(f"http://api.test:{server.port}/")
    assert len(server.heard) == 1


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET http://api.test/ HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"GET http://api.test/ HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n", 400),
        (b"GET http://api.test/ HTTP/1.1\r\nContent-Length: 3, 4\r\n", 400),
        (b"GET http://api.test/ HTTP/1.1\r\nContent-Length: +3\r\n", 400),
        (b"GET http://api.test/ HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n", 501),
        (b"GET http://api.test/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 501),
        (b"POST http://api.test/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"GET http://api.test/ HTTP/1.1\r\nContent-Length : 3\r\n", 400),
        (b"GET http://api.test/ HTTP/1.1\r\nX: a\nb: c\rd: e\r\n", 400),
        (b"GET http://user:word@api.test/ HTTP/1.1\r\n", 400),
        (b"GET https://api.test/ HTTP/1.1\r\n", 400),
        (b"GET / HTTP/1.1\r\n", 400),
        (b"TRACE http://api.test/ HTTP/1.1\r\n", 400),
        (b"CONNECT api.test HTTP/1.1\r\n", 400),
        (b"CONNECT http://api.test:443 HTTP/1.1\r\n", 400),
        (b"CONNECT api.test:443 HTTP/1.1\r\nContent-Length: 3\r\n", 400),
        (b"PRI * HTTP/2.0\r\n", 400),
        (b"no http at all\r\n", 400),
        (b"GET http://api.test/ HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n", 431),
    ],
)
async def test_what_can_be_read_in_two_ways_is_refused_and_reaches_nobody(
    way: WayOut, request_bytes: bytes, status: int
) -> None:
    async with way.session("api.test"):
        answer = await way.ask(request_bytes + b"Host: api.test\r\n" + way.credentials + b"\r\nabc", end=True)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert answer.count(b"HTTP/1.1 ") == 1  # what comes behind is not another request
    assert way.resolved == []


async def test_an_upgrade_is_not_passed_on_so_the_server_answers_in_http(way: WayOut) -> None:
    async with outside(OK) as server, way.session("api.test"):
        answer = await way.get(f"http://api.test:{server.port}/", b"Upgrade: websocket", b"Connection: upgrade")
    assert b"200 OK" in answer and b"pgrade" not in server.heard[0]


async def test_a_server_that_switches_protocols_unasked_is_no_answer(way: WayOut) -> None:
    switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nanything"
    async with outside(switch) as server, way.session("api.test"):
        answer = await way.get(f"http://api.test:{server.port}/")
    assert answer.startswith(b"HTTP/1.1 502 ") and b"anything" not in answer


@pytest.mark.parametrize("garbage", [b"", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nx"])
async def test_a_server_that_answers_no_http_is_a_bad_gateway(way: WayOut, garbage: bytes) -> None:
    async with outside(garbage) as server, way.session("api.test"):
        answer = await way.get(f"http://api.test:{server.port}/")
    assert answer.startswith(b"HTTP/1.1 502 Bad Gateway by aegis - ") and b"api.test" in answer
    assert len(way.of("network.failed")) == 1


async def test_a_server_that_nobody_is_at_is_named(way: WayOut) -> None:
    async with outside() as server:
        pass
    async with way.session("api.test"):
        answer = await way.get(f"http://api.test:{server.port}/")
    assert b"502 Bad Gateway by aegis - api.test:%d cannot be connected to" % server.port in answer


async def test_half_an_answer_does_not_look_like_a_whole_one(way: WayOut) -> None:
    for half in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ):
        async with outside(half) as server, way.session("api.test"):
            with pytest.raises(ConnectionResetError):
                await way.get(f"http://api.test:{server.port}/")


async def test_an_answer_that_ends_with_its_connection_ends_for_the_client_too(way: WayOut) -> None:
    async with outside(CLOSING) as server, way.session("api.test"):
        new = await way.get(f"http://api.test:{server.port}/")
        old = await way.get(f"http://api.test:{server.port}/", version=b"1.0")
    assert b"Transfer-Encoding: chunked" in new.title() or b"transfer-encoding: chunked" in new.lower()
    assert old.endswith(b"\r\n\r\nuntil the end")


async def test_a_body_goes_on_as_it_is_however_it_is_framed(way: WayOut) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"end"))
        writer.write(OK)

    heard: list[bytes] = []
    async with outside(talk=talk) as server, way.session("api.test"):
        line = b"POST http://api.test:%d/ HTTP/1.1\r\nHost: x\r\n" % server.port + way.credentials
        assert b"200 OK" in await way.ask(line + b"Content-Length: 6\r\nConnection: close\r\n\r\nabcend")
        chunks = b"3\r\nabc\r\n3;ext=1\r\nend\r\n0\r\nTrailer: no\r\n\r\n"
        assert b"200 OK" in await way.ask(line + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunks)
    assert heard[0].endswith(b"\r\n\r\nabcend")
    assert heard[1].endswith(b"3\r\nabc\r\n3\r\nend")


async def test_a_server_is_asked_for_the_body_first_where_the_client_waits_for_that(way: WayOut) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"100-continue" in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await reader.readexactly(3) == b"abc"
        writer.write(OK)

    async with outside(talk=talk) as server, way.session("api.test"):
        reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
        head = b"POST http://api.test:%d/ HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n"
        writer.write(head % server.port + way.credentials + b"\r\n")
        assert b"100" in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"abc")
        assert b"200" in await reader.readuntil(b"hello")
        writer.close()


async def test_one_connection_serves_several_requests_each_with_a_server_of_its_own(way: WayOut) -> None:
    async with outside(OK) as server, way.session("api.test"):
        one = b"GET http://api.test:%d/1 HTTP/1.1\r\nHost: x\r\n" % server.port + way.credentials + b"\r\n"
        other = b"GET http://also.test/2 HTTP/1.1\r\nHost: x\r\n" + way.credentials + b"\r\n"
        last = one.replace(b"/1 ", b"/3 ").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        answer = await way.ask(one + other + last)
    assert re.findall(rb"HTTP/1.1 ([0-9]+)", answer) == [b"200", b"403", b"200"]
    assert [heard.split()[1] for heard in server.heard] == [b"/1", b"/3"]


async def test_head_and_empty_answers_have_no_body(way: WayOut) -> None:
    async with outside(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n") as server, way.session("api.test"):
        head = await way.get(f"http://api.test:{server.port}/", method=b"HEAD")
        refused = await way.get("http://also.test/", method=b"HEAD")
    assert head.endswith(b"\r\n\r\n") and b"5\r\n" in head
    assert b"403 Forbidden" in refused and refused.endswith(b"\r\n\r\n")


# ---- who asks ----


async def test_without_credentials_nobody_is_told_anything_but_that(way: WayOut) -> None:
    async with way.session("api.test"):
        right = way.credentials
        for wrong in (b"", right.replace(b"Basic ", b"Bearer "), right[:-6] + b"AAAA\r\n", right + right):
            for line in (b"GET http://api.test/", b"GET http://evil.test/", b"CONNECT api.test:443", b"GET /"):
                answer = await way.ask(line + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + wrong + b"\r\n")
                assert answer.startswith(b"HTTP/1.1 407 ") and b"Basic realm" in answer
    assert way.resolved == [] and way.events == []
    assert way.gate.totals.unauthorized > 0


async def test_credentials_are_of_no_use_after_the_iteration(way: WayOut) -> None:
    async with way.session("api.test"):
        credentials = way.credentials
    answer = await way.ask(b"CONNECT api.test:443 HTTP/1.1\r\nHost: x\r\n" + credentials + b"\r\n", end=True)
    assert answer.startswith(b"HTTP/1.1 407 ") and b"not of an execution that runs now" in answer


async def test_a_client_that_is_asked_for_credentials_may_give_them_on_the_same_connection(way: WayOut) -> None:
    async with outside(OK) as server, way.session("api.test"):
        line = b"GET http://api.test:%d/ HTTP/1.1\r\nHost: x\r\n" % server.port
        answer = await way.ask(line + b"\r\n" + line + way.credentials + b"Connection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 407 ") == 1 and answer.count(b"HTTP/1.1 200 ") == 1


async def test_a_proxy_that_answers_is_well_and_one_that_takes_no_more_is_not(way: WayOut) -> None:
    await way.proxy.probe()
    assert way.gate.totals.unauthorized == 0
    connections = [await asyncio.open_connection("127.0.0.1", way.port) for _ in range(CONNECTIONS_PER_ADDRESS_MAX)]
    async with asyncio.timeout(WAIT_SECONDS):
        with pytest.raises(WorldError, match=rf"the agents' proxy on 127\.0\.0\.1:{way.port}"):
            while True:  # until the last of them is taken
                await way.proxy.probe()
    for _, writer in connections:
        writer.close()


# ---- CONNECT ----


async def connected(way: WayOut, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", way.port, limit=1 << 20)
    writer.write(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}\r\n".encode() + way.credentials + b"\r\n")
    return reader, writer, await reader.readuntil(b"\r\n\r\n")


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def test_a_tunnel_carries_bytes_both_ways_and_each_end_on_its_own(way: WayOut) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.read()  # until the client's end, and then speaks
        writer.write(asked[::-1])

    async with outside(talk=talk) as server, way.session("api.test"), asyncio.timeout(WAIT_SECONDS):
        reader, writer, head = await connected(way, "api.test", server.port)
        assert head.startswith(b"HTTP/1.1 200 ") and b"Content-Length" not in head and b"Transfer" not in head
        writer.write(b"abc")
        writer.write_eof()
        assert await reader.read() == b"cba"
        writer.close()
    [told] = [each for each in way.of("network.allowed") if "bytes_sent" in each]
    assert (told["host"], told["bytes_sent"], told["bytes_received"]) == ("api.test", 3, 3)


async def test_what_a_client_sends_without_waiting_is_not_lost(way: WayOut) -> None:
    async with outside(talk=echo) as server, way.session("api.test"):
        head = b"CONNECT api.test:%d HTTP/1.1\r\nHost: x\r\n" % server.port + way.credentials + b"\r\n"
        answer = await way.ask(head + b"early", end=True)
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\r\n\r\nearly")


async def test_a_refused_tunnel_says_in_its_first_line_who_was_refused_and_why(way: WayOut) -> None:
    async with way.session("api.test"):
        _, writer, head = await connected(way, "evil.test", 443)
        writer.close()
    assert head.startswith(b"HTTP/1.1 403 Forbidden by aegis - evil.test:443 is refused: not on security.network")


@pytest.mark.parametrize("port", [22, 25, 3128, 8080])
async def test_an_odd_port_is_refused_unless_the_list_names_it(port: int) -> None:
    way = WayOut(names={"api.test": ["127.0.0.1"]}, ports=(80, 443))
    async with way.listening(), way.session("api.test"):
        assert b" 403 " in await way.ask(
            b"CONNECT api.test:%d HTTP/1.1\r\nHost: x\r\n%b\r\n" % (port, way.credentials), end=True
        )


async def test_more_than_the_window_goes_through_and_a_peer_that_does_not_read_stops_the_other(way: WayOut) -> None:
    taken = asyncio.Event()
    size = 64 << 20

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=0)
        for _ in range(size >> 16):
            writer.write(bytes(1 << 16))
            await writer.drain()
            sent.append(1 << 16)
        taken.set()

    sent: list[int] = []
    async with outside(talk=talk) as server, way.session("api.test"), asyncio.timeout(WAIT_SECONDS):
        reader, writer, _ = await connected(way, "api.test", server.port)
        before = -1
        while before != sum(sent):  # until it stands still: nobody reads
            before = sum(sent)
            await asyncio.sleep(0.1)
        assert not taken.is_set() and before < size
        got = 0
        while data := await reader.read(1 << 20):
            got += len(data)
        assert got == size and taken.is_set()
        writer.close()


async def test_tunnels_are_bounded_and_the_next_is_told_so() -> None:
    way = WayOut(names={"api.test": ["127.0.0.1"]}, routes_max=2)
    async with way.listening(), outside(talk=echo) as server, way.session("api.test"):
        open_ones = [await connected(way, "api.test", server.port) for _ in range(2)]
        _, writer, head = await connected(way, "api.test", server.port)
        assert head.startswith(b"HTTP/1.1 429 ") and b"2 connections of this execution are open already" in head
        for each in (*open_ones, (None, writer, b"")):
            each[1].close()


async def test_a_tunnel_through_which_nothing_goes_is_cut() -> None:
    way = WayOut(names={"api.test": ["127.0.0.1"]}, idle_seconds=0.2)
    async with way.listening(), outside(talk=echo) as server, way.session("api.test"), asyncio.timeout(WAIT_SECONDS):
        reader, writer, _ = await connected(way, "api.test", server.port)
        assert await reader.read() == b""
        writer.close()


async def test_a_server_that_never_answers_is_given_up_and_the_client_told() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    way = WayOut(names={"api.test": ["127.0.0.1"]}, idle_seconds=0.2)
    async with way.listening(), outside(talk=talk) as server, way.session("api.test"):
        answer = await way.get(f"http://api.test:{server.port}/")
    assert answer.startswith(b"HTTP/1.1 502 ")


async def test_the_end_of_the_iteration_cuts_its_tunnels(way: WayOut) -> None:
    async with outside(talk=echo) as server:
        async with way.session("api.test"):
            reader, writer, _ = await connected(way, "api.test", server.port)
            writer.write(b"x")
            assert await reader.read(1) == b"x"
        async with asyncio.timeout(WAIT_SECONDS):
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
        writer.close()


async def test_a_peer_that_is_lost_takes_the_other_with_it(way: WayOut) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"last words")
        await reader.read(1)
        writer.transport.abort()

    async with outside(talk=talk) as server, way.session("api.test"), asyncio.timeout(WAIT_SECONDS):
        reader, writer, _ = await connected(way, "api.test", server.port)
        assert await reader.readexactly(10) == b"last words"
        writer.write(b"x")
        assert await reader.read() == b""
        writer.close()


async def test_a_client_that_is_gone_before_its_tunnel_is_there_leaves_no_connection_behind(way: WayOut) -> None:
    ended = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        ended.set()

    async with outside(talk=talk) as server, way.session("api.test"), asyncio.timeout(WAIT_SECONDS):
        client = socket.create_connection(("127.0.0.1", way.port))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(b"CONNECT api.test:%d HTTP/1.1\r\nHost: x\r\n" % server.port + way.credentials + b"\r\n")
        await way.asked.wait()  # the request is read, and the server not connected to yet
        client.close()
        await ended.wait()
        assert way.gate.routes == 0


async def test_ipv6_is_gone_through_like_ipv4(way: WayOut) -> None:
    way.names["six.test"] = ["::1"]
    try:
        server_of = outside(talk=echo, host="::1")
        async with server_of as server, way.session("six.test", "::1"):
            for host in ("six.test", "[::1]"):
                reader, writer, head = await connected(way, host, server.port)
                assert b" 200 " in head
                writer.write(b"six")
                assert await reader.readexactly(3) == b"six"
                writer.close()
    except OSError as error:
        pytest.skip(f"this machine has no ::1: {error}")


async def test_of_two_addresses_the_one_that_answers_is_used(way: WayOut) -> None:
    way.names["two.test"] = ["127.0.0.9", "127.0.0.1"]  # nothing listens on the first
    async with outside(OK) as server, way.session("two.test"):
        assert b"200 OK" in await way.get(f"http://two.test:{server.port}/")


async def test_mode_deny_lets_through_what_it_does_not_name(way: WayOut) -> None:
    async with outside(OK) as server, way.session(mode=NetworkMode.DENY, denylist=("also.test",)):
        assert b"200 OK" in await way.get(f"http://api.test:{server.port}/")
        assert b"403 Forbidden" in await way.get(f"http://also.test:{server.port}/")
        assert b"403 Forbidden" in await way.get(f"http://127.0.0.1:{server.port}/")


def test_the_kernel_knows_which_addresses_are_ours() -> None:
    assert dial.is_own("127.0.0.1")
    assert not dial.is_own("192.0.2.1")
    assert not dial.is_own("2001:db8::1")


async def test_the_systems_resolver_gives_addresses_or_says_there_are_none() -> None:
    resolver = dial.SystemResolver()
    try:
        assert "127.0.0.1" in await resolver("localhost")
        with pytest.raises(Exception, match=r"no-such-name\.invalid"):
            await resolver("no-such-name.invalid")
    finally:
        resolver.close()


# ---- whatever comes ----

WORDS = [
    *(
        b"GET ",
        b"CONNECT ",
        b"POST ",
        b"http://api.test/",
        b"api.test:443",
        b"http://",
        b"/",
        b" HTTP/1.1",
        b" HTTP/1.0",
    ),
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"Host: x\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"0\r\n\r\n", b"3\r\nabc\r\n", b"Connection: close\r\n", b"Upgrade: x\r\n", b"Expect: 100-continue\r\n", b"abc"),
    *(b"@", b":", b"\0", b"\xff", b" ", b"credentials"),
]


@settings(max_examples=150)
@given(st.lists(st.lists(st.sampled_from(WORDS) | st.binary(max_size=5), max_size=12), min_size=1, max_size=4))
def test_any_bytes_in_any_pieces_are_answered_or_cut_and_nothing_of_ours_fails(pieces: list[list[bytes]]) -> None:
    async def play() -> tuple[list[str], int]:
        way = WayOut(names={"api.test": ["127.0.0.1"]})
        failures: list[str] = []
        handler = Keeping(failures)
        logging.getLogger("aegis.adapters.proxy.server").addHandler(handler)
        try:
            async with way.listening(), way.session("api.test"), asyncio.timeout(WAIT_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
                for piece in pieces:
                    writer.write(b"".join(piece).replace(b"credentials", way.credentials))
                    await asyncio.sleep(0)
                writer.write_eof()
                try:
                    await reader.read()
                except ConnectionResetError:
                    pass
                writer.close()
                await way.proxy.close()
                return failures, way.proxy.connections
        finally:
            logging.getLogger("aegis.adapters.proxy.server").removeHandler(handler)

    assert asyncio.run(play()) == ([], 0)


class Keeping(logging.Handler):
    def __init__(self, kept: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(self.format(record))

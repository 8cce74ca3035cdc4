"""`web.fetch`: what the model gets of the web, and what nobody gets it to fetch. The server is real, on loopback."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.adapters.web import AiohttpWebClient
from aegis.domain.contexts import Capability, SecurityContext
from aegis.errors import Denied, NetworkDenied, Refused
from aegis.services.policy import ToolPolicy
from aegis.services.recorder import Journal
from aegis.services.tools import ToolContext
from aegis.services.web_text import decoded, text_of_html
from aegis.services.web_tool import BYTES_MAX, FetchArguments, WebFetch
from aegis.services.workspaces import Workspaces
from tests.support.fakes_gateway import FakeGateway
from tests.support.way_out import NO_SINK, WayOut, outside

PAGE = b"""<!doctype html><html><head><title>The &amp; title</title><style>p {}</style>
<body><h1>Head</h1><p>One   two<br>three</p><script>var never = "<p>";</script>
<ul><li>first<li><a href="/next">second</a></ul><a href="#top">up</a></body></html>"""


def answer(body: bytes, kind: str = "text/html", status: str = "200 OK", *more: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *more]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


async def fetch(way: WayOut, url: str, *contexts: SecurityContext) -> str:
    policy = ToolPolicy(contexts)
    context = ToolContext(way.execution, Workspaces(FakeGateway(), ()), Journal(NO_SINK, way.clock, way.execution.id))
    return await WebFetch(AiohttpWebClient(), way.gate, policy)(FetchArguments(url=url), context)


async def test_a_page_is_what_a_reader_would_see() -> None:
    way = WayOut(names={"web.test": ["127.0.0.1"]})
    async with outside(answer(PAGE, "text/html; charset=utf-8")) as server, way.session(f"web.test:{server.port}"):
        url = f"http://web.test:{server.port}/a"
        shown = await fetch(way, f"{url}#part")
    assert shown == (
        f"{url}\nstatus: 200, text/html, {len(PAGE)} bytes\n\n"
        "The & title\n\nHead\n\nOne two\nthree\n\n- first\n- second (/next)\nup"
    )
    assert server.heard[0].startswith(b"GET /a HTTP/1.1\r\n") and b"Host: web.test:" in server.heard[0]
    [told] = [each for each in way.of("network.allowed") if each.get("bytes_received")]
    assert told["bytes_received"] == len(PAGE)


async def test_json_is_as_it_is_and_what_is_no_text_is_not_shown() -> None:
    way = WayOut(names={"web.test": ["127.0.0.1"]})
    for body, kind, seen in (
        (b'{"a": 1}', "application/json", '{"a": 1}'),
        (b"\x89PNG", "image/png", "not text"),
        ("grün".encode("latin-1"), "text/plain; charset=iso-8859-1", "grün"),
        (b"", "text/plain", "0 bytes"),
    ):
        async with outside(answer(body, kind)) as server, way.session(f"web.test:{server.port}"):
            assert seen in await fetch(way, f"http://web.test:{server.port}/")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://evil.test/", "evil.test:80 is refused"),
        ("http://127.0.0.1/", "127.0.0.1:80 is refused"),
        ("http://0x7f.1/", "unusual form"),
        ("http://2130706433/", "unusual form"),
        ("http://[::ffff:127.0.0.1]/", "127.0.0.1:80 is refused"),
        ("http://user:word@web.test/", "user or password"),
        ("http://web.test\\@evil.test/", "no URL"),
        ("file:///etc/passwd", "names no host"),
        ("ftp://web.test/", "only http"),
        ("//web.test/", "names no host"),
        ("http://web.test:0/", "port 0"),
        ("http://web.test:99999/", "."),
    ],
)
async def test_what_may_not_be_fetched_is_refused_before_anybody_is_asked(url: str, why: str) -> None:
    way = WayOut(names={"web.test": ["127.0.0.1"]})
    async with way.session("web.test"):
        with pytest.raises(Refused, match=why):
            await fetch(way, url)
    assert way.resolved == []


async def test_a_name_that_leads_inside_is_refused() -> None:
    way = WayOut(names={"web.test": ["10.0.0.1"]}, opened=())
    async with way.session("web.test"):
        with pytest.raises(NetworkDenied, match="a private address"):
            await fetch(way, "http://web.test/")


async def test_each_redirect_is_judged_as_a_url_of_its_own() -> None:
    way = WayOut(names={"web.test": ["127.0.0.1"], "api.test": ["127.0.0.1"]})
    async with outside(answer(b"there", "text/plain")) as last:

        async def first(target: str, *allowlist: str) -> str:
            moved = answer(b"", "text/html", "302 Found", f"Location: {target}")
            async with outside(moved) as server, way.session(f"web.test:{server.port}", *allowlist):
                return await fetch(way, f"http://web.test:{server.port}/")

        there = f"http://api.test:{last.port}/x"
        assert "there" in await first(there, f"api.test:{last.port}")
        for refused, why in (
            (there, "api.test"),
            ("http://169.254.169.254/", "169.254"),
            ("file:///etc/passwd", "host"),
        ):
            with pytest.raises(Refused, match=why):
                await first(refused)
        assert last.heard and len(last.heard) == 1


async def test_a_redirect_out_of_the_security_contexts_domains_is_refused() -> None:
    way = WayOut(names={"web.test": ["127.0.0.1"], "api.test": ["127.0.0.1"]})
    moved = answer(b"", "text/html", "302 Found", "Location: http://api.test/")
    async with outside(moved) as server, way.session(f"web.test:{server.port}", "api.test"):
        only = SecurityContext(
            name="default",
            capabilities=(Capability(tool_pattern="web.fetch", domains=(f"web.test:{server.port}",)),),
        )
        with pytest.raises(Denied, match=r"redirected to http://api\.test/"):
            await fetch(way, f"http://web.test:{server.port}/", only)
    assert "api.test" not in way.resolved


async def test_redirects_in_a_circle_end() -> None:
    way = WayOut(names={"web.test": ["127.0.0.1"]})
    moved = answer(b"", "text/html", "302 Found", "Location: /again")
    async with outside(moved) as server, way.session(f"web.test:{server.port}"):
        with pytest.raises(Refused, match="more than 5 redirects"):
            await fetch(way, f"http://web.test:{server.port}/")
    assert len(server.heard) == 6


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"no http\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        answer(b"x", "a/b", "200 OK", "Content-Encoding: gzip"),
    ],
)
async def test_a_server_that_gives_no_answer_is_the_tools_result_and_an_event(garbage: bytes) -> None:
    way = WayOut(names={"web.test": ["127.0.0.1"]})
    async with outside(garbage) as server, way.session(f"web.test:{server.port}"):
        with pytest.raises(Refused, match="cannot be read"):
            await fetch(way, f"http://web.test:{server.port}/")
    assert len(way.of("network.failed")) == 1 and way.gate.routes == 0


async def test_a_page_without_end_is_read_up_to_the_bound() -> None:
    way = WayOut(names={"web.test": ["127.0.0.1"]})
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"
    async with outside(head, *(b"x" * 65536 for _ in range(100))) as server, way.session(f"web.test:{server.port}"):
        shown = await fetch(way, f"http://web.test:{server.port}/")
    assert f"{BYTES_MAX} bytes (and more)" in shown and len(shown) < 40_000


@given(st.text(alphabet=st.sampled_from("<>/=\"'!-ab &;#x\n") | st.characters(), max_size=200))
def test_any_text_is_read_as_html(text: str) -> None:
    assert "<script" not in text_of_html(f"<script>{text}")
    text_of_html(text)


@given(st.binary(max_size=50), st.text(max_size=30))
def test_any_bytes_of_any_declared_type_are_text(body: bytes, kind: str) -> None:
    assert isinstance(decoded(body, kind), str)
    assert isinstance(decoded(body, "text/plain; charset=" + kind), str)

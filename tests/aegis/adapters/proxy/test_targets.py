"""What a request to the proxy asks for, and which headers go on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.adapters.proxy.headers import ambiguous_length, basic_credentials, passed_on
from aegis.adapters.proxy.targets import BadTarget, Target, absolute_target, connect_target


@pytest.mark.parametrize(
    ("written", "target"),
    [
        (b"api.test:443", Target("api.test", 443)),
        (b"127.0.0.1:1", Target("127.0.0.1", 1)),
        (b"[2001:db8::1]:8443", Target("2001:db8::1", 8443)),
    ],
)
def test_connect_takes_a_host_and_a_port(written: bytes, target: Target) -> None:
    assert connect_target(written) == target


@pytest.mark.parametrize(
    "written",
    [
        *(b"", b"api.test", b"api.test:", b"api.test:0", b"api.test:65536", b"api.test:443/", b":443", b"a b:443"),
        *(b"user@api.test:443", b"http://api.test:443", b"[::1:443", b"::1:443", b"[fe80::1%25eth0]:443", b"a%2e:443"),
        *(b"api.test:443\n", b"api.test: 443", b"api.test:+443", b"api.test:443:443", "ä.test:443".encode()),
    ],
)
def test_connect_takes_nothing_else(written: bytes) -> None:
    with pytest.raises(BadTarget):
        connect_target(written)


@pytest.mark.parametrize(
    ("written", "target"),
    [
        (b"http://api.test", Target("api.test", 80, b"/")),
        (b"HTTP://API.test:8080/a?b=c%20d", Target("API.test", 8080, b"/a?b=c%20d")),
        (b"http://api.test?q", Target("api.test", 80, b"/?q")),
        (b"http://api.test:/x@y:z", Target("api.test", 80, b"/x@y:z")),
        (b"http://[::1]:81/", Target("::1", 81, b"/")),
    ],
)
def test_a_whole_url_is_taken_apart(written: bytes, target: Target) -> None:
    assert absolute_target(b"GET", written) == target


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (b"/", "forward proxy"),
        (b"*", "forward proxy"),
        (b"api.test", "with certainty"),
        (b"api.test:443", "with certainty"),
        (b"http:///path", "with certainty"),
        (b"http://api.test/#fragment", "with certainty"),
        (b"http://api.test\\@evil.test/", "user or password"),
        (b"http://api.test\\evil.test/", "with certainty"),
        (b"http://api%2etest/", "with certainty"),
        (b"http://user:secret@api.test/", "user or password"),
        (b"http://api.test@evil.test/", "user or password"),
        (b"https://api.test/", "CONNECT"),
        (b"ftp://api.test/", "ftp"),
        (b"http://api.test:99999/", "no port"),
    ],
)
def test_an_odd_url_is_refused(written: bytes, why: str) -> None:
    with pytest.raises(BadTarget, match=why):
        absolute_target(b"GET", written)


@given(st.binary(max_size=60), st.sampled_from([b"", b"http://", b"http://a.test", b"https://a@b"]))
def test_any_bytes_are_a_target_or_refused(tail: bytes, head: bytes) -> None:
    for read in (connect_target, lambda target: absolute_target(b"GET", target)):
        try:
            target = read(head + tail)
        except BadTarget:
            continue
        assert 0 < target.port < 65536 and target.host
        assert not any(character in target.host for character in "@/\\?#% \r\n")
        assert b"#" not in target.path and (not target.path or target.path.startswith(b"/"))


def test_options_of_a_whole_server_asks_for_the_asterisk() -> None:
    assert absolute_target(b"OPTIONS", b"http://api.test").path == b"*"


def test_headers_of_one_hop_end_here_also_those_that_connection_names() -> None:
    headers = [
        (b"Accept", b"*/*"),
        (b"Connection", b"close, X-Secret, Upgrade, Content-Length, Host"),
        (b"X-Secret", b"1"),
        (b"Upgrade", b"websocket"),
        (b"Proxy-Authorization", b"Basic x"),
        (b"Proxy-Connection", b"keep-alive"),
        (b"TE", b"trailers"),
        (b"Content-Length", b"3"),
        (b"Host", b"api.test"),
    ]
    kept = [name for name, _ in passed_on(headers)]
    assert kept == [b"Accept", b"Content-Length", b"Host"]  # the last two are not the client's to take away
    assert [name for name, _ in passed_on(headers, drop=[b"host"])] == [b"Accept", b"Content-Length"]


def test_a_body_whose_end_can_be_read_in_two_ways_is_ambiguous() -> None:
    both = [(b"Content-Length", b"3"), (b"transfer-encoding", b"chunked")]
    assert ambiguous_length(both, b"1.1") and ambiguous_length(both[1:], b"1.0")
    assert not ambiguous_length(both[1:], b"1.1") and not ambiguous_length(both[:1], b"1.0")


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([b"Basic dTpw"], ("u", "p")),
        ([b"basic  dTpw "], ("u", "p")),
        ([b"Basic dTpwOnE="], ("u", "p:q")),
        ([], None),
        ([b"Basic dTpw", b"Basic dTpw"], None),
        ([b"Bearer dTpw"], None),
        ([b"Basic !!"], None),
        ([b"Basic dQ=="], None),
        ([b"Basic /////w=="], None),
        ([b"Basic"], None),
    ],
)
def test_credentials_are_one_header_or_none(values: list[bytes], found: tuple[str, str] | None) -> None:
    assert basic_credentials([(b"Proxy-Authorization", value) for value in values]) == found

"""Which hosts a list means, and which of two spellings is the same host."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.domain.hosts import first_match, host_matches, network_ruling, normal_host, url_host, url_port
from aegis.domain.manifest import NetworkMode, NetworkPolicy


@pytest.mark.parametrize(
    ("pattern", "host", "meant"),
    [
        ("example.org", "example.org", True),
        ("example.org", "www.example.org", False),
        ("example.org", "notexample.org", False),
        ("*.example.org", "www.example.org", True),
        ("*.example.org", "a.b.example.org", True),
        ("*.example.org", "example.org", False),
        ("*.example.org", "notexample.org", False),
        ("*.example.org", "example.org.evil.test", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "ten.example.org", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("2001:db8::/32", "2001:db8::1", True),
        ("2001:db8::/32", "10.1.2.3", False),
        ("*.3", "10.1.2.3", False),
    ],
)
def test_a_pattern_means_what_it_says(pattern: str, host: str, meant: bool) -> None:
    assert host_matches(pattern, host) is meant


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("Example.ORG", "example.org"),
        ("example.org.", "example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("[2001:DB8::0:1]", "2001:db8::1"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("_service.example.org", "_service.example.org"),
    ],
)
def test_spellings_of_one_host_are_one(written: str, normal: str) -> None:
    assert normal_host(written) == normal
    assert normal_host(normal) == normal


@pytest.mark.parametrize(
    "host",
    [
        *("", ".", "a b", "a..b", "-a.example", "a/b", "a@b", "*.example.org", "exa\nmple"),
        *("127.1", "0x7f000001", "2130706433", "0177.0.0.1", "1.2.3.4.5", "10.0.0.0x1"),
        *("a" * 64 + ".example", "a." * 130 + "example"),
    ],
)
def test_what_resolvers_may_read_differently_is_no_host(host: str) -> None:
    with pytest.raises(ValueError, match=r"no host name|unusual form"):
        normal_host(host)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.example.org/v1?q=1#x", "api.example.org"),
        ("http://user:secret@Example.org:8080/", "example.org"),
        ("http://example.org@evil.test/", "evil.test"),
        ("http://[::1]:80/", "::1"),
        ("HTTP://EXAMPLE.ORG.", "example.org"),
    ],
)
def test_a_urls_host_is_where_a_client_would_connect(url: str, host: str) -> None:
    assert url_host(url) == host


@pytest.mark.parametrize(
    "url",
    [
        *("example.org", "/path", "http://", "http:///x", "http://[::1/", "http://*.example.org/", "http://127.1/"),
        *("http://a\\@b/", "http://a b/", "http://a\n.b/"),
    ],
)
def test_a_url_without_a_certain_host_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        url_host(url)


@pytest.mark.parametrize(
    ("url", "port"),
    [("http://a.test", 80), ("HTTPS://a.test/", 443), ("http://a.test:8080/", 8080), ("git://a.test/", None)],
)
def test_a_urls_port_is_its_own_or_its_schemes(url: str, port: int | None) -> None:
    assert url_port(url) == port


def test_the_denylist_is_asked_first_and_the_mode_decides_the_rest() -> None:
    lists = {"allowlist": ("*.example.org",), "denylist": ("secret.example.org",)}
    allow, deny, none = (NetworkPolicy(mode=mode, **lists) for mode in NetworkMode)
    assert [network_ruling(allow, host).allowed for host in ("a.example.org", "secret.example.org", "b.test")] == [
        True,
        False,
        False,
    ]
    assert [network_ruling(deny, host).allowed for host in ("secret.example.org", "b.test")] == [False, True]
    assert not network_ruling(none, "a.example.org").allowed
    assert "denylist: secret.example.org" in network_ruling(allow, "secret.example.org").rule


@pytest.mark.parametrize(
    ("pattern", "port", "meant"),
    [
        ("example.org", 443, True),
        ("example.org", 8443, False),
        ("example.org:8443", 8443, True),
        ("example.org:8443", 443, False),
        ("*.org:8443", 8443, True),
        ("example.org:8443", None, True),
    ],
)
def test_allowing_a_host_allows_the_webs_ports_or_the_one_it_names(pattern: str, port: int | None, meant: bool) -> None:
    assert network_ruling(NetworkPolicy(allowlist=(pattern,)), "example.org", port).allowed is meant


def test_denying_a_host_denies_every_port_or_the_one_it_names() -> None:
    policy = NetworkPolicy(mode=NetworkMode.DENY, denylist=("a.test", "b.test:8080"))
    ports = (80, 8080)
    asked = [("a.test", 8080), ("b.test", 8080), ("b.test", 80), ("c.test", 8080), ("c.test", 22)]
    assert [network_ruling(policy, *each, ports=ports).allowed for each in asked] == [False, False, True, True, False]


def test_mode_deny_allows_no_address_in_the_place_of_a_name() -> None:
    policy = NetworkPolicy(mode=NetworkMode.DENY, denylist=("a.test",))
    assert [network_ruling(policy, host).allowed for host in ("93.184.215.14", "2606:4700::1", "b.test")] == [
        *(False, False, True)
    ]


def test_an_address_with_a_port_is_matched_as_one() -> None:
    assert first_match(["[2001:db8::1]:8443"], "2001:db8::1", 8443)
    assert not first_match(["[2001:db8::1]:8443"], "2001:db8::1", 443)
    assert first_match(["10.0.0.1:99"], "10.0.0.1", 99)
    assert host_matches("2001:db8::99", "2001:db8::99")


@given(st.text(max_size=80))
def test_any_text_has_a_normal_form_that_is_its_own_or_none(text: str) -> None:
    try:
        normal = normal_host(text)
    except ValueError:
        return
    assert normal_host(normal) == normal
    assert first_match([normal], normal) == normal

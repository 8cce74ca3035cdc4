"""Which addresses nobody may be led to."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.domain.addresses import forbidden


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1", "loopback"),
        ("127.8.9.10", "loopback"),
        ("::1", "loopback"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("169.254.169.254", "link-local"),
        ("fe80::1", "link-local"),
        ("10.1.2.3", "private"),
        ("172.17.0.1", "private"),
        ("192.168.1.1", "private"),
        ("fd00::1", "private"),
        ("fd00:ec2::254", "private"),
        ("fec0::1", "private"),
        ("100.100.100.200", "provider's own"),
        ("0.1.2.3", "private"),
        ("198.18.0.1", "private"),
        ("240.0.0.1", "private"),
        ("255.255.255.255", "private"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:10.0.0.1", "private"),
        ("::127.0.0.1", "reserved"),
        ("64:ff9b::7f00:1", "loopback"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("64:ff9b:1::a00:1", "private"),
        ("2002:7f00:1::", "tunnel"),
        ("2002:101:101::1", "tunnel"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "tunnel"),
    ],
)
def test_an_address_that_is_not_the_worlds_is_named(address: str, reason: str) -> None:
    assert reason in forbidden(ip_address(address))


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "1.1.1.1", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"]
)
def test_an_address_of_the_world_is_free(address: str) -> None:
    assert forbidden(ip_address(address)) == ""


def test_what_the_operator_has_opened_is_free_and_its_neighbours_are_not() -> None:
    opened = [ip_network("10.1.2.0/24"), ip_network("fd00::/64")]
    assert [forbidden(ip_address(each), opened) == "" for each in ("10.1.2.3", "10.1.3.3", "fd00::5", "127.0.0.1")] == [
        *(True, False, True, False)
    ]
    assert forbidden(ip_address("64:ff9b::a01:203"), opened) == ""


@given(st.ip_addresses(v=4))
def test_no_wrapping_of_an_ipv4_address_makes_it_free(address: object) -> None:
    number = int(address)  # type: ignore[call-overload]
    plain = ip_address(number)
    for wrapped in ((0xFFFF << 32) | number, (0x64FF9B << 96) | number, (0x2002 << 112) | (number << 80)):
        if forbidden(plain):
            assert forbidden(ip_address(wrapped.to_bytes(16, "big")))

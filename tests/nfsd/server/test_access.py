"""Who may speak: this host, and the networks that were named."""

import socket

import pytest

from nfsd.server.access import AccessRule, host_addresses, parse_network, peer_address
from tests.support.peer import Peer
from tests.support.served import Served

ELSEWHERE = "192.0.2.77"  # TEST-NET-1 (RFC 5737): nobody's, so not this host's either


def test_the_hosts_own_addresses_are_the_kernels() -> None:
    addresses = {str(address) for address in host_addresses()}
    assert "127.0.0.1" in addresses
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for address in addresses:
            if "." in address:
                probe.connect((address, 9))  # a local address is its own source


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_loopback_may_speak(host: str) -> None:
    assert AccessRule().refusal(host, 50000) is None


def test_every_address_of_this_host_may_speak() -> None:
    for address in host_addresses():
        assert AccessRule().refusal(str(address), 50000) is None


@pytest.mark.parametrize("host", [ELSEWHERE, "::ffff:" + ELSEWHERE, "2001:db8::1", "172.17.0.99", "fe80::9%lo"])
def test_others_may_not(host: str) -> None:
    assert AccessRule().refusal(host, 50000) == "it is neither this host nor in an allowed network"


@pytest.mark.parametrize("allowed", [ELSEWHERE, "192.0.2.0/24", "0.0.0.0/0"])
@pytest.mark.parametrize("host", [ELSEWHERE, "::ffff:" + ELSEWHERE])
def test_an_allowed_network_may(allowed: str, host: str) -> None:
    assert AccessRule([allowed]).refusal(host, 50000) is None
    assert AccessRule([allowed]).refusal("2001:db8::1", 50000) is not None


@pytest.mark.parametrize("port", [1024, 65535])
def test_ordinary_users_programs_are_refused_where_a_reserved_port_is_wanted(port: int) -> None:
    rule = AccessRule(["0.0.0.0/0"], reserved_ports_only=True)
    assert rule.refusal("127.0.0.1", port) == f"its port {port} is not below 1024"
    assert rule.refusal("127.0.0.1", 1023) is None


def test_when_the_hosts_addresses_are_unknown_nobody_else_gets_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> set[object]:
        raise PermissionError("no netlink here")

    monkeypatch.setattr("nfsd.server.access.host_addresses", refuse)
    assert "no netlink here" in str(AccessRule().refusal(ELSEWHERE, 1))
    assert AccessRule().refusal("127.0.0.1", 1) is None


def test_an_ipv4_peer_of_an_ipv6_socket_is_ipv4() -> None:
    assert str(peer_address("::ffff:10.0.0.1")) == "10.0.0.1"
    assert str(peer_address("fe80::1%eth0")) == "fe80::1"


@pytest.mark.parametrize("text", ["", "localhost", "10.0.0.1/8", "10.0.0.0/33", "10.0.0"])
def test_what_is_no_network_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="no address and no network"):
        parse_network(text)


def test_a_refused_peer_is_reset_before_a_byte_is_read_and_counted() -> None:
    with Served(reserved_ports_only=True) as served:
        # The reset may come while connect(2) is still being told of its success, with the call, or after it.
        with pytest.raises((ConnectionResetError, BrokenPipeError, EOFError)), Peer(served.address) as refused:
            refused.send(0, b"")
            refused.receive_record()
        stats = served.server.stats
        assert (stats.connections_refused, stats.connections_accepted, stats.received_bytes) == (1, 0, 0)

"""The `o=` string: the specification page's to the letter, the robust one, and what a node's own must keep."""

from __future__ import annotations

import pytest

from aegis.domain.mounts import PROFILES, check_mount_options, mount_options, outage_seconds, read_only


def test_compat_is_the_pages_string_followed_by_the_ports() -> None:
    assert mount_options("compat", address="172.17.0.1", port=2049) == (
        "addr=172.17.0.1,nfsvers=3,proto=tcp,soft,timeo=10,nolock,port=2049,mountport=2049,mountproto=tcp"
    )


def test_robust_bears_an_outage_of_a_minute_and_the_late_reconnect_after_it() -> None:
    seconds = outage_seconds(PROFILES["robust"])
    assert seconds is not None and seconds >= 60 + 48  # the last wait of the kernel's backoff may begin at the end


def test_robust_ends_by_itself_when_the_gateway_never_comes_back() -> None:
    assert outage_seconds(PROFILES["robust"]) is not None
    assert outage_seconds("nfsvers=3,proto=tcp,hard,nolock") is None


def test_a_mount_service_on_another_port_is_named() -> None:
    options = mount_options("robust", address="10.0.0.1", port=3049, mountport=20048)
    assert options.endswith(",port=3049,mountport=20048,mountproto=tcp")


def test_a_nodes_own_options_take_the_profiles_place() -> None:
    own = "nfsvers=3,proto=tcp,hard,nolock,rsize=65536"
    options = mount_options("robust", address="a", port=1, custom=own)
    assert options == f"addr=a,{own},port=1,mountport=1,mountproto=tcp"


@pytest.mark.parametrize("options", PROFILES.values())
def test_the_profiles_keep_their_own_rules(options: str) -> None:
    assert check_mount_options(options) == options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("soft", "nfsvers=3,proto=tcp,nolock is missing"),
        ("nfsvers=3,proto=tcp", "nolock is missing"),
        ("nfsvers=4,proto=tcp,nolock", "nfsvers=4 contradicts"),
        ("nfsvers=3,proto=tcp,nolock,vers=4.1", "vers=4.1 contradicts"),
        ("nfsvers=3,proto=tcp,nolock,lock", "lock contradicts"),
        ("nfsvers=3,proto=tcp,nolock,addr=10.0.0.1", "addr is set by the daemon"),
        ("nfsvers=3,proto=tcp,nolock,port=1", "port is set by the daemon"),
        ("nfsvers=3, proto=tcp", "is no mount option"),
        ("nfsvers=3,proto=tcp,nolock,", "is no mount option"),
        ("", "is no mount option"),
    ],
)
def test_options_that_the_gateway_could_not_serve_are_refused(options: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"contradicts|missing|daemon|no mount option") as caught:
        check_mount_options(options)
    assert said in str(caught.value)


def test_a_read_only_mount_is_one_of_its_own_even_beside_a_read_write_one_of_the_same_volume() -> None:
    assert read_only("addr=a,nolock").split(",") == ["addr=a", "nolock", "ro", "nosharecache"]

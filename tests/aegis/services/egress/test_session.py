"""Who may be reached, where a name may lead, and what is told of it."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.domain.manifest import NetworkMode
from aegis.errors import AegisError, Conflict, HostUnreachable, NetworkDenied, Overloaded, WorldError
from aegis.services.egress.ledger import LINES_MAX, OTHERS
from tests.support.way_out import WayOut

PUBLIC = "93.184.215.14"


async def refusal(way: WayOut, host: str, port: int = 443, *allowlist: str) -> str:
    async with way.session(*allowlist) as session:
        with pytest.raises(NetworkDenied) as caught:
            await session.admit(host, port)
    return str(caught.value)


async def test_an_allowed_name_is_resolved_once_and_its_addresses_are_the_route() -> None:
    way = WayOut(names={"api.test": [PUBLIC, "2606:4700::1"]}, opened=())
    async with way.session("*.test") as session:
        route = await session.admit("API.test.", 443)
    assert (route.host, route.port, route.addresses) == ("api.test", 443, (PUBLIC, "2606:4700::1"))
    assert way.resolved == ["api.test"]
    assert way.of("network.allowed")[0] == {
        "host": "api.test", "port": 443, "reason": "security.network.allowlist: *.test", "connections": 1,
    }  # fmt: skip


async def test_another_name_is_refused_by_name_with_the_way_to_allow_it_and_is_not_even_resolved() -> None:
    way = WayOut(names={"evil.test": [PUBLIC]}, ports=(80, 443))
    said = await refusal(way, "evil.test", 443, "api.test")
    assert "evil.test:443 is refused" in said and "allowlist: api.test" in said
    assert "add evil.test to spec.security.network_policy.allowlist of the manifest of walker" in said
    assert "add evil.test:22 to" in await refusal(way, "evil.test", 22, "api.test")
    assert way.resolved == []
    assert way.of("network.denied")[0]["host"] == "evil.test"


@pytest.mark.parametrize(
    ("leads_to", "why"),
    [
        ("127.0.0.1", "a loopback address"),
        ("169.254.169.254", "a link-local address"),
        ("10.0.0.7", "a private address"),
        ("::ffff:10.0.0.7", "a private address"),
        ("fd00::1", "a private address"),
        ("::1", "a loopback address"),
        (PUBLIC, "an address of the node itself"),
    ],
)
async def test_a_name_that_leads_where_nobody_may_go_is_refused(leads_to: str, why: str) -> None:
    way = WayOut(names={"rebound.test": [leads_to]}, opened=(), own=(PUBLIC,))
    said = await refusal(way, "rebound.test", 443, "rebound.test")
    assert why in said and "egress.allow_addresses" in said


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("10.0.0.7", ""),
        ("10.0.0.1", "an address of the node itself"),
        ("10.0.0.2", ""),
        ("10.97.0.5", "an address of agents' containers"),
        ("10.97.0.1", "an address of agents' containers"),
    ],
)
async def test_opening_a_network_opens_neither_the_node_in_it_nor_other_containers(address: str, why: str) -> None:
    way = WayOut(
        names={"inside.test": [address]},
        opened=(ip_network("10.0.0.0/8"), ip_network("10.0.0.2/32"), ip_network("10.97.0.1/32")),
        closed=(ip_network("10.97.0.0/20"),),
        own=("10.0.0.1", "10.0.0.2", "10.97.0.1"),
    )
    if why:
        assert why in await refusal(way, "inside.test", 443, "inside.test")
    else:
        async with way.session("inside.test") as session:
            assert (await session.admit("inside.test", 443)).addresses == (address,)


async def test_of_several_addresses_only_those_that_may_be_reached_are_the_route() -> None:
    way = WayOut(names={"mixed.test": ["10.0.0.7", PUBLIC, "::1"]}, opened=())
    async with way.session("mixed.test") as session:
        assert (await session.admit("mixed.test", 443)).addresses == (PUBLIC,)


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "127.0.0.0x1", "::ffff:127.0.0.1", "127.0.0.1"],
)
async def test_no_way_of_writing_an_address_leads_to_it(host: str) -> None:
    way = WayOut(opened=())
    async with way.session("api.test", "127.0.0.1", "0.0.0.0/0", "::/0") as session:
        with pytest.raises(NetworkDenied):
            await session.admit(host, 80)
    assert way.resolved == []


async def test_an_address_that_the_allowlist_names_is_reached_without_being_resolved() -> None:
    way = WayOut(opened=())
    async with way.session(f"{PUBLIC}/32") as session:
        assert (await session.admit(PUBLIC, 443)).addresses == (PUBLIC,)
    assert way.resolved == []


async def test_mode_deny_goes_by_name_and_by_what_a_name_leads_to() -> None:
    way = WayOut(names={"good.test": [PUBLIC], "alias.test": ["203.0.114.9"]}, opened=(), ports=(443,))
    async with way.session(mode=NetworkMode.DENY, denylist=("bad.test", "203.0.114.0/24")) as session:
        assert (await session.admit("good.test", 443)).addresses == (PUBLIC,)
        for host, port in (("bad.test", 443), ("alias.test", 443), (PUBLIC, 443), ("good.test", 25)):
            with pytest.raises(NetworkDenied):
                await session.admit(host, port)


async def test_mode_none_refuses_everything_and_its_container_is_told_of_no_proxy() -> None:
    way = WayOut(names={"api.test": [PUBLIC]})
    async with way.session(mode=NetworkMode.NONE) as session:
        with pytest.raises(NetworkDenied, match="mode none"):
            await session.admit("api.test", 443)
        assert way.gate.environment(way.execution, "10.0.0.1:3128") == {}


async def test_the_environment_names_the_proxy_with_the_executions_own_credentials_and_leaves_dispatch_out() -> None:
    way = WayOut()
    async with way.session("api.test") as session:
        found = way.gate.environment(way.execution, "10.97.0.1:3128", "http://10.97.0.1:8080")
        assert set(found) == {"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}
        assert found["NO_PROXY"] == "localhost,127.0.0.1,::1,10.97.0.1"
        user, key = found["HTTP_PROXY"].removeprefix("http://").partition("@")[0].split(":")
        assert way.gate.identify(user, key) is session
        assert way.gate.identify(user, key[:-1] + "g") is None
        assert way.gate.identify("another", key) is None
        assert WayOut().gate.identify(user, key) is None  # another daemon's life: the key is right, nothing runs
    assert way.gate.identify(user, key) is None


async def test_a_name_without_an_address_is_told_as_that_and_not_as_refused() -> None:
    way = WayOut()
    async with way.session("gone.test") as session:
        with pytest.raises(HostUnreachable, match=r"gone\.test has no address"):
            await session.admit("gone.test", 443)
    assert way.of("network.denied") == [] and len(way.of("network.failed")) == 1


async def test_routes_are_bounded_and_a_closed_one_makes_room() -> None:
    way = WayOut(names={"api.test": [PUBLIC]}, opened=(), routes_max=2)
    async with way.session("api.test") as session:
        routes = [await session.admit("api.test", 443) for _ in range(2)]
        with pytest.raises(Overloaded, match="2 connections"):
            await session.admit("api.test", 443)
        routes[0].close()
        await session.admit("api.test", 443)


async def test_the_end_of_the_iteration_cuts_its_routes_and_lets_nobody_in() -> None:
    way = WayOut(names={"api.test": [PUBLIC]}, opened=())
    cut: list[str] = []
    async with way.session("api.test") as session:
        route = await session.admit("api.test", 443)
        route.on_cut(lambda: cut.append("cut"))
        late = await session.admit("api.test", 443)
    assert cut == ["cut"]
    late.on_cut(lambda: cut.append("at once"))
    assert cut == ["cut", "at once"] and way.gate.routes == 0
    with pytest.raises(Conflict):
        await session.admit("api.test", 443)


async def test_nothing_is_decided_that_cannot_be_recorded() -> None:
    way = WayOut(names={"api.test": [PUBLIC]}, opened=())
    async with way.session("api.test") as session:
        way.full = True
        for host in ("api.test", "evil.test"):
            with pytest.raises(WorldError, match="no more events"):
                await session.admit(host, 443)
        way.full = False
        await session.admit("api.test", 443)


async def test_refusals_are_handed_out_once_each_and_not_without_end() -> None:
    way = WayOut(ports=(443,))
    async with way.session("api.test") as session:
        for host in ("evil.test", "evil.test", *(f"{number}.test" for number in range(50))):
            with pytest.raises(NetworkDenied):
                await session.admit(host, 443)
        told = way.gate.refusals(way.execution.id)
        assert len(told) == 10 and len(set(told)) == 10
        assert told[0].startswith("evil.test:443 is refused: ") and "To allow it, add evil.test" in told[0]
        assert way.gate.refusals(way.execution.id) == [] == way.gate.refusals("nobody")


# ---- the record ----


async def test_a_flood_of_refusals_is_a_few_events_whose_sum_is_all_of_them() -> None:
    way = WayOut(ports=(443,))
    async with way.session("api.test") as session:
        telling = asyncio.create_task(way.gate.run())
        for number in range(600):
            for _ in range(5):
                with pytest.raises(NetworkDenied):
                    await session.admit("evil.test", 443)
            with pytest.raises(NetworkDenied):
                await session.admit(f"{number}.evil.test", 443)
            await way.clock.advance(1.0)
        telling.cancel()
    told = way.of("network.denied")
    assert sum(each["connections"] for each in told) == 3600
    assert len(told) < LINES_MAX + 20
    assert len([each for each in told if each["host"] == "evil.test"]) <= 9  # 5, 10, 20 ... seconds between them
    assert sum(each["connections"] for each in told if each["host"] == OTHERS) == 600 - LINES_MAX + 1


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("open"), st.sampled_from("abc")),
            st.tuples(st.just("sent"), st.integers(0, 5)),
            st.tuples(st.just("received"), st.integers(0, 5)),
            st.tuples(st.just("close"), st.integers(0, 5)),
            st.tuples(st.just("time"), st.integers(1, 40)),
            st.tuples(st.just("full"), st.booleans()),
        ),
        max_size=40,
    )
)
def test_whatever_happens_connections_and_bytes_of_all_events_are_all_there_were(
    steps: list[tuple[str, object]],
) -> None:
    async def play() -> None:
        way = WayOut(names={f"{name}.test": [PUBLIC] for name in "abc"}, opened=())
        routes, count = [], {"open": 0, "sent": 0, "received": 0}
        async with way.session("*.test") as session:
            for what, value in steps:
                if what == "full":
                    way.full = bool(value)
                elif what == "time":
                    assert isinstance(value, int)
                    await way.clock.advance(value)
                    session.tell()
                elif what == "open":
                    try:
                        routes.append(await session.admit(f"{value}.test", 443))
                        count["open"] += 1
                    except AegisError:
                        assert way.full
                elif routes:
                    assert isinstance(value, int)
                    route = routes[value % len(routes)]
                    if what == "close":
                        route.close()
                    else:
                        getattr(route, what)(100)
                        count[what] += 100
            way.full = False
        told = way.of("network.allowed")
        assert sum(each["connections"] for each in told) == count["open"]
        assert sum(each.get("bytes_sent", 0) for each in told) == count["sent"] == way.gate.totals.bytes_sent
        assert sum(each.get("bytes_received", 0) for each in told) == count["received"]

    asyncio.run(play())

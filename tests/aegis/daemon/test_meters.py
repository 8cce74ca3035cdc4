"""The daemon's own figures."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from aegis.adapters.nfs import NfsGateway, Storage, polling_loop_factory
from aegis.adapters.nfs.gateway import PROBE_EXPORT
from aegis.daemon.meters import EgressMeter, GatewayMeter
from aegis.errors import NetworkDenied
from tests.support.peer import Peer
from tests.support.way_out import WayOut, outside


async def test_what_agents_do_on_the_network_is_counted() -> None:
    way = WayOut(names={"api.test": ["127.0.0.1"]})
    figures = CollectorRegistry()
    figures.register(EgressMeter(way.gate, way.proxy))
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    async with way.listening(), outside(answer) as server, way.session("api.test") as session:
        await way.get(f"http://api.test:{server.port}/")
        with pytest.raises(NetworkDenied):
            await session.admit("evil.test", 443)
        assert way.gate.identify("nobody", "wrong") is None
        route = await session.admit("api.test", 1)
        lines = generate_latest(figures).decode().splitlines()
        route.close()
    assert 'aegis_egress_decisions_total{decision="allowed"} 2.0' in lines
    assert 'aegis_egress_decisions_total{decision="denied"} 1.0' in lines
    assert 'aegis_egress_decisions_total{decision="unauthorized"} 1.0' in lines
    assert f'aegis_egress_bytes_total{{direction="received"}} {float(len(answer))}' in lines
    assert "aegis_egress_connections 1.0" in lines


def test_what_the_gateway_serves_is_counted(tmp_path: Path) -> None:
    """On the loop the daemon has, whose turns are counted too."""

    async def served() -> list[str]:
        storage = Storage(tmp_path / "storage")
        gateway = NfsGateway(storage, listen=[("127.0.0.1", 0)], secret=bytes(32), on_events=lambda _events: None)
        await gateway.start()
        figures = CollectorRegistry()
        figures.register(GatewayMeter(gateway))

        def work() -> list[str]:
            with Peer(("127.0.0.1", gateway.port)) as peer:
                root = peer.mount(PROBE_EXPORT)
                peer.getattr(root)
                peer.getattr(root)
                with pytest.raises(AssertionError, match="NOENT"):
                    peer.lookup(root, b"nothing")
                return generate_latest(figures).decode().splitlines()

        lines = await asyncio.to_thread(work)
        await gateway.close()
        return lines

    with asyncio.Runner(loop_factory=polling_loop_factory()) as runner:
        lines = runner.run(served())
    assert 'aegis_nfs_call_seconds_bucket{le="+Inf",procedure="GETATTR"} 2.0' in lines
    assert 'aegis_nfs_failures_total{procedure="LOOKUP",status="NFS3ERR_NOENT"} 1.0' in lines
    assert 'aegis_nfs_connections_total{outcome="accepted"} 1.0' in lines
    assert "aegis_nfs_connections_open 1.0" in lines
    assert "aegis_nfs_exports 0.0" in lines
    assert "aegis_nfs_mistakes_total 0.0" in lines
    turns = next(line for line in lines if line.startswith('aegis_loop_turn_seconds_bucket{le="+Inf"}'))
    assert float(turns.split()[-1]) > 4
    longest = next(line for line in lines if line.startswith("aegis_loop_turn_seconds_max"))
    assert float(longest.split()[-1]) > 0

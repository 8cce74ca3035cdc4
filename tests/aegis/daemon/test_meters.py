"""The daemon's own figures."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from aegis.daemon.meters import EgressMeter
from aegis.errors import NetworkDenied
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

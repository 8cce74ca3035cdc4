"""The daemon's own figures for `/metrics`, read when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from aegis.adapters.proxy import ProxyServer
from aegis.services.egress import EgressGate


class EgressMeter(Collector):
    """What agents did on the network; by decision and direction, never by host or execution: both have no bound."""

    def __init__(self, gate: EgressGate, proxy: ProxyServer) -> None:
        self._gate = gate
        self._proxy = proxy

    def collect(self) -> Iterator[Metric]:
        totals = self._gate.totals
        decisions = CounterMetricFamily(
            "aegis_egress_decisions", "Of agents' connections to the world, web.fetch included", labels=["decision"]
        )
        for decision in ("allowed", "denied", "failed", "unauthorized"):
            decisions.add_metric([decision], getattr(totals, decision))
        yield decisions
        carried = CounterMetricFamily("aegis_egress_bytes", "As seen by the agents", labels=["direction"])
        carried.add_metric(["sent"], totals.bytes_sent)
        carried.add_metric(["received"], totals.bytes_received)
        yield carried
        yield GaugeMetricFamily("aegis_egress_connections", "Admitted and open now", value=self._gate.routes)
        yield GaugeMetricFamily("aegis_egress_clients", "Connections to the proxy now", value=self._proxy.connections)

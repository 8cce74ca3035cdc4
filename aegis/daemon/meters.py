"""The daemon's own figures for `/metrics`, read when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from aegis.adapters.nfs import NfsGateway
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


class GatewayMeter(Collector):
    """What the NFS gateway served; by procedure and status, never by volume: their number has no bound."""

    def __init__(self, gateway: NfsGateway) -> None:
        self._gateway = gateway

    def collect(self) -> Iterator[Metric]:
        figures = self._gateway.figures
        calls = HistogramMetricFamily(
            "aegis_nfs_call_seconds", "From a call's arguments to its results", labels=["procedure"]
        )
        for procedure, buckets in figures.calls():
            calls.add_metric([procedure], buckets, sum_value=None)
        yield calls
        failures = CounterMetricFamily(
            "aegis_nfs_failures", "Calls answered with another status than NFS3_OK", labels=["procedure", "status"]
        )
        for procedure, status, count in figures.failures():
            failures.add_metric([procedure, status], count)
        yield failures
        yield CounterMetricFamily("aegis_nfs_replayed", "Retransmissions not done again", value=figures.replayed)
        yield CounterMetricFamily(
            "aegis_nfs_mistakes", "Calls that met a mistake of ours", value=figures.handler_errors
        )
        carried = CounterMetricFamily("aegis_nfs_bytes", "Of calls and replies", labels=["direction"])
        carried.add_metric(["received"], figures.received_bytes)
        carried.add_metric(["sent"], figures.sent_bytes)
        yield carried
        ended = CounterMetricFamily("aegis_nfs_connections", "Asked for, by what became of them", labels=["outcome"])
        ended.add_metric(["accepted"], figures.connections_accepted)
        ended.add_metric(["refused"], figures.connections_refused)
        ended.add_metric(["broken"], figures.connections_broken)
        yield ended
        yield GaugeMetricFamily("aegis_nfs_connections_open", "Now", value=figures.connections)
        yield GaugeMetricFamily("aegis_nfs_exports", "Attached volumes now", value=figures.exports)
        turns = figures.turns()
        if turns is not None:
            busy = HistogramMetricFamily("aegis_loop_turn_seconds", "How long the event loop was busy at a time")
            busy.add_metric([], turns[0], sum_value=None)
            yield busy
            yield GaugeMetricFamily("aegis_loop_turn_seconds_max", "The longest since the start", value=turns[1])

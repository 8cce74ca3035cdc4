"""What the daemon's own parts count for `/metrics`, beside the API's counters (aegis/api/metrics.py).

Labels are aliases of the configuration and words of a fixed list, so the number of series is bounded by the node.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from aegis.ports import ModelUsage

ANSWER_BUCKETS = (0.5, 1, 2, 5, 10, 20, 40, 80, 160, 320)


class ModelMetrics:
    """`aegis.ports.ModelMeter`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._answers = Counter("aegis_model_answers", "Answers of models", ("alias",), registry=registry)
        self._failures = Counter(
            "aegis_model_failures", "Attempts that failed (docs/models.md)", ("alias", "reason"), registry=registry
        )
        self._fallbacks = Counter(
            "aegis_model_fallbacks", "Answers asked of another alias", ("alias", "fallback"), registry=registry
        )
        self._tokens = Counter("aegis_model_tokens", "Tokens used", ("alias", "direction"), registry=registry)
        self._cost = Counter(
            "aegis_model_cost", "What they cost, in the currency of price_per_million", ("alias",), registry=registry
        )
        self._seconds = Histogram(
            "aegis_model_answer_seconds",
            "From the first attempt to the whole answer, pauses included",
            ("alias",),
            registry=registry,
            buckets=ANSWER_BUCKETS,
        )

    def answered(self, alias: str, usage: ModelUsage, seconds: float) -> None:
        self._answers.labels(alias).inc(usage.calls)
        self._tokens.labels(alias, "input").inc(usage.input_tokens)
        self._tokens.labels(alias, "output").inc(usage.output_tokens)
        if usage.cost is not None:
            self._cost.labels(alias).inc(usage.cost)
        self._seconds.labels(alias).observe(seconds)

    def failed(self, alias: str, reason: str) -> None:
        self._failures.labels(alias, reason).inc()

    def fell_back(self, alias: str, to: str) -> None:
        self._fallbacks.labels(alias, to).inc()

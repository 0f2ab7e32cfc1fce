"""Server metrics in the text format of Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from cbalign.apps.serving.batching import Observer
from cbalign.runtime.session import Session

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """Metrics of one server."""

    def __init__(self, session: Session) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter("cbalign_requests", "Answered requests.", ("route", "status"), registry=self._registry)
        self.seconds = Histogram(
            "cbalign_request_seconds",
            "Seconds per request.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.in_flight = Gauge("cbalign_requests_in_flight", "Requests in progress.", registry=self._registry)
        self._batch_size = Histogram(
            "cbalign_batch_size", "Items per run of a graph.", ("graph",), buckets=_SIZES, registry=self._registry
        )
        self._batch_seconds = Histogram(
            "cbalign_batch_seconds", "Time per run of a graph.", ("graph",), buckets=_SECONDS, registry=self._registry
        )
        about = Gauge(
            "cbalign_bundle_info",
            "Served bundle; always 1.",
            ("name", "precision", "device"),
            registry=self._registry,
        )
        about.labels(session.bundle.manifest.name, session.precision, session.device.kind).set(1)

    def batches_of(self, graph: str) -> Observer:
        """Return a callback that counts one graph's runs."""

        def observe(items: int, seconds: float) -> None:
            self._batch_size.labels(graph).observe(items)
            self._batch_seconds.labels(graph).observe(seconds)

        return observe

    def text(self) -> bytes:
        """Return all metrics."""
        return generate_latest(self._registry)

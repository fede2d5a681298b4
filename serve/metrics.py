"""What the server counts, in the text format of Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Media type of the text format."""
PREFIX = "paper_transformer_"


class Metrics:
    """Counts of requests, characters and batches since the server started. They have no text of a client."""

    def __init__(self, waiting: Callable[[], int]) -> None:
        """Count from zero; `waiting` returns the number of requests that wait for a model."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            f"{PREFIX}requests", "Answered requests", ["route", "status"], registry=self._registry
        )  # fmt: skip
        self._seconds = Histogram(
            f"{PREFIX}request_seconds", "Time from the head of a request to its answer", ["route"],
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60), registry=self._registry,
        )  # fmt: skip
        self._characters = Counter(
            f"{PREFIX}characters", "Translated characters", ["source", "target"], registry=self._registry
        )
        self._batches = Histogram(
            f"{PREFIX}batch_requests", "Requests that were translated together",
            buckets=(1, 2, 4, 8, 16, 32, 64), registry=self._registry,
        )  # fmt: skip
        Gauge(f"{PREFIX}waiting_requests", "Requests that wait for a model", registry=self._registry).set_function(
            waiting
        )
        ProcessCollector(registry=self._registry)

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def count_characters(self, source: str, target: str, characters: int) -> None:
        """Count the characters of a translated text."""
        self._characters.labels(source, target).inc(characters)

    def count_batch(self, requests: int) -> None:
        """Count a batch."""
        self._batches.observe(requests)

    def text(self) -> bytes:
        """Return all counts."""
        return generate_latest(self._registry)

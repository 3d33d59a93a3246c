"""What the gateway counts, on a registry of its own.

On the hot path a counter is a dict entry; Prometheus families are made at scrape time.
Labels are bounded: registered models (else ``other``), endpoints, upstreams, plans and
outcomes, never a key, an account or a field name.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from kurolproxy import __version__
from kurolproxy.tokens import Usage

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_FINE = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

Labels = tuple[str, ...]


class Counter:
    """A counter with labels: ``counter.add(("a", "b"))``."""

    __slots__ = ("help", "labels", "name", "values")

    def __init__(self, name: str, help_text: str, labels: Labels) -> None:
        self.name = name
        self.help = help_text
        self.labels = labels
        self.values: dict[Labels, float] = {}

    def add(self, labels: Labels, amount: float = 1) -> None:
        """Count ``amount`` more."""
        self.values[labels] = self.values.get(labels, 0) + amount

    def family(self) -> Metric:
        """Return the Prometheus form."""
        family = CounterMetricFamily(self.name, self.help, labels=self.labels)
        for labels, value in self.values.items():
            family.add_metric(labels, value)
        return family


class Histogram:
    """A histogram with labels and fixed bucket bounds."""

    __slots__ = ("bounds", "help", "labels", "name", "values")

    def __init__(
        self, name: str, help_text: str, labels: Labels, bounds: tuple[float, ...]
    ) -> None:
        self.name = name
        self.help = help_text
        self.labels = labels
        self.bounds = bounds
        # One list a label set: a count for each bucket, one for +Inf, and the sum last.
        self.values: dict[Labels, list[float]] = {}

    def observe(self, labels: Labels, value: float) -> None:
        """Count one observation."""
        row = self.values.get(labels)
        if row is None:
            row = self.values[labels] = [0.0] * (len(self.bounds) + 2)
        row[bisect_left(self.bounds, value)] += 1
        row[-1] += value

    def family(self) -> Metric:
        """Return the Prometheus form."""
        family = HistogramMetricFamily(self.name, self.help, labels=self.labels)
        for labels, row in self.values.items():
            buckets: list[tuple[str, float]] = []
            total = 0.0
            for bound, amount in zip((*map(str, self.bounds), "+Inf"), row, strict=False):
                total += amount
                buckets.append((bound, total))
            family.add_metric(labels, buckets, sum_value=row[-1])
        return family


class Metrics(Collector):
    """Every metric of one gateway.

    Attributes:
        gauges: name -> (help, function that reads the value at scrape time).
        counters: the same for what only grows.
        each_upstream: returns of each upstream whether it can be asked.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "kurol_requests",
            "Client requests that ended, by outcome (ok, an error kind, or client_gone).",
            ("model", "endpoint", "plan", "outcome"),
        )
        self.rejections = Counter(
            "kurol_rejections", "Requests refused before an upstream was asked.", ("reason",)
        )
        self.tokens = Counter("kurol_tokens", "Tokens as upstreams count them.", ("model", "type"))
        self.estimated = Counter(
            "kurol_estimated_tokens", "Tokens of answers whose usage we estimated.", ("model",)
        )
        self.wasted = Counter(
            "kurol_upstream_wasted_tokens",
            "Tokens that failed attempts reported.",
            ("upstream",),
        )
        self.clamped = Counter(
            "kurol_clamped_usage",
            "Answers whose usage held a figure that none can be.",
            ("upstream",),
        )
        self.dropped = Counter(
            "kurol_dropped_fields",
            "Request fields that a translation left out.",
            ("source", "target"),
        )
        self.upstream_requests = Counter(
            "kurol_upstream_requests", "Attempts at upstreams.", ("upstream", "outcome")
        )
        self.client_disconnects = Counter(
            "kurol_client_disconnects", "Clients that left before the end.", ("endpoint",)
        )
        self._make_histograms()
        self.streams_in_flight = 0
        self.config_reload_successful = 1
        self.calls_ended_by_shutdown = 0
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self.counters: dict[str, tuple[str, Callable[[], float]]] = {}
        self.each_upstream: Callable[[], Mapping[str, bool]] = dict
        self.registry.register(self)

    def _make_histograms(self) -> None:
        self.duration = Histogram(
            "kurol_request_duration_seconds",
            "From the request to the end of its answer.",
            ("model", "endpoint"),
            _SECONDS,
        )
        self.first_token = Histogram(
            "kurol_time_to_first_token_seconds",
            "From the request to the first content.",
            ("model", "endpoint"),
            _SECONDS,
        )
        self.per_token = Histogram(
            "kurol_time_per_output_token_seconds",
            "Time between output tokens of streams.",
            ("model", "endpoint"),
            _FINE,
        )
        self.overhead = Histogram(
            "kurol_overhead_seconds",
            "Our own time before the upstream is asked.",
            ("endpoint",),
            _FINE,
        )

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Add a gauge that is read when somebody scrapes."""
        self.gauges[name] = (help_text, read)

    def counter(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Add a counter that somebody else keeps, read when somebody scrapes."""
        self.counters[name] = (help_text, read)

    def count_tokens(self, model: str, usage: Usage) -> None:
        """Count the tokens of one answer by their type."""
        for kind, amount in (
            ("prompt", usage.prompt),
            ("completion", usage.completion),
            ("cache_read", usage.cache_read),
            ("cache_write", usage.cache_write),
            ("reasoning", usage.reasoning),
        ):
            if amount:
                self.tokens.add((model, kind), amount)

    def collect(self) -> Iterator[Metric]:
        """Yield every family; called by the registry."""
        for each in self._families():
            yield each.family()
        yield GaugeMetricFamily(
            "kurol_streams_in_flight", "Streams that are open.", value=self.streams_in_flight
        )
        yield GaugeMetricFamily(
            "kurol_config_last_reload_successful",
            "1 when the last configuration that was read was taken.",
            value=self.config_reload_successful,
        )
        yield CounterMetricFamily(
            "kurol_calls_ended_by_shutdown",
            "Calls that outlasted the drain and were ended with an error.",
            value=self.calls_ended_by_shutdown,
        )
        for name, (help_text, read) in self.gauges.items():
            yield GaugeMetricFamily(name, help_text, value=read())
        for name, (help_text, read) in self.counters.items():
            yield CounterMetricFamily(name, help_text, value=read())
        up = GaugeMetricFamily(
            "kurol_upstream_up", "1 while any way by the upstream is open.", labels=("upstream",)
        )
        for name, open_ in self.each_upstream().items():
            up.add_metric((name,), float(open_))
        yield up
        build = GaugeMetricFamily("kurol_build_info", "The version.", labels=("version",))
        build.add_metric((__version__,), 1)
        yield build

    def render(self) -> bytes:
        """Return the text format of everything."""
        return generate_latest(self.registry)

    def _families(self) -> Iterable[Counter | Histogram]:
        return (
            self.requests,
            self.rejections,
            self.tokens,
            self.estimated,
            self.wasted,
            self.clamped,
            self.dropped,
            self.upstream_requests,
            self.client_disconnects,
            self.duration,
            self.first_token,
            self.per_token,
            self.overhead,
        )

"""Figures for Prometheus, taken when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from blathy.headend.head_end import HeadEnd


class HeadEndMetrics(Collector):
    """No names or addresses of customers, only counts."""

    def __init__(self, head: HeadEnd) -> None:
        self._head = head

    def collect(self) -> Iterator[Metric]:
        head = self._head
        meters = GaugeMetricFamily("blathy_meters", "Meters by standing", labels=["standing"])
        for name, count in head.situation.standing().items():
            meters.add_metric([name], count)
        yield meters
        talks = CounterMetricFamily(
            "blathy_conversations", "Conversations by outcome", labels=["outcome"]
        )
        for outcome, count in head.collector.outcomes.items():
            talks.add_metric([outcome], count)
        yield talks
        pushes = CounterMetricFamily("blathy_pushes", "Pushes by outcome", labels=["outcome"])
        for outcome, count in head.pushes.counters.items():
            pushes.add_metric([outcome], count)
        yield pushes
        for name, text, value in (
            ("blathy_open_lines", "Associations open now", head.collector.lines.open_count),
            ("blathy_stream_listeners", "Open event streams", head.hub.listeners),
            ("blathy_watched_points", "Points polled for a listener", head.hub.watched),
        ):
            yield GaugeMetricFamily(name, text, value=value)

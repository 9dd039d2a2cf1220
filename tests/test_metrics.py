"""The text format, read back by the official client's parser."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from homeport.metrics import Counter, Gauge, Histogram, Registry, Sampled


def samples(registry: Registry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(registry.render().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_counts_and_levels_read_back_as_they_are() -> None:
    registry = Registry()
    counter = Counter("requests_total", "Requests,\nwith a \\ in the help.", ("path", "code"))
    gauge = Gauge("open", "What is open.")
    registry.add(counter, gauge, Sampled("read_off", "On demand.", ("name",), lambda: [(("b",), 2), (("a",), 1.5)]))
    counter.add(('/say "hi"\n', "200"))
    counter.add(('/say "hi"\n', "200"), 2)
    gauge.add((), 3)
    gauge.add((), -1)
    found = samples(registry)
    assert found[("requests_total", (("code", "200"), ("path", '/say "hi"\n')))] == 3
    assert found[("open", ())] == 2
    assert found[("read_off", (("name", "a"),))] == 1.5
    gauge.set((), 7)
    assert samples(registry)[("open", ())] == 7


def test_a_histogram_counts_what_is_at_or_below_each_bound() -> None:
    registry = Registry()
    histogram = Histogram("seconds", "How long.", ("verb",), (0.1, 1, 10))
    registry.add(histogram)
    for value in (0.05, 0.1, 0.5, 100):
        histogram.observe(("GET",), value)
    found = samples(registry)
    buckets = {dict(labels)["le"]: value for (name, labels), value in found.items() if name == "seconds_bucket"}
    assert buckets == {"0.1": 2, "1": 3, "10": 3, "+Inf": 4}
    assert found[("seconds_count", (("verb", "GET"),))] == histogram.count(("GET",)) == 4
    assert found[("seconds_sum", (("verb", "GET"),))] == pytest.approx(100.65)


def test_a_name_is_taken_once() -> None:
    registry = Registry()
    registry.add(Gauge("open", ""))
    with pytest.raises(ValueError, match="open"):
        registry.add(Gauge("open", ""))

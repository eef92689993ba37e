"""Metrics of moves and checks for Prometheus, named after KubeVirt's.

Labels are bounded: no guest, viewer or trial has one of its own.
``docs/live.md`` lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from whimbrel.events import FIGURES, PLANNED, PREDICTED, TRIAL_DONE, WATCHED, Published, Sample
from whimbrel.live.picture import Picture, rate
from whimbrel.records.trial import Event

_PREFIX = "whimbrel_migration_"
_PAGE_BYTES = 4096
# More checks than these share one label.
_MOST_CHECKS = 100
_OTHERS = "others"
_PHASE_BUCKETS_S = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
_LATENCY_BUCKETS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)
# By how each observer calls it in a record's figures, in ms.
_GAPS = {"qemu_downtime_ms": "downtime", "blackout_ms": "blackout", "reachability_gap_ms": "reachability_gap",
         "service_gap_ms": "service_gap"}  # fmt: skip
_OF_THE_JOB = ("data_processed_bytes", "data_remaining_bytes", "data_total_bytes", "dirty_memory_rate_bytes",
               "memory_transfer_rate_bytes", "disk_remaining_bytes")  # fmt: skip
_PREDICTED_S = ("total_s", "downtime_s", "blackout_s", "reachability_gap_s", "service_gap_s")


class Metrics:
    """Folds what is published into a registry, once ``picture`` has taken it; a figure that is not known has no sample.

    ``offset_ns`` is the wall clock less the monotonic clock.
    """

    def __init__(self, picture: Picture, offset_ns: int) -> None:
        self.registry = CollectorRegistry()
        self._offset_ns = offset_ns
        self._picture = picture
        self._told: set[str] = set()
        self._campaign = False
        self._job: Mapping[str, Any] | None = None
        self._gauges: dict[str, Gauge] = {}
        self._phases = Histogram(_PREFIX + "phase_duration_seconds", "Length of each phase of a move, once it has ended.",
                                 ["phase"], buckets=_PHASE_BUCKETS_S, registry=self.registry)  # fmt: skip
        self._succeeded = Counter(_PREFIX + "succeeded", "Moves, trials and commands that ended well.",
                                  registry=self.registry)  # fmt: skip
        self._failed = Counter(_PREFIX + "failed", "Moves that did not.", ["result"], registry=self.registry)
        self._requests = Counter("whimbrel_check_requests", "Questions of each check, by what became of them.",
                                 ["check", "result"], registry=self.registry)  # fmt: skip
        self._latency = Histogram("whimbrel_check_latency_seconds", "Time from when a question was due until its good answer.",
                                  ["check"], buckets=_LATENCY_BUCKETS_S, registry=self.registry)  # fmt: skip
        self._dropped = Gauge("whimbrel_instrument_dropped_readings", "Readings that an instrument could not hand on.",
                              ["instrument"], registry=self.registry)  # fmt: skip
        self._lateness = Gauge("whimbrel_instrument_lateness_seconds", "How late the last look of an instrument was.",
                               ["instrument"], registry=self.registry)  # fmt: skip
        self._checks: dict[str, str] = {}

    def take(self, news: Published) -> None:
        """Takes in one event or sample."""
        if isinstance(news, Sample):
            self._take_sample(news)
            return
        if news.name == WATCHED:
            self._told, self._job = set(), None
            self._forget(*_OF_THE_JOB, "end_time_seconds")
        elif news.name == "move called":
            self._set("start_time_seconds", "When the last move was called, in seconds since 1970.",
                      (news.seen_ns + self._offset_ns) / 1e9)  # fmt: skip
        elif news.name == "move returned":
            self._set("end_time_seconds", "When the last move returned, in seconds since 1970.",
                      (news.seen_ns + self._offset_ns) / 1e9)  # fmt: skip
            # A command's that only ``watch`` has started: of a trial the campaign tells.
            if "exit_code" in news.data and not self._campaign:
                self._count("failed" if news.data["exit_code"] else "moved", not news.data["exit_code"])
        elif news.name == PLANNED:
            self._campaign = True
        elif news.name == TRIAL_DONE:
            self._count(news.data["result"], news.data["succeeded"])
        elif news.name == FIGURES:
            self._take_figures(news)
        elif news.name == PREDICTED:
            self._take_prediction(news)
        self._note_phases()

    def _set(self, name: str, words: str, value: float | None, **labels: str) -> None:
        """A gauge that is made with its first value, and goes when it is not known any more."""
        if value is None:
            self._forget(name)
            return
        gauge = self._gauges.get(name)
        if gauge is None:
            gauge = self._gauges[name] = Gauge(_PREFIX + name, words, list(labels), registry=self.registry)
        (gauge.labels(**labels) if labels else gauge).set(value)

    def _forget(self, *names: str) -> None:
        for name in names:
            gauge = self._gauges.pop(name, None)
            if gauge is not None:
                self.registry.unregister(gauge)

    def _count(self, result: str, succeeded: bool) -> None:
        if succeeded:
            self._succeeded.inc()
        else:
            self._failed.labels(result=result).inc()

    def _note_phases(self) -> None:
        for phase in self._picture.phases():
            length_s = phase.length_s
            if length_s is not None and length_s >= 0 and phase.name not in self._told:
                self._told.add(phase.name)
                self._phases.labels(phase=phase.name).observe(length_s)

    def _take_figures(self, event: Event) -> None:
        for key, name in _GAPS.items():
            value_ms = event.data.get(key)
            self._set(f"{name}_seconds", f"The {name.replace('_', ' ')} of the last move: docs/measuring.md defines it.",
                      None if value_ms is None else value_ms / 1000)  # fmt: skip

    def _take_prediction(self, event: Event) -> None:
        for key in (*_PREDICTED_S, "sent_bytes"):
            expected = event.data.get(key)
            name = f"predicted_{key.removesuffix('_s')}_seconds" if key.endswith("_s") else f"predicted_{key}"
            for bound, value in (expected or {}).items():
                self._set(name, "What was predicted of the last move, and its bounds.", value, bound=bound)

    def _take_sample(self, sample: Sample) -> None:
        values = sample.values
        if "dropped" in values:
            self._dropped.labels(instrument=sample.source).set(values["dropped"])
        if values.get("lateness_s") is not None:
            self._lateness.labels(instrument=sample.source).set(values["lateness_s"])
        if sample.source == "job":
            self._take_job(values)
        elif sample.source == "checks":
            self._take_checks(values)

    def _take_job(self, row: Mapping[str, Any]) -> None:
        before, self._job = self._job, row
        dirty = row["dirty_pages_per_s"]
        span_s = 0.0 if before is None else (row["t_ns"] - before["t_ns"]) / 1e9
        sent_per_s = rate(before["transferred_bytes"], row["transferred_bytes"], span_s) if before and span_s > 0 else None
        self._set("data_processed_bytes", "Memory sent so far, by libvirt.", row["transferred_bytes"])
        self._set("data_remaining_bytes", "Memory still to be sent, by libvirt.", row["remaining_bytes"])
        self._set("data_total_bytes", "Memory of the guest, by libvirt.", row["total_bytes"])
        self._set("dirty_memory_rate_bytes", "Memory that the guest dirties each second, by QEMU.",
                  None if dirty is None else dirty * _PAGE_BYTES)  # fmt: skip
        self._set("memory_transfer_rate_bytes", "Memory sent each second.", sent_per_s)
        self._set("disk_remaining_bytes", "Disk still to be copied, by libvirt.", row.get("disk_remaining_bytes"))

    def _take_checks(self, values: Mapping[str, Any]) -> None:
        for name, results in values["results"].items():
            check = self._label(name)
            for result, count in results.items():
                self._requests.labels(check=check, result=result).inc(count)
        for name, latencies_s in values["latencies_s"].items():
            histogram = self._latency.labels(check=self._label(name))
            for latency_s in latencies_s:
                histogram.observe(latency_s)

    def _label(self, name: str) -> str:
        if name not in self._checks and len(self._checks) < _MOST_CHECKS:
            self._checks[name] = name
        return self._checks.get(name, _OTHERS)

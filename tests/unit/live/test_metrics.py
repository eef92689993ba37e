"""Metrics say what was published, in words that Prometheus takes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import exposition as prometheus
from prometheus_client.openmetrics import exposition
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.prometheus import program
from tests.unit.live.test_picture import END, MOVE, OFFSET_NS, S, job, told
from whimbrel.events import FIGURES, PLANNED, PREDICTED, TRIAL_DONE, WATCHED, Published, Sample
from whimbrel.live.metrics import Metrics
from whimbrel.live.picture import Picture

PREFIX = "whimbrel_migration_"


def metrics(*news: Published) -> Metrics:
    picture = Picture("", 0, OFFSET_NS)
    found = Metrics(picture, OFFSET_NS)
    for each in news:
        picture.take(each)
        found.take(each)
    return found


def value(found: Metrics, name: str, **labels: str) -> float | None:
    return found.registry.get_sample_value(name, labels)


def checks(t_s: float, results: dict[str, Any], latencies_s: dict[str, Any]) -> Sample:
    return Sample("checks", round(t_s * S), {"results": results, "latencies_s": latencies_s, "states": {}})


def bounds(least: float, middle: float, most: float) -> dict[str, float]:
    return {"least": least, "middle": middle, "most": most}


WHOLE: list[Published] = [
    told(9, PREDICTED, total_s=bounds(3.0, 4.0, 6.0), sent_bytes=bounds(1, 2, 3), rest_s=1.0),
    *MOVE,
    job(12, 1000, 9000, 2),
    job(13, 3000, 7000, 2),
    *END,
    told(16, FIGURES, total_s=4.6, qemu_downtime_ms=200, blackout_ms=250.0, reachability_gap_ms=None, service_gap_ms=300.0),
    told(16, TRIAL_DONE, order=1, arm="web", result="moved", succeeded=True, error=None),
    told(17, TRIAL_DONE, order=1, arm="web", result="unsafe", succeeded=False, error="x"),
    Sample("probe", 18 * S, {"sent": 1, "answered": 1, "last_answer_ns": 1, "dropped": 4}),
    checks(19, {"shop": {"good": 3, "timeout": 1}}, {"shop": [0.002, 0.002, 0.5]}),
    checks(20, {"shop": {"good": 2}}, {"shop": [0.002, 0.002]}),
]  # fmt: skip


def test_a_move_under_way_is_told_by_kubevirts_names() -> None:
    found = metrics(*WHOLE)
    assert value(found, PREFIX + "data_processed_bytes") == 3000
    assert value(found, PREFIX + "data_remaining_bytes") == 7000
    assert value(found, PREFIX + "data_total_bytes") == 10_000
    assert value(found, PREFIX + "dirty_memory_rate_bytes") == 2 * 4096
    assert value(found, PREFIX + "memory_transfer_rate_bytes") == 2000
    # By the wall clock.
    assert value(found, PREFIX + "start_time_seconds") == 1011
    assert value(found, PREFIX + "end_time_seconds") == 1015.6


def test_each_phase_is_observed_once_by_its_length() -> None:
    found = metrics(*WHOLE)
    for phase, length_s in {"reservation": 0.5, "pre-copy": 3.4, "stop-and-copy": 0.25}.items():
        assert value(found, PREFIX + "phase_duration_seconds_count", phase=phase) == 1
        assert value(found, PREFIX + "phase_duration_seconds_sum", phase=phase) == pytest.approx(length_s)
    # It was not seen to end.
    assert value(found, PREFIX + "phase_duration_seconds_count", phase="commitment") is None
    assert value(metrics(*WHOLE, *WHOLE), PREFIX + "phase_duration_seconds_count", phase="pre-copy") == 2


def test_ends_gaps_and_predictions_are_told_in_seconds() -> None:
    found = metrics(*WHOLE)
    assert value(found, PREFIX + "succeeded_total") == 1
    assert value(found, PREFIX + "failed_total", result="unsafe") == 1
    assert value(found, PREFIX + "downtime_seconds") == 0.2
    assert value(found, PREFIX + "blackout_seconds") == 0.25
    assert value(found, PREFIX + "service_gap_seconds") == 0.3
    # What is not known is not 0.
    assert value(found, PREFIX + "reachability_gap_seconds") is None
    assert value(found, PREFIX + "predicted_total_seconds", bound="most") == 6
    assert value(found, PREFIX + "predicted_sent_bytes", bound="middle") == 2
    assert value(found, "whimbrel_instrument_dropped_readings", instrument="probe") == 4


def test_what_the_last_move_took_does_not_stay_for_one_of_which_it_is_unknown() -> None:
    found = metrics(*WHOLE, told(30, FIGURES, qemu_downtime_ms=None, blackout_ms=1.0))
    assert value(found, PREFIX + "downtime_seconds") is None
    assert value(found, PREFIX + "blackout_seconds") == 0.001


def test_the_next_move_begins_without_the_figures_of_the_one_before() -> None:
    found = metrics(*WHOLE, told(30, WATCHED, source="east", destination="north"))
    assert value(found, PREFIX + "data_remaining_bytes") is None
    assert value(found, PREFIX + "end_time_seconds") is None
    assert value(found, PREFIX + "blackout_seconds") == 0.25


def test_checks_are_counted_by_result_and_timed() -> None:
    found = metrics(*WHOLE)
    assert value(found, "whimbrel_check_requests_total", check="shop", result="good") == 5
    assert value(found, "whimbrel_check_requests_total", check="shop", result="timeout") == 1
    assert value(found, "whimbrel_check_latency_seconds_bucket", check="shop", le="0.003") == 4
    assert value(found, "whimbrel_check_latency_seconds_count", check="shop") == 5


def test_labels_are_bounded() -> None:
    found = metrics(checks(1, {f"check {number}": {"good": 1} for number in range(150)}, {}))
    labels = {
        sample.labels["check"] for family in found.registry.collect() for sample in family.samples if "check" in sample.labels
    }
    assert len(labels) == 101
    assert value(found, "whimbrel_check_requests_total", check="others", result="good") == 50


def test_the_text_is_open_metrics() -> None:
    found = metrics(*WHOLE, checks(30, {'a "name"\nof\\others': {"good": 1}}, {}))
    text = exposition.generate_latest(found.registry).decode()  # type: ignore[no-untyped-call]
    families = list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
    assert {family.name for family in families} > {PREFIX + "blackout_seconds", "whimbrel_check_requests"}
    assert all(family.documentation for family in families)
    for family in families:
        assert family.name.startswith("whimbrel_")


DOCS = Path(__file__).parents[3] / "docs"


def disk(t_s: float) -> Sample:
    row = job(t_s, 3000, 7000, 2)
    return Sample("job", row.t_ns, {**row.values, "disk_remaining_bytes": 5})


def test_each_instrument_says_how_late_it_was_the_last_time() -> None:
    late = metrics(
        Sample("player", S, {"viewer": [], "arrived_ns": [], "lateness_s": 0.1, "dropped": 0}),
        Sample("player", 2 * S, {"viewer": [], "arrived_ns": [], "lateness_s": 0.02, "dropped": 0}),
        Sample("probe", 2 * S, {"sent": 1, "answered": 1, "last_answer_ns": 1, "lateness_s": 0.003, "dropped": 0}),
        # It has not been late yet, which is not 0.
        Sample("hls player", 2 * S, {"viewer": [], "arrived_ns": [], "lateness_s": None, "dropped": 0}),
    )
    name = "whimbrel_instrument_lateness_seconds"
    assert [value(late, name, instrument=each) for each in ("player", "probe", "hls player")] == [0.02, 0.003, None]


def test_a_command_that_makes_a_move_is_counted_once_whether_a_trial_or_not() -> None:
    def command(exit_code: int) -> list[Published]:
        begun = told(10, WATCHED, source=None, destination=None, traceparent=None)
        return [begun, told(11, "move called"), told(13, "move returned", exit_code=exit_code)]

    watched = metrics(*command(0), *command(3), *command(0)).registry.get_sample_value
    assert watched("whimbrel_migration_succeeded_total") == 2
    assert watched("whimbrel_migration_failed_total", {"result": "failed"}) == 1
    assert watched("whimbrel_migration_phase_duration_seconds_sum", {"phase": "command"}) == 6
    assert watched("whimbrel_migration_start_time_seconds") == 1011
    done = told(17, TRIAL_DONE, order=1, arm="vm", result="moved", succeeded=True, error=None)
    trial = metrics(told(9, PLANNED, trials=[]), *command(0), *command(0), done).registry.get_sample_value
    assert trial("whimbrel_migration_succeeded_total") == 1


def families() -> set[str]:
    """The names of all that is told, as they are exposed."""
    gaps = dict.fromkeys(("qemu_downtime_ms", "blackout_ms", "reachability_gap_ms", "service_gap_ms"), 1.0)
    keys = ("total_s", "downtime_s", "blackout_s", "reachability_gap_s", "service_gap_s", "sent_bytes")
    everything = metrics(
        *MOVE, job(12, 1000, 9000, 2), disk(13), *END, told(16, FIGURES, **gaps),
        told(17, PREDICTED, **{key: bounds(1, 2, 3) for key in keys}),
        Sample("sampler", 18 * S, {"t_ns": 18 * S, "subject": "north", "cpu_s": 1.0, "memory_bytes": 1, "lateness_s": 0.1,
                                   "dropped": 0, "net_received_bytes": 0, "net_sent_bytes": 0, "disk_read_bytes": 0,
                                   "disk_written_bytes": 0}),
    )  # fmt: skip
    return {family.name + ("_total" if family.type == "counter" else "") for family in everything.registry.collect()}


def test_the_page_of_the_docs_lists_what_is_told_and_nothing_else() -> None:
    listed = set(re.findall(r"^\| `(whimbrel_\w+)` \|", (DOCS / "live.md").read_text(), re.MULTILINE))
    assert listed == families()


def test_the_dashboard_asks_for_what_is_told() -> None:
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
    asked = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"whimbrel_\w+", target["expr"])
    }
    assert asked <= families()
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]}
    assert len(places) == len(dashboard["panels"])


def test_grafana_knows_every_field_of_the_dashboard() -> None:
    """Read into Grafana's own model of a dashboard and written again, nothing is lost and nothing has changed."""
    register_default_plugins()
    raw = json.loads((DOCS / "grafana-dashboard.json").read_text())
    written = json.loads(JSONEncoder().encode(Dashboard.from_json(raw)))
    assert unknown(raw, written) == []


def unknown(given: Any, written: Any, where: str = "") -> list[str]:
    """Where what was given is not what was written; what was added by default does not matter."""
    if isinstance(given, dict) and isinstance(written, dict):
        return [found for key, value in given.items() for found in unknown(value, written.get(key), f"{where}/{key}")]
    if isinstance(given, list) and isinstance(written, list) and len(given) == len(written):
        return [found for at, pair in enumerate(zip(given, written, strict=True)) for found in unknown(*pair, f"{where}/{at}")]
    return [] if given == written else [f"{where}: {given!r}"]


@pytest.mark.long
def test_promtool_finds_nothing_to_mend() -> None:
    text = prometheus.generate_latest(metrics(*WHOLE).registry)
    done = subprocess.run([program("promtool"), "check", "metrics"], input=text, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")

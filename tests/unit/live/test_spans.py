"""Traces: a span per move with its phases and rounds within it, as long as the record says, linked to the campaign."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from tests.unit.live.test_picture import END, MOVE, OFFSET_NS, S, job, qemu, told
from whimbrel.events import FIGURES, PLANNED, TRIAL_BEGUN, TRIAL_DONE, WATCHED, Published
from whimbrel.live.picture import Picture
from whimbrel.live.spans import Spans
from whimbrel.trace_parent import TraceParent

CALLER = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


def spans_of(*news: Published, parent: str | None = None) -> tuple[TraceParent, list[ReadableSpan]]:
    exporter = InMemorySpanExporter()
    picture = Picture("", 0, OFFSET_NS)
    within = TraceParent.read(parent)
    root = within.within() if within is not None else TraceParent.new()
    spans = Spans(picture, OFFSET_NS, exporter, "migrate web", root, within)
    for each in news:
        picture.take(each)
        spans.take(each)
    spans.end()
    return root, list(exporter.get_finished_spans())


def named(spans: list[ReadableSpan]) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans}


def ids(span: ReadableSpan) -> tuple[str, str, str | None]:
    context = span.get_span_context()
    assert context is not None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}", f"{span.parent.span_id:016x}" if span.parent else None


def seconds(span: ReadableSpan) -> tuple[float, float]:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.start_time - OFFSET_NS) / S, (span.end_time - OFFSET_NS) / S


MOVED: list[Published] = [
    *MOVE, qemu(13, "north", "MIGRATION_PASS", **{"pass": 3}), told(13.5, "pause limit", seconds=0.3), job(14, 1, 2), *END,
    told(16, FIGURES, blackout_ms=250.0, service_gap_ms=None),
    told(16, TRIAL_DONE, order=1, arm="web", result="moved", succeeded=True, error=None),
]  # fmt: skip


def test_phases_and_rounds_are_within_their_move_and_as_long_as_they_were() -> None:
    root, spans = spans_of(*MOVED)
    found = named(spans)
    assert ids(found["whimbrel migrate web"]) == (root.trace_id, root.span_id, None)
    move = found["whimbrel.move"]
    assert ids(move)[0] == root.trace_id
    assert ids(move)[2] == root.span_id
    assert seconds(move) == (11, 15.6)
    for phase, length in {"reservation": (11, 11.5), "pre-copy": (11.6, 15), "stop-and-copy": (15, 15.25)}.items():
        assert seconds(found[f"whimbrel.{phase}"]) == pytest.approx(length)
        assert ids(found[f"whimbrel.{phase}"])[2] == ids(move)[1]
    rounds = [span for span in spans if span.name == "whimbrel.round"]
    assert [(span.attributes or {})["whimbrel.round"] for span in rounds] == [2, 3]
    assert [seconds(span) for span in rounds] == [(12, 13), (13, 15)]
    assert {ids(span)[2] for span in rounds} == {ids(found["whimbrel.pre-copy"])[1]}
    # It was not seen to end.
    assert "whimbrel.commitment" not in found


def test_steps_are_events_and_figures_attributes() -> None:
    _, spans = spans_of(*MOVED)
    move = named(spans)["whimbrel.move"]
    assert [(event.name, event.attributes) for event in move.events] == [
        ("move called", {}), ("pause limit", {"seconds": 0.3}), ("move returned", {}),
    ]  # fmt: skip
    assert move.attributes == {"whimbrel.source": "north", "whimbrel.destination": "east", "whimbrel.result": "moved",
                               "whimbrel.blackout_ms": 250.0}  # fmt: skip


def test_trials_are_traces_of_their_own_that_are_linked_to_their_campaign() -> None:
    trial = told(10, TRIAL_BEGUN, order=1, arm="vm", scenario="vm", block=1)
    failed = told(17, TRIAL_DONE, order=1, arm="vm", result="failed", succeeded=False, error="the link died\nmore")
    root, spans = spans_of(told(9, PLANNED, trials=[]), trial, *MOVE, *END, failed, trial, *MOVED)
    moves = [span for span in spans if span.name == "whimbrel.move"]
    assert len({ids(move)[0] for move in moves} | {root.trace_id}) == 3
    for move in moves:
        assert ids(move)[2] is None
        [link] = move.links
        assert f"{link.context.trace_id:032x}" == root.trace_id
        assert (move.attributes or {})["whimbrel.arm"] == "vm"
    assert (moves[0].status.status_code, moves[0].status.description) == (StatusCode.ERROR, "the link died")
    assert moves[1].status.status_code is StatusCode.UNSET


def commanded(span: TraceParent, exit_code: int) -> list[Published]:
    return [told(10, WATCHED, source=None, destination=None, traceparent=str(span)), told(11, "move called"),
            told(13, "move returned", exit_code=exit_code)]  # fmt: skip


def test_a_command_has_the_span_that_it_was_told_of() -> None:
    within = TraceParent.new()
    there, back = within.within(), TraceParent.new()
    root, spans = spans_of(*commanded(there, 0), *commanded(back, 3))
    moves = [span for span in spans if span.name == "whimbrel.move"]
    assert [ids(move)[1] for move in moves] == [there.span_id, back.span_id]
    assert [seconds(move) for move in moves] == [(11, 13), (11, 13)]
    assert {ids(move)[2] for move in moves} == {root.span_id}
    assert [(move.attributes or {})["whimbrel.exit_code"] for move in moves] == [0, 3]
    assert (moves[1].status.status_code, moves[1].status.description) == (StatusCode.ERROR, "the command ended with 3")
    assert {span.name for span in spans} == {"whimbrel.move", "whimbrel migrate web"}


def test_a_command_of_a_campaign_is_in_the_trace_that_it_was_told_of() -> None:
    trial = told(10, TRIAL_BEGUN, order=1, arm="vm", scenario="vm", block=1)
    done = told(17, TRIAL_DONE, order=1, arm="vm", result="moved", succeeded=True, error=None)
    span = TraceParent.new()
    root, spans = spans_of(told(9, PLANNED, trials=[]), trial, *commanded(span, 0), done)
    [move] = [each for each in spans if each.name == "whimbrel.move"]
    assert ids(move) == (span.trace_id, span.span_id, None)
    assert f"{move.links[0].context.trace_id:032x}" == root.trace_id
    assert (move.attributes or {})["whimbrel.arm"] == "vm"


def test_whoever_calls_us_has_us_within_his_trace() -> None:
    root, spans = spans_of(*MOVED, parent=CALLER)
    assert ids(named(spans)["whimbrel migrate web"]) == ("0123456789abcdef" * 2, root.span_id, "0123456789abcdef")
    assert str(root) == f"00-{'0123456789abcdef' * 2}-{root.span_id}-01"


@pytest.mark.parametrize("change", [
    lambda text: "", lambda text: text[:-1], lambda text: text.replace("00-", "ff-", 1), lambda text: text.upper(),
    lambda text: f"00-{'0' * 32}-0123456789abcdef-01", lambda text: f"00-{'1' * 32}-{'0' * 16}-01",
])  # fmt: skip
def test_what_is_no_traceparent_is_none(change: Callable[[str], str]) -> None:
    assert TraceParent.read(change(CALLER)) is None
    assert TraceParent.read(None) is None


def test_whether_it_is_sampled_is_handed_on() -> None:
    found = TraceParent.read(CALLER[:-2] + "00")
    assert found is not None
    assert str(found.within()).endswith("-00")

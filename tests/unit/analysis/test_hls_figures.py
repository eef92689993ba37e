"""Figures of HLS viewers from their log and their events, of records old and new."""

from __future__ import annotations

import polars as pl

from tests.campaigns import RECORDED
from whimbrel.analysis.figures import derive
from whimbrel.analysis.viewers import HlsFigure
from whimbrel.records.series import SEGMENTS_SCHEMA
from whimbrel.records.store import CampaignFolder
from whimbrel.records.trial import Event, TrialRecord
from whimbrel.report.export import tables_of
from whimbrel.report.load import ReportedTrial

SECOND = 1_000_000_000
# What older players wrote.
OLD = ("viewer", "position", "length_s", "asked_ns", "arrived_ns", "status", "bytes")
BOTH, SOUND = 3, 2


def record_of_vm() -> TrialRecord:
    trial = next(trial for trial in CampaignFolder.open(RECORDED).trials() if trial.record.plan.scenario == "vm")
    return trial.record.model_copy(update={"plan": trial.record.plan.model_copy(update={"hls_viewers": 1})})


def row(
    position: int, arrived_s: float, status: int = 200, tracks: int | None = BOTH, missing: bool = False
) -> tuple[object, ...]:
    arrived_ns = round(arrived_s * SECOND)
    return (1, 0, 0, position, 2.0, arrived_ns - SECOND // 10, arrived_ns, status, 1000, tracks, missing)


def segments(*rows: tuple[object, ...]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=SEGMENTS_SCHEMA, orient="row")


def said(name: str, at_s: float) -> Event:
    data = {} if name == "stopped" else {"viewer": 1}
    return Event(source="hls player", host=None, name=name, realtime_ns=None, seen_ns=round(at_s * SECOND), data=data)


def figure(frame: pl.DataFrame, *events: Event) -> HlsFigure:
    record = record_of_vm()
    record = record.model_copy(update={"events": [event for event in record.events if event.source != "player"] + list(events)})
    [found] = derive(record, {"segments": frame}).hls_viewers
    return found


FILM = [row(0, 10), row(1, 10.2), row(2, 10.4)]


def test_a_viewer_that_stands_still_at_the_end_is_seen_without_rtmp_viewers_beside_it() -> None:
    # Six seconds are held at 10.4 s, and nothing more comes until its player is stopped.
    found = figure(segments(*FILM), said("playing", 10), said("stopped", 30))
    assert (found.stalled_at_end, found.stalled_s, found.stalling_mos) == (True, None, None)
    assert found.stalled_at_least_s is not None
    assert round(found.stalled_at_least_s, 3) == 13.6


def test_what_is_late_missing_failed_and_lost_is_told_apart() -> None:
    rows = [row(3, 11, 404, 0), row(3, 11.1, 0, 0, missing=True), row(4, 25), row(5, 26), row(6, 27, 200, 0), row(6, 28)]
    found = figure(segments(*FILM, *rows), said("lost", 24), said("stopped", 28.5))
    assert (found.segments, found.late, found.missing, found.missed_s, found.failed, found.connections_lost) == (
        6,
        1,
        1,
        2.0,
        2,
        1,
    )


def test_sound_alone_does_not_pass_for_the_film() -> None:
    rows = [row(position, 10 + 2 * position, tracks=SOUND) for position in range(3, 8)]
    assert figure(segments(*FILM, *rows), said("stopped", 24)).stalled_at_end


def test_older_records_are_read_as_they_were() -> None:
    older = segments(*FILM, row(3, 12), row(4, 13, 0), row(4, 14)).select(OLD)
    found = figure(older)
    assert (found.segments, found.failed, found.late, found.missing, found.missed_s) == (5, 1, 0, 0, 0)
    assert found.connections_lost is None
    assert found.stalling_mos == 5


def test_the_table_of_viewers_has_what_is_missing() -> None:
    trial = next(trial for trial in CampaignFolder.open(RECORDED).trials() if trial.record.plan.scenario == "vm")
    record = record_of_vm()
    figures = derive(record, {"segments": segments(*FILM, row(3, 11, 0, 0, missing=True))})
    stored = type(trial)(trial.folder, record)
    [written] = tables_of("x", [ReportedTrial(stored, figures)])["viewers"].filter(pl.col("protocol") == "hls").to_dicts()
    assert (written["segments"], written["missing_segments"], written["missed_s"], written["connections_lost"]) == (
        3,
        1,
        2.0,
        None,
    )

"""Stalls in VLC, from rows with a known truth."""

from __future__ import annotations

import polars as pl
import pytest

from tests.unit.analysis.test_hls_figures import record_of_vm
from whimbrel.analysis.counting import Trialled
from whimbrel.analysis.figures import derive
from whimbrel.analysis.summary import summarise
from whimbrel.analysis.vlc import VlcFigure
from whimbrel.records.series import VLC_SCHEMA
from whimbrel.records.trial import Event, TrialRecord
from whimbrel.report.table import main_table

SECOND = 1_000_000_000
# VLC's counters are new every third time that it is asked.
COUNTED_S, ASKED_S = 0.3, 0.1
OPENED_S = -10.0


def record(*events: Event) -> TrialRecord:
    found = record_of_vm()
    plan = found.plan.model_copy(update={"vlc_viewers": 1, "hls_viewers": 0})
    return found.model_copy(update={"plan": plan, "events": [*found.events, *events]})


def at_ns(since_call_s: float) -> int:
    move = record_of_vm().move
    assert move is not None
    return move.called_ns + round(since_call_s * SECOND)


def said(name: str, at_s: float) -> Event:
    data = {} if name == "stopped" else {"viewer": 1}
    return Event(source="vlc player", host=None, name=name, realtime_ns=None, seen_ns=at_ns(at_s), data=data)


def rows(until_s: float, *standing: tuple[float, float]) -> pl.DataFrame:
    """What a VLC would say that plays 25 pictures a second from 1 s after it opened the stream, but while it stands still."""
    found = []
    for look in range(round((until_s - OPENED_S) / ASKED_S) + 1):
        counted_s = look // 3 * COUNTED_S
        stood_s = sum(max(0.0, min(OPENED_S + counted_s, to_s) - from_s) for from_s, to_s in standing)
        pictures = max(0, round((counted_s - 1 - stood_s) * 25))
        found.append((1, 0, at_ns(OPENED_S + look * ASKED_S), pictures, 3 if pictures else 0, pictures, 0))
    return pl.DataFrame(found, schema=VLC_SCHEMA, orient="row")


def figure(frame: pl.DataFrame, *events: Event) -> VlcFigure:
    [found] = derive(record(said("connecting", OPENED_S), *events), {"vlc": frame}).vlc_viewers
    return found


def test_a_film_that_is_played_through_has_no_stall() -> None:
    found = figure(rows(8))
    assert (found.stalls, found.longest_stall_s, found.stalled_at_end, found.stalled_s) == (0, 0.0, False, 0)
    assert found.resolution_s == pytest.approx(COUNTED_S, abs=0.001)
    assert found.startup_s == pytest.approx(1.2, abs=0.001)
    assert (found.pictures_lost, found.sounds_lost, found.connections_lost) == (3, 0, 0)


def test_stalls_are_known_to_within_the_resolution() -> None:
    # The first had ended before the move was called, and is none of the move's.
    found = figure(rows(12, (-4.0, -2.5), (1.0, 4.0), (6.0, 7.5)))
    assert found.stalls == 2
    assert found.resolution_s == pytest.approx(COUNTED_S, abs=0.001)
    assert found.longest_stall_s == pytest.approx(3.0, abs=COUNTED_S)
    assert found.stalled_s == pytest.approx(4.5, abs=2 * COUNTED_S)
    assert found.stalling_mos is not None


def test_a_picture_that_still_stands_as_the_recording_ends_is_known_from_below() -> None:
    found = figure(rows(9, (2.0, 60.0)), said("stopped", 9))
    assert (found.stalled_at_end, found.longest_stall_s, found.stalled_s, found.stalling_mos) == (True, None, None, None)
    assert found.longest_stall_at_least_s == pytest.approx(7.0, abs=COUNTED_S)


def test_a_stream_that_was_opened_again_is_counted_from_there() -> None:
    before, after = rows(2), rows(8)
    again = after.filter(pl.col("t_ns") > at_ns(4)).with_columns(
        connection=pl.lit(1, pl.Int32), pictures=pl.col("pictures") - 300, pictures_lost=pl.lit(1, pl.Int64)
    )
    found = figure(pl.concat([before, again]), said("lost", 3))
    assert (found.stalls, found.connections_lost, found.pictures_lost) == (1, 1, 4)
    assert found.longest_stall_s == pytest.approx(2.1, abs=2 * COUNTED_S)


def test_one_that_never_showed_anything_has_no_stalls_to_speak_of() -> None:
    found = figure(rows(8).with_columns(pictures=pl.lit(0, pl.Int64)))
    assert (found.startup_s, found.longest_stall_s, found.stalling_mos, found.resolution_s) == (None, None, None, None)


def test_what_vlc_lost_is_not_lost_to_other_viewers() -> None:
    assert figure(rows(8), said("lost", 1)).connections_lost == 1
    lost = derive(record(said("lost", 1)), {"vlc": rows(8)})
    assert [viewer.connections_lost for viewer in lost.viewers] == [0] * len(lost.viewers)


@pytest.mark.parametrize(
    ("standing", "shown"), [((), "none"), (((1.0, 4.0),), "1 (longest 3.0 s)"), (((2.0, 60.0),), "1 (longest at least 6.")]
)
def test_the_table_says_how_often_and_how_long(standing: tuple[tuple[float, float], ...], shown: str) -> None:
    made = record(said("connecting", OPENED_S), said("stopped", 8))
    [arm] = summarise([Trialled(made, derive(made, {"vlc": rows(8, *standing)}))])
    table = main_table([arm], made.plan.scenario)
    told = dict(zip([column.heading for column in table.columns], table.lines[0], strict=True))
    assert told["stalls in VLC"].startswith(shown)
    assert told["viewers"] == "1 and 1 VLC"

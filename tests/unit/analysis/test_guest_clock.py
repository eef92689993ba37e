"""The guest's clock before and after a move, from readings of which the truth is known."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.campaigns import RECORDED
from whimbrel.analysis.figures import figures_of
from whimbrel.analysis.guest_clock import ClockFigures, clock_figures
from whimbrel.records.store import CampaignFolder, StoredTrial
from whimbrel.records.trial import GuestClockRead, GuestClockRecord, TrialRecord
from whimbrel.report.content import build_report
from whimbrel.report.export import tables_of
from whimbrel.report.layout import write_page
from whimbrel.report.load import ReportedTrial

MS = 1_000_000


@pytest.fixture
def stored() -> StoredTrial:
    return next(trial for trial in CampaignFolder.open(RECORDED).trials() if trial.record.plan.scenario == "vm")


def reading(record: TrialRecord, at_ns: int, off_ms: float, early_ms: float = 1.0, late_ms: float = 1.0) -> GuestClockRead:
    """Read at this moment by a guest whose clock is so far off ours."""
    wall_ns = record.clock_before.realtime_ns + (at_ns - record.clock_before.monotonic_ns)
    asked_ns, answered_ns = at_ns - round(early_ms * MS), at_ns + round(late_ms * MS)
    return GuestClockRead(guest_ns=wall_ns + round(off_ms * MS), asked_ns=asked_ns, answered_ns=answered_ns, reads=5)


def with_clock(record: TrialRecord, **reads: GuestClockRead) -> TrialRecord:
    # Of the recorded trial our two clocks drifted apart by a little, which is not what is asked here.
    drift_free = record.clock_before.realtime_ns - record.clock_before.monotonic_ns
    after = record.clock_after.model_copy(update={"realtime_ns": record.clock_after.monotonic_ns + drift_free})
    return record.model_copy(update={"guest_clock": GuestClockRecord(**reads), "clock_after": after})


def test_offsets_and_what_the_move_added(stored: StoredTrial) -> None:
    record = stored.record
    assert record.move is not None
    before = reading(record, record.move.called_ns - 5_000 * MS, 0.4)
    after = reading(record, record.move.returned_ns + 3_000 * MS, -311.6, early_ms=0.5, late_ms=2.5)
    then = reading(record, record.move.returned_ns + 3_100 * MS, -0.2, 0.5, 0.5)
    found = clock_figures(with_clock(record, before=before, after=after, after_setting=then))
    assert found.before_ms == pytest.approx(0.4, abs=0.001)
    # Answers came back more slowly than questions went: the truth lies within the half-width.
    assert found.after_ms == pytest.approx(-312.6, abs=0.001)
    assert found.set_ms == pytest.approx(-0.2, abs=0.001)
    assert found.error_ms == pytest.approx(1.5, abs=0.001)
    assert found.lag_ms == pytest.approx(313.0, abs=0.001)
    assert found.lag_error_ms == pytest.approx(2.5, abs=0.001)
    assert found.lag_error_ms is not None
    assert found.lag_ms is not None
    assert abs(found.lag_ms - 312.0) <= found.lag_error_ms


def test_a_step_of_our_own_clock_is_no_lag_of_the_guests(stored: StoredTrial) -> None:
    record = stored.record
    assert record.move is not None
    reads = {"before": reading(record, record.move.called_ns, 0.0), "after": reading(record, record.move.returned_ns, -20.0)}
    stepped = with_clock(record, **reads)
    later = stepped.clock_after.model_copy(update={"realtime_ns": stepped.clock_after.realtime_ns + 5_000 * MS})
    assert clock_figures(stepped.model_copy(update={"clock_after": later})).lag_ms == pytest.approx(20.0, abs=0.001)


def test_what_was_not_read_is_not_known(stored: StoredTrial) -> None:
    assert clock_figures(stored.record) == ClockFigures()
    assert stored.record.move is not None
    found = clock_figures(with_clock(stored.record, before=reading(stored.record, stored.record.move.called_ns, 7.0)))
    assert found.before_ms == pytest.approx(7.0, abs=0.001)
    assert (found.after_ms, found.set_ms, found.lag_ms, found.lag_error_ms) == (None, None, None, None)


def test_they_are_figures_of_the_trial_on_the_page_and_in_the_tables(tmp_path: Path, stored: StoredTrial) -> None:
    record = stored.record
    assert record.move is not None
    reads = {"before": reading(record, record.move.called_ns, 0.0), "after": reading(record, record.move.returned_ns, -20.0),
             "after_setting": reading(record, record.move.returned_ns + MS, 0.31)}  # fmt: skip
    folder = Path(shutil.copytree(RECORDED, tmp_path / "campaign"))
    file = folder / "trials" / stored.folder.name / "trial.json"
    file.write_text(with_clock(record, **reads).model_dump_json())
    report = build_report(CampaignFolder.open(folder))
    page = write_page(CampaignFolder.open(folder), report).read_text()
    assert "<td>20.0 ± 2.0, set: +0.3</td>" in page
    rows = tables_of("c", report.trials)["trials"]
    kept = next(row for row in rows.iter_rows(named=True) if row["scenario"] == "vm")
    assert kept["guest_clock_lag_ms"] == pytest.approx(20.0, abs=0.001)
    assert kept["guest_clock_set_ms"] == pytest.approx(0.31, abs=0.001)


def test_of_a_move_that_was_not_measured_no_lag_is_given(stored: StoredTrial) -> None:
    record = stored.record
    assert record.move is not None
    reads = {"before": reading(record, record.move.called_ns, 0.0), "after": reading(record, record.move.returned_ns, -20.0)}
    failed = with_clock(record, **reads).model_copy(
        update={"outcome": record.outcome.model_copy(update={"measured": False, "error": "no"})}
    )
    figures = figures_of(StoredTrial(stored.folder, failed))
    assert figures.guest_clock_lag_ms is None
    assert figures.guest_clock_after_ms == pytest.approx(-20.0, abs=0.001)
    assert ReportedTrial(stored, figures).figures.guest_clock_set_ms is None

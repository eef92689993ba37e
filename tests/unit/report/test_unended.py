"""A silence, or a stall, that had not ended with the recording: what is known is a lower bound, and that is no value."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tests.campaigns import RECORDED
from whimbrel.analysis.blocks import one_figure
from whimbrel.analysis.counting import Trialled
from whimbrel.analysis.evidence import figures_in, unended_in
from whimbrel.analysis.figures import TrialFigures, derive
from whimbrel.analysis.summary import Spread, summarise
from whimbrel.analysis.thresholds import ticks_of
from whimbrel.records.store import CampaignFolder, StoredTrial
from whimbrel.report.as_json import summary
from whimbrel.report.content import build_report
from whimbrel.report.export import tables_of
from whimbrel.report.layout import write_page
from whimbrel.report.load import ReportedTrial
from whimbrel.report.quantities import spoken, written
from whimbrel.report.table import main_table, show

SECOND = 1_000_000_000


@pytest.fixture
def campaign(tmp_path: Path) -> CampaignFolder:
    """The recorded one, whose streaming VM went silent 1.8 s before the probe ended, soon after the move."""
    folder = Path(shutil.copytree(RECORDED, tmp_path / "campaign"))
    found = CampaignFolder.open(folder)
    stored = vm_of(found.trials())
    assert stored.record.move is not None
    end_ns = stored.record.move.returned_ns + 2 * SECOND
    probe = stored.series("probe")
    assert probe is not None
    probe = probe.filter(pl.col("sent_ns") <= end_ns)
    last_ns = int(str(probe.get_column("sent_ns").max())) - round(1.8 * SECOND)
    silent = pl.when(pl.col("received_ns") <= last_ns).then(pl.col("received_ns"))
    probe.with_columns(received_ns=silent).write_parquet(stored.folder / "probe.parquet")
    return found


def vm_of(trials: Sequence[StoredTrial]) -> StoredTrial:
    return next(trial for trial in trials if trial.record.plan.scenario == "vm")


def figures_of_vm(campaign: CampaignFolder) -> TrialFigures:
    return next(trial.figures for trial in build_report(campaign).trials if trial.stored.record.plan.scenario == "vm")


def test_a_guest_silent_1800_ms_before_the_end_has_no_gap_but_a_bound(campaign: CampaignFolder) -> None:
    figures = figures_of_vm(campaign)
    assert figures.reachability_gap_ms is None
    assert figures.reachability_gap_at_least_ms == pytest.approx(1800, abs=10)
    assert figures.at_least("reachability_gap_ms") == figures.reachability_gap_at_least_ms
    assert figures.at_least("total_s") is None


def test_the_bound_is_in_table_page_summary_export_and_problems_and_never_a_value(campaign: CampaignFolder) -> None:
    report = build_report(campaign)
    bound_ms = figures_of_vm(campaign).reachability_gap_at_least_ms
    column = [column.heading for column in report.table.columns].index("reachability gap (ms)")
    cells = {line[0]: line[column] for line in report.table.lines}
    assert f"at least {bound_ms:.0f} in 1" in cells.values()
    assert f"at least {bound_ms:.0f} in 1" in write_page(campaign, report).read_text()
    (arm,) = [arm for arm in json.loads(json.dumps(summary(report, campaign.folder)))["arms"] if arm["scenario"] == "vm"]
    spread = arm["reachability_gap_ms"]
    assert (spread["known"], spread["median"], spread["unended"], spread["at_least"]) == (0, None, 1, bound_ms)
    trials = tables_of("c", report.trials)["trials"].filter(pl.col("scenario") == "vm")
    assert trials.select("reachability_gap_ms", "reachability_gap_at_least_ms").rows() == [(None, bound_ms)]
    assert any(f"the reachability gap is at least {bound_ms:.0f} ms" in line for line in report.problems)


def test_a_bound_is_no_figure_to_compare_and_is_told_of(campaign: CampaignFolder) -> None:
    trials = [trial.trialled for trial in build_report(campaign).trials]
    vm = [trial for trial in trials if trial.record.plan.scenario == "vm"]
    assert figures_in(vm, "reachability_gap_ms") == []
    assert unended_in(vm, "reachability_gap_ms") == 1
    assert unended_in(vm, "total_s") == 0


def test_a_limit_is_not_kept_by_a_bound_and_says_it(campaign: CampaignFolder) -> None:
    stored = vm_of(campaign.trials())
    spec = stored.record.spec.model_copy(update={"thresholds": {"reachability_gap_ms": {"max": "< 100000"}}})
    record = stored.record.model_copy(update={"spec": spec})
    (tick,) = ticks_of([Trialled(record, figures_of_vm(campaign))])
    assert (tick.kept, tick.value) == (False, None)
    assert tick.reason is not None
    assert "1 of 1 trials have no such figure; it is at least 1" in tick.reason


def test_known_ones_and_bounds_stand_side_by_side_without_an_interval() -> None:
    known = [300.0 + number for number in range(8)]
    spread = Spread.of([*known, None], bounds=[None] * 8 + [1800.0])
    assert (spread.known, spread.median, spread.interval, spread.unended, spread.at_least) == (8, 303.5, None, 1, 1800.0)
    assert show(spread, ".0f") == "at least 1800 in 1; in 8 304 [300 to 307]"
    assert Spread.of(known).interval is not None


def test_a_trials_bound_is_what_any_of_its_viewers_saw(campaign: CampaignFolder) -> None:
    stored = vm_of(campaign.trials())
    packets, move = stored.series("packets"), stored.record.move
    assert packets is not None
    assert move is not None
    events = list(stored.record.events)
    events += [event.model_copy(update={"data": event.data | {"viewer": 2}}) for event in events if "viewer" in event.data]
    plan = stored.record.plan.model_copy(update={"viewers": 2})
    record = stored.record.model_copy(update={"plan": plan, "events": events})
    lost = packets.filter(pl.col("arrived_ns") < move.called_ns + SECOND).with_columns(viewer=pl.col("viewer") + 1)
    figures = derive(record, {"packets": packets.vstack(lost)}, (0.2,))
    assert one_figure([viewer.service_gap_ms for viewer in figures.viewers]) is None
    assert figures.service_gap_ms is None
    assert figures.service_gap_at_least_ms == figures.viewers[1].service_gap_at_least_ms
    assert figures.service_gap_at_least_ms is not None
    # In the arm the stall of the one that lost its stream has a bound too, and no opinion is given.
    arm = summarise([Trialled(record, figures)])[0]
    assert arm.stalled_s[0.2].known == 0
    assert arm.stalled_s[0.2].unended == 1
    line = main_table([arm], "baseline").lines[0]
    assert any("at least" in cell and " ms in 1" in cell for cell in line)
    rows = tables_of("c", [ReportedTrial(StoredTrial(stored.folder, record), figures)])["playbacks"].filter(pl.col("viewer") == 2)
    assert rows.select("stalled_s", "stalling_mos").rows() == [(None, None)]
    assert rows.get_column("stalled_at_least_s")[0] > 1


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("total_s", 300.38100000000003, "300.381 s"),
        ("blackout_ms", 300.38100000000003, "300.4 ms"),
        ("blackout_error_ms", 0.00123, "0.0012 ms"),
        ("transferred_bytes", 3 * 2**20, "3.0 MiB"),
        ("throughput_bytes_per_s", 1_250_000.0, "10.00 Mbit/s"),
        ("throttle_percent", 40, "40 %"),
        ("derived_version", 7, "7"),
        ("measured", True, "yes"),
        ("link_bytes", None, "unknown"),
    ],
)
def test_figures_are_written_with_their_unit_and_no_more_digits_than_they_are_good_for(
    name: str, value: float | None, text: str
) -> None:
    assert written(name, value) == text
    assert (spoken("qemu_downtime_ms"), spoken("source_cpu_s"), spoken("measured")) == ("QEMU downtime", "source CPU", "measured")
    assert written("reachability_gap_ms", None, 1800.04) == "unknown, at least 1800.0 ms"


def test_a_campaign_without_a_paper_has_no_column_of_it(campaign: CampaignFolder) -> None:
    arms = build_report(campaign).arms
    assert "paper ratio" in [column.heading for column in main_table(arms, "baseline").columns]
    ours = main_table([replace(arm, published_total_s=None) for arm in arms], "baseline")
    assert not [column.heading for column in ours.columns if "paper" in column.heading]
    assert {len(line) for line in ours.lines} == {len(ours.columns)}

"""The report of a recorded campaign: three real trials on two emulated cores (tests/recorded/README.md)."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.campaigns import Synthetic
from whimbrel.analysis.counters import counter_growth
from whimbrel.analysis.counting import Trialled
from whimbrel.analysis.figures import derive, figures_of
from whimbrel.analysis.kept import KeptFigures
from whimbrel.analysis.summary import Spread, summarise
from whimbrel.records.store import CampaignFolder, StoredTrial
from whimbrel.records.trial import Event, TrialRecord
from whimbrel.report.content import build_report, to_come
from whimbrel.report.export import tables_of
from whimbrel.report.layout import write_page
from whimbrel.report.load import ReportedTrial, load_trials
from whimbrel.report.problems import problems_of, shorten
from whimbrel.report.table import UNKNOWN, main_table, show

RECORDED = Path(__file__).parents[2] / "recorded" / "campaign"


@pytest.fixture
def campaign(tmp_path: Path) -> CampaignFolder:
    return CampaignFolder.open(Path(shutil.copytree(RECORDED, tmp_path / "campaign")))


@pytest.fixture(scope="module")
def trials() -> dict[str, Trialled]:
    found = {}
    for stored in CampaignFolder.open(RECORDED).trials():
        figures = figures_of(stored)
        found[stored.record.plan.scenario] = Trialled(stored.record, figures)
    return found


def failed(trial: Trialled) -> Trialled:
    outcome = trial.record.outcome.model_copy(update={"result": "failed", "measured": False, "error": "the link was cut"})
    record = TrialRecord.model_validate(trial.record.model_copy(update={"outcome": outcome}))
    return Trialled(record, derive(record, {}))


def test_the_four_figures_fit_together(trials: dict[str, Trialled]) -> None:
    for trial in trials.values():
        figures = trial.figures
        assert figures.blackout_ms is not None
        assert figures.reachability_gap_ms is not None
        assert figures.qemu_downtime_ms is not None
        # Nothing can answer while nothing executes.
        assert figures.reachability_gap_ms >= figures.blackout_ms
        assert figures.blackout_ms == pytest.approx(figures.qemu_downtime_ms, rel=0.5)
        assert figures.blackout_error_ms < 1
        if figures.viewers:
            assert figures.service_gap_ms is not None
            assert figures.service_gap_ms >= figures.blackout_ms


def test_phases_follow_one_another(trials: dict[str, Trialled]) -> None:
    for trial in trials.values():
        phases = {phase.name: phase for phase in trial.figures.phases}
        assert list(phases) == ["reservation", "pre-copy", "stop-and-copy", "commitment", "activation"]
        assert all(phase.length_s is not None and phase.length_s > 0 for phase in phases.values())
        assert phases["pre-copy"].to_ns == phases["stop-and-copy"].from_ns
        assert phases["stop-and-copy"].to_ns == phases["activation"].from_ns


def test_rounds_add_up_to_what_was_sent(trials: dict[str, Trialled]) -> None:
    figures = trials["vm"].figures
    known = sum(found.transferred_bytes or 0 for found in figures.rounds)
    assert figures.transferred_bytes is not None
    assert 0.9 * figures.transferred_bytes < known <= figures.transferred_bytes
    assert [found.number for found in figures.rounds] == list(range(1, len(figures.rounds) + 1))


def test_a_failed_trial_has_no_durations(trials: dict[str, Trialled]) -> None:
    figures = failed(trials["vm"]).figures
    for name, value in figures.model_dump().items():
        if name.endswith(("_s", "_ms", "_bytes")) and name not in ("blackout_error_ms", "reachability_resolution_ms"):
            assert value is None, name


def test_failures_count_against_success_and_give_no_duration(trials: dict[str, Trialled]) -> None:
    arms = summarise([trials["baseline"], trials["vm"], failed(trials["vm"])])
    table = main_table(arms, "baseline")
    moved = [column.heading for column in table.columns].index("succeeded")
    assert [line[moved] for line in table.lines] == ["1 of 1", "1 of 2"]
    assert arms[1].total_s.known == 1


def with_storage(record: TrialRecord, *events: Event) -> TrialRecord:
    """The recorded trial as if its disk had moved along."""
    spec = record.spec.model_copy(update={"migration": record.spec.migration.model_copy(update={"storage": "full"})})
    return record.model_copy(update={"spec": spec, "events": [*record.events, *events]})


def test_the_copy_of_a_disk_is_an_interval_of_its_own(trials: dict[str, Trialled]) -> None:
    record = trials["vm"].record
    begun = next(event for event in record.events if (event.host, event.name) == ("a", "MIGRATION"))
    assert begun.realtime_ns is not None
    running = {"name": "JOB_STATUS_CHANGE", "data": {"status": "running"}, "realtime_ns": begun.realtime_ns - 9}
    ready = {"name": "BLOCK_JOB_READY", "data": {}, "realtime_ns": begun.realtime_ns - 2}
    moved = with_storage(record, begun.model_copy(update=running), begun.model_copy(update=ready))
    job = pl.DataFrame({"t_ns": [1, 2, 3], "transferred_bytes": [0, 0, 5], "disk_transferred_bytes": [None, 7, 9]})
    figures = derive(moved, {"job": job})
    names = [phase.name for phase in figures.phases]
    assert names == ["reservation", "storage", "pre-copy", "stop-and-copy", "commitment", "activation"]
    assert figures.phases[1].length_s == pytest.approx(7e-9)
    assert figures.disk_bytes == 9


def test_bytes_of_a_disk_are_unknown_where_nobody_counted_them(trials: dict[str, Trialled]) -> None:
    record = trials["vm"].record
    # Recorded before disks could move along; both hosts saw its disk.
    assert trials["vm"].figures.disk_bytes == 0
    older = pl.DataFrame({"t_ns": [1], "transferred_bytes": [5]})
    assert derive(with_storage(record), {"job": older}).disk_bytes is None
    assert derive(with_storage(record), {}).disk_bytes is None


def test_a_move_whose_return_was_not_written_down_has_no_total(trials: dict[str, Trialled]) -> None:
    # As records were written whose journal had no room left.
    record = trials["vm"].record
    assert record.move is not None
    figures = derive(record.model_copy(update={"move": record.move.model_copy(update={"returned_ns": 0})}), {})
    assert (figures.total_s, figures.measured) == (None, False)


def test_cpu_of_the_hosts_is_scaled_to_the_whole_move(trials: dict[str, Trialled]) -> None:
    record = trials["vm"].record
    assert record.move is not None
    called_ns, returned_ns = record.move.called_ns, record.move.returned_ns
    # Half a core, sampled ten times a second, but for a moment at either end of the move.
    times = list(range(called_ns + 50_000_000, returned_ns - 50_000_000, 100_000_000))
    hosts = pl.DataFrame({
        "t_ns": times, "subject": [record.plan.source] * len(times), "cpu_s": [7.0 + (at - times[0]) / 2e9 for at in times],
        **dict.fromkeys(("net_sent_bytes", "run_delay_s", "lateness_s", "memory_bytes"), [None] * len(times)),
    })  # fmt: skip
    figures = derive(record, {"hosts": hosts})
    assert figures.source_cpu_s == pytest.approx((returned_ns - called_ns) / 2e9)
    assert figures.destination_cpu_s is None
    real = trials["vm"].figures
    assert real.total_s is not None
    assert real.source_cpu_s is not None
    assert 0 < real.source_cpu_s < real.total_s * record.provenance.machine_cpus


def test_bytes_on_the_link_have_what_was_sent_before_the_first_sample_and_after_the_last(trials: dict[str, Trialled]) -> None:
    record = trials["vm"].record
    assert record.move is not None
    move = record.move.model_copy(update={"returned_ns": record.move.called_ns + 1_000_000_000})
    record = record.model_copy(update={"move": move})
    # A container's move of 1 s at 10 MB/s, sampled every 0.1 s, 0.08 s after its call for the first time.
    times = [move.called_ns - 20_000_000 + 100_000_000 * number for number in range(12)]
    hosts = pl.DataFrame({
        "t_ns": times, "subject": [record.plan.source] * 12, "net_sent_bytes": [1_000_000 * number for number in range(12)],
        "cpu_s": [0.1 * number for number in range(12)],
        **dict.fromkeys(("run_delay_s", "lateness_s", "memory_bytes"), [None] * 12),
    })  # fmt: skip
    figures = derive(record, {"hosts": hosts})
    assert figures.link_bytes == 10_000_000
    assert figures.source_cpu_s == pytest.approx(1.0)


def test_a_counter_is_read_at_the_very_ends_of_a_window() -> None:
    hosts = pl.DataFrame({"t_ns": [0, 10, 20], "subject": ["a"] * 3, "cpu_s": [0.0, 10.0, 30.0]})
    assert counter_growth(hosts, "a", "cpu_s", 5, 15) == pytest.approx(15)
    assert counter_growth(hosts, "b", "cpu_s", 5, 15) is None
    # The series ends before the window: the rate of what is there holds for the rest.
    assert counter_growth(hosts, "a", "cpu_s", 10, 30) == pytest.approx(40)


def test_only_failures_still_make_a_table(trials: dict[str, Trialled]) -> None:
    table = main_table(summarise([failed(trials["vm"])]), "baseline")
    assert "0 of 1" in table.lines[0]
    assert table.lines[0][3] == UNKNOWN


def cut_after_the_stop(stored: StoredTrial) -> tuple[TrialRecord, pl.DataFrame]:
    """The trial as if no packet had come after the guest was stopped."""
    packets = stored.series("packets")
    assert packets is not None
    phases = derive(stored.record, {}).phases
    stop_ns = next(phase.from_ns for phase in phases if phase.name == "stop-and-copy")
    assert stop_ns is not None
    return stored.record, packets.filter(packets["arrived_ns"] < stop_ns)


def test_a_stream_that_never_came_back_has_no_gap_and_is_named(campaign: CampaignFolder) -> None:
    stored = next(trial for trial in campaign.trials() if trial.record.plan.scenario == "vm")
    record, packets = cut_after_the_stop(stored)
    figures = derive(record, {"packets": packets}, (0.2,))
    assert figures.service_gap_ms is None
    assert figures.viewers[0].service_gap_ms is None
    assert figures.viewers[0].playbacks[0].stalled_at_end
    order = stored.record.plan.order
    assert problems_of([ReportedTrial(stored, figures)]) == [
        f"Trial {order} of vm-1: the stream of 1 of 1 viewers did not come back",
        f"Trial {order} of vm-1: the service gap is at least {figures.service_gap_at_least_ms:.0f} ms:"
        " it had not ended with the recording",
    ]
    assert figures.service_gap_at_least_ms is not None
    assert figures.service_gap_at_least_ms > 5000
    played = figures.viewers[0].playbacks[0]
    assert (played.stalled_s, played.stalling_mos) == (None, None)
    # What was read ahead was played first.
    assert played.stalled_at_least_s == pytest.approx(figures.service_gap_at_least_ms / 1e3 - 2.5, abs=0.1)


def test_one_of_two_viewers_lost_makes_the_trials_gap_unknown(campaign: CampaignFolder) -> None:
    stored = next(trial for trial in campaign.trials() if trial.record.plan.scenario == "vm")
    record, cut = cut_after_the_stop(stored)
    packets = stored.series("packets")
    assert packets is not None
    record = record.model_copy(update={"plan": record.plan.model_copy(update={"viewers": 2})})
    figures = derive(record, {"packets": packets.vstack(cut.with_columns(viewer=cut["viewer"] + 1))})
    assert figures.viewers[0].service_gap_ms is not None
    assert figures.viewers[1].service_gap_ms is None
    assert figures.service_gap_ms is None


def test_a_move_that_was_not_measured_counts_as_a_move_without_durations(trials: dict[str, Trialled]) -> None:
    outcome = trials["vm"].record.outcome.model_copy(update={"measured": False, "error": "the probe died"})
    record = trials["vm"].record.model_copy(update={"outcome": outcome})
    blind = Trialled(record, derive(record, {}))
    table = main_table(summarise([trials["vm"], blind]), "baseline")
    assert "2 of 2 (1 measured)" in table.lines[0]
    assert blind.figures.total_s is None


def test_ratios_are_to_the_files_first_scenario_or_to_nothing(trials: dict[str, Trialled]) -> None:
    with_base = main_table(summarise([trials["baseline"], trials["nested"]]), "baseline")
    ratio = [column.heading for column in with_base.columns].index("ratio")
    assert with_base.lines[0][ratio] == "1.00"
    assert main_table(summarise([trials["vm"], trials["nested"]]), "baseline").lines[1][ratio] == UNKNOWN


def test_the_page_stands_alone(campaign: CampaignFolder) -> None:
    page = write_page(campaign, build_report(campaign)).read_text()
    assert "Emulated: absolute figures do not transfer" in page
    assert not re.search(r"""(src|href)=["']https?:""", page)
    for words in ("figure 8", "figure 9", "figure 10", "figure 11", "figure 12", "Reproduce with"):
        assert words in page
    body = page[page.index('<table id="main">') : page.index("</table>")]
    assert body.count("<tr>") == 1 + 3


def test_figures_come_from_the_records_and_lie_beside_them(campaign: CampaignFolder) -> None:
    first = [trial.figures for trial in build_report(campaign).trials]
    kept = sorted(campaign.folder.glob("trials/*/derived.json"))
    assert len(kept) == 3
    kept[0].write_bytes(b"\xff\x00")
    assert [trial.figures for trial in build_report(campaign).trials] == first
    assert [KeptFigures.model_validate_json(file.read_text()).model_dump(exclude={"checksum"}) for file in kept] == [
        figures.model_dump() for figures in first
    ]


def test_any_player_buffer_can_be_asked_about_afterwards(campaign: CampaignFolder) -> None:
    report = build_report(campaign, [0.7])
    assert {
        playback.buffer_s for trial in report.trials for viewer in trial.figures.viewers for playback in viewer.playbacks
    } == {0.7}
    assert any("0.7 s buffer" in column.heading for column in report.table.columns)


def test_a_report_over_no_trial(campaign: CampaignFolder) -> None:
    shutil.rmtree(campaign.folder / "trials")
    page = write_page(campaign, build_report(campaign)).read_text()
    assert "No trial has been made yet" in page


def keep_trials(campaign: CampaignFolder, change: Callable[[dict[str, Any]], None] = lambda _: None, most: int = 99) -> str:
    """The page over the first trials, each record changed."""
    for position, folder in enumerate(sorted((campaign.folder / "trials").iterdir())):
        if position >= most:
            shutil.rmtree(folder)
            continue
        record = json.loads((folder / "trial.json").read_text())
        change(record)
        (folder / "trial.json").write_text(json.dumps(record))
    return write_page(campaign, build_report(campaign)).read_text()


def test_a_report_over_one_trial(campaign: CampaignFolder) -> None:
    assert "1 of 1" in keep_trials(campaign, most=1)


def test_a_report_over_only_failed_trials(campaign: CampaignFolder) -> None:
    def fail(record: dict[str, Any]) -> None:
        record["outcome"] |= {"result": "failed", "measured": False, "error": "it broke", "runs_on": ["a"]}

    page = keep_trials(campaign, fail)
    assert "failed: it broke" in page
    assert "0 of 1" in page


def test_of_a_failed_move_the_page_says_the_cause_first_and_keeps_the_rest(campaign: CampaignFolder) -> None:
    told = [
        "the move failed in the phase reservation; the guest runs on host a",
        "Why: the destination has no memory for the guest",
        "libvirt could not move guest: internal error: cannot set up guest memory: Cannot allocate memory",
        "What to do: free some there, or move it elsewhere",
    ]

    def fail(record: dict[str, Any]) -> None:
        record["outcome"] |= {"result": "failed", "measured": False, "error": "\n".join(told), "known_failure": "memory"}

    page = keep_trials(campaign, fail)
    assert f"failed: {told[0]} (the destination has no memory for the guest)</li>" in page
    assert "\n".join(told) in page
    row = tables_of("c", load_trials(CampaignFolder.open(campaign.folder)))["trials"].row(0, named=True)
    assert (row["result"], row["measured"], row["known_failure"]) == ("failed", False, "memory")


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (None, "no reason known"),
        ("it broke", "it broke"),
        ("it broke\nqemu-img: no room\nWhat to do: make room", "it broke (qemu-img: no room)"),
        ("it broke\nWhat to do: make room", "it broke (What to do: make room)"),
        ("it broke\nWhy: no room\nqemu-img: error 28\nWhat to do: make room", "it broke (no room)"),
    ],
)
def test_in_a_line_the_reason_comes_before_the_cure(error: str | None, short: str) -> None:
    assert shorten(error) == short


def test_a_report_over_equal_values(campaign: CampaignFolder) -> None:
    first = sorted((campaign.folder / "trials").iterdir())[0]
    for number in (2, 3):
        copy = first.with_name(first.name.replace("0001", f"000{number}"))
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(first, copy)
        record = json.loads((copy / "trial.json").read_text())
        record["plan"] |= {"order": number, "block": number}
        (copy / "trial.json").write_text(json.dumps(record))
    assert "of 3" in write_page(campaign, build_report(campaign)).read_text()


def test_spreads_are_shown_as_they_are() -> None:
    assert show(Spread.of([]), ".1f") == UNKNOWN
    assert show(Spread.of([None, 2.0]), ".1f") == "2.0"
    assert show(Spread.of([1.0, 2.0, 4.0]), ".1f") == "2.0 [1.0 to 4.0]"
    assert show(Spread.of([3.0, 3.0]), ".1f") == "3.0"


def waiting(trial: ReportedTrial, order: int, share: float) -> ReportedTrial:
    """The trial with another number, made on a machine on which the guest's processors waited that much."""
    machine = trial.figures.machine.model_copy(update={"vcpu_wait_share_during": share})
    plan = trial.stored.record.plan.model_copy(update={"order": order})
    record = trial.stored.record.model_copy(update={"plan": plan})
    return ReportedTrial(replace(trial.stored, record=record), trial.figures.model_copy(update={"machine": machine}))


def test_a_crowded_machine_is_said_once_for_an_arm(campaign: CampaignFolder) -> None:
    trial = build_report(campaign).trials[0]
    arm = trial.stored.record.plan.arm
    waits = "crowded machine: the guest's processors waited for a CPU"
    assert problems_of([waiting(trial, 4, 0.5)]) == [f"Trial 4 of {arm}: {waits} 50% of the time during the move"]
    three = [waiting(trial, order, share) for order, share in ((4, 0.5), (7, 0.1), (9, 0.2), (12, 0.3))]
    assert problems_of(three) == [f"Trials 4, 9, 12 of {arm}: {waits} 20% to 50% of the time during the move"]


def test_a_partial_page_says_at_its_top_what_is_still_to_come(tmp_path: Path) -> None:
    # A warm-up and eight blocks of three trials; five are made.
    campaign = Synthetic(lambda plan: 10.0, made=5).write(tmp_path / "campaign")
    page = write_page(campaign, build_report(campaign)).read_text()
    line = "Still to come: 1 trial of block 1, and all of blocks 2 to 8 (21 trials)."
    assert line in page
    assert page.index(line) < page.index("<h2>")
    whole = Synthetic(lambda plan: 10.0).write(tmp_path / "whole")
    assert 'id="partial"' not in write_page(whole, build_report(whole)).read_text()


def test_what_is_to_come_names_blocks_that_were_begun_and_those_that_were_not(tmp_path: Path) -> None:
    plans = Synthetic(lambda plan: 10.0, blocks=2).write(tmp_path / "campaign").plans
    orders = {plan.order for plan in plans}
    assert to_come(plans, set()) == "all of the warm-up and blocks 1 to 2 (9 trials)"
    assert to_come(plans, orders - {5, 6}) == "2 trials of block 1"
    assert to_come(plans, orders - {9}) == "1 trial of block 2"
    assert to_come(plans, orders - {7, 8, 9}) == "all of block 2 (3 trials)"
    # A trial that was removed because it is damaged.
    assert to_come(plans, orders - {1, 9}) == "1 trial of the warm-up, and 1 trial of block 2"
    assert to_come(plans, orders) == ""

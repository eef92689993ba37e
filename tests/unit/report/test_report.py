"""The report of a recorded campaign: three real trials on two emulated cores (tests/recorded/README.md)."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from whimbrel.analysis.figures import TrialFigures, derive
from whimbrel.analysis.summary import Spread, Trialled, summarise
from whimbrel.records.store import CampaignFolder
from whimbrel.records.trial import TrialRecord
from whimbrel.report.content import build_report
from whimbrel.report.layout import charts_of, write_figures, write_page
from whimbrel.report.table import UNKNOWN, main_table, show

RECORDED = Path(__file__).parents[2] / "recorded" / "campaign"


@pytest.fixture
def campaign(tmp_path: Path) -> CampaignFolder:
    return CampaignFolder.open(Path(shutil.copytree(RECORDED, tmp_path / "campaign")))


@pytest.fixture(scope="module")
def trials() -> dict[str, Trialled]:
    found = {}
    for stored in CampaignFolder.open(RECORDED).trials():
        figures = derive(stored.record, *(stored.series(name) for name in ("hosts", "probe", "packets", "job")))
        found[stored.record.plan.scenario] = Trialled(stored.record, figures)
    return found


def failed(trial: Trialled) -> Trialled:
    outcome = trial.record.outcome.model_copy(update={"result": "failed", "error": "the link was cut"})
    record = TrialRecord.model_validate(trial.record.model_copy(update={"outcome": outcome}))
    return Trialled(record, derive(record, None, None, None, None))


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
    table = main_table(arms)
    moved = [column.heading for column in table.columns].index("moved")
    assert [line[moved] for line in table.lines] == ["1 of 1", "1 of 2"]
    assert arms[1].total_s.known == 1


def test_only_failures_still_make_a_table(trials: dict[str, Trialled]) -> None:
    table = main_table(summarise([failed(trials["vm"])]))
    assert "0 of 1" in table.lines[0]
    assert table.lines[0][3] == UNKNOWN


def test_a_viewer_that_lost_its_connection_for_good_has_no_gap(trials: dict[str, Trialled], campaign: CampaignFolder) -> None:
    stored = next(trial for trial in campaign.trials() if trial.record.plan.scenario == "vm")
    packets = stored.series("packets")
    probe = stored.series("probe")
    assert packets is not None
    assert probe is not None
    move = stored.record.move
    assert move is not None
    cut = packets.filter(packets["arrived_ns"] < move.returned_ns)
    two = cut.with_columns(viewer=cut["viewer"] + 1).vstack(packets)
    record = stored.record.model_copy(update={"plan": stored.record.plan.model_copy(update={"viewers": 2})})
    figures = derive(record, None, None, two, None)
    assert figures.viewers[0].service_gap_ms is not None
    assert figures.viewers[1].service_gap_ms is None
    assert figures.service_gap_ms is None


def test_the_page_stands_alone(campaign: CampaignFolder) -> None:
    page = write_page(campaign, build_report(campaign)).read_text()
    assert "Emulated: absolute figures do not transfer" in page
    assert not re.search(r"""(src|href)=["']https?:""", page)
    for words in ("figure 8", "figure 9", "figure 10", "figure 11", "figure 12", "Reproduce with"):
        assert words in page
    body = page[page.index('<table id="main">') : page.index("</table>")]
    assert body.count("<tr>") == 1 + 3


def test_every_chart_becomes_png_and_svg(campaign: CampaignFolder) -> None:
    report = build_report(campaign)
    files = write_figures(campaign, report)
    assert len(files) == 2 * len(charts_of(report.trials)) >= 10
    for file in files:
        assert file.read_bytes().startswith(b"\x89PNG" if file.suffix == ".png" else b"<svg")


def test_derived_figures_are_kept_and_derived_again_when_removed(campaign: CampaignFolder) -> None:
    first = [trial.figures for trial in build_report(campaign).trials]
    kept = sorted(campaign.folder.glob("trials/*/derived.json"))
    assert len(kept) == 3
    kept[0].unlink()
    kept[1].write_text('{"derived_version": 0}')
    assert [trial.figures for trial in build_report(campaign).trials] == first
    assert all(TrialFigures.model_validate_json(file.read_text()) for file in kept)


def test_a_report_over_no_trial(campaign: CampaignFolder) -> None:
    shutil.rmtree(campaign.folder / "trials")
    page = write_page(campaign, build_report(campaign)).read_text()
    assert "No trial has been made yet" in page


def test_spreads_are_shown_as_they_are() -> None:
    assert show(Spread.of([]), ".1f") == UNKNOWN
    assert show(Spread.of([None, 2.0]), ".1f") == "2.0"
    assert show(Spread.of([1.0, 2.0, 4.0]), ".1f") == "2.0 [1.0 to 4.0]"
    assert show(Spread.of([3.0, 3.0]), ".1f") == "3.0"


def test_a_crowded_machine_is_said(campaign: CampaignFolder) -> None:
    report = build_report(campaign)
    trial = report.trials[0]
    machine = trial.figures.machine.model_copy(update={"vcpu_wait_share_during": 0.5})
    crowded = replace(trial, figures=trial.figures.model_copy(update={"machine": machine}))
    assert any("waited for a CPU 50%" in line for line in replace(report, trials=[crowded]).problems)

"""Results as data frames, and the examples of docs/python.md that read them."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from html import escape, unescape
from operator import methodcaller
from pathlib import Path

import polars as pl
import pytest

import whimbrel
from tests.campaigns import RECORDED
from tests.documented import examples
from whimbrel.errors import UsageError
from whimbrel.records.store import CampaignFolder
from whimbrel.records.trial import Outcome
from whimbrel.report.content import build_report
from whimbrel.report.layout import inlined, write_page
from whimbrel.report.notebook import results_html


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> whimbrel.Results:
    """Of the recorded campaign, in a folder of its own; examples say ``results/quick``."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(RECORDED, tmp_path / "results" / "quick")
    return whimbrel.open_results("results/quick")


def test_the_tables_have_a_row_per_trial_and_per_viewer(results: whimbrel.Results) -> None:
    assert results.trials["arm"].to_list() == ["nested-1", "vm-1", "baseline"]
    assert results.trials["campaign"].unique().to_list() == ["quick"]
    assert results.trials["blackout_ms"].round(3).to_list() == [333.876, 218.964, 132.022]
    # Nobody watched the third: that is no gap of 0.
    assert results.trials["service_gap_ms"].to_list()[2] is None
    assert results.viewers.select("trial", "viewer").rows() == [(1, 1), (2, 1)]
    assert results.succeeded


def test_a_trial_has_its_record_its_figures_and_its_series(results: whimbrel.Results) -> None:
    assert results.record(2).plan.arm == "vm-1"
    assert results.figures(2).total_s == results.trials.row(1, named=True)["total_s"]
    probe = results.series(2, "probe")
    assert probe is not None
    assert probe.columns == ["sequence", "sent_ns", "received_ns"]
    assert results.series(3, "packets") is None


def test_what_is_not_there_is_named_with_what_is(results: whimbrel.Results) -> None:
    with pytest.raises(UsageError, match=r"no table 'trails'[^$]*trials, viewers"):
        results.table("trails")
    with pytest.raises(UsageError, match=r"no trial 4\n.*it has 3 trials"):
        results.figures(4)
    with pytest.raises(UsageError, match="elsewhere"):
        whimbrel.open_results("elsewhere")


def test_the_tables_are_arrow(results: whimbrel.Results) -> None:
    class Reader:
        """What any reader of Arrow sees: the stream alone."""

        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            return results.trials.__arrow_c_stream__(requested_schema)

    assert pl.DataFrame(Reader()).equals(results.trials)


def test_pandas_takes_them_where_it_is_installed(results: whimbrel.Results) -> None:
    pytest.importorskip("pyarrow")
    frame = results.trials.to_pandas()
    assert frame.loc[frame["arm"] == "vm-1", "blackout_ms"].round(3).to_list() == [218.964]


def test_the_documented_examples_say_what_was_recorded(results: whimbrel.Results, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for code in examples("Read results"):
        exec(compile(code, "docs/python.md", "exec"), names)
    said = capsys.readouterr().out
    assert "nested-1 took 20.6 s, and its viewers waited 523 ms" in said
    assert " probes had no answer" in said
    assert "'stop-and-copy': " in said
    assert "('baseline', 'a', 'b', 9.3), ('vm-1', 'a', 'b', 9.7), ('nested-1', 'a', 'b', 20.6)" in said


# As notebooks ask.
as_html = methodcaller("_repr_html_")
as_bundle = methodcaller("_repr_mimebundle_")


def cells(html: str) -> list[str]:
    return [unescape(cell) for cell in re.findall(r"<td>(.*?)</td>", html)]


def test_a_notebook_shows_what_the_page_says(results: whimbrel.Results) -> None:
    html = as_html(results)
    report = build_report(CampaignFolder.open(results.folder))
    assert cells(html) == [cell for line in report.table.lines for cell in line]
    assert "3 of 3 trials made, in <code>results/quick</code>" in html
    for line in report.problems:
        assert f"<li>{escape(line)}</li>" in html


def test_what_others_called_things_is_only_shown(results: whimbrel.Results) -> None:
    report = replace(build_report(CampaignFolder.open(results.folder)), title="<script>alert(1)</script>")
    assert "<h4>&lt;script&gt;alert(1)&lt;/script&gt;</h4>" in results_html(report, "<b>")
    assert "<b>" not in results_html(report, "<b>")


def test_a_notebook_shows_a_move_with_its_figures_and_its_phases(results: whimbrel.Results) -> None:
    html = as_html(whimbrel.Move(results.record(2), results.figures(2), None, None))
    assert "<h4>vm-1: moved, from a to b</h4>" in html
    shown = dict(re.findall(r"<th>(.*?)</th><td>(.*?)</td>", html))
    assert shown["blackout"] == "219.0 ms"
    assert shown["total"] == f"{results.figures(2).total_s:.3f} s"
    lengths_s = {phase.name: phase.length_s for phase in results.figures(2).phases}
    assert shown["phase stop-and-copy"] == f"{lengths_s['stop-and-copy']:.3f} s"
    failed = results.record(2).model_copy(update={"outcome": Outcome(
        result="failed", measured=True, error="it <died>", runs_on=["a"], same_identity=None
    )})  # fmt: skip
    assert "<pre>it &lt;died&gt;</pre>" in as_html(whimbrel.Move(failed, results.figures(2), None, None))


def test_the_charts_are_those_of_the_page(results: whimbrel.Results) -> None:
    campaign = CampaignFolder.open(results.folder)
    page = write_page(campaign, build_report(campaign)).read_text()
    assert len(results.charts) > 4
    for chart in results.charts.values():
        assert inlined(chart) in page
        bundle = as_bundle(chart)
        major = re.search(r"/v(\d)", chart.spec["$schema"])
        assert major is not None
        assert bundle[f"application/vnd.vegalite.v{major[1]}+json"] == chart.spec
        assert bundle["image/svg+xml"] == chart.svg
        assert chart.svg.startswith("<svg")
        assert "{'" not in repr(chart)


def test_the_documented_chart_is_drawn(results: whimbrel.Results, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    names: dict[str, object] = {}
    for code in examples("In a notebook"):
        exec(compile(code, "docs/python.md", "exec"), names)
    assert (tmp_path / "timeline.svg").read_text() == results.charts["timeline-vm"].svg
    title = results.charts["timeline-vm"].title
    assert capsys.readouterr().out == f"{title}: {', '.join(results.charts)}\n"

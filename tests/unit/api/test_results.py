"""Results as data frames, and the examples of docs/python.md that read them."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

import whimbrel
from tests.campaigns import RECORDED
from tests.documented import examples
from whimbrel.errors import UsageError


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

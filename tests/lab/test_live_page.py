"""A real move as the live page shows it, in Debian's Chromium: it is what the record says afterwards."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.browser import browser
from tests.labs import quick
from tests.trials import make_trial
from whimbrel.analysis.figures import figures_of
from whimbrel.api.running import tell_figures
from whimbrel.cli.live import observed, wanted
from whimbrel.guests.states import StateStore
from whimbrel.lab.lab import Lab
from whimbrel.live.beside import Beside

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed (./check installs it)"),
]

# The page writes milliseconds, and takes QEMU's stamps by one reading of the clocks instead of two.
EXACT_S = 0.003


def phases_in(page: str) -> dict[str, tuple[float, float]]:
    rows = re.findall(r'<th scope="row">([\w-]+)</th><td>([\d.]+)</td><td>([\d.]+)</td>', page)
    return {name: (float(begin), float(end)) for name, begin, end in rows}


def test_what_the_page_shows_is_what_the_record_says(lab: Lab, states: StateStore, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("<p id='whole'>all of it</p>")
    with browser(tmp_path / "profile") as tab:
        with Beside(wanted("127.0.0.1:0", None, None), "a trial") as seen, observed(seen) as bus:
            tab.open(seen.urls["live page"])
            stored = make_trial(lab, states, quick(), "vm", 2, tmp_path / "results", bus=bus)
            assert stored.record.outcome.succeeded, stored.record.outcome.error
            figures = figures_of(stored)
            tell_figures(bus, figures)
            tab.wait_for("document.getElementById('outcome').hidden === false", "the figures")
            page = tab.evaluate("document.documentElement.outerHTML")
            seen.report = report
        # It has gone on to the report by itself, and nothing of it was against its policy.
        tab.wait_for("document.getElementById('whole') !== null", "the report")
        assert tab.complaints == []
    assert seen.said == []
    assert stored.record.move is not None
    called_ns = stored.record.move.called_ns
    shown = phases_in(page)
    for phase in figures.phases:
        if phase.name in ("reservation", "pre-copy", "stop-and-copy"):
            assert phase.from_ns is not None
            assert phase.to_ns is not None
            recorded = (phase.from_ns - called_ns) / 1e9, (phase.to_ns - called_ns) / 1e9
            assert shown[phase.name] == pytest.approx(recorded, abs=EXACT_S)
    assert f"<dt>blackout</dt><dd>{figures.blackout_ms:.1f} ms</dd>" in page
    for strip in ("probe", "viewer 1", "viewer 2"):
        assert f'aria-label="{strip}: ' in page
    # Both hosts have lines in the charts of what they do.
    assert {"from a to b", "CPU in use (processors)", "Memory sent and left"} <= set(re.findall(r">([^<>]+)<", page))

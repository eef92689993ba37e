"""A real move as Chromium and Prometheus see it while it happens (both are Debian's): it is what the record says afterwards."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.browser import browser
from tests.labs import quick
from tests.prometheus import ask, scraping
from tests.trials import make_trial
from whimbrel.analysis.figures import figures_of
from whimbrel.api.running import tell_figures
from whimbrel.cli.live import observed, wanted
from whimbrel.events import STEP, TRIAL_DONE, Published
from whimbrel.guests.states import StateStore
from whimbrel.lab.lab import Lab
from whimbrel.live.beside import Beside
from whimbrel.records.trial import Event
from whimbrel.system.clock import read_pair
from whimbrel.system.deadline import Deadline, wait_until
from whimbrel.system.process import start

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


# When each step and each phase was first shown, by the page's own clock, which is that of this machine.
NOTE_WHAT_IS_SHOWN = """
    window.seen = {};
    const note = (what) => { window.seen[what] ??= performance.timeOrigin + performance.now(); };
    new MutationObserver(() => note(document.getElementById("step").textContent))
        .observe(document.getElementById("step"), {childList: true, characterData: true, subtree: true});
    new MutationObserver(() => document.querySelectorAll("#phases tbody th").forEach((one) => note(`phase ${one.textContent}`)))
        .observe(document.getElementById("phases"), {childList: true, subtree: true});
"""
# By what each phase is seen to begin (docs/vocabulary.md).
BEGINS = {
    ("whimbrel", "move called", None): "phase reservation",
    ("qemu", "MIGRATION", "active"): "phase pre-copy",
    ("qemu", "STOP", None): "phase stop-and-copy",
    ("qemu", "RESUME", None): "phase activation",
}


def happened(news: Sequence[Published], source: str) -> Iterator[tuple[str, float]]:
    """What a page is to show of them, and when we saw it, by the wall clock."""
    pair = read_pair()
    for each in news:
        if isinstance(each, Event):
            at_s = (each.seen_ns + pair.realtime_ns - pair.monotonic_ns) / 1e9
            what = each.data["text"] if each.name == STEP else BEGINS.get((each.source, each.name, each.data.get("status")))
            if what is not None and (each.source != "qemu" or what == "phase activation" or each.host == source):
                yield what, at_s


@contextmanager
def crowd_of_pages(url: str, pages: int) -> Iterator[None]:
    """So many pages that take all that they are told, and one that takes nothing."""
    where = urlsplit(url)
    with ExitStack() as holding:
        for _ in range(pages):
            page = start(["curl", "--silent", "--no-buffer", "--output", "/dev/null", f"{url}events"])
            holding.callback(page.stop, patience_s=1)
        stalled = holding.enter_context(socket.create_connection((where.hostname, where.port)))
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.sendall(f"GET /events HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode())
        yield


@pytest.mark.long
def test_twenty_pages_follow_a_move_and_neither_one_that_stalls_nor_one_that_is_closed_matters(
    lab: Lab, states: StateStore, tmp_path: Path
) -> None:
    told: dict[str, float] = {}

    def hear(news: Sequence[Published]) -> None:
        for what, at_s in happened(news, "a"):
            told.setdefault(what, at_s)
        if "moving to host b" in told and closing:
            # A browser that is closed in the middle of the move.
            closing.pop().close()

    with browser(tmp_path / "profile") as tab, ExitStack() as other, ExitStack() as ours:
        seen = ours.enter_context(Beside(wanted("127.0.0.1:0", None, None), "a trial"))
        bus = ours.enter_context(observed(seen))
        bus.subscribe("test", hear, samples=False)
        url = seen.urls["live page"]
        ours.enter_context(crowd_of_pages(url, 18))
        tab.open(url)
        tab.wait_for("typeof sections === 'object' && sections.about !== undefined", "the page")
        tab.evaluate(NOTE_WHAT_IS_SHOWN)
        other.enter_context(browser(tmp_path / "other")).open(url)
        closing = [other]
        stored = make_trial(lab, states, quick(), "vm", 10, tmp_path / "results", bus=bus)
        assert stored.record.outcome.succeeded, stored.record.outcome.error
        tab.wait_for("window.seen['phase activation'] !== undefined", "the end")
        shown = tab.evaluate("window.seen")
        assert tab.complaints == []
        assert closing == []
    assert bus.complaints == []
    late_s = sorted(shown[what] / 1000 - at_s for what, at_s in told.items() if what in shown)
    # What is said at once with the next step may be overtaken by it.
    assert len(late_s) >= 8
    print(f"of {len(late_s)}: median {late_s[len(late_s) // 2]:.3f} s, 95th percentile {late_s[int(len(late_s) * 0.95)]:.3f} s")
    assert late_s[len(late_s) // 2] < 0.25


@pytest.mark.long
def test_a_move_whose_server_is_killed_in_its_middle_is_measured_all_the_same(
    lab: Lab, states: StateStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def kill(news: Sequence[Published]) -> None:
        if not killed and any(isinstance(each, Event) and each.name == "MIGRATION_PASS" for each in news):
            killed.append(seen.pid)
            os.kill(seen.pid, signal.SIGKILL)

    killed: list[int] = []

    with (
        browser(tmp_path / "profile") as tab,
        Beside(wanted("127.0.0.1:0", None, None), "a trial") as seen,
        observed(seen) as bus,
    ):
        bus.subscribe("test", kill, samples=False)
        tab.open(seen.urls["live page"])
        stored = make_trial(lab, states, quick(), "vm", 2, tmp_path / "results", bus=bus)
        assert stored.record.outcome.succeeded, stored.record.outcome.error
        tab.wait_for("document.getElementById('state').textContent.startsWith('whimbrel does not answer')", "the word")
    assert figures_of(stored).blackout_ms is not None
    assert "it failed (BrokenPipeError: its process has ended" in capsys.readouterr().err


@pytest.mark.long
def test_a_prometheus_scrapes_a_move_as_its_record_says(lab: Lab, states: StateStore, tmp_path: Path) -> None:
    with (
        Beside(wanted(None, "127.0.0.1:0", None), "a trial") as seen,
        observed(seen) as bus,
        scraping(seen.urls["metrics"], tmp_path) as prometheus,
    ):
        stored = make_trial(lab, states, quick("migration.bandwidth=20 MiB/s"), "vm", 2, tmp_path / "results", bus=bus)
        assert stored.record.outcome.succeeded, stored.record.outcome.error
        figures = figures_of(stored)
        tell_figures(bus, figures)
        bus.tell(TRIAL_DONE, order=1, arm="vm-2", **stored.record.outcome.told)
        wait_until(
            lambda: (ask(prometheus, "whimbrel_migration_succeeded_total == 1") or None, "no move"), "the end", Deadline(20)
        )
        found = {each["metric"]["__name__"]: float(each["value"][1]) for each in ask(prometheus, '{job="whimbrel"}')}
        phases = {
            each["metric"]["phase"]: float(each["value"][1])
            for each in ask(prometheus, "whimbrel_migration_phase_duration_seconds_sum")
        }
        [left] = ask(prometheus, "whimbrel_migration_data_remaining_bytes[2m]")
    assert stored.record.move is not None
    assert figures.blackout_ms is not None
    assert figures.reachability_gap_ms is not None
    assert found["whimbrel_migration_blackout_seconds"] == pytest.approx(figures.blackout_ms / 1000)
    assert found["whimbrel_migration_reachability_gap_seconds"] == pytest.approx(figures.reachability_gap_ms / 1000)
    took_s = found["whimbrel_migration_end_time_seconds"] - found["whimbrel_migration_start_time_seconds"]
    assert took_s == pytest.approx((stored.record.move.returned_ns - stored.record.move.called_ns) / 1e9, abs=EXACT_S)
    for phase in figures.phases:
        if phase.name in ("reservation", "pre-copy", "stop-and-copy"):
            assert phases[phase.name] == pytest.approx(phase.length_s, abs=EXACT_S)
    # It was scraped in the middle of the move, too: what is left becomes less.
    values = [float(value) for _, value in left["values"]]
    assert len(set(values)) > 3
    assert values[-1] < max(values)

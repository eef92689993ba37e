"""Pages as a browser shows them: of very many trials, on a phone, on paper, by night, and to who does not see them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.axe import serious
from tests.browser import Page, browser
from tests.campaigns import RECORDED, crowd
from tests.unit.test_density import record
from tests.unit.watch.test_findings import BROKEN
from tests.unit.watch.watches import good, watched
from whimbrel.records.store import CampaignFolder
from whimbrel.report.content import build_report, report_of
from whimbrel.report.density_page import write_density_page
from whimbrel.report.layout import write_page
from whimbrel.watch.findings import findings_of
from whimbrel.watch.page import write_page as write_watch

pytestmark = [
    pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed (./check installs it)"),
]
# An A4 sheet within its margins of 12 mm, at 96 dots per inch.
SHEET = (703, 1032)
PHONE = 390
# Too wide for where they are, if they cannot be scrolled there.
TOO_WIDE = "[...document.querySelectorAll('.scroll > table')].filter((t) => t.scrollWidth > t.parentElement.clientWidth).length"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the recorded campaign."""
    campaign = CampaignFolder.open(Path(shutil.copytree(RECORDED, tmp_path_factory.mktemp("quick") / "campaign")))
    return write_page(campaign, build_report(campaign))


def show(tab: Page, page: Path) -> float:
    """Opens it, and waits for its charts: how long that took, in s, by the browser's clock."""
    charts = page.read_text().count('role="figure"')
    tab.open(page.as_uri())
    tab.wait_for(
        f"location.href === '{page.as_uri()}' && document.querySelectorAll('svg.marks').length === {charts}", "charts", 120
    )
    drawn_s: float = tab.evaluate("performance.now() / 1000")
    return drawn_s


def set_size(tab: Page, width: int, height: int = 1000, **media: object) -> None:
    tab.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
    tab.call("Emulation.setEmulatedMedia", **{"media": "", "features": [], **media})
    tab.evaluate("new Promise((done) => setTimeout(done, 300))")


def test_no_table_is_wider_than_a_screen_and_a_phone_scrolls_tables_and_not_the_page(tab: Page, quick: Path) -> None:
    set_size(tab, 1300)
    show(tab, quick)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 1300
    assert tab.evaluate(TOO_WIDE) == 0
    set_size(tab, PHONE)
    assert tab.evaluate("document.documentElement.scrollWidth") == PHONE
    # There it is known that it sees what it is to see.
    assert tab.evaluate(TOO_WIDE) > 0


def test_on_paper_no_chart_and_no_table_is_cut(tab: Page, quick: Path) -> None:
    set_size(tab, 1300)
    show(tab, quick)
    set_size(tab, *SHEET, media="print")
    boxes = tab.evaluate("[...document.querySelectorAll('svg.marks, table')].map((one) => one.getBoundingClientRect().toJSON())")
    shown = [box for box in boxes if box["height"]]
    assert len(shown) > 8
    assert max(box["right"] for box in shown) <= SHEET[0]
    charts = tab.evaluate(
        "[...document.querySelectorAll('.chart')].map((one) => [one.offsetHeight, getComputedStyle(one).breakInside])"
    )
    assert len(charts) > 4
    # None is higher than a sheet, so each can be kept on one.
    assert max(height for height, _ in charts) <= SHEET[1]
    assert {kept for _, kept in charts} == {"avoid"}


def watch_page(folder: Path) -> Path:
    findings = findings_of(watched(("http://a.example/#web", BROKEN), ("icmp:b.example#host", good(0, 10_000))))
    return write_watch(folder, [findings], [])


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_pages_of_results(tab: Page, quick: Path, tmp_path: Path, scheme: str) -> None:
    set_size(tab, 1300, features=[{"name": "prefers-color-scheme", "value": scheme}])
    (tmp_path / "watch").mkdir()
    for page in (quick, watch_page(tmp_path / "watch"), write_density_page(tmp_path, record())):
        show(tab, page)
        assert serious(tab) == []


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 10,010 trials."""
    campaign, trials = crowd(tmp_path_factory.mktemp("many") / "campaign", 1000)
    assert len(trials) > 10_000
    return write_page(campaign, report_of(campaign, trials))


@pytest.mark.long
def test_a_page_of_ten_thousand_trials_is_about_as_light_as_one_of_three(tab: Page, quick: Path, many: Path) -> None:
    set_size(tab, 1300)
    small_s = min(show(tab, quick) for _ in range(3))
    large_s = min(show(tab, many) for _ in range(3))
    tab.call("Performance.enable")
    tab.call("HeapProfiler.collectGarbage")
    heap_bytes = {each["name"]: each["value"] for each in tab.call("Performance.getMetrics")["metrics"]}["JSHeapUsedSize"]
    print(f"drawn after {large_s:.2f} s (of three trials {small_s:.2f} s), {heap_bytes / 1e6:.0f} MB of JavaScript's")
    assert heap_bytes < 50e6
    assert large_s < 4 * small_s
    assert tab.evaluate("document.body.innerText.includes('Of 10,010 trials 300 are listed here')")
    assert tab.complaints == []

"""The report as a browser shows it: Debian's Chromium, without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.campaigns import Synthetic
from whimbrel.records.store import CampaignFolder
from whimbrel.report.content import build_report
from whimbrel.report.layout import charts_of, write_figures, write_page

RECORDED = Path(__file__).parents[1] / "recorded" / "campaign"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--virtual-time-budget=8000",
         "--enable-logging=stderr", "--window-size=1240,6000"]  # fmt: skip


def open_page(page: Path, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "--net", "chromium", *FLAGS, f"--user-data-dir={folder}", *flags, page.as_uri()],
        capture_output=True, text=True, timeout=180,
    )  # fmt: skip


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed (./check installs it)")
def test_the_page_opens_without_a_complaint_and_draws_every_chart(tmp_path: Path) -> None:
    campaign = CampaignFolder.open(Path(shutil.copytree(RECORDED, tmp_path / "campaign")))
    report = build_report(campaign)
    page = write_page(campaign, report)
    shown = open_page(page, tmp_path / "profile", "--dump-dom")
    # Chromium's own pages complain too, of the network that it does not have.
    complaints = [line for line in shown.stderr.splitlines() if "CONSOLE" in line and "source: chrome://" not in line]
    assert complaints == []
    assert shown.stdout.count('class="marks"') == len(charts_of(report)) > 4
    picture = tmp_path / "page.png"
    open_page(page, tmp_path / "profile", f"--screenshot={picture}")
    assert picture.stat().st_size > 100_000


def test_every_chart_becomes_png_and_svg(tmp_path: Path) -> None:
    campaign = CampaignFolder.open(Path(shutil.copytree(RECORDED, tmp_path / "campaign")))
    report = build_report(campaign)
    files = write_figures(campaign, report)
    assert len(files) == 2 * len(charts_of(report)) >= 10
    for file in files:
        assert file.read_bytes().startswith(b"\x89PNG" if file.suffix == ".png" else b"<svg")


def test_two_programs_that_write_the_report_write_the_same(tmp_path: Path) -> None:
    campaign = Synthetic(lambda plan: 10 + 0.01 * plan.order, blocks=6).write(tmp_path / "c")
    source = str(Path(__file__).parents[2] / "src")
    written = []
    for seed in ("1", "2"):
        command = [sys.executable, "-m", "whimbrel", "report", str(campaign.folder)]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": source})
        files = sorted([campaign.folder / "report.html", *(campaign.folder / "figures").iterdir()])
        written.append({file.name: file.read_bytes() for file in files})
    assert len(written[0]) > 3
    assert written[0] == written[1]

"""How a guest ended by itself, as it is shown."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.campaigns import RECORDED
from whimbrel.cli.app import app
from whimbrel.records.store import CampaignFolder
from whimbrel.records.trial import EndRecord
from whimbrel.report.content import build_report
from whimbrel.report.layout import write_page

END = EndRecord(
    guest="guest", host="a", how="panicked", realtime_ns=1_764_406_141_123_456_789, seen_ns=7, during="at rest",
    left="its QEMU has gone, and its memory with it",
    console=["[   30.8] Kernel panic - not syncing: sysrq triggered crash", "[   30.9] <TASK>"], qemu_log=[],
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The recorded campaign, of which one trial's guest ended by itself."""
    found = Path(shutil.copytree(RECORDED, tmp_path / "campaign"))
    stored = CampaignFolder.open(found).trials()[1]
    failed = stored.record.outcome.model_copy(update={"result": "not made", "measured": False, "error": "the guest panicked"})
    record = stored.record.model_copy(update={"end": END, "outcome": failed, "move": None})
    (stored.folder / "trial.json").write_text(record.model_dump_json())
    return found


def test_show_has_how_and_when_and_its_last_words(folder: Path) -> None:
    said = CliRunner().invoke(app, ["show", str(folder), "2"]).stdout
    assert "end: the guest guest panicked, on host a at 2025-11-29 08:49:01.123 UTC\n" in said
    assert "end, while: at rest\n" in said
    assert "end, left: its QEMU has gone, and its memory with it\n" in said
    assert "console: [   30.8] Kernel panic - not syncing: sysrq triggered crash\n" in said
    assert "QEMU's log: nothing that can be read\n" in said


def test_so_has_the_page_as_text(folder: Path) -> None:
    campaign = CampaignFolder.open(folder)
    page = write_page(campaign, build_report(campaign)).read_text()
    assert "the guest guest panicked, on host a at 2025-11-29 08:49:01.123 UTC, while: at rest" in page
    assert "[   30.9] &lt;TASK&gt;</pre>" in page
    assert "Kernel panic" in page


def test_other_trials_have_none(folder: Path) -> None:
    assert "end: " not in CliRunner().invoke(app, ["show", str(folder), "1"]).stdout

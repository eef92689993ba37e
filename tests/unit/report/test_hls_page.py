"""HLS viewers on the page: what is missing and how often a viewer was lost stands beside what is late and failed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from tests.campaigns import RECORDED
from tests.unit.analysis.test_hls_figures import FILM, row, segments
from whimbrel.records.store import CampaignFolder
from whimbrel.report.content import build_report
from whimbrel.report.layout import write_page


def test_the_page_tells_late_failed_missing_and_lost_apart(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(RECORDED, tmp_path / "campaign"))
    campaign = CampaignFolder.open(folder)
    vm = next(trial for trial in campaign.trials() if trial.record.plan.scenario == "vm")
    record = json.loads((vm.folder / "trial.json").read_text())
    record["plan"]["hls_viewers"] = 1
    lost = {"source": "hls player", "host": None, "name": "lost", "realtime_ns": None, "seen_ns": 1, "data": {"viewer": 1}}
    record["events"] += [lost, lost]
    (vm.folder / "trial.json").write_text(json.dumps(record))
    rows = [row(3, 11, 404, 0), row(3, 11.1, 0, 0, missing=True), row(4, 25), row(5, 26), row(6, 28)]
    segments(*FILM, *rows).write_parquet(vm.folder / "segments.parquet")
    page = write_page(campaign, build_report(campaign)).read_text()
    [table] = re.findall(r'<table class="plain" id="hls">(.*?)</table>', page, re.DOTALL)
    heads = re.findall(r"<th[^>]*>(.*?)</th>", table)
    cells = re.findall(r"<td>(.*?)</td>", table)
    told = dict(zip(heads, cells, strict=True))
    assert {head: told[head] for head in ("segments", "late", "failed", "missing", "connections lost")} == {
        "segments": "6", "late": "1", "failed": "1", "missing": "1 (2.0 s)", "connections lost": "2",
    }  # fmt: skip

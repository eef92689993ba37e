"""VLC on the page, in the exported tables and in ``show``."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.campaigns import RECORDED
from tests.unit.analysis.test_vlc import OPENED_S, rows, said
from whimbrel.cli.reports import show
from whimbrel.records.store import CampaignFolder
from whimbrel.report.content import build_report
from whimbrel.report.export import tables_of
from whimbrel.report.layout import write_page


def test_stalls_in_vlc_are_told_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(RECORDED, tmp_path / "campaign"))
    campaign = CampaignFolder.open(folder)
    vm = next(trial for trial in campaign.trials() if trial.record.plan.scenario == "vm")
    record = json.loads((vm.folder / "trial.json").read_text())
    record["plan"]["vlc_viewers"] = 1
    record["events"] += [said("connecting", OPENED_S).model_dump(), said("stopped", 12).model_dump()]
    (vm.folder / "trial.json").write_text(json.dumps(record))
    rows(12, (1.0, 4.0), (6.0, 7.5)).write_parquet(vm.folder / "vlc.parquet")
    report = build_report(campaign)
    page = write_page(campaign, report).read_text()
    [table] = re.findall(r'<table class="plain" id="vlc">(.*?)</table>', page, re.DOTALL)
    told = dict(zip(re.findall(r"<th[^>]*>(.*?)</th>", table), re.findall(r"<td>(.*?)</td>", table), strict=True))
    assert {head: told[head] for head in ("stalls", "resolution (s)", "pictures lost", "connections lost")} == {
        "stalls": "2", "resolution (s)": "0.3", "pictures lost": "3", "connections lost": "0",
    }  # fmt: skip
    assert float(told["longest (s)"]) == pytest.approx(3.0, abs=0.31)
    tables = tables_of("one", report.trials)
    [viewer] = tables["viewers"].filter(protocol="rtmp in VLC").to_dicts()
    assert (viewer["pictures_lost"], viewer["longest_stall_s"] > 2.5, viewer["service_gap_ms"]) == (3, True, None)
    [playback] = tables["playbacks"].filter(protocol="rtmp in VLC").to_dicts()
    assert (playback["stalls"], playback["buffer_s"]) == (2, None)
    show(folder, vm.record.plan.order)
    out = capsys.readouterr().out
    assert "VLC viewer 1: 3 pictures and 0 buffers of sound lost" in out
    assert re.search(r"2 stalls, \d\.\d+ s in all, longest [23]\.\d+ s, to within 0\.300 s", out)

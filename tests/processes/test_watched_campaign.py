"""A campaign on a service that is not ours: two ways to harm it, compared as two techniques are. No lab, no root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.service import Service, running_service
from tests.users import without_root
from whimbrel.analysis.kept import kept_figures
from whimbrel.records.store import CampaignFolder

PROJECT = Path(__file__).parents[2]
FILE = """\
schema_version: 1
name: stalls
hosts: none
service:
  before: 600 ms
  after: 600 ms
  checks: ["{http}#web,rate=100", {{url: "{echo}", name: echo, rate: 100, send: ping}}]
migration: {{by: command, there: "kill -STOP {pid}; sleep 0.2; kill -CONT {pid}", back: "echo back >> {folder}/back"}}
evidence:
  figure: service_gap_ms
  blocks: 7
  warm_up_blocks: 1
  hypotheses: [{{name: longer, arm: long, over: short}}, {{name: web, arm: long, over: short, figure: "web: longest_gap_ms"}}]
thresholds: {{service_gap_ms: {{max: "{limit}"}}, "echo: failed": {{max: "< 1"}}}}
scenarios:
  - name: stall
    title: A stall
    arms: [{{name: short}}, {{name: long, set: {{migration.there: "kill -STOP {pid}; sleep 0.6; kill -CONT {pid}"}}}}]
"""


@pytest.fixture
def service() -> Iterator[Service]:
    with running_service() as running:
        yield running


def file_for(service: Service, folder: Path, limit: str = "< 5000", **replaced: str) -> Path:
    file = folder / "stalls.yaml"
    text = FILE.format(
        http=service.url("http"), echo=service.url("echo"), pid=service.running.pid, folder=folder, limit=limit
    )  # fmt: skip
    for old, new in replaced.items():
        text = text.replace(old, new)
    file.write_text(text)
    return file


def whimbrel(*words: str | Path, path: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "whimbrel", *map(str, words)]
    env = {**os.environ, "PYTHONPATH": str(PROJECT / "src"), "PATH": path or os.environ["PATH"]}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=env, stdin=subprocess.DEVNULL, check=False)


@pytest.mark.long
def test_two_ways_are_compared_by_what_users_lose(service: Service, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    done = whimbrel("run", file_for(service, tmp_path), "--out", folder, "--json", "--junit", tmp_path / "junit.xml")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert [(arm["name"], arm["trials"], arm["moved"]) for arm in summary["arms"]] == [("short", 7, 7), ("long", 7, 7)]
    gaps_ms = {arm["name"]: arm["service_gap_ms"]["median"] for arm in summary["arms"]}
    assert 200 <= gaps_ms["short"] < 450
    assert 600 <= gaps_ms["long"] < 1000
    # Moved back after each of the 16, two of which warmed up.
    assert (tmp_path / "back").read_text().split() == ["back"] * 16
    # The worst check's gap, and that of one check alone.
    verdicts = summary["evidence"]["verdicts"]
    assert [verdict["hypothesis"] for verdict in verdicts] == ["longer", "web"]
    for verdict in verdicts:
        assert verdict["ratio"] > 1.5
        assert verdict["different"]
    assert {tick["limit"] for tick in summary["limits"]} == {"max of service_gap_ms < 5000", "max of echo: failed < 1"}
    campaign = CampaignFolder.open(folder)
    for stored in campaign.trials():
        record = stored.record
        assert (record.outcome.result, record.plan.form, record.provenance.accelerator) == ("moved", "elsewhere", "none")
        checks = stored.series("checks")
        assert checks is not None
        told = json.loads((stored.folder / "watch.json").read_text())
        worst_s = max(check["longest_gap_s"] for check in told["checks"])
        assert kept_figures(stored).service_gap_ms == pytest.approx(worst_s * 1e3)
        assert kept_figures(stored).total_s == pytest.approx(told["command"]["ended_s"] - told["command"]["started_s"])
        assert (stored.folder / "there-1.stdout").exists()
        # A page of its own, with the way back too.
        page = (stored.folder / "report.html").read_text()
        assert "there-1" in page
        assert "back-1" in page
    assert len(ET.parse(tmp_path / "junit.xml").getroot().findall(".//testcase")) >= 14
    assert "A stall" in (folder / "report.html").read_text()
    compared = whimbrel("compare", folder, folder, "--figure", "service_gap_ms")
    assert compared.returncode == 0, compared.stderr
    exported = whimbrel("export", folder, "--out", tmp_path / "tables")
    assert exported.returncode == 0, exported.stderr
    of_checks = pl.read_csv(tmp_path / "tables" / "checks.csv")
    assert of_checks.height == 2 * (14 + 2)
    assert set(of_checks.get_column("check")) == {"web", "echo"}
    assert of_checks.get_column("failed").sum() == 0
    trials = pl.read_csv(tmp_path / "tables" / "trials.csv")
    assert set(trials.get_column("form")) == {"elsewhere"}
    assert trials.get_column("service_gap_ms").null_count() == 0


def test_a_limit_that_is_crossed_ends_with_99_and_an_interrupted_campaign_goes_on(service: Service, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    done = whimbrel("run", file_for(service, tmp_path, "< 300"), "--out", folder, "--repeat", "1")
    assert done.returncode == 99, done.stderr
    assert "✗ long: max of service_gap_ms < 300" in done.stdout
    again = folder / "trials" / "0002-long"
    if not again.exists():
        again = folder / "trials" / "0002-short"
    for file in again.iterdir():
        file.unlink()
    again.rmdir()
    done = whimbrel("run", "--resume", folder)
    assert done.returncode == 99, done.stderr
    assert (tmp_path / "back").read_text().split() == ["back"] * 3


def test_a_way_that_fails_is_a_failed_trial_and_nothing_goes_on_unless_it_was_moved_back(
    service: Service, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    failing = {"sleep 0.6; kill": "echo the disk is full >&2; exit 3; kill", "kill -STOP": "true"}
    done = whimbrel("run", file_for(service, tmp_path, **failing), "--out", folder, "--repeat", "3")
    assert done.returncode != 0
    failed = [stored.record for stored in CampaignFolder.open(folder).trials() if not stored.record.outcome.succeeded]
    assert [(record.plan.arm, record.outcome.result, record.outcome.error) for record in failed] == [
        ("long", "failed", "the command ended with 3: the disk is full")
    ]
    assert "the service was not moved back" in done.stderr


def test_a_figure_of_a_check_that_is_not_there_is_said_before_anything_is_done(service: Service, tmp_path: Path) -> None:
    done = whimbrel("run", file_for(service, tmp_path, **{'"echo: failed"': '"ecko: failed"'}), "--out", tmp_path / "results")
    assert (done.returncode, "did you mean 'echo'" in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "results").exists()


def test_a_check_that_cannot_be_is_said_before_anything_is_done(service: Service, tmp_path: Path) -> None:
    done = whimbrel("run", file_for(service, tmp_path, **{",rate=100": ",rates=100"}), "--out", tmp_path / "results")
    assert (done.returncode, "did you mean 'rate'" in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "back").exists()


def test_it_needs_no_root(service: Service, tmp_path: Path) -> None:
    """As nobody, in a folder that is open to all."""
    if os.geteuid() != 0:
        pytest.skip("we are not root anyhow")
    pid = service.running.pid
    with tempfile.TemporaryDirectory(prefix="whimbrel-test-") as name:
        place = Path(name)
        place.chmod(0o777)
        file = file_for(service, place, **{f"kill -STOP {pid}": "true", f"kill -CONT {pid}": "true"})
        as_nobody = [*without_root(), sys.executable, "-m", "whimbrel"]
        done = subprocess.run(
            [*as_nobody, "run", str(file), "--out", str(place / "results"), "--repeat", "1"], capture_output=True, text=True,
            timeout=120, env={**os.environ, "PYTHONPATH": str(PROJECT / "src"), "HOME": name}, stdin=subprocess.DEVNULL,
            check=False, cwd=place,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert (place / "results" / "report.html").exists()

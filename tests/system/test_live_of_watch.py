"""What is seen while somebody else's command moves a service: in a process of ours beside ``watch``."""

from __future__ import annotations

import json
import os
import re
import shlex
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import polars as pl
import pytest

from tests.collector import Collecting
from tests.processes.test_watch_command import SHORT, watching
from tests.processes.test_watched_campaign import file_for, whimbrel
from tests.service import Service, running_service
from whimbrel.records.store import CampaignFolder


@pytest.fixture
def service() -> Iterator[Service]:
    with running_service() as running:
        yield running


def test_each_command_is_within_the_span_of_its_trial(service: Service, tmp_path: Path) -> None:
    stop = f"kill -STOP {service.running.pid}"
    told = {stop: f"echo $TRACEPARENT >> {shlex.quote(str(tmp_path))}/given; {stop}"}
    with Collecting() as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{collector.server_address[1]}"
        file = file_for(service, tmp_path, **told)
        done = whimbrel("run", file, "--out", tmp_path / "results", "--repeat", "1", "--spans", url)
        collector.shutdown()
    assert done.returncode == 0, done.stderr
    given = (tmp_path / "given").read_text().split()
    assert len(set(given)) == len(given) == 2
    moves = {f"00-{trace}-{span}-01" for _, name, trace, span in collector.spans if name == "whimbrel.move"}
    assert set(given) < moves
    [root] = [trace for _, name, trace, _ in collector.spans if name == "whimbrel stalls"]
    assert root not in {text.split("-")[1] for text in given}


@pytest.mark.parametrize("kept", [pytest.param(True, marks=pytest.mark.long), False])
def test_a_live_page_ends_in_the_page_of_what_was_found(service: Service, tmp_path: Path, kept: bool) -> None:
    out = ["--out", str(tmp_path / "out")] if kept else []
    process = watching("--live", *out, "--http", f"{service.url('http')}#web", *SHORT, "--", "sleep", "1")
    assert process.stderr is not None
    url = next(line for line in process.stderr if "live page: " in line).split("live page: ")[1].strip()

    def opened(path: str) -> Any:
        """Retried until there is a server."""
        for _ in range(100):
            with suppress(URLError):
                return urlopen(url + path, timeout=20)
            time.sleep(0.1)
        raise AssertionError("no server")

    with opened("events") as events:
        told = [json.loads(line[6:]) for line in events if line.startswith(b"data: ")]
        # Before the last word nobody is sent on.
        assert [section["about"]["report"] for section in (one.get("sections", {}) for one in told) if "about" in section] == [
            False,
            True,
        ]
        with opened("report") as report:
            page = report.read().decode()
    assert process.wait(30) == 0
    assert "What each check saw" in page
    phases = [one["sections"]["move"]["phases"] for one in told if "move" in one.get("sections", {})][-1]
    assert [phase["name"] for phase in phases] == ["command"]
    assert 0.9 < phases[0]["to"] - phases[0]["from"] < 3
    assert any("web" in one["sections"]["strips"].get("strips", {}) for one in told if "strips" in one.get("sections", {}))


def test_its_hosts_and_metrics_are_those_of_watch(service: Service, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    ssh = tmp_path / "bin" / "ssh"
    ssh.write_text('#!/bin/sh\nfor script; do :; done\nexec sh -c "$script"\n')
    ssh.chmod(0o755)
    file = file_for(
        service, tmp_path, **{"  before: 600 ms\n  after: 600 ms\n": "  before: 2 s\n  after: 2 s\n  hosts: [me@a]\n"}
    )
    metrics, folder = tmp_path / "moves.prom", tmp_path / "results"
    done = whimbrel(
        "run", file, "--out", folder, "--repeat", "1", "--metrics-file", metrics, path=f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    )
    assert done.returncode == 0, done.stderr
    for stored in CampaignFolder.open(folder).trials():
        [host] = json.loads((stored.folder / "watch.json").read_text())["hosts"]
        assert host["name"] == "me@a"
        assert host["cpu_s"] is not None
        assert pl.read_parquet(stored.folder / "ssh_hosts.parquet").height >= 3
    said = metrics.read_text()
    [good] = re.findall(r'whimbrel_check_requests_total{check="web",result="good"} ([0-9.]+)', said)
    assert float(good) > 300
    # Both trials.
    assert "_succeeded_total 2.0" in said

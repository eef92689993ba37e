"""The commands that make labs, as a user calls them: done, interrupted, killed, and left up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.labs import QUICK
from tests.snapshot import snapshot
from whimbrel.lab.lab import ledger_of
from whimbrel.system.cgroups import Cgroup
from whimbrel.system.deadline import Deadline, wait_until

PROJECT = Path(__file__).parents[2]
FAST = ["--set", "lab.name=byhand", "--set", "lab.link_rate=1 Gbit/s", "--set", "observe.before=2 s", "--only", "vm"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PROJECT / "src")}


def whimbrel(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "whimbrel", *map(str, words)], capture_output=True, text=True, timeout=600, env=ENVIRONMENT
    )


def begin(folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "whimbrel", "run", str(QUICK), *FAST, "--out", str(folder), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def wait_for_word(running: subprocess.Popen[str], word: str) -> None:
    assert running.stderr is not None
    seen = []
    for line in running.stderr:
        seen.append(line)
        if word in line:
            return
    pytest.fail(f"it ended before it said {word!r}: {''.join(seen)}")


def test_run_gives_a_summary_and_a_page(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    done = whimbrel("run", QUICK, *FAST, "--out", folder, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["arms"][0]["moved"] == 1
    assert (folder / "report.html").exists()
    assert list((folder / "figures").glob("timeline-*.png"))
    assert whimbrel("run", QUICK, *FAST, "--out", folder).returncode == 2


@pytest.mark.parametrize(
    "moment",
    [
        "moving",
        *(pytest.param(moment, marks=pytest.mark.long) for moment in ("restoring", "waiting for 1 viewer", "watching after")),
    ],
)
def test_ctrl_c_leaves_nothing(moment: str, tmp_path: Path) -> None:
    running = begin(tmp_path / "results")
    wait_for_word(running, moment)
    running.send_signal(signal.SIGINT)
    _, stderr = running.communicate(timeout=120)
    assert running.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert not list((tmp_path / "results").glob("trials/*"))
    assert not list((tmp_path / "results").glob("trials/.*.partial"))


@pytest.mark.parametrize(
    ("moment", "number"),
    [("moving", signal.SIGHUP), *(pytest.param(moment, number, marks=pytest.mark.long) for moment, number in (
        ("restoring", signal.SIGTERM), ("at rest", signal.SIGINT), ("at rest", signal.SIGHUP), ("moving", signal.SIGINT),
        ("moving", signal.SIGTERM), ("watching after", signal.SIGTERM),
    ))],
)  # fmt: skip
def test_signals_count_when_nobody_reads_any_more(moment: str, number: signal.Signals, tmp_path: Path) -> None:
    running = begin(tmp_path / "results", "--repeat", "2")
    wait_for_word(running, moment)
    assert running.stderr is not None
    running.stderr.close()
    running.send_signal(number)
    assert running.wait(120) == 130
    assert not list((tmp_path / "results").glob("trials/*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.long)])
@pytest.mark.long
def test_signals_count_while_everything_is_removed(number: signal.Signals, tmp_path: Path) -> None:
    running = begin(tmp_path / "results")
    wait_for_word(running, "watching after")
    assert running.stderr is not None
    running.stderr.close()
    ledger, trials = ledger_of("byhand"), tmp_path / "results" / "trials"
    wait_until(lambda: (list(trials.glob("0*")) or None, "not yet"), "the trial", Deadline(60))
    listed = len(ledger.entries)
    wait_until(lambda: (len(ledger.entries) < listed or None, "not yet"), "the first thing to go", Deadline(60))
    running.send_signal(number)
    assert running.wait(120) == 130
    # The fixture sees that everything has gone.
    assert ledger.entries == []


def test_ctrl_c_twice_says_what_is_left(tmp_path: Path) -> None:
    before = snapshot()
    running = begin(tmp_path / "results")
    wait_for_word(running, "moving")
    running.send_signal(signal.SIGINT)
    wait_for_word(running, "interrupt again to stop at once")
    running.send_signal(signal.SIGINT)
    _, stderr = running.communicate(timeout=120)
    assert running.returncode == 5, stderr
    assert "cgroup byhand/server-a" in stderr
    assert "Traceback" not in stderr
    assert whimbrel("gc").returncode == 0
    assert snapshot() == before


def test_a_guest_that_is_lost_is_unsafe_and_stops_the_campaign(tmp_path: Path) -> None:
    before = snapshot()
    running = begin(tmp_path / "results", "--repeat", "2")
    wait_for_word(running, "watching after the move")
    [init] = [process for process in Cgroup("byhand/server-b").processes() if process.pids_inside == (1,)]
    assert init.kill()
    _, stderr = running.communicate(timeout=120)
    assert running.returncode == 4, stderr
    assert "no copy is left" in stderr
    assert "host b has died" in stderr
    assert "What to do: " in stderr
    assert [path.name for path in (tmp_path / "results" / "trials").iterdir()] == ["0001-vm-1"]
    assert snapshot() == before


ARMS = "[{viewers: 1, trials: 2}, {moves: false}, {name: slow, viewers: 1, set: {lab.link_rate: 200 Mbit/s}}]"


@pytest.mark.alone
@pytest.mark.long
def test_a_killed_campaign_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    before = snapshot()
    running = begin(folder, "--set", f"scenarios.vm.arms={ARMS}", "--set", "observe.stay=1 s")
    wait_for_word(running, "trial 3 of 4")
    running.kill()
    running.communicate(timeout=60)
    made = {path: path.stat().st_mtime_ns for path in (folder / "trials").glob("[0-9]*/trial.json")}
    assert len(made) == 2
    assert whimbrel("run", "--resume", folder, "--repeat", "3").returncode == 2
    assert whimbrel("run", QUICK, "--resume", folder).returncode == 2
    resumed = whimbrel("run", "--resume", folder, "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert snapshot() == before
    after = {path: path.stat().st_mtime_ns for path in (folder / "trials").glob("[0-9]*/trial.json")}
    assert made.items() <= after.items()
    trials = [whimbrel("show", folder, number, "--json").stdout for number in ("1", "2", "3", "4")]
    records = {(found["record"]["plan"]["arm"], found["record"]["plan"]["block"]): found for found in map(json.loads, trials)}
    ways = {key: (found["record"]["plan"]["source"], found["record"]["outcome"]["runs_on"]) for key, found in records.items()}
    assert ways == {
        ("vm-1", 1): ("a", ["b"]),
        ("vm-1", 2): ("b", ["a"]),
        ("vm-0-stays", 1): ("a", ["a"]),
        ("slow", 1): ("a", ["b"]),
    }
    assert records["vm-0-stays", 1]["record"]["outcome"]["result"] == "stayed"
    assert records["vm-0-stays", 1]["figures"]["total_s"] is None
    assert records["vm-0-stays", 1]["figures"]["reachability_gap_ms"] < 1000
    assert records["slow", 1]["figures"]["total_s"] > 2 * records["vm-1", 1]["figures"]["total_s"]
    for found in records.values():
        rate = found["record"]["spec"]["lab"]["link_rate_bytes_per_s"]
        assert found["record"]["rest"]["link_bytes_per_s"] == pytest.approx(rate * 0.956, rel=0.1)


@pytest.mark.parametrize("moment", [pytest.param("at rest", marks=pytest.mark.long), "moving"])
def test_gc_after_kill(moment: str, tmp_path: Path) -> None:
    before = snapshot()
    running = begin(tmp_path / "results")
    wait_for_word(running, moment)
    running.kill()
    running.communicate(timeout=60)
    assert snapshot() != before
    refused = whimbrel("run", QUICK, *FAST, "--out", tmp_path / "again")
    assert refused.returncode == 2
    assert "whimbrel gc" in refused.stderr
    collected = whimbrel("gc")
    assert collected.returncode == 0, collected.stderr
    assert "removed cgroup byhand/server-a" in collected.stdout
    assert snapshot() == before


def test_a_lab_stays_up_until_it_is_taken_down(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(QUICK.read_text().replace("name: quick", "name: byhand"))
    assert whimbrel("lab", "up", file).returncode == 0
    try:
        again = whimbrel("lab", "up", file)
        assert again.returncode == 2
        assert "already up" in again.stderr
        labs = json.loads(whimbrel("lab", "status", "--json").stdout)
        assert {"byhand": "up"}.items() <= {lab["name"]: lab["state"] for lab in labs}.items()
        assert whimbrel("lab", "exec", "byhand", "a", "--", "hostname").stdout == "server-a\n"
        assert whimbrel("lab", "exec", "byhand", "b", "--", "sh", "-c", "exit 7").returncode == 7
        assert whimbrel("gc").returncode == 0
        assert whimbrel("lab", "exec", "byhand", "b", "--", "hostname").stdout == "server-b\n"
        other = whimbrel("run", QUICK, "--set", "lab.name=byhand", "--set", "lab.link_rate=1 Gbit/s", "--out", tmp_path / "r")
        assert other.returncode == 2
        assert "differs" in other.stderr
    finally:
        assert whimbrel("lab", "down", "byhand").returncode == 0
    assert whimbrel("lab", "down", "byhand").returncode == 2


def test_doctor_finds_what_it_needs() -> None:
    done = whimbrel("doctor", "--json")
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 0, done.stdout
    assert findings["link shaping (tbf)"]["works"]
    assert "KVM" in findings

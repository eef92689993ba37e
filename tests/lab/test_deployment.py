"""A service that is put up, moved by hand, stopped in the middle, and brought back: as a user does it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deployments import Deployed, put_up
from tests.labs import QUICK
from tests.saboteur import kill, processes, set_link
from tests.snapshot import snapshot
from whimbrel.cli.lab import gc
from whimbrel.deployment.bringing_up import bring_up, take_down
from whimbrel.deployment.deployed import one_arm_of
from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.errors import UnsafeStateError, UsageError
from whimbrel.guests.carrier import CONTAINER
from whimbrel.guests.guest import take_power_away
from whimbrel.hosts.host import Peering
from whimbrel.lab.lab import Lab
from whimbrel.lab.server import Server
from whimbrel.spec.fields import HostName
from whimbrel.spec.load import load_campaign
from whimbrel.system import ledger as ledgers
from whimbrel.system.deadline import pause

PROJECT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PROJECT / "src")}
# Slow enough to be met in the middle.
SLOW = "bandwidth=4 MiB/s"


def whimbrel(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "whimbrel", *map(str, words)], capture_output=True, text=True, timeout=600, env=ENVIRONMENT
    )


def test_as_a_user_does_it(tmp_path: Path) -> None:
    before = snapshot()
    options = ["--set", "lab.name=byhand", "--set", "lab.link_rate=1 Gbit/s", "--set", "observe.witness=true"]
    put_up = whimbrel("deploy", QUICK, "--arm", "vm-1", "--name", "web", *options)
    try:
        assert put_up.returncode == 0, put_up.stderr
        assert "web runs on host a" in put_up.stdout
        assert "already deployed" not in put_up.stderr
        assert whimbrel("deploy", QUICK, "--arm", "vm-1", "--name", "web", *options).returncode == 2
        moved = whimbrel("migrate", "web", "--to", "b", "--watch", "--out", tmp_path / "kept", "--json")
        assert moved.returncode == 0, moved.stderr
        told = json.loads(moved.stdout)
        assert (told["result"], told["runs_on"], told["technique"]) == ("moved", ["b"], "pre-copy")
        for figure in ("total_s", "qemu_downtime_ms", "libvirt_downtime_ms", "blackout_ms", "reachability_gap_ms"):
            assert told[figure] > 0, figure
        assert told["reachability_gap_ms"] >= told["blackout_ms"]
        assert told["kept"] == ["connection", "counter", "file", "memory"]
        assert "sent" in moved.stderr
        assert whimbrel("show", tmp_path / "kept", "1").returncode == 0
        again = whimbrel("migrate", "web", "--to", "b")
        assert again.returncode == 2
        assert "runs on host b already" in again.stderr
        [listed] = json.loads(whimbrel("deployed", "--json").stdout)
        assert (listed["name"], listed["runs_on"]) == ("web", ["b"])
        back = whimbrel("migrate", "web", "--to", "a", "--technique", "post-copy")
        assert back.returncode == 0, back.stderr
        assert "web runs on host a" in back.stdout
        assert whimbrel("abort", "web").returncode == 2
        nothing_wrong = whimbrel("recover", "web")
        assert nothing_wrong.returncode == 0, nothing_wrong.stderr
        assert "web runs on host a, and nowhere else" in nothing_wrong.stdout
        # Somebody else's campaign does not end what was put up here.
        refused = whimbrel("run", QUICK, "--only", "vm", *options, "--out", tmp_path / "campaign")
        assert refused.returncode == 2
        assert "something is deployed: web" in refused.stderr
    finally:
        assert whimbrel("undeploy", "web").returncode == 0
    assert snapshot() == before
    assert whimbrel("migrate", "web", "--to", "b").returncode == 2


def test_a_move_that_is_aborted_leaves_it_where_it_was(deployed: Deployed) -> None:
    moving = deployed.begin("b", None, SLOW)
    deployed.come_to("reserved")
    assert deployed.abort() == "aborted"
    moving.join(60)
    assert deployed.copies() == ["a"]
    assert deployed.move("b").error is None
    assert deployed.copies() == ["b"]


def test_a_move_that_fails_says_why_in_its_record(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as wrong:
        peering = Peering("qemu+tcp://server-a/system", deployed.lab.hosts["b"].peering.move_uri)
        wrong.setattr(Server, "peering", peering)
        failed = deployed.move("b")
    outcome = failed.stored.record.outcome
    assert (outcome.result, outcome.runs_on, outcome.known_failure) == ("failed", ["a"], "same-host")
    assert outcome.error is not None
    first, why, said, *_, what = outcome.error.splitlines()
    assert first == "the move failed in the phase reservation; the guest runs on host a"
    assert why == "Why: source and destination are one host for libvirt: they have the same host UUID"
    assert "internal error: Attempt to migrate guest to the same host" in said
    assert what.startswith("What to do: compare 'virsh -c URI capabilities' of both")
    assert deployed.copies() == ["a"]
    assert deployed.move("b").error is None


def test_what_qemus_log_says_at_the_destination_is_evidence(deployed: Deployed) -> None:
    moving = deployed.begin("b", None, SLOW)
    deployed.come_to_memory()
    [qemu] = processes(deployed.lab, "b", "qemu-system")
    kill(qemu)
    moving.join(120)
    outcome = deployed.ended[-1].stored.record.outcome
    assert (outcome.result, outcome.runs_on, outcome.known_failure) == ("failed", ["a"], "stream-broken"), outcome.error
    assert outcome.error is not None
    assert "Why: the guest's QEMU there ended, or the connection to it broke, in the middle of the move" in outcome.error
    assert re.search(r"QEMU's log on host b: [^$]*shutting down, reason=crashed", outcome.error)
    assert deployed.move("b").error is None


@pytest.mark.long
def test_a_move_past_its_point_of_no_return_is_not_aborted(deployed: Deployed) -> None:
    moving = deployed.begin("b", "post-copy", "bandwidth=10 MiB/s")
    deployed.come_to("post-copy")
    assert deployed.abort() == "moved"
    moving.join(60)
    assert deployed.copies() == ["b"]


@pytest.mark.long
def test_a_cold_move_is_aborted_before_it_boots_there(deployed: Deployed) -> None:
    moving = deployed.begin("b", "cold")
    deployed.come_to("reserved")
    assert deployed.abort() == "aborted"
    moving.join(300)
    assert deployed.copies() == ["a"]


@contextmanager
def by_command_line(deployed: Deployed, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A move to B by the command line, which has the lab's ledger meanwhile, as ``deploy`` would have left it."""
    ledger = deployed.lab.ledger
    ledger.keep(deployed.lab.spec.model_dump_json())
    ledger.release()
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "whimbrel", "migrate", deployed.deployment.name, "--to", "b", *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
        ) as running:  # fmt: skip
            yield running
    finally:
        ledger.acquire()
        (ledgers.folder() / f"{ledger.name}.kept").unlink()


def killed(deployed: Deployed, word: str, *words: str) -> None:
    """A move by the command line, killed when its journal comes to this step."""
    with by_command_line(deployed, *words) as running:
        deployed.come_to(word)
        # What follows the step has begun as well.
        pause(1)
        running.send_signal(signal.SIGKILL)
        running.communicate(timeout=60)
    # What it had for itself alone goes; what is deployed stays.
    gc()
    assert deployed.history().ended is None
    assert not deployed.history().driven


@pytest.mark.long
@pytest.mark.parametrize("moment", ["shutting down", "boot there", "on its way back"])
def test_ctrl_c_on_a_cold_move_gives_the_guest_and_its_service_back(deployed: Deployed, moment: str) -> None:
    with by_command_line(deployed, "--technique", "cold") as running:
        deployed.come_to("powered off" if moment == "on its way back" else moment)
        if moment == "on its way back":
            deployed.deployment.abort_file.touch()
            deployed.wait_for(lambda: deployed.lab.hosts["a"].state_of(deployed.lab.guest) == "runs", "its boot on its source")
        running.send_signal(signal.SIGINT)
        _, stderr = running.communicate(timeout=300)
        assert running.returncode == 130, stderr
    assert "interrupted: tested runs on host a" in stderr
    assert "Traceback" not in stderr
    assert deployed.history().ended == "aborted"
    assert deployed.copies() == ["a"]
    # It has a witness, which is started with its service.
    assert deployed.move("b", "pre-copy").stored.record.witness is not None


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("reserved", ("--set", "bandwidth=20 MiB/s")),
        pytest.param("post-copy", ("--technique", "post-copy", "--set", "bandwidth=20 MiB/s"), marks=pytest.mark.long),
    ],
    ids=["pre-copy", "post-copy"],
)
def test_after_whimbrel_was_killed_it_is_found_running_once(deployed: Deployed, word: str, words: tuple[str, ...]) -> None:
    killed(deployed, word, *words)
    with pytest.raises(UsageError, match="was interrupted"):
        deployed.move("b")
    with pytest.raises(UsageError, match="nobody drives the move"):
        deployed.abort()
    where, steps = deployed.recover()
    # libvirt went on with it without us.
    assert steps == ["wait", "done"]
    assert where == "b"
    assert deployed.copies() == [where]
    other: HostName = "b" if where == "a" else "a"
    assert deployed.move(other).error is None


@pytest.mark.long
@pytest.mark.parametrize(
    ("storage", "word", "words", "expected"),
    [
        ("full", "disk made ready", ("--set", "bandwidth=20 MiB/s"), ["wait", "done"]),
        # Its disk is little, so it is memory of which nothing gets through.
        ("incremental", "disk made ready", ("--set", "bandwidth=20 MiB/s"), ["wait", "done"]),
        ("full", "disk copy begun", ("--technique", "cold", "--set", "bandwidth=20 MiB/s"), ["boot", "done"]),
    ],
    ids=["disk", "memory beside a disk", "cold"],
)
def test_what_moves_with_its_disk_is_given_up_when_nothing_gets_through(
    lab: Lab, tmp_path: Path, storage: str, word: str, words: tuple[str, ...], expected: list[str]
) -> None:
    with put_up(lab, tmp_path, f"migration.storage={storage}") as deployed:
        killed(deployed, word, *words, "--set", "timeout=20 s")
        set_link(lab, "b", "down")
        try:
            where, steps = deployed.recover()
        finally:
            set_link(lab, "b", "up")
        assert (where, steps) == ("a", expected)
        assert deployed.copies() == ["a"]
        assert not list(lab.hosts["b"].config.own.iterdir())


@pytest.mark.long
@pytest.mark.parametrize(("word", "expected"), [("shutting down", "a"), ("boot there", "b")])
def test_what_was_shut_down_is_booted(deployed: Deployed, word: str, expected: str) -> None:
    killed(deployed, word, "--technique", "cold")
    where, steps = deployed.recover()
    # What boots at the destination goes on without us.
    assert ("boot" in steps) == (word == "shutting down")
    assert where == expected
    assert deployed.copies() == [expected]


@pytest.mark.long
def test_a_post_copy_move_whose_link_was_cut_goes_on(deployed: Deployed) -> None:
    moving = deployed.begin_post_copy()
    set_link(deployed.lab, "b", "down")
    try:
        moving.join(180)
    finally:
        set_link(deployed.lab, "b", "up")
    assert not moving.is_alive()
    assert deployed.history().ended is None
    # QEMU's own connection outlives a cable that is out for a minute; libvirt has given up, and QEMU goes on.
    where, steps = deployed.recover()
    assert (where, steps[-1]) == ("b", "done")
    assert deployed.copies() == ["b"]


@pytest.mark.long
def test_a_post_copy_move_that_was_broken_off_is_not_taken_up_by_a_libvirt_that_would_crash(deployed: Deployed) -> None:
    libvirtd = processes(deployed.lab, "b", "libvirtd")
    moving = deployed.begin_post_copy()
    with deployed.at_the_source() as guest:
        guest.interrupt_post_copy()
    moving.join(60)
    assert deployed.history().ended is None
    # The lab's servers have libvirt 11.3.
    with pytest.raises(UnsafeStateError, match="crashes when it is asked to take up a post-copy move"):
        deployed.recover()
    assert processes(deployed.lab, "b", "libvirtd") == libvirtd
    where, steps = deployed.recover(boot_anew=True)
    assert steps[-2:] == ["boot", "done"]
    assert deployed.copies() == [where]


@contextmanager
def container_put_up(lab: Lab, folder: Path, technique: str) -> Iterator[Deployed]:
    """A container in the carrier on host A, to be moved by this technique."""
    file = PROJECT / "scenarios" / "containers.yaml"
    spec = one_arm_of(load_campaign(file, ["lab.name=tests", "lab.link_rate=1 Gbit/s"]), technique)
    deployment = bring_up(lab, spec, "tested", "a", made_lab=False)
    try:
        yield Deployed(lab, deployment, folder)
    finally:
        take_down(lab, deployment)


@pytest.mark.long
@pytest.mark.parametrize(
    ("technique", "word"),
    [("pre-copy", "reserved"), ("pre-copy", "leave"), ("checkpoint", "leave"), ("post-copy", "leave"), ("restart", "leave")],
)
def test_a_container_whose_mover_was_killed_is_found_running_once(lab: Lab, tmp_path: Path, technique: str, word: str) -> None:
    with container_put_up(lab, tmp_path, technique) as deployed:
        killed(deployed, word)
        where, steps = deployed.recover()
        print(where, steps)
        assert deployed.move("b" if where == "a" else "a", "checkpoint").error is None


@pytest.mark.long
def test_a_container_whose_other_carrier_is_gone_is_started_anew_where_it_was(lab: Lab, tmp_path: Path) -> None:
    with container_put_up(lab, tmp_path, "checkpoint") as deployed:
        take_power_away(lab.hosts["b"], lab.network.carriers["b"])
        assert deployed.recover() == ("a", ["done"])
        with pytest.raises(UsageError, match="a carrier of tested is gone"):
            deployed.move("b")
        with deployed.at_the_source(lab.network.carriers["a"]) as carrier:
            GuestAgent(carrier).shell(f"runc delete --force {CONTAINER}")
        with pytest.raises(UnsafeStateError, match="--boot-anew"):
            deployed.recover()
        assert deployed.recover(boot_anew=True) == ("a", ["boot", "done"])

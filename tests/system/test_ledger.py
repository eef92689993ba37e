"""Everything that is made is written down first, and goes away whatever happens."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lengths import some_long
from whimbrel.errors import CleanUpError, UsageError
from whimbrel.system import links, netns
from whimbrel.system.cgroups import Cgroup, machine_cpus
from whimbrel.system.deadline import Deadline, wait_until
from whimbrel.system.ledger import Entry, Ledger, folder
from whimbrel.system.process import run, start

PROJECT = Path(__file__).parents[2]

# Makes and removes one of each kind, again and again, as a lab does.
BUSY = """
import sys
from pathlib import Path
from whimbrel.system import links, netns
from whimbrel.system.cgroups import Cgroup, machine_cpus
from whimbrel.system.ledger import Ledger
from whimbrel.system.process import start
folder = sys.argv[1]
with Ledger("busy") as ledger:
    print("started", flush=True)
    while True:
        ledger.add("folder", folder)
        Path(folder, "inner").mkdir(parents=True)
        for name in ("whimbrel-busy-1", "whimbrel-busy-2"):
            ledger.add("netns", name)
            netns.create(name)
        links.add_veth("whimbrel-busy-1", "x", "whimbrel-busy-2", "y")
        group = Cgroup("busy/one")
        ledger.add("cgroup", group.name)
        group.create(cpus=machine_cpus(), memory_bytes=2**28)
        start(["unshare", "--pid", "--fork", "sleep", "1000"], cgroup_procs=group.procs_files)
        ledger.undo_all()
"""


def whimbrel(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "whimbrel", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "src")},
    )


@pytest.mark.parametrize("seed", some_long(range(8), short=range(3)))
def test_gc_after_a_kill_at_a_random_moment(seed: int, tmp_path: Path) -> None:
    victim = subprocess.Popen(
        [sys.executable, "-c", BUSY, str(tmp_path / "made")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "src")},
    )
    assert victim.stdout is not None
    assert victim.stdout.readline() == b"started\n"
    time.sleep(random.Random(seed).uniform(0, 0.4))
    victim.send_signal(signal.SIGKILL)
    victim.wait(10)
    victim.stdout.close()
    done = whimbrel("gc")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "made").exists()
    assert [file.name for file in folder().glob(".busy*")] == []
    assert whimbrel("gc").stdout == "nothing was left behind\n"


def test_undo_tries_everything_and_names_what_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = tmp_path / "made"
    with Ledger("stubborn") as ledger:
        ledger.add("folder", str(made))
        made.mkdir()
        ledger.add("netns", "whimbrel-stubborn")
        with monkeypatch.context() as patch:
            patch.setattr(netns, "delete", lambda name: run(["sh", "-c", "echo it will not go >&2; exit 1"]))
            with pytest.raises(CleanUpError, match="1 things of 'stubborn'") as caught:
                ledger.undo_all()
        assert "it will not go" in caught.value.details
        assert not made.exists()
        assert ledger.entries == [Entry("netns", "whimbrel-stubborn")]
        ledger.undo_all()


def test_a_lab_in_use_is_not_shared_and_gc_leaves_it_alone(tmp_path: Path) -> None:
    with Ledger("taken") as ledger:
        ledger.add("folder", str(tmp_path / "made"))
        (tmp_path / "made").mkdir()
        with pytest.raises(UsageError, match="in use"):
            Ledger("taken").acquire()
        assert whimbrel("gc").stdout == "nothing was left behind\n"
        assert (tmp_path / "made").exists()
        ledger.undo_all()


def test_an_entry_cut_off_by_a_crash_is_not_an_entry(tmp_path: Path) -> None:
    with Ledger("cut") as ledger:
        ledger.add("folder", str(tmp_path / "made"))
        with (folder() / "cut.jsonl").open("a") as stream:
            stream.write('{"kind": "net')
        assert ledger.entries == [Entry("folder", str(tmp_path / "made"))]
        ledger.undo_all()


def test_a_group_ends_with_all_its_processes() -> None:
    with Ledger("group") as ledger:
        group = Cgroup("group/one")
        ledger.add("cgroup", group.name)
        group.create(cpus=machine_cpus()[:1], memory_bytes=2**28)
        running = start(["unshare", "--pid", "--fork", "sh", "-c", "sleep 1000 & sleep 1000"], cgroup_procs=group.procs_files)
        wait_until(lambda: (len(group.processes()) >= 4 or None, "few"), "the processes", Deadline(10))
        assert group.usage().memory_bytes is not None
        assert os.sched_getaffinity(running.pid) == set(machine_cpus()[:1])
        ledger.undo_all()
        assert running.wait(5) is not None
        assert group.processes() == []


def test_a_link_carries_its_rate_and_no_more() -> None:
    with Ledger("rate") as ledger:
        try:
            for name in ("whimbrel-rate-1", "whimbrel-rate-2"):
                ledger.add("netns", name)
                netns.create(name)
            links.add_veth("whimbrel-rate-1", "x", "whimbrel-rate-2", "y")
            links.add_address("whimbrel-rate-1", "x", "10.99.0.1", 24)
            links.add_address("whimbrel-rate-2", "y", "10.99.0.2", 24)
            links.shape("whimbrel-rate-1", "x", 25e6)
            assert 20e6 < _transfer_rate_bytes_per_s() < 26e6
        finally:
            ledger.undo_all()


def _transfer_rate_bytes_per_s() -> float:
    """Sends for two seconds over the shaped link and counts what arrived after the first half second."""
    receive = (
        "import socket, time\n"
        "server = socket.create_server(('10.99.0.2', 5000)); print('ready', flush=True)\n"
        "c, _ = server.accept(); start = time.monotonic(); n = 0; begun = None\n"
        "while data := c.recv(1 << 20):\n"
        "    now = time.monotonic()\n"
        "    if now > start + 0.5 and begun is None: begun = now; n = 0\n"
        "    n += len(data)\n"
        "print(n / (time.monotonic() - begun))\n"
    )
    send = (
        "import socket, time\n"
        "c = socket.create_connection(('10.99.0.2', 5000)); end = time.monotonic() + 2.5\n"
        "while time.monotonic() < end: c.sendall(bytes(65536))\n"
    )
    receiver = start([*netns.inside("whimbrel-rate-2"), sys.executable, "-c", receive], stdout=True)
    assert receiver.stdout.readline() == b"ready\n"
    run([*netns.inside("whimbrel-rate-1"), sys.executable, "-c", send])
    rate = float(receiver.stdout.readline())
    receiver.stop()
    return rate


def test_what_is_kept_here_ends_with_the_boot_and_what_is_elsewhere_does_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path))
    with Ledger("here") as here, Ledger("elsewhere") as elsewhere:
        here.keep("a lab")
        elsewhere.keep("hosts of others", elsewhere=True)
        assert (here.kept, here.note, elsewhere.kept, elsewhere.note) == (True, "a lab", True, "hosts of others")
        monkeypatch.setattr("whimbrel.system.ledger.clock_id", lambda: "the next boot")
        assert (here.kept, here.note, elsewhere.kept, elsewhere.note) == (False, "", True, "hosts of others")

"""Single faults, sown on a lab's servers that are used by URI: doctor names each before anything moves, and leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.lengths import some_long
from tests.saboteur import kill, processes
from tests.their_hosts import ENVIRONMENT, TheirHosts
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import EngineError
from whimbrel.lab.lab import Lab
from whimbrel.system.deadline import Deadline, wait_until

Said = set[tuple[str, str, str]]
# Of each fault: how to sow it, and how the file differs.
Sow = Callable[[Lab], object]
USERFAULTFD = Path("/proc/sys/vm/unprivileged_userfaultfd")


@contextmanager
def filtered(lab: Lab, rule: str) -> Iterator[None]:
    """A rule for what comes to server B, in its own network only."""
    lab.hosts["b"].run(["nft", "add table inet fault; add chain inet fault input { type filter hook input priority 0; }"])
    try:
        lab.hosts["b"].run(["nft", f"add rule inet fault input {rule}"])
        yield
    finally:
        lab.hosts["b"].run(["nft", "delete table inet fault"])


@contextmanager
def bridge_mtu(lab: Lab, mtu_bytes: int) -> Iterator[None]:
    """Another MTU of the guests' bridge on server B."""
    lab.hosts["b"].run(["ip", "link", "set", "br0", "mtu", str(mtu_bytes)])
    try:
        yield
    finally:
        lab.hosts["b"].run(["ip", "link", "set", "br0", "mtu", "1500"])


@contextmanager
def bridge_on_a_alone(lab: Lab) -> Iterator[None]:
    """A second bridge, br1."""
    lab.hosts["a"].run(["ip", "link", "add", "br1", "type", "bridge"])
    try:
        yield
    finally:
        lab.hosts["a"].run(["ip", "link", "del", "br1"])


@contextmanager
def certificate_for(lab: Lab, name: str) -> Iterator[None]:
    """A certificate of server B's QEMU that has this name and no address; that of its libvirtd stays."""
    folder = lab.hosts["b"].seen_from_here("/etc/pki/qemu")
    files = {file: file.read_bytes() for file in (folder / "server-cert.pem", folder / "server-key.pem")}
    try:
        lab.authority.issue(name, [], *files)
        yield
    finally:
        for file, content in files.items():
            file.write_bytes(content)


@contextmanager
def unprivileged_qemu(lab: Lab) -> Iterator[None]:
    """QEMU on server B without root's rights, as every distribution runs it."""
    settings = lab.hosts["b"].seen_from_here("/etc/libvirt/qemu.conf")
    text = settings.read_text()
    try:
        settings.write_text(text.replace('"root"', '"libvirt-qemu"'))
        restart_libvirtd(lab)
        yield
    finally:
        settings.write_text(text)
        restart_libvirtd(lab)


def restart_libvirtd(lab: Lab) -> None:
    [old] = processes(lab, "b", "libvirtd")
    kill(old)

    def look() -> tuple[bool | None, str]:
        try:
            with Connection.open(lab.hosts["b"].libvirt_uri) as connection:
                return bool(connection.running()) or None, "its guests are not there yet"
        except EngineError as error:
            return None, str(error)

    wait_until(look, "the return of libvirtd", Deadline(60))


def ask(theirs: TheirHosts, file: Path) -> tuple[int, bool | None, Said]:
    """What doctor says of the file's hosts: its exit code, whether a move can be made, and code, severity and side of each."""
    done = theirs.whimbrel("doctor", file, "--json")
    assert done.stdout, done.stderr
    said = json.loads(done.stdout)
    assert all(each["works"] for each in said["tried"] if each["needed"]), said["tried"]
    for each in said["findings"]:
        assert all(each[part] and "{" not in each[part] for part in ("seen", "effect", "cure")), each
    return done.returncode, said["possible"], {(each["code"], each["severity"], each["side"]) for each in said["findings"]}


def changed(theirs: TheirHosts, folder: Path, old: str, new: str) -> Path:
    """The file, with something else in it."""
    text = theirs.file.read_text()
    assert old in text
    file = folder / "changed.yaml"
    file.write_text(text.replace(old, new))
    return file


@pytest.fixture(autouse=True)
def nothing_of_ours_stays(theirs: TheirHosts) -> Iterator[None]:
    assert theirs.only_their_own
    yield
    assert theirs.only_their_own
    assert theirs.storage == set()
    assert list((Path(os.environ.get("WHIMBREL_HOME", "/var/lib/whimbrel")) / "ledger").glob("probe-*.jsonl")) == []


ENCRYPTED = ("guest: {", "migration: {tls: true}\nguest: {")


@pytest.mark.parametrize("change", [("guest: {", "guest: {"), ENCRYPTED], ids=["plain", "encrypted"])
def test_a_healthy_pair_gives_no_finding(theirs: TheirHosts, tmp_path: Path, change: tuple[str, str]) -> None:
    assert ask(theirs, changed(theirs, tmp_path, *change)) == (0, True, set())


def test_closed_ports_are_named(theirs: TheirHosts) -> None:
    with filtered(theirs.lab, "tcp dport 49152-49215 drop"):
        assert ask(theirs, theirs.file) == (
            3, False, {("ports-closed", "blocks", "a to b"), ("way-unseen", "unseen", "a to b")}
        )  # fmt: skip


def test_ports_of_which_some_are_closed_are_named(theirs: TheirHosts) -> None:
    with filtered(theirs.lab, "tcp dport 49170-49215 reject"):
        assert ask(theirs, theirs.file) == (0, True, {("ports-partly-closed", "warns", "a to b")})


def test_another_mtu_is_named(theirs: TheirHosts) -> None:
    with bridge_mtu(theirs.lab, 1400):
        assert ask(theirs, theirs.file) == (0, True, {("mtu-differs", "warns", "b")})


def test_a_missing_bridge_is_named(theirs: TheirHosts, tmp_path: Path) -> None:
    file = changed(theirs, tmp_path, "  guest_address", "  bridge: br1\n  guest_address")
    with bridge_on_a_alone(theirs.lab):
        assert ask(theirs, file) == (3, False, {("bridge-missing", "blocks", "b")})


@pytest.mark.parametrize("verdict", ["reject with tcp reset", pytest.param("drop", marks=pytest.mark.long)])
def test_a_peer_that_cannot_be_reached_is_named(theirs: TheirHosts, verdict: str) -> None:
    with filtered(theirs.lab, f"ip saddr {theirs.lab.hosts['a'].address} tcp dport 16514 {verdict}"):
        assert ask(theirs, theirs.file) == (3, False, {("peer-unreachable", "blocks", "a to b")})


def test_a_certificate_for_another_name_is_named_and_cured(theirs: TheirHosts, tmp_path: Path) -> None:
    file = changed(theirs, tmp_path, *ENCRYPTED)
    with certificate_for(theirs.lab, "moves.example"):
        assert ask(theirs, file) == (3, False, {("certificate-name", "blocks", "b")})
        address = f"address: {theirs.lab.hosts['b'].address}"
        file.write_text(file.read_text().replace(address, f"{address}, certificate_name: moves.example"))
        assert ask(theirs, file) == (0, True, set())


def test_a_certificate_with_a_name_alone_is_for_the_name_of_the_peer(theirs: TheirHosts, tmp_path: Path) -> None:
    with certificate_for(theirs.lab, "server-b"):
        assert ask(theirs, changed(theirs, tmp_path, *ENCRYPTED)) == (0, True, set())


@pytest.mark.long
@pytest.mark.skipif(USERFAULTFD.read_text().strip() != "0", reason="this kernel lets everybody handle page faults")
def test_userfaultfd_that_is_off_is_named(theirs: TheirHosts, tmp_path: Path) -> None:
    with unprivileged_qemu(theirs.lab):
        assert ask(theirs, theirs.file) == (0, True, {("userfaultfd-off", "warns", "b")})
        file = changed(theirs, tmp_path, "guest: {", "migration: {technique: post-copy}\nguest: {")
        assert ask(theirs, file) == (3, False, {("userfaultfd-off", "blocks", "b")})


@contextmanager
def doctor_in_the_middle(theirs: TheirHosts) -> Iterator[subprocess.Popen[str]]:
    """The command, while guests of its own are on both hosts and a move waits for an answer."""
    with ExitStack() as held:
        held.enter_context(filtered(theirs.lab, f"ip saddr {theirs.lab.hosts['a'].address} tcp dport 16514 drop"))
        running = subprocess.Popen(
            theirs.command("doctor", theirs.file), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
        )
        held.callback(running.kill)
        wait_until(
            lambda: (all(len(guests) == 2 for guests in theirs.guests.values()) or None, str(theirs.guests)),
            "the guests on both hosts", Deadline(60),
        )  # fmt: skip
        yield running


SIGNALS = some_long([signal.SIGINT, signal.SIGTERM, signal.SIGHUP], short=[signal.SIGINT])


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_ends_it_and_leaves_nothing(theirs: TheirHosts, number: signal.Signals) -> None:
    with doctor_in_the_middle(theirs) as running:
        running.send_signal(number)
        _, errors = running.communicate(timeout=120)
        assert running.returncode == 130, errors


def test_gc_removes_what_a_kill_has_left(theirs: TheirHosts) -> None:
    with doctor_in_the_middle(theirs) as running:
        running.kill()
        running.communicate(timeout=60)
        assert not theirs.only_their_own
        collected = theirs.whimbrel("gc")
        assert collected.returncode == 0, collected.stderr

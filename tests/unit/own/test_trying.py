"""The way between two hosts is tried with small guests of ours, which are gone in the end; nothing of others is touched."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.raw_libvirt import RawDomain, RawHost, RawPair, error
from whimbrel.cli import inventory as command
from whimbrel.engines.binding import libvirt
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import UsageError
from whimbrel.hosts.preflight import ways
from whimbrel.own.checking import check_way
from whimbrel.own.sides import sides_of
from whimbrel.system.folders import user_state

pytestmark = pytest.mark.skipif(libvirt is None, reason="libvirt-python is not installed")

FROM, TO = "qemu+tls://one.example/system", "qemu+tls://two.example/system"
THEIRS = """<domain type="qemu"><name>theirs</name><uuid>0b5e7f4c-0000-4000-8000-00000000000a</uuid>
<os><type machine="pc">hvm</type></os></domain>"""


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RawPair:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(ways, "CONNECT_S", 0.05)
    monkeypatch.setattr(ways, "MOVE_S", 1.0)
    found = RawPair()
    found.install(monkeypatch)
    set_clocks(monkeypatch, 0.0)
    for host in (found.a, found.b):
        host.defineXML(THEIRS)
    return found


def set_clocks(monkeypatch: pytest.MonkeyPatch, ahead_s: float) -> None:
    """The destination's is so far ahead."""

    def stamps(connection: Connection, guest: Any, tries: int) -> tuple[list[tuple[int, int]], list[int]]:
        now_ns = time.time_ns()
        ahead_ns = round(ahead_s * 1e9) if "two" in connection.uri else 0
        return [(now_ns, now_ns + 10)] * tries, [now_ns + ahead_ns + 5] * tries

    monkeypatch.setattr(Connection, "clock_stamps", stamps)


def codes(pair: RawPair) -> set[tuple[str, str, str]]:
    """What is found; in the end all is as it was."""
    found: set[tuple[str, str, str]] = {(each.code, each.severity, each.side) for each in check_way(*sides_of(FROM, TO))}
    for host in (pair.a, pair.b):
        assert [domain.name() for domain in host.domains.values()] == ["theirs"]
        assert len({name for name in host.seen if name.startswith("whimbrel-try-")}) == len(host.seen) - 1
    assert not list((user_state() / "tried").glob("*/*"))
    return found


def test_a_healthy_way_is_well(pair: RawPair) -> None:
    assert codes(pair) == set()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"ports_in_use": set(range(49152, 49216))}, ("ports-taken", "blocks", "two")),
        ({"closed_ports": set(range(49152, 49216))}, ("ports-closed", "blocks", "one to two")),
        ({"closed_ports": {49215}}, ("ports-partly-closed", "warns", "one to two")),
        ({"machines": ["pc-i440fx-9.2"]}, ("machine-type-missing", "blocks", "two")),
    ],
)
def test_faults_of_the_destination(pair: RawPair, fault: dict[str, Any], said: tuple[str, str, str]) -> None:
    for key, value in fault.items():
        setattr(pair.b, key, value)
    assert said in codes(pair)


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ((38, "unable to connect to server at 'two.example:16514': Connection refused"), ("peer-unreachable", "blocks")),
        ((38, "unable to connect to server at 'two.example:16514': No route to host"), ("peer-unreachable", "blocks")),
        ((45, "authentication failed: authentication failed"), ("peer-refused", "blocks")),
        ((26, "Certificate [session] owner does not match the hostname two.example"), ("peer-refused", "blocks")),
        ((38, "Server certificate /etc/pki/libvirt/servercert.pem has expired"), ("peer-refused", "blocks")),
        ((1, "internal error: the moon is full"), ("way-unseen", "unseen")),
    ],
)
def test_what_keeps_one_libvirt_from_the_other(pair: RawPair, trouble: tuple[int, str], said: tuple[str, str]) -> None:
    pair.a.peer_trouble = trouble
    assert codes(pair) == {(*said, "one to two")}


def test_clocks_that_are_apart(pair: RawPair, monkeypatch: pytest.MonkeyPatch) -> None:
    set_clocks(monkeypatch, 0.9)
    assert codes(pair) == set()
    set_clocks(monkeypatch, -90.0)
    assert codes(pair) == {("clocks-apart", "warns", "one and two")}


def test_a_host_that_starts_no_guest_leaves_the_way_unseen(pair: RawPair) -> None:
    pair.b.start_trouble = (9, "operation failed: no room")
    assert codes(pair) == {("way-unseen", "unseen", "one to two")}


def test_where_kvm_starts_no_guest_the_way_is_tried_by_an_emulated_one(pair: RawPair, monkeypatch: pytest.MonkeyPatch) -> None:
    started = RawHost.createXML

    def only_emulated(host: RawHost, description: str, flags: int) -> RawDomain:
        if 'type="kvm"' in description:
            raise error(1, "internal error: process exited while connecting to monitor: failed to set MSR 0x10a")
        return started(host, description, flags)

    monkeypatch.setattr(RawHost, "createXML", only_emulated)
    pair.b.closed_ports = {49215}
    assert codes(pair) == {("ports-partly-closed", "warns", "one to two")}


def test_what_a_killed_try_has_left_goes_with_the_next_one(pair: RawPair, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        # Whoever was killed looks for nothing any more.
        patched.setattr(Connection, "find", lambda connection, number: None)
        patched.setattr(Path, "unlink", lambda path, missing_ok=False: None)
        check_way(*sides_of(FROM, TO))
    assert (len(pair.a.domains), len(pair.b.domains)) == (2, 2)
    assert codes(pair) == set()


def test_hosts_of_a_file_are_tried_each_with_each(pair: RawPair, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_text(
        f'hosts:\n  north: {{libvirt: "{FROM}", address: 10.0.0.1}}\n  east: {{libvirt: "{TO}", address: 10.0.0.2}}\n'
    )
    assert command.check([], file, None, True) == 0
    said = json.loads(capsys.readouterr().out)
    assert [(way["source"], way["destination"], way["possible"]) for way in said] == [
        ("north", "east", True), ("east", "north", True),
    ]  # fmt: skip
    pair.b.closed_ports = set(range(49152, 49216))
    assert command.check([], file, None, False) == 3
    said = capsys.readouterr().out
    assert "north to east: BLOCKED" in said
    assert "east to north: well" in said
    with pytest.raises(UsageError, match="there is no host 'west'"):
        command.check(["north", "west"], file, None, True)

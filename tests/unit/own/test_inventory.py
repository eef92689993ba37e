"""Hosts by the names that a user gives them, and the lists of hosts and guests."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from whimbrel.cli.inventory import guests, tell_hosts
from whimbrel.engines.hypervisor import HostMemory
from whimbrel.engines.libvirt import Connection
from whimbrel.engines.libvirt_facts import ListedGuest, list_guests
from whimbrel.errors import SilentError, SpecError, UsageError
from whimbrel.own.sides import sides_of
from whimbrel.spec.inventory import load_inventory

FILE = """\
hosts:
  north: {libvirt: "qemu+ssh://north.example/system", address: 10.0.0.1, labels: [rack-1]}
  east: {libvirt: "qemu+tls://east.example/system", address: 10.0.0.2, certificate_name: east.moves.example,
         peer_libvirt: "qemu+tls://east.inner.example/system"}
  west: {libvirt: "qemu+ssh://west.example/system", address: 10.0.0.3}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "hosts.yaml"
    found.write_text(FILE)
    monkeypatch.chdir(tmp_path)
    return found


def test_hosts_are_taken_by_their_names(file: Path) -> None:
    here, there = sides_of("north", "east")
    assert (here.name, here.uri, there.name, there.uri) == (
        "north", "qemu+ssh://north.example/system", "east", "qemu+tls://east.example/system",
    )  # fmt: skip
    assert there.host.peering.move_uri == "tcp://10.0.0.2"
    assert there.host.peering.peer_uri == "qemu+tls://east.inner.example/system"
    assert there.host.peering.certificate_name == "east.moves.example"


def test_one_may_be_given_by_the_uri_that_it_has_there(file: Path) -> None:
    assert [side.name for side in sides_of("qemu+ssh://west.example/system", "north")] == ["west", "north"]
    with pytest.raises(UsageError, match=r"there is no host 'qemu\+ssh://south.example/system'"):
        sides_of("qemu+ssh://south.example/system", "north")


@pytest.mark.parametrize(
    ("source", "destination", "said"),
    [("north", "south", "there is no host 'south'"), ("north", "north", "cannot move from host north to where it is")],
)
def test_hosts_that_are_not_there_or_are_one_are_refused(file: Path, source: str, destination: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        sides_of(source, destination)


def test_a_file_that_is_wrong_says_where(file: Path) -> None:
    file.write_text(FILE.replace("address: 10.0.0.3", "addres: 10.0.0.3"))
    with pytest.raises(SpecError) as caught:
        load_inventory(None)
    assert (caught.value.line, caught.value.key) == (5, "hosts.west.addres")


def test_without_a_file_it_is_said_what_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with pytest.raises(UsageError, match="there is no file of hosts"):
        load_inventory(None)
    (tmp_path / "config" / "whimbrel").mkdir(parents=True)
    (tmp_path / "config" / "whimbrel" / "hosts.yaml").write_text(FILE)
    assert list(load_inventory(None).hosts) == ["north", "east", "west"]


class RawGuest:
    """libvirt's domain, as far as it is listed."""

    def __init__(self, number: int) -> None:
        self.number = number

    def name(self) -> str:
        return f"guest-{self.number:03d}"

    def UUIDString(self) -> str:  # noqa: N802
        return f"00000000-0000-4000-8000-{self.number:012d}"


class RawHost:
    """A libvirt with many guests, of which each call takes its time."""

    def __init__(self, many: int, call_s: float = 0.0) -> None:
        self.guests = [RawGuest(number) for number in reversed(range(many))]
        self.calls = 0
        self.call_s = call_s

    def isAlive(self) -> int:  # noqa: N802
        return 1

    def _call(self) -> None:
        self.calls += 1
        time.sleep(self.call_s)

    def getAllDomainStats(self, kinds: int, flags: int) -> list[tuple[RawGuest, dict[str, int]]]:  # noqa: N802
        self._call()
        return [
            (guest, {"state.state": 5 if guest.number % 3 else 1, "balloon.maximum": 2**20, "vcpu.maximum": 2})
            for guest in self.guests
        ]

    def listAllDomains(self, flags: int) -> list[RawGuest]:  # noqa: N802
        self._call()
        return self.guests[::2]

    def getInfo(self) -> list[object]:  # noqa: N802
        self._call()
        return ["x86_64", 1024, 16]


class Opened(Connection):
    """A connection to such a host."""

    def versions(self) -> dict[str, str]:
        return {"libvirt": "11.3.0", "qemu": "10.0.2"}

    def memory(self) -> HostMemory:
        return HostMemory(64 * 2**30, 32 * 2**30, 0, 2**30)


def test_however_many_guests_there_are_a_list_takes_few_calls() -> None:
    raw = RawHost(500)
    found = list_guests(Connection("qemu+ssh://north.example/system", raw))
    assert raw.calls == 2
    assert len(found) == 500
    assert found[0] == ListedGuest("guest-000", "00000000-0000-4000-8000-000000000000", "runs", 2**30, 2, False)
    assert [guest.state for guest in found[:3]] == ["runs", "off", "off"]
    assert [guest.persistent for guest in found[:3]] == [False, True, False]


@pytest.fixture
def three(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def opened(uri: str) -> Iterator[Connection]:
        if "west" in uri:
            raise SilentError("libvirt could not connect", details="no answer within 30 s")
        yield Opened(uri, RawHost(3, call_s=0.05))

    monkeypatch.setattr(Connection, "open", opened)


def test_hosts_are_listed_and_one_that_is_silent_is_said(three: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert tell_hosts(None, True) == 1
    told = capsys.readouterr()
    found: list[dict[str, Any]] = json.loads(told.out)
    assert [each["name"] for each in found] == ["north", "east", "west"]
    assert (found[0]["guests_running"], found[0]["guests"], found[0]["processors"]) == (1, 3, 16)
    assert found[0]["labels"] == ["rack-1"]
    assert (found[2]["trouble"], found[2]["memory_bytes"]) == ("no answer within 30 s", None)
    assert told.err == "whimbrel: host west: no answer within 30 s\n"
    tell_hosts(None, False)
    assert "1 of 3 run" in capsys.readouterr().out


def test_guests_are_listed_with_where_they_run(three: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert guests(as_json=True) == 1
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert [(each["name"], each["host"], each["state"]) for each in found[:2]] == [
        ("guest-000", "north", "runs"), ("guest-001", "north", "off"),
    ]  # fmt: skip
    assert len(found) == 6
    guests()
    assert "guest-002  east" in capsys.readouterr().out


def test_a_host_that_nobody_knows_is_refused_before_anybody_is_asked(file: Path) -> None:
    with pytest.raises(UsageError, match="there is no host 'south'"):
        guests(to="south")

"""What hosts must answer when they are tried before a move: a lab's libvirtds with QEMU, and the fake ones of unit tests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.raw_libvirt import RawPair
from whimbrel.engines.capabilities import machine_of
from whimbrel.engines.cpus import compare, cpu_of, model_of
from whimbrel.engines.domain import Domain
from whimbrel.engines.events import GuestEvent
from whimbrel.engines.host_files import host_files
from whimbrel.engines.hypervisor import MoveOptions
from whimbrel.engines.libvirt import Connection
from whimbrel.engines.qemu_sockets import QemuSockets
from whimbrel.errors import RefusedError
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.preflight.failures import of_start
from whimbrel.hosts.preflight.guests import guest_xml
from whimbrel.hosts.preflight.wanted import Wanted
from whimbrel.lab.lab import Lab
from whimbrel.system.deadline import Deadline, wait_until

MTU, ABSENT = "/sys/class/net/br0/mtu", "/sys/class/net/br9/mtu"


@dataclass
class Two:
    """Both hosts; ``address`` and ``uri`` are how the first reaches the second."""

    first: Connection
    second: Connection
    address: str
    uri: str

    def guest(self, at: Connection, name: str, bridge: str = "br0") -> Domain:
        identity = GuestIdentity(name, str(uuid.uuid5(uuid.NAMESPACE_OID, name)), "52:54:00:12:34:56", "")
        return at.create(guest_xml(identity, Wanted("tcg", bridge), machine_of(at, "tcg"), on_bridge=True), paused=True)


@pytest.fixture(params=["libvirt", "fake"])
def two(request: pytest.FixtureRequest, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    if request.param == "fake":
        pair = RawPair()
        pair.install(monkeypatch)
        yield Two(Connection.open("qemu+tls://one.example/system"), Connection.open("qemu+tls://two.example/system"),
                  "10.0.0.2", "qemu+tls://two.example/system")  # fmt: skip
        return
    with ExitStack() as held:
        first, second = (held.enter_context(Connection.open(host.libvirt_uri)) for host in (lab.hosts["a"], lab.hosts["b"]))
        yield Two(first, second, lab.hosts["b"].address, lab.hosts["b"].peering.peer_uri)
        for connection in (first, second):
            for domain in connection.running():
                domain.destroy()


def test_a_host_says_what_a_guest_would_get_and_refuses_what_it_lacks(two: Two) -> None:
    machine = machine_of(two.first, "tcg")
    assert machine.emulator == "/usr/bin/qemu-system-x86_64"
    assert machine.type.startswith("pc-i440fx-")
    assert machine_of(two.second, "tcg", machine.emulator, machine.type) == machine
    with pytest.raises(RefusedError):
        machine_of(two.second, "tcg", "/usr/libexec/qemu-kvm", None)
    with pytest.raises(RefusedError):
        machine_of(two.second, "tcg", machine.emulator, "pc-i440fx-99.0")


def test_processors_are_compared_by_what_they_lack(two: Two) -> None:
    given = cpu_of(two.first, "tcg")
    assert given is not None
    assert compare(given.description, two.second, "tcg").result == "enough"
    more = given.description.replace("</cpu>", '<feature policy="require" name="avx512-fp16"/></cpu>')
    found = compare(more, two.second, "tcg")
    assert (found.result, found.lacking) == ("less", ("avx512-fp16",))
    assert "avx512-fp16" in found.said
    assert model_of(two.first) == model_of(two.second)
    assert "vendor" in model_of(two.first)


def test_small_files_are_read_and_nothing_stays(two: Two) -> None:
    number = str(uuid.uuid4())
    with host_files(two.first, "tcg", "contract-reads", number, [MTU, ABSENT]) as files:
        assert files.read(MTU) == "1500"
        assert files.read(ABSENT) is None
        found = two.first.find(number)
        assert found is not None
        assert not found.active
    assert two.first.find(number) is None


def test_a_guest_that_was_only_defined_can_be_forgotten(two: Two) -> None:
    number = str(uuid.uuid4())
    two.first.raw.defineXML(f"<domain type='qemu'><name>contract-forgets</name><uuid>{number}</uuid><memory>1024</memory>"
                            "<os><type>hvm</type></os></domain>")  # fmt: skip
    found = two.first.find(number)
    assert found is not None
    found.destroy()
    assert two.first.find(number) is not None
    found.undefine()
    assert two.first.find(number) is None


def test_a_paused_guest_moves_there_and_back_and_never_executes(two: Two) -> None:
    guest = two.guest(two.first, "contract-moves")
    number = guest.uuid
    assert guest.active
    assert not guest.executing
    guest.migrate(MoveOptions(two.uri, f"tcp://{two.address}", 32))
    assert two.first.find(number) is None
    there = two.second.find(number)
    assert there is not None
    assert there.active
    assert not there.executing
    there.destroy()
    assert two.second.find(number) is None


def test_ports_are_open_where_somebody_listens_and_nothing_stops_it(two: Two) -> None:
    listening, calling = (QemuSockets(two.guest(at, f"contract-{name}")) for at, name in ((two.second, "b"), (two.first, "a")))
    assert listening.listen(49152)
    assert listening.listen(49215)
    for port in (49152, 49200, 49215):
        calling.connect(two.address, port)
    wait_until(
        lambda: (calling.connected() == {49152, 49215} or None, str(calling.connected())), "two connections", Deadline(10)
    )  # fmt: skip
    calling.close()
    listening.close()
    assert calling.connected() == set()
    assert listening.listen(49152), "a port that was closed can be used again"


def test_a_capability_that_qemu_does_not_know_is_refused(two: Two) -> None:
    guest = two.guest(two.first, "contract-can")
    guest.set_move_capability("background-snapshot", True)
    guest.set_move_capability("background-snapshot", False)
    with pytest.raises(RefusedError):
        guest.set_move_capability("no-such-thing", True)


def test_a_bridge_that_is_not_there_is_told_from_all_else(two: Two) -> None:
    with pytest.raises(RefusedError) as caught:
        two.guest(two.second, "contract-bridge", "br9")
    assert of_start("b", "br9", caught.value).code == "bridge-missing"


def test_a_hypervisor_says_what_it_is_and_what_moves_can_use(two: Two) -> None:
    for host in (two.first, two.second):
        assert host.versions()["qemu"].startswith("10.")
        assert host.abilities.techniques == {"paused", "pre-copy", "post-copy", "pre-post-copy"}
        assert host.abilities.moves_disk
        assert host.abilities.resumes_post_copy == (host.versions()["libvirt"] != "11.3.0")
    assert two.first.host_identity() != two.second.host_identity()
    assert two.first.find(str(uuid.uuid4())) is None


def test_what_happens_to_a_guest_is_told_and_what_it_means(two: Two) -> None:
    heard: list[GuestEvent] = []
    two.first.on_event(heard.append)
    guest = two.guest(two.first, "contract-tells")
    guest.destroy()

    def look() -> tuple[bool | None, str]:
        told = [event for event in heard if event.guest == "contract-tells" and event.source == "libvirt"]
        meant = [(event.runs, event.ended, event.gone) for event in told if event.name in ("started", "stopped")]
        return meant == [(True, None, False), (False, "was destroyed from outside", True)] or None, str(told)

    wait_until(look, "both events", Deadline(10))

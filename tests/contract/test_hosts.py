"""What every host and every vantage must keep, the real ones and the fakes that stand in for them."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.fakes import GUEST, FakeHost, FakeJournal, FakeVantage
from tests.saboteur import power_cut
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import SilentError
from whimbrel.guests import guest as the_guest
from whimbrel.guests.states import StateStore
from whimbrel.hosts.host import Host, Vantage
from whimbrel.hosts.identity import GuestIdentity, HostIdentity
from whimbrel.lab.lab import Lab
from whimbrel.migrate.journal import WrittenJournal
from whimbrel.migrate.technique import Journal
from whimbrel.observe.migration_events import MigrationEvents
from whimbrel.spec.migration import MigrationSpec

pytestmark = pytest.mark.alone


@pytest.fixture(params=["server a", "server b", "fake"])
def host(request: pytest.FixtureRequest, lab: Lab) -> Host:
    hosts: dict[str, Host] = {"server a": lab.hosts["a"], "server b": lab.hosts["b"], "fake": FakeHost()}
    return hosts[request.param]


@pytest.fixture(params=["lab", "fake"])
def vantage(request: pytest.FixtureRequest, lab: Lab) -> Vantage:
    return lab.network.vantage if request.param == "lab" else FakeVantage()


def test_a_host_has_a_name_and_an_address(host: Host) -> None:
    assert host.name in ("a", "b")
    assert host.address.count(".") == 3
    assert host.peering.move_uri == f"tcp://{host.address}"


def test_a_host_is_reached_by_us_and_by_its_peer_in_different_ways(host: Host) -> None:
    assert host.libvirt_uri.startswith("qemu+unix://")
    assert host.peering.peer_uri.startswith("qemu+tcp://")
    assert host.peering.peer_uri.endswith("/system")


def test_a_host_says_which_machine_it_is_as_its_libvirt_does(host: Host) -> None:
    if isinstance(host, FakeHost):
        assert host.identity() != FakeHost("a").identity()
        return
    with Connection.open(host.libvirt_uri) as connection:
        assert host.identity() == HostIdentity(*connection.host_identity())


def test_a_host_has_room(host: Host) -> None:
    capacity = host.capacity()
    assert capacity.memory_bytes > 2**20
    assert capacity.disk_bytes is not None
    assert capacity.disk_bytes > 2**20


def test_a_host_can_be_sampled_and_keeps_logs(host: Host) -> None:
    points = host.access.sample_points()
    assert points is not None
    assert points.host == host.name
    assert points.cgroup
    assert all(name.startswith(host.name) and isinstance(text, str) for name, text in host.access.logs().items())
    assert host.access.logs()


def test_a_command_at_the_vantage_runs(vantage: Vantage) -> None:
    command = vantage.command([sys.executable, "-c", "print('there')"])
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "there\n"


def test_a_command_on_a_host_runs(host: Host) -> None:
    assert subprocess.run(host.access.command(["echo", "there"]), capture_output=True, text=True, check=True).stdout == "there\n"


@dataclass
class Staged:
    """A host, a guest that runs on it, and what can happen to both."""

    host: Host
    guest: GuestIdentity
    suspend: Callable[[], None]
    destroy: Callable[[], None]
    cut_power: Callable[[], None]


@pytest.fixture(params=["lab", "fake"])
def staged(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Staged]:
    if request.param == "fake":
        fake = FakeHost("a")
        fake.guests[GUEST.uuid] = "runs"
        yield Staged(
            fake, GUEST, lambda: fake.guests.update({GUEST.uuid: "stands still"}), lambda: fake.guests.clear(),
            lambda: setattr(fake, "dead", True),
        )  # fmt: skip
        return
    states: StateStore = request.getfixturevalue("states")
    server = lab.hosts["a"]
    try:
        with Connection.open(server.libvirt_uri) as connection:
            the_guest.restore(lab, connection, lab.guest, states.get("vm", "none", 1).folder)
            guest = connection.find(lab.guest.uuid)
            assert guest is not None
            yield Staged(
                server, lab.guest, guest.suspend, lambda: the_guest.take_power_away(server, lab.guest),
                lambda: power_cut("a")(lab),
            )  # fmt: skip
    finally:
        lab.mend()
        the_guest.take_power_away(server, lab.guest)


def test_a_host_says_whether_a_guest_runs_stands_still_or_is_absent(staged: Staged) -> None:
    host, guest = staged.host, staged.guest
    process = host.access.process_of(guest)
    assert (host.state_of(guest), host.gone) == ("runs", False)
    assert process is not None
    staged.suspend()
    assert (host.state_of(guest), host.access.process_of(guest)) == ("stands still", process)
    staged.destroy()
    assert (host.state_of(guest), host.access.process_of(guest)) == ("absent", None)
    assert host.state_of(replace(guest, uuid=str(uuid.uuid4()))) == "absent"


def test_a_host_without_power_is_gone_and_silent(staged: Staged) -> None:
    staged.cut_power()
    assert staged.host.gone
    with pytest.raises(SilentError):
        staged.host.state_of(staged.guest)


def test_servers_are_hosts_of_their_own(lab: Lab) -> None:
    names = [server.run(["hostname"]).stdout.strip() for server in (lab.hosts["a"], lab.hosts["b"])]
    assert names == ["server-a", "server-b"]
    answer = lab.hosts["a"].run(["virsh", "-c", lab.hosts["b"].peering.peer_uri, "hostname"]).stdout.strip()
    assert answer == "server-b"
    with Connection.open(lab.hosts["a"].libvirt_uri) as connection:
        assert connection.versions()["qemu"].startswith("10.")
        assert connection.find(str(uuid.uuid4())) is None


@pytest.fixture(params=["fake", "migration events", "written"])
def journal(request: pytest.FixtureRequest, lab: Lab, tmp_path: Path) -> Journal:
    if request.param == "fake":
        return FakeJournal()
    events = MigrationEvents((lab.guest, lab.guest), lab.hosts["a"], lab.hosts["b"])
    if request.param == "migration events":
        return events
    written = WrittenJournal(tmp_path / "move.jsonl", events)
    written.begin("a", "b", MigrationSpec())
    return written


def test_a_journal_gives_times_that_do_not_go_back(journal: Journal) -> None:
    times = [journal.mark("one"), journal.note("two", why="because"), journal.mark("three")]
    assert times == sorted(times)
    assert len(set(times)) == 3
    journal.quote("a", "frozen", 1_700_000_000_000_000_000)
    assert journal.mark("four") > times[-1]

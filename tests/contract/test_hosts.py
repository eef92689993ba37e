"""What every host and every vantage must keep, the real ones and the fakes that stand in for them."""

from __future__ import annotations

import subprocess
import sys
import uuid

import pytest

from tests.fakes import FakeHost, FakeJournal, FakeVantage
from whimbrel.engines.libvirt import Connection
from whimbrel.hosts.host import Host, Vantage
from whimbrel.hosts.identity import HostIdentity
from whimbrel.lab.lab import Lab
from whimbrel.migrate.technique import Journal
from whimbrel.observe.migration_events import MigrationEvents

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
    points = host.sight.sample_points()
    assert points is not None
    assert points.host == host.name
    assert points.cgroup
    assert all(name.startswith(host.name) and isinstance(text, str) for name, text in host.sight.logs().items())
    assert host.sight.logs()


def test_a_command_at_the_vantage_runs(vantage: Vantage) -> None:
    command = vantage.command([sys.executable, "-c", "print('there')"])
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "there\n"


def test_a_command_on_a_host_runs(host: Host) -> None:
    assert subprocess.run(host.sight.command(["echo", "there"]), capture_output=True, text=True, check=True).stdout == "there\n"


def test_servers_are_hosts_of_their_own(lab: Lab) -> None:
    names = [server.run(["hostname"]).stdout.strip() for server in (lab.hosts["a"], lab.hosts["b"])]
    assert names == ["server-a", "server-b"]
    answer = lab.hosts["a"].run(["virsh", "-c", lab.hosts["b"].peering.peer_uri, "hostname"]).stdout.strip()
    assert answer == "server-b"
    with Connection.open(lab.hosts["a"].libvirt_uri) as connection:
        assert connection.versions()["qemu"].startswith("10.")
        assert connection.find(str(uuid.uuid4())) is None


@pytest.fixture(params=["fake", "migration events"])
def journal(request: pytest.FixtureRequest, lab: Lab) -> Journal:
    return FakeJournal() if request.param == "fake" else MigrationEvents((lab.guest, lab.guest), lab.hosts["a"], lab.hosts["b"])


def test_a_journal_gives_times_that_do_not_go_back(journal: Journal) -> None:
    times = [journal.mark("one"), journal.mark("two", why="because")]
    assert times == sorted(times)

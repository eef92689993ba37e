"""Each guest of a lab has a name, a UUID and addresses of its own, the same in every lab."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from whimbrel.errors import UsageError
from whimbrel.guests.carrier import container_of, settings_of
from whimbrel.hosts.site import guests_of
from whimbrel.lab.cell import LabCells
from whimbrel.lab.lab import Lab, ledger_of
from whimbrel.services.nginx import STREAM
from whimbrel.spec.lab import LabSpec


def lab(number: int = 1, **spec: object) -> Lab:
    store: Any = SimpleNamespace(folder=Path("/images"), server_tree=lambda suite: Path("/images/server/tree"))
    return Lab(LabSpec.model_validate({"name": "guests", **spec}), store, ledger_of("guests"), number)


THREE: dict[str, dict[str, str]] = {"north": {}, "east": {}, "west": {}}


def test_servers_are_those_of_the_file_and_reach_each_other() -> None:
    hosts = lab(servers=THREE).hosts
    assert {name: host.address for name, host in hosts.items()} == {
        "north": "10.77.0.2", "east": "10.77.0.3", "west": "10.77.0.4",
    }  # fmt: skip
    assert [host.config.neighbours for host in hosts.values()] == [{name: host.address for name, host in hosts.items()}] * 3
    assert hosts["west"].peering.peer_uri == "qemu+tcp://server-west/system"
    own_link = lab(servers=THREE, migration_link={"network": "10.78.0.0/24"}).hosts
    assert [host.peering.move_uri for host in own_link.values()] == [f"tcp://10.78.0.{number}" for number in (2, 3, 4)]


def test_guests_and_their_carriers_differ_in_all_that_tells_them_apart() -> None:
    guests = [guest for number in (1, 2, 3) for guest in guests_of(lab(number, servers=THREE))]
    assert len(guests) == 12
    for told in ("name", "uuid", "mac", "address"):
        assert len({getattr(guest, told) for guest in guests}) == 12, told
    assert [(guest.name, guest.address) for guest in guests[4:6]] == [("guest-2", "10.77.0.110"), ("carrier-a-2", "10.77.0.111")]


def test_the_first_guest_is_who_it_was_before_there_were_several() -> None:
    usual = lab()
    assert (usual.guest.name, usual.guest.address) == ("guest", "10.77.0.100")
    assert [usual.network.carriers[host].address for host in ("a", "b")] == ["10.77.0.101", "10.77.0.102"]
    assert [usual.network.carriers[host].name for host in ("a", "b")] == ["carrier-a", "carrier-b"]
    assert [lab(servers=THREE).network.carriers[host] for host in ("north", "east")] == [
        usual.network.carriers[host] for host in ("a", "b")
    ]


def test_no_container_of_a_lab_has_the_mac_or_the_link_of_anything_else() -> None:
    labs = [lab(number) for number in range(1, 17)]
    containers = [container_of(each.guest) for each in labs]
    vms = [guest for each in labs for guest in guests_of(each)]
    assert len({guest.mac for guest in [*containers, *vms]}) == 16 + 48
    assert [container.address for container in containers] == [each.guest.address for each in labs]
    links = [re.findall(r"^LINK=(.*)$", settings_of(STREAM, each, 24, "/aid.so"), re.MULTILINE) for each in containers]
    assert len({link for [link] in links}) == 16
    assert all(len(link) <= 15 for [link] in links)
    # The first one's is in saved states.
    assert containers[0].mac == "52:54:00:77:00:c8"


class Group:
    """The groups of a server with two cells; the part of ``system.cgroups.Cgroup`` that is asked."""

    def inner_processes(self, inner: str) -> list[Any]:
        within: dict[str, list[tuple[int, ...]]] = {"cell": [(1,), (70, 1), (71, 2, 1)], "cell-2": [(80, 1)]}
        return [SimpleNamespace(pid=pids[0], pids_inside=pids, alive=True) for pids in within.get(inner, [])]


def test_each_guest_of_a_lab_has_cells_of_its_own() -> None:
    servers: Any = {"a": SimpleNamespace(name="a", cgroup=Group())}
    host: Any = SimpleNamespace(name="a")
    first, second, third = (LabCells(servers, number).find(host) for number in (1, 2, 3))
    assert first is not None and second is not None  # noqa: PT018
    assert (first.first_process.pid, second.first_process.pid, third) == (70, 80, None)


@pytest.mark.parametrize(("network", "guests"), [("10.77.0.0/24", 16), ("10.77.0.0/25", 3)])
def test_a_network_has_room_for_so_many_guests(network: str, guests: int) -> None:
    assert len(guests_of(lab(guests, network=network))) == 3
    with pytest.raises(UsageError, match="no address for one more guest"):
        _ = guests_of(lab(guests + 1, network=network))

"""What a libvirtd must answer to whoever uses hosts of others: the real one of a lab's server, and the fake of unit tests."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.shared_hosts import SharedHosts
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import EngineError, SilentError
from whimbrel.guests import guest as the_guest
from whimbrel.guests.states import StateStore
from whimbrel.lab.lab import Lab


@dataclass
class Libvirtd:
    """A connection to it, a guest that runs there, and how to connect to one that is away."""

    connection: Any
    guest: str
    start_again: Callable[[], None]
    open_one_that_is_away: Callable[[], None]


def of_a_fake() -> Libvirtd:
    hosts = SharedHosts()
    number = str(uuid.uuid4())
    hosts.a.start("guest", number)

    def open_away() -> None:
        hosts.b.away = True
        with hosts.open(hosts.b.uri):
            pass

    return Libvirtd(hosts.a, number, lambda: hosts.a.start("guest", number), open_away)


@pytest.fixture(params=["libvirt", "fake"])
def libvirtd(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Libvirtd]:
    if request.param == "fake":
        yield of_a_fake()
        return
    states: StateStore = request.getfixturevalue("states")
    with ExitStack() as held:
        connection = held.enter_context(Connection.open(lab.hosts["a"].libvirt_uri))
        folder = states.get("vm", "none", 1).folder

        def start() -> None:
            the_guest.restore(lab, connection, lab.guest, folder)

        start()
        held.callback(the_guest.take_power_away, lab.hosts["a"], lab.guest)
        yield Libvirtd(
            connection, lab.guest.uuid, start, lambda: Connection.open("qemu+unix:///system?socket=/nowhere").close()
        )  # fmt: skip


def test_it_says_what_it_is(libvirtd: Libvirtd) -> None:
    number, machine = libvirtd.connection.host_identity()
    assert str(uuid.UUID(number)) == number
    assert machine
    assert {"libvirt", "qemu"} <= libvirtd.connection.versions().keys()


def test_its_memory_is_known_within_bounds(libvirtd: Libvirtd) -> None:
    memory = libvirtd.connection.memory()
    assert 0 < memory.free_for_sure_bytes <= memory.free_at_most_bytes <= memory.total_bytes


def test_a_guest_is_found_by_its_number_alone(libvirtd: Libvirtd) -> None:
    assert libvirtd.connection.find(str(uuid.uuid4())) is None
    guest = libvirtd.connection.find(libvirtd.guest)
    assert (guest.active, guest.executing) == (True, True)
    assert (guest.in_post_copy, guest.split, guest.crashed) == (False, False, False)


def test_one_that_is_there_cannot_be_started_again(libvirtd: Libvirtd) -> None:
    with pytest.raises(EngineError):
        libvirtd.start_again()
    assert libvirtd.connection.find(libvirtd.guest).executing


def test_one_that_was_destroyed_is_found_no_more(libvirtd: Libvirtd) -> None:
    guest = libvirtd.connection.find(libvirtd.guest)
    guest.destroy()
    guest.destroy()
    assert (guest.active, guest.executing) == (False, False)
    assert libvirtd.connection.find(libvirtd.guest) is None


def test_one_that_is_away_is_silent(libvirtd: Libvirtd) -> None:
    with pytest.raises(SilentError):
        libvirtd.open_one_that_is_away()

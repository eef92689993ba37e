"""What every disk that only one host sees must keep: the real ones on a lab's servers, and the fake."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.fakes import FakeDisk
from whimbrel.errors import MoveError, ToolError, WhimbrelError
from whimbrel.guests.states import StateStore
from whimbrel.hosts.site import DiskFacts, OwnDisk
from whimbrel.lab.lab import Lab

pytestmark = pytest.mark.alone

FACTS = DiskFacts(3 * 2**30, 40 * 2**20, "/srv/images/disk.raw", "raw")


@dataclass
class Disks:
    """One disk of the same name on either host; the first has something on it."""

    here: OwnDisk
    there: OwnDisk


@pytest.fixture(params=["lab", "fake"])
def disks(request: pytest.FixtureRequest, lab: Lab, states: StateStore) -> Iterator[Disks]:
    if request.param == "fake":
        yield Disks(FakeDisk(FACTS), FakeDisk(None))
        return
    found = Disks(lab.files.own_disk(lab.guest, lab.hosts["a"]), lab.files.own_disk(lab.guest, lab.hosts["b"]))
    try:
        found.here.put(states.get("vm", "none", 1).folder / "disk.qcow2")
        yield found
    finally:
        found.here.remove()
        found.there.remove()


def test_a_disk_has_one_path_on_every_host(disks: Disks) -> None:
    assert disks.here.path == disks.there.path


@pytest.mark.parametrize("over_backing", [True, False])
def test_an_image_is_made_empty_and_like_another(disks: Disks, over_backing: bool) -> None:
    like = disks.here.facts()
    disks.there.make(like, over_backing)
    made = disks.there.facts()
    assert made.size_bytes == like.size_bytes
    assert made.held_bytes < like.held_bytes
    assert (made.backing, made.backing_format) == ((like.backing, like.backing_format) if over_backing else (None, None))
    assert disks.here.facts() == like


@pytest.mark.parametrize("whole", [True, False])
def test_what_one_host_serves_another_fetches(disks: Disks, whole: bool) -> None:
    like = disks.here.facts()
    disks.there.make(like, not whole)
    with disks.here.served(whole) as url:
        disks.there.fetch(url, whole, None, lambda: None)
    fetched = disks.there.facts()
    assert fetched.size_bytes == like.size_bytes
    assert fetched.held_bytes >= like.held_bytes // 2
    assert fetched.backing == (None if whole else like.backing)
    # It is served no longer, so it can be served again.
    with disks.here.served(whole):
        pass


def test_one_that_is_there_is_not_made_again(disks: Disks) -> None:
    before = disks.here.facts()
    with pytest.raises(ToolError):
        disks.here.make(before, over_backing=False)
    assert disks.here.facts() == before


def test_whoever_copies_is_asked_whether_it_is_still_wanted(disks: Disks) -> None:
    disks.there.make(disks.here.facts(), over_backing=False)

    def unwanted() -> None:
        raise MoveError("not any more")

    with disks.here.served(True) as url, pytest.raises(MoveError, match="not any more"):
        # So slowly that it cannot have ended before.
        disks.there.fetch(url, True, 1e6, unwanted)
    # It can be served again, and what there is of the copy be removed.
    with disks.here.served(True):
        pass
    disks.there.remove()
    assert (disks.here.there, disks.there.there) == (True, False)


def test_a_disk_that_is_not_there_can_be_removed(disks: Disks) -> None:
    disks.there.remove()
    disks.here.remove()
    disks.here.remove()
    for disk in (disks.here, disks.there):
        with pytest.raises(WhimbrelError):
            disk.facts()

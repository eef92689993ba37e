"""Servers with the QEMU and the libvirt of Debian's backports: what those of Debian itself cannot do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployments import Deployed, put_up
from tests.labs import lab_that_is_up, quick
from tests.saboteur import set_link
from tests.spectators import spectators
from whimbrel.engines.domain import Domain
from whimbrel.lab.lab import Lab
from whimbrel.migrate import recover as recovering
from whimbrel.system.deadline import pause

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def newer() -> Iterator[Lab]:
    with lab_that_is_up(quick("lab.name=newer", "lab.suite=trixie-backports").lab) as lab:
        yield lab


@pytest.fixture
def deployed(newer: Lab, tmp_path: Path) -> Iterator[Deployed]:
    with put_up(newer, tmp_path) as found:
        yield found


def status(guest: Domain) -> object:
    return guest.monitor("query-migrate")["status"]


def test_a_post_copy_move_that_was_broken_off_is_taken_up_again(deployed: Deployed, tmp_path: Path) -> None:
    with spectators(deployed.lab, tmp_path, viewers=0) as seen:
        moving = deployed.begin_post_copy()
        with deployed.at_the_source() as guest:
            guest.interrupt_post_copy()
            moving.join(120)
            assert deployed.history().ended is None
            assert status(guest) == "postcopy-paused"
            assert deployed.copies_standing() == ["a", "b"]
        where, steps = deployed.recover()
    seen.assert_it_went_on()
    assert where == "b"
    assert steps[0] == "resume post-copy"
    assert deployed.copies() == ["b"]


def test_a_post_copy_move_that_breaks_again_is_taken_up_again(
    deployed: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that the second break comes after the time in which a move that is taken up has to begin to send.
    monkeypatch.setattr(recovering, "TAKEN_UP_S", 4.0)
    found: list[tuple[str, list[str]]] = []
    with spectators(deployed.lab, tmp_path, viewers=0) as seen:
        moving = deployed.begin_post_copy()
        with deployed.at_the_source() as guest:
            guest.interrupt_post_copy()
            moving.join(120)
            recovering_it = threading.Thread(target=lambda: found.append(deployed.recover(boot_anew=True)), daemon=True)
            recovering_it.start()
            deployed.wait_for(lambda: status(guest) == "postcopy-active", "it to be taken up")
            pause(6)
            guest.interrupt_post_copy()
        recovering_it.join(300)
    seen.assert_it_went_on()
    [(where, steps)] = found
    assert where == "b"
    assert steps.count("resume post-copy") == 2
    assert "boot" not in steps
    assert deployed.copies() == ["b"]


def test_a_post_copy_move_whose_link_stays_cut_is_paused_and_taken_up_once_it_is_mended(
    deployed: Deployed, tmp_path: Path
) -> None:
    found: list[tuple[str, list[str]]] = []
    with spectators(deployed.lab, tmp_path, viewers=0) as seen:
        moving = deployed.begin_post_copy()
        set_link(deployed.lab, "b", "down")
        try:
            # libvirt gives up; QEMU would wait for a quarter of an hour.
            moving.join(180)
            assert deployed.history().ended is None
            recovering = threading.Thread(target=lambda: found.append(deployed.recover()), daemon=True)
            recovering.start()
            with deployed.at_the_source() as guest:
                assert status(guest) == "postcopy-active"
                deployed.wait_for(lambda: status(guest) == "postcopy-paused", "QEMU to be told to pause")
            pause(5)
        finally:
            set_link(deployed.lab, "b", "up")
        recovering.join(300)
    seen.assert_it_went_on()
    [(where, steps)] = found
    assert (where, steps[0], steps[-1]) == ("b", "wait", "done")
    assert "resume post-copy" in steps
    assert deployed.copies() == ["b"]


def test_parallel_connections_go_together_with_post_copy(deployed: Deployed) -> None:
    moved = deployed.move("b", "post-copy", "connections=2")
    assert moved.error is None
    record = moved.stored.record
    assert record.move is not None
    assert record.move.parameters is not None
    assert record.move.parameters["multifd-channels"] == 2
    assert {"multifd", "postcopy-ram"} <= set(record.move.capabilities or [])
    assert any(event.data.get("status") == "postcopy-active" for event in record.events)
    late = deployed.move("a", None, "connections=2", "bandwidth=20 MiB/s", "timeout=2 s", "on_timeout=post-copy")
    assert late.error is None
    assert any(event.data.get("status") == "postcopy-active" for event in late.stored.record.events)
    assert deployed.copies() == ["a"]

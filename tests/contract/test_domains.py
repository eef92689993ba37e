"""What a guest must answer while it is moved: libvirt's on a lab's server, and the fake that stands in for it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.fakes import FakeDomain
from whimbrel.engines.hypervisor import MoveOptions, Progress
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import EngineError, NoGuestError, RefusedError, SilentError
from whimbrel.guests import guest as the_guest
from whimbrel.guests.states import StateStore
from whimbrel.lab.lab import Lab
from whimbrel.lab.server import Server
from whimbrel.system.deadline import Deadline, wait_until


class Relay:
    """Between us and a libvirtd: ``cut`` is what a lost connection looks like from here."""

    def __init__(self, uri: str, folder: Path) -> None:
        self._to = parse_qs(urlsplit(uri).query)["socket"][0]
        path = folder / "relay"
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._open: list[socket.socket] = []
        self.uri = f"qemu+unix:///system?socket={path}"
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near = self._listening.accept()[0]
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._to)
                self._open += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)

    def cut(self) -> None:
        for each in [self._listening, *self._open]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@dataclass
class Stage:
    """A guest without a job, and what can happen to it."""

    guest: Any
    begin_job: Callable[[], None]
    end: Callable[[], None]
    cut: Callable[[], None]


def fake_stage() -> Stage:
    guest = FakeDomain()
    return Stage(
        guest,
        lambda: setattr(guest, "job", Progress(transferred_bytes=1)),
        lambda: setattr(guest, "there", False),
        lambda: setattr(guest, "silent", True),
    )


def move_slowly(lab: Lab, held: ExitStack) -> None:
    guest = held.enter_context(Connection.open(lab.hosts["a"].libvirt_uri)).find(lab.guest.uuid)
    assert guest is not None
    there = lab.hosts["b"].peering
    options = MoveOptions(peer_uri=there.peer_uri, move_uri=there.move_uri, bandwidth_mib_per_s=1)

    def move() -> None:
        with contextlib.suppress(EngineError):
            guest.migrate(options)

    threading.Thread(target=move, daemon=True).start()
    wait_until(lambda: (True, "") if (guest.progress() or Progress()).transferred_bytes else (None, ""), "a job", Deadline(30))


def destroy(lab: Lab, server: Server) -> None:
    with Connection.open(server.libvirt_uri) as connection:
        found = connection.find(lab.guest.uuid)
        if found is not None:
            with contextlib.suppress(EngineError):
                found.abort()
            found.destroy()


@pytest.fixture(params=["libvirt", "fake"])
def stage(request: pytest.FixtureRequest, lab: Lab, states: StateStore, tmp_path: Path) -> Iterator[Stage]:
    if request.param == "fake":
        yield fake_stage()
        return
    relay = Relay(lab.hosts["a"].libvirt_uri, tmp_path)
    with ExitStack() as held:
        connection = held.enter_context(Connection.open(lab.hosts["a"].libvirt_uri))
        the_guest.restore(lab, connection, lab.guest, states.get("vm", "none", 1).folder)
        guest = held.enter_context(Connection.open(relay.uri)).find(lab.guest.uuid)
        yield Stage(guest, lambda: move_slowly(lab, held), lambda: destroy(lab, lab.hosts["a"]), relay.cut)
        relay.cut()
        for server in (lab.hosts["a"], lab.hosts["b"]):
            destroy(lab, server)


# What a move asks of a guest, but for what it is and whether it executes.
QUESTIONS: dict[str, Callable[[Any], object]] = {
    "job": lambda guest: guest.progress(),
    "completed job": lambda guest: guest.completed_job_stats(),
    "status": lambda guest: guest.move_stage,
    "abort": lambda guest: guest.abort(),
    "break off": lambda guest: guest.break_off_disk(),
    "switch": lambda guest: guest.start_post_copy(),
    "limit": lambda guest: guest.set_max_downtime_ms(300),
}


STATES: dict[str, Callable[[Any], object]] = {"active": lambda guest: guest.active, "executing": lambda guest: guest.executing}


def answer_of(ask: Callable[[Any], object], guest: Any) -> type[EngineError] | None:
    """The kind of error that it is answered with; None when it is none."""
    try:
        ask(guest)
    except EngineError as error:
        return type(error)
    return None


def test_no_job_is_an_answer(stage: Stage) -> None:
    assert stage.guest.active
    assert stage.guest.executing
    assert stage.guest.progress() is None
    assert stage.guest.completed_job_stats() is None
    stage.guest.abort()
    stage.guest.break_off_disk()


def test_what_cannot_be_is_refused(stage: Stage) -> None:
    with pytest.raises(RefusedError):
        stage.guest.start_post_copy()


def test_a_job_says_how_far_it_has_come_and_can_be_aborted(stage: Stage) -> None:
    stage.begin_job()
    job = stage.guest.progress()
    assert job is not None
    assert job.transferred_bytes
    assert stage.guest.move_stage == "under way"
    stage.guest.abort()
    wait_until(lambda: (True, "") if stage.guest.progress() is None else (None, ""), "the end of the job", Deadline(30))
    assert stage.guest.executing


def test_a_guest_that_has_gone_is_told_from_one_without_a_job(stage: Stage) -> None:
    stage.end()
    assert not stage.guest.active
    assert not stage.guest.executing
    assert {name: answer_of(ask, stage.guest) for name, ask in QUESTIONS.items()} == dict.fromkeys(QUESTIONS, NoGuestError)
    stage.guest.destroy()


def test_a_lost_connection_is_told_from_everything_else(stage: Stage) -> None:
    stage.begin_job()
    stage.cut()
    questions = {**QUESTIONS, **STATES}
    assert {name: answer_of(ask, stage.guest) for name, ask in questions.items()} == dict.fromkeys(questions, SilentError)
    with pytest.raises(SilentError):
        stage.guest.destroy()

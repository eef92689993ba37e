"""Harm done to a lab's servers, links and processes, at the moment a move has come to a certain point."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from whimbrel.engines.events import GuestEvent
from whimbrel.engines.libvirt import Connection
from whimbrel.lab.lab import Lab
from whimbrel.lab.server import Server
from whimbrel.system.cgroups import Cgroup
from whimbrel.system.process import ProcessId, run

Harm = Callable[[Lab], None]

# The event with which each phase of a pre-copy move begins: host, name, and a field of its data.
PHASE_BEGINS: dict[str, tuple[str, str, str | None]] = {
    "pre-copy": ("a", "MIGRATION", "active"),
    "stop-and-copy": ("a", "STOP", None),
    "commitment": ("b", "MIGRATION", "completed"),
    "activation": ("b", "RESUME", None),
}
# Of a disk that moves along: the copy begins.
STORAGE_BEGINS = ("a", "JOB_STATUS_CHANGE", "running")


def server(lab: Lab, name: str) -> Server:
    return lab.hosts["a"] if name == "a" else lab.hosts["b"]


def processes(lab: Lab, name: str, program: str) -> list[ProcessId]:
    """The processes of a server that run this program."""
    members = Cgroup(server(lab, name).config.cgroup).processes()
    return [member for member in members if program in _program(member)]


def _program(process: ProcessId) -> str:
    try:
        return Path(f"/proc/{process.pid}/comm").read_text()
    except OSError:
        return ""


def power_cut(name: str) -> Harm:
    return lambda lab: kill(server(lab, name).init())


def kill_program(name: str, program: str) -> Harm:
    def harm(lab: Lab) -> None:
        for process in processes(lab, name, program):
            kill(process)

    return harm


def kill(process: ProcessId) -> None:
    assert process.kill(), f"process {process.pid} does not die"


def set_link(lab: Lab, name: str, state: str) -> None:
    """Takes the cable of a server's link out, or puts it in again."""
    run(["ip", "-n", f"whimbrel-{lab.spec.name}-fabric", "link", "set", f"to-{name}", state])


def cut_link(name: str, for_s: float | None) -> Harm:
    """Cuts a link, for some seconds or for good; the one who asked for good puts it in again."""

    def harm(lab: Lab) -> None:
        set_link(lab, name, "down")
        if for_s is not None:
            threading.Timer(for_s, set_link, (lab, name, "up")).start()

    return harm


class Saboteur:
    """Does its harm once, as soon as the phase begins; ``told`` is what a trial says of its progress."""

    def __init__(self, lab: Lab, phase: str, harm: Harm) -> None:
        self._lab = lab
        self._phase = phase
        self._harm = harm
        self._due = threading.Event()
        self._failure: BaseException | None = None
        self._moving = False
        self.done = False

    def told(self, step: str) -> None:
        # A guest that is restored makes the same events as one that is moved.
        self._moving = self._moving or step.startswith("moving to host")
        begins = {"reservation": "moving to host", "after": "watching after the move"}.get(self._phase)
        if begins is not None and step.startswith(begins):
            self._due.set()

    def _wait(self) -> None:
        try:
            if self._due.wait(120):
                self._harm(self._lab)
                self.done = True
        except BaseException as error:  # kept for whoever asked for the harm
            self._failure = error

    @contextmanager
    def at_work(self) -> Iterator[None]:
        begins = {**PHASE_BEGINS, "storage": STORAGE_BEGINS}
        host, name, status = begins.get(self._phase, ("", "", None))

        def on_event(event: GuestEvent) -> None:
            if self._moving and event.name == name and event.data.get("status") == status:
                self._due.set()

        worker = threading.Thread(target=self._wait, name="saboteur", daemon=True)
        worker.start()
        try:
            if host:
                with Connection.open(server(self._lab, host).libvirt_uri) as connection:
                    connection.on_event(on_event)
                    yield
            else:
                yield
        finally:
            worker.join(10)
        if self._failure is not None:
            raise self._failure
        assert self.done, f"the move never came to the phase {self._phase}"

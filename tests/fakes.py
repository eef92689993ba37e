"""Stand-ins for hosts and journals, held to the same contracts as the real ones (tests/contract)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from whimbrel.engines.door import hypervisor_at
from whimbrel.engines.hypervisor import Hypervisor, MoveOptions, MoveStage, Progress
from whimbrel.errors import EngineError, GuestError, MoveError, NoGuestError, RefusedError, SilentError, ToolError, WhimbrelError
from whimbrel.guests.carrier import container_of
from whimbrel.guests.forms import Identity
from whimbrel.hosts.host import Capacity, GuestState, Peering, SamplePoints
from whimbrel.hosts.identity import GuestIdentity, HostIdentity, identity_in_lab
from whimbrel.hosts.inside import Inside
from whimbrel.hosts.site import DiskFacts
from whimbrel.migrate.reservation import reserved
from whimbrel.migrate.storage import disk_to_book_bytes, disk_to_move, make_room
from whimbrel.migrate.technique import Journal, MoveReport, MoveRequest
from whimbrel.services.service import Service
from whimbrel.spec.service import FormName

GUEST = identity_in_lab("guest", 100, "192.0.2.100")
ORIGIN = container_of(GUEST)


class FakeHost:
    """A host with as much room as it is told; implements ``hosts.host.Host``."""

    shares_our_clock = True

    def __init__(self, name: str = "b", memory_bytes: int = 4 * 2**30, disk_bytes: int = 100 * 2**30) -> None:
        self.name = name
        self.address = "192.0.2.1"
        self._capacity = Capacity(memory_bytes, disk_bytes)
        # By UUID, as libvirt is asked.
        self.guests: dict[str, GuestState] = {}
        self.machine = HostIdentity(f"1f9f0a34-0000-4000-8000-00000000000{name}", f"server-{name}")
        # Other logs, by name.
        self.told: dict[str, str] = {}
        self.dead = False
        self.silent = False

    @property
    def libvirt_uri(self) -> str:
        return f"qemu+unix:///system?socket=/nowhere/{self.name}"

    def hypervisor(self) -> Hypervisor:
        return hypervisor_at(self.libvirt_uri)

    @property
    def peering(self) -> Peering:
        return Peering(f"qemu+tcp://{self.name}/system", f"tcp://{self.address}")

    @property
    def access(self) -> FakeAccess:
        return FakeAccess(self)

    def identity(self) -> HostIdentity:
        if self.dead or self.silent:
            raise SilentError(f"host {self.name} does not answer")
        return self.machine

    @property
    def gone(self) -> bool:
        return self.dead

    def state_of(self, what: GuestIdentity) -> GuestState:
        if self.dead or self.silent:
            raise SilentError(f"host {self.name} does not answer")
        return self.guests.get(what.uuid, "absent")

    def capacity(self) -> Capacity:
        return self._capacity


class FakeAccess:
    """What is seen of a fake host; implements ``hosts.host.Access``."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host

    @property
    def shares_our_clock(self) -> bool:
        return self.host.shares_our_clock

    @property
    def unmeasured(self) -> dict[str, str]:
        return {}

    def sample_points(self) -> SamplePoints:
        return SamplePoints(host=self.host.name, cgroup=f"fake/{self.host.name}", init_pid=1)

    def command(self, argv: Sequence[str]) -> Sequence[str]:
        return argv

    def process_of(self, guest: GuestIdentity) -> int | None:
        return 1 if self.host.state_of(guest) != "absent" else None

    def logs(self) -> dict[str, str]:
        return {f"{self.host.name}-libvirtd.log": "nothing happened\n", **self.host.told}


@dataclass
class FakeDomain:
    """A guest as its source sees it while it moves; implements ``engines.hypervisor.GuestMove`` and errs as a real one does.

    ``job`` is how far its move has come, None when none runs; ``follows`` says that its memory follows it, so that nothing can be
    aborted; ``busy`` that another job holds its lock.
    """

    job: Progress | None = None
    there: bool = True
    silent: bool = False
    busy: bool = False
    follows: bool = False
    aborts: int = 0
    orders: int = 0
    may_pause_ms: list[int] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    name = "guest"

    def _answer(self) -> None:
        if self.silent:
            raise SilentError("libvirt could not say: the connection is lost")
        if not self.there:
            raise NoGuestError("libvirt could not say: there is no such domain")
        if self.busy:
            raise RefusedError("libvirt could not say: another job holds the lock")

    @property
    def active(self) -> bool:
        if self.silent:
            self._answer()
        return self.there

    @property
    def executing(self) -> bool:
        return self.active

    @property
    def move_stage(self) -> MoveStage | None:
        self._answer()
        return None if self.job is None else "memory follows" if self.follows else "under way"

    @property
    def has_all(self) -> bool:
        self._answer()
        return True

    def progress(self) -> Progress | None:
        self._answer()
        return self.job

    def completed_job_stats(self, keep: bool = False) -> dict[str, int] | None:
        self._answer()
        return None

    def migrate(self, options: MoveOptions) -> None:
        """Returns when its move was aborted or it has arrived (``arrive``)."""
        self._answer()
        self.job = Progress(transferred_bytes=5)
        self.ended.wait()
        if self.aborts:
            raise RefusedError("libvirt could not move: operation aborted")

    def arrive(self) -> None:
        """Its move ends well."""
        self.job = None
        self.ended.set()

    def abort(self) -> None:
        self._answer()
        if self.follows:
            raise RefusedError("libvirt could not abort: post-copy has begun")
        self.aborts += 1
        self.job = None
        self.ended.set()

    def break_off_disk(self) -> None:
        self._answer()

    def interrupt_post_copy(self) -> None:
        self._answer()

    def start_post_copy(self) -> None:
        self.orders += 1
        self._answer()
        if self.job is None:
            raise RefusedError("libvirt could not switch: no move is in progress")
        self.follows = True

    def set_max_downtime_ms(self, milliseconds: int) -> None:
        self._answer()
        self.may_pause_ms.append(milliseconds)

    def destroy(self) -> None:
        if self.silent:
            self._answer()
        self.there = False


class FakeDisk:
    """An image, or None, that is only said to be there; implements ``hosts.site.OwnDisk``. ``trouble`` comes when it is made."""

    path = "/srv/own/guest.qcow2"

    def __init__(self, image: DiskFacts | None) -> None:
        self.image = image
        self.open = False
        self.trouble: WhimbrelError | None = None

    def put(self, saved: Path) -> None:
        size_bytes = saved.stat().st_size
        self.image = DiskFacts(size_bytes, size_bytes, None, None)

    @property
    def there(self) -> bool:
        return self.image is not None

    def facts(self) -> DiskFacts:
        if self.image is None:
            raise ToolError("qemu-img finds no such image")
        return self.image

    def make(self, like: DiskFacts, over_backing: bool) -> None:
        if self.trouble is not None:
            raise self.trouble
        if self.image is not None:
            raise ToolError("there is an image already")
        over = (like.backing, like.backing_format) if over_backing else (None, None)
        self.image = DiskFacts(like.size_bytes, 0, *over)

    @contextmanager
    def served(self, whole: bool) -> Iterator[str]:
        assert self.image is not None
        self.open = True
        try:
            yield f"nbd://{self.image.held_bytes}"
        finally:
            self.open = False

    def fetch(self, url: str, whole: bool, bytes_per_s: float | None, stop_if_unwanted: Callable[[], None]) -> None:
        stop_if_unwanted()
        if self.trouble is not None:
            raise self.trouble
        assert self.image is not None
        self.image = replace(self.image, held_bytes=int(url.removeprefix("nbd://")))

    def remove(self) -> None:
        self.image = None


class FakeCell:
    """A cell that says what it is told to; implements ``hosts.inside.Cell``."""

    def __init__(self, events: str = "") -> None:
        self.events = events
        self.gone = False
        self.silent = False
        self.files: dict[str, str] = {}
        self.asked: list[list[str]] = []

    def run(self, command: Sequence[str], *, timeout_s: float = 60, check: bool = True) -> str:
        if self.gone or self.silent:
            raise GuestError("the cell does not answer")
        self.asked.append(list(command))
        return self.events

    def shell(self, script: str, *, timeout_s: float = 60, check: bool = True) -> str:
        return self.run(["/bin/sh", "-c", script])

    def write(self, path: str, text: str) -> None:
        self.files[path] = text

    def read(self, path: str) -> bytes:
        return self.files[path].encode()

    def start_job(self, name: str, command: Sequence[str], errors: str) -> None:
        raise NotImplementedError

    def job_runs(self, name: str) -> bool:
        return False

    def end_job(self, name: str) -> None:
        return None

    def close(self) -> None:
        self.gone = True


class FakeVantage:
    """A vantage where we are; implements ``hosts.host.Vantage``."""

    def command(self, argv: Sequence[str]) -> Sequence[str]:
        return argv

    def sample_points(self) -> SamplePoints | None:
        return None

    @property
    def procs_files(self) -> Sequence[Path]:
        return ()


class FakeJournal:
    """Keeps what it is told; implements ``migrate.technique.Journal``."""

    def __init__(self) -> None:
        self.marks: list[tuple[int, str, dict[str, Any]]] = []

    def mark(self, name: str, **data: Any) -> int:
        self.marks.append((len(self.marks), name, data))
        return len(self.marks) - 1

    def note(self, name: str, **data: Any) -> int:
        return self.mark(name, **data)

    def quote(self, host: str, name: str, realtime_ns: int) -> None:
        self.marks.append((len(self.marks), name, {"host": host, "realtime_ns": realtime_ns}))

    @property
    def names(self) -> set[str]:
        """Of all steps so far."""
        return {name for _, name, _ in self.marks}


class FakeTechnique:
    """Moves guests between fake hosts; implements ``migrate.technique.Technique``. ``trouble`` is what goes wrong meanwhile."""

    name = "fake"
    moves = "vm"

    def __init__(
        self, hosts: Sequence[FakeHost], trouble: Callable[[MoveRequest], str | EngineError | None] = lambda _: None
    ) -> None:
        self.hosts = {host.name: host for host in hosts}
        self._trouble = trouble

    def move(self, request: MoveRequest, journal: Journal) -> MoveReport:
        called_ns = journal.mark("move called")
        disk = disk_to_move(request)
        disk_bytes = disk_to_book_bytes(request, disk)
        with reserved(request.destination, request.what.name, request.memory_bytes, disk_bytes) as booking:
            journal.mark("reserved", memory_bytes=booking.memory_bytes, disk_bytes=booking.disk_bytes)
            source, destination = self.hosts[request.source.name], self.hosts[request.destination.name]
            if source.guests.get(request.what.uuid) != "runs":
                raise MoveError(f"{request.what} does not run on host {source.name}")
            make_room(request, disk, journal)
            error = self._trouble(request)
            aborted = request.why_abort if error is None else None
            if error is None and aborted is None:
                del source.guests[request.what.uuid]
                destination.guests[request.what.uuid] = "runs"
            return MoveReport(
                called_ns=called_ns,
                returned_ns=journal.note("move returned"),
                result="aborted" if aborted is not None else "moved" if error is None else "failed",
                error=MoveError(f"aborted: {aborted}") if aborted else RefusedError(error) if isinstance(error, str) else error,
                reserved_memory_bytes=booking.memory_bytes,
                reserved_disk_bytes=booking.disk_bytes,
                completed=None,
            )


class FakeForm:
    """A service that is only said to be there; implements ``guests.forms.Form``."""

    name: FormName = "vm"

    def start_service(self, inside: Inside, service: Service) -> None:
        return None

    def identity(self, inside: Inside) -> Identity:
        return Identity("fake boot", None)

    def versions(self, inside: Inside, service: Service) -> dict[str, str]:
        return dict.fromkeys(service.versions, "1.0")

    def start_reach_check(self, inside: Inside, service: Service, every_s: float) -> bool:
        return False

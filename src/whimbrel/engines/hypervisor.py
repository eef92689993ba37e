"""The door to a hypervisor: what moves, instruments and hosts ask of it and of its guests. Typed results, no policy.

``engines.libvirt`` and ``engines.domain`` are for QEMU. Another one has the same members, and a line in ``engines.door``.

Whatever is asked may end with SilentError (the host does not answer) or RefusedError (the answer was no), and what is asked of a
guest with NoGuestError (it is not there any more), unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from whimbrel.engines.events import GuestEvent

# By looking at a sample of its pages, by the bitmap of those that were written, or by the ring that the kernel writes them into.
DirtyRateMode: TypeAlias = Literal["sampling", "bitmap", "ring"]
LiveTechnique: TypeAlias = Literal["paused", "pre-copy", "post-copy", "pre-post-copy"]
# How far a move has come, as the hypervisor at its source says: ``memory follows`` the guest in post-copy, which may be ``broken
# off``; ``all sent``: the destination may go on. ``other`` is before, between and after these.
MoveStage: TypeAlias = Literal["under way", "memory follows", "broken off", "all sent", "other"]


@dataclass(frozen=True)
class Abilities:
    """What a move can use of a hypervisor.

    ``techniques`` are those that move a running guest; ``moves_disk``: a disk can move along; ``resumes_post_copy``: a post-copy
    move that has broken off can be taken up again at this destination.
    """

    techniques: frozenset[LiveTechnique]
    moves_disk: bool
    resumes_post_copy: bool


@dataclass(frozen=True)
class HostMemory:
    """A host's memory. What counts as cached may have shared memory in it, which is not given back, and is told nowhere else."""

    total_bytes: int
    free_bytes: int
    buffers_bytes: int
    cached_bytes: int

    @property
    def free_for_sure_bytes(self) -> int:
        """What is free, or will be when asked for, if all that is cached were shared memory."""
        return self.free_bytes + self.buffers_bytes

    @property
    def free_at_most_bytes(self) -> int:
        """The same if none of it were."""
        return self.free_for_sure_bytes + self.cached_bytes


@dataclass(frozen=True)
class MoveOptions:
    """What a move is told. ``post_copy`` only allows it: see ``start_post_copy``.

    ``resume`` goes on with a post-copy move that stopped in the middle; all else must be as it was.
    With ``storage`` moved along, every disk that can be written to is copied before memory is sent; the destination's images must
    be there. ``persist`` has the destination keep its description, and ``undefine_source`` the source forget it.
    ``destination_xml`` describes the guest there, where that differs. ``certificate_name`` is whom the destination's
    certificate must be for; None: for the host in ``move_uri``.
    """

    peer_uri: str
    move_uri: str
    bandwidth_mib_per_s: int
    live: bool = True
    post_copy: bool = False
    auto_converge: bool = False
    compression: str | None = None
    connections: int = 1
    tls: bool = False
    certificate_name: str | None = None
    resume: bool = False
    storage: Literal["shared", "full", "incremental"] = "shared"
    destination_xml: str | None = None
    persist: bool = False
    undefine_source: bool = False


@dataclass(frozen=True)
class Progress:
    """How far a move has come; what the hypervisor does not say is None. ``iteration`` is the number of the round."""

    iteration: int | None = None
    transferred_bytes: int | None = None
    remaining_bytes: int | None = None
    total_bytes: int | None = None
    dirty_pages_per_s: int | None = None
    normal_pages: int | None = None
    constant_pages: int | None = None
    disk_total_bytes: int | None = None
    disk_transferred_bytes: int | None = None
    disk_remaining_bytes: int | None = None
    throttle_percent: int | None = None

    @property
    def copied_bytes(self) -> int | None:
        """How much was copied, of memory and of a disk together."""
        sizes = [size for size in (self.transferred_bytes, self.disk_transferred_bytes) if size is not None]
        return sum(sizes) if sizes else None


@dataclass(frozen=True)
class MoveFigures:
    """What the hypervisor itself says of a move that has completed: its downtime, and what it counted of memory."""

    downtime_ms: int | None
    ram: dict[str, int | float] | None


@dataclass(frozen=True)
class GuestUsage:
    """What a guest has taken so far: CPU time, time for which its processors waited for a CPU, memory, and disks.

    What the hypervisor does not say is None.
    """

    cpu_ns: int | None
    waited_ns: int | None
    resident_bytes: int | None
    disk_read_bytes: int | None
    disk_written_bytes: int | None


class GuestLife(Protocol):
    """Whether a guest is there, and what can be done with it."""

    name: str

    @property
    def uuid(self) -> str:
        """What tells it from another of the same name."""

    @property
    def active(self) -> bool:
        """Whether anything runs it on the host, be it that it stands still. False of one that is not there."""

    @property
    def executing(self) -> bool:
        """Whether its processors run: active and not paused. False of one that is not there."""

    @property
    def crashed(self) -> bool:
        """Whether it panicked and was left as it was then: it never goes on."""

    def suspend(self) -> None:
        """Lets its processors stand still."""

    def resume(self) -> None:
        """Lets its processors go on."""

    def save(self, file: str) -> None:
        """Stops the guest and writes its state to ``file``, a path on the host."""

    def shutdown_by_agent(self) -> None:
        """Asks the guest to power itself off."""

    def destroy(self) -> None:
        """Takes its power away; nothing happens when it has none."""

    def undefine(self) -> None:
        """Lets its host forget one that is off; nothing happens to one that it forgets by itself."""


class GuestMove(Protocol):
    """A guest that is moved away, as its source has it."""

    def migrate(self, options: MoveOptions) -> None:
        """Moves it, peer to peer; returns when the move has ended."""

    @property
    def move_stage(self) -> MoveStage | None:
        """How far its move has come; None where there is none."""

    def progress(self) -> Progress | None:
        """What was sent so far; None when nothing is under way with it."""

    def abort(self) -> None:
        """Aborts the move; nothing happens when there is none. RefusedError when it can only go on."""

    def break_off_disk(self) -> None:
        """Ends the connections over which a disk is copied for a move that was told to abort, so that this ends at once."""

    def start_post_copy(self) -> None:
        """Lets the guest go on at the destination now, and its memory follow."""

    def interrupt_post_copy(self) -> None:
        """Stops the sending of a post-copy move that gets nowhere; ``MoveOptions.resume`` goes on with it."""

    def set_max_downtime_ms(self, milliseconds: int) -> None:
        """The longest pause that may be planned for."""

    def completed_job_stats(self, keep: bool = False) -> dict[str, int] | None:
        """What was counted of the last move, in the hypervisor's own names; None when there is none. Read once, or kept."""


class GuestArrival(Protocol):
    """A guest that is moved here."""

    @property
    def in_post_copy(self) -> bool:
        """Whether it runs here and some of its memory has not come yet."""

    @property
    def split(self) -> bool:
        """Whether a post-copy move has failed in the middle, and this is one of its two halves."""

    @property
    def has_all(self) -> bool:
        """Whether all of it has come, by the hypervisor's own word; EngineError when it does not say."""


class GuestKeeping(Protocol):
    """What a host keeps of a guest beside running it."""

    @property
    def persistent(self) -> bool:
        """Whether its host keeps its description when it is off."""

    @property
    def definition(self) -> str:
        """The description that its host keeps, as text, without secrets; of one that is not kept, what it would be."""

    @property
    def autostart(self) -> bool:
        """Whether its host starts it when the host itself starts."""

    def set_autostart(self, on: bool) -> None:
        """Has its host start it when the host itself starts, or not."""

    def read_note(self, namespace: str) -> str | None:
        """An element (XML) that somebody has put into its description while it runs; None when there is none."""

    def write_note(self, namespace: str, prefix: str, element: str) -> None:
        """Puts an element into its description as it runs; what its host keeps stays as it is."""

    def remove_note(self, namespace: str) -> None:
        """Takes it out again, also of what its host keeps; nothing happens when there is none."""


class Guest(GuestLife, GuestMove, GuestArrival, GuestKeeping, Protocol):
    """A guest on a host."""

    @property
    def memory_bytes(self) -> int:
        """The most memory that the guest may have."""

    @property
    def resident_bytes(self) -> int | None:
        """What it holds of the host's memory; None where nobody says."""

    @property
    def description(self) -> str:
        """Its description as text, as it would be started anew; what its host assigned by itself is left out."""

    @property
    def arriving_description(self) -> str:
        """Its description as text, as a destination may be given it (``MoveOptions.destination_xml``)."""

    def agent(self, command: str, arguments: dict[str, Any] | None = None, timeout_s: int = 20) -> Any:
        """Sends a command to the guest's agent and returns its answer."""

    def call_peer(self, peer_uri: str) -> None:
        """Has its host's hypervisor call another host's, as a move would, and no more; what comes in between is raised."""

    def dirty_rate_mib_per_s(self, seconds: int, mode: DirtyRateMode = "sampling") -> int:
        """How fast it dirties its memory, measured over so many seconds; RefusedError where the host cannot tell it so."""

    @property
    def in_kvm(self) -> bool:
        """Whether it runs on the host's own processor."""

    def move_figures(self) -> MoveFigures | None:
        """Of its last move, as its source; None as long as that has not completed."""

    def settings(self) -> tuple[dict[str, Any], list[str]]:
        """Of its move: the hypervisor's parameters, and which of its capabilities are on, in its own names."""


class Hypervisor(Protocol):
    """A connection to one host's hypervisor; to be closed, as a context manager does."""

    uri: str

    @property
    def raw(self) -> Any:
        """The engine's own connection, for other modules of this room."""

    @property
    def abilities(self) -> Abilities:
        """What a move from or to it can use."""

    def find(self, uuid: str) -> Guest | None:
        """The guest of this UUID, running or not; None when there is none. A name alone may be that of somebody else's guest."""

    def find_named(self, name: str) -> Guest | None:
        """The guest of this name, running or not; None when there is none."""

    def running(self) -> Sequence[Guest]:
        """Every guest that is active on the host, whoever it belongs to."""

    def create(self, xml: str, paused: bool = False) -> Guest:
        """Starts a guest; ``paused`` lets its processors stand still from the beginning."""

    def saved_description(self, file: str) -> str:
        """The description within a saved state; ``file`` is a path on the host."""

    def restore(self, file: str, xml: str | None = None) -> None:
        """Starts a guest from a saved state; ``file`` is a path on the host, ``xml`` a description instead of the saved one."""

    def on_event(self, callback: Callable[[GuestEvent], None]) -> None:
        """Calls back, on a thread of the engine's, whenever something happens to a guest of the host."""

    def clock_stamps(self, guest: Guest, tries: int) -> tuple[list[tuple[int, int]], list[int]]:
        """When we asked for the host's wall clock and had the answer, by ours, and what it was in between, in ns.

        The guest notices nothing. Fewer stamps than tries when the host did not say.
        """

    def prepare(self) -> None:
        """Does beforehand what the first guest would have to wait for."""

    def versions(self) -> dict[str, str]:
        """Versions of the programs that run guests there."""

    def host_identity(self) -> tuple[str, str]:
        """The UUID and the name of the host; a UUID may be that of another host too."""

    def memory(self) -> HostMemory:
        """How much memory the host has, and how much of it is free."""

    def host_statistics(self) -> dict[str, int]:
        """CPU time in ns (``cpu_ns``), memory and page cache in bytes (``memory_bytes``, ``cache_bytes``) of the whole host."""

    def guest_usages(self) -> dict[str, GuestUsage]:
        """What every active guest takes, by its name."""

    def close(self) -> None:
        """Ends the subscriptions and the connection."""

    def __enter__(self) -> Hypervisor: ...

    def __exit__(self, *_: object) -> None: ...

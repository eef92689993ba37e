"""The door to libvirt: connections, what hosts say, and events. Typed results, no policy.

libvirt keeps one event loop per process; it stays in this module.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import operator
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from whimbrel.engines import qemu_clock
from whimbrel.engines.binding import explained, libvirt, libvirt_qemu
from whimbrel.engines.domain import Domain, qemu_of
from whimbrel.engines.events import GuestEvent, libvirt_event, qemu_event
from whimbrel.engines.hypervisor import Abilities, Guest, GuestUsage, HostMemory, LiveTechnique
from whimbrel.engines.libvirt_usage import usage_of
from whimbrel.errors import CapabilityError, NoGuestError, SilentError
from whimbrel.spec.libvirt_uri import without_asking
from whimbrel.system.process import ProcessId, children

# By ssh, over a slow line, it takes some seconds.
OPEN_S = 30.0
_KEEPALIVE_S = 2
_KEEPALIVE_COUNT = 5


_TECHNIQUES: frozenset[LiveTechnique] = frozenset({"paused", "pre-copy", "post-copy", "pre-post-copy"})
# These end with a segmentation fault (in qemuProcessIncomingDefNew, which is then given no place for a descriptor) when a
# destination is to take a post-copy move up again. 11.3 is that of Debian 13; its backports' 12.9 takes it up. Of others it is
# not known, so they are asked.
_ENDS_WHEN_ASKED_TO_RESUME = ("11.3.0",)


class _EventLoop:
    """libvirt's default loop on a thread of its own, started once, before the first connection."""

    _lock = threading.Lock()
    _started = False

    @classmethod
    def ensure(cls) -> None:
        with cls._lock:
            if cls._started:
                return
            if libvirt is None:
                raise CapabilityError("libvirt-python is not installed", resolution="start whimbrel through ./whimbrel")
            # Errors are raised as well: this keeps libvirt from printing them. It is no Python code, in which Ctrl-C would be
            # raised in the middle of libvirt's own, and become a SystemError.
            libvirt.registerErrorHandler(operator.is_, None)
            libvirt.virEventRegisterDefaultImpl()
            threading.Thread(target=cls._run, name="libvirt-events", daemon=True).start()
            cls._started = True

    @staticmethod
    def _run() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()


class _Opening(threading.Thread):
    """A call to libvirt that has no limit of its own (virConnectOpen), on a thread of its own."""

    # The ssh of connections that stand.
    _serving: ClassVar[set[ProcessId]] = set()

    def __init__(self, uri: str) -> None:
        super().__init__(name="libvirt-open", daemon=True)
        self._uri = uri
        self._raw: Any = None
        self._error: Exception | None = None
        self._given_up = False
        # What ran before we began; None where libvirt starts no program.
        self._before = children("ssh") if uri.startswith("qemu+ssh:") else None

    def within(self, seconds: float) -> Any:
        """libvirt's connection, or its error. The ssh that libvirt has started for it ends with our patience, or with us."""
        atexit.register(self._end_ssh)
        try:
            self.start()
            self.join(seconds)
        finally:
            atexit.unregister(self._end_ssh)
            if self.is_alive():
                self._given_up = True
                self._end_ssh()
        if self._given_up:
            raise SilentError(
                f"libvirt could not connect to {self._uri}",
                details=f"no answer within {seconds:.0f} s",
                resolution="see that the host is on and reached from here: 'virsh -c URI list' by hand shows where it hangs"
                + ("; so does 'ssh -v' to that host" if "ssh" in self._uri.partition(":")[0] else ""),
            )
        if self._error is not None:
            raise self._error
        self._serving.update(self._new_ssh())
        return self._raw

    def _end_ssh(self) -> None:
        for program in self._new_ssh():
            program.kill()

    def _new_ssh(self) -> set[ProcessId]:
        """Children of ours that run ssh, have come since we began, and serve no connection that stands."""
        return set() if self._before is None else children("ssh") - self._before - self._serving

    def run(self) -> None:
        """Opens the connection; what comes of it is kept for whoever waits."""
        try:
            self._raw = libvirt.open(without_asking(self._uri))
        except libvirt.libvirtError as error:
            self._error = error
        if self._given_up and self._raw is not None:
            self._raw.close()


class Connection:
    """A connection to one host's libvirtd. Implements ``engines.hypervisor.Hypervisor``."""

    def __init__(self, uri: str, raw: Any) -> None:
        self.uri = uri
        self._raw = raw
        self._subscriptions: list[Callable[[], None]] = []

    @classmethod
    def open(cls, uri: str) -> Connection:
        """Connects; SilentError when nobody answers, also when a libvirtd that stands still takes the call and says nothing.

        RefusedError when we are not let in.
        """
        _EventLoop.ensure()
        with explained(f"connect to {uri}", None):
            raw = _Opening(uri).within(OPEN_S)
            # Without it one that falls silent later would be waited for without end.
            raw.setKeepAlive(_KEEPALIVE_S, _KEEPALIVE_COUNT)
        return cls(uri, raw)

    def _explained(self, what: str) -> AbstractContextManager[None]:
        return explained(what, self._raw)

    @property
    def raw(self) -> Any:
        """libvirt's own connection, for the other modules of this room."""
        return self._raw

    def close(self) -> None:
        """Ends the subscriptions and the connection; whether the other side hears of it makes no difference."""
        for unsubscribe in self._subscriptions:
            with contextlib.suppress(libvirt.libvirtError):
                unsubscribe()
        self._subscriptions.clear()
        with contextlib.suppress(libvirt.libvirtError):
            self._raw.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def abilities(self) -> Abilities:
        """QEMU can do all of it; libvirt stands in the way of some."""
        resumes = self.versions()["libvirt"] not in _ENDS_WHEN_ASKED_TO_RESUME
        return Abilities(_TECHNIQUES, moves_disk=True, resumes_post_copy=resumes)

    def clock_stamps(self, guest: Guest, tries: int) -> tuple[list[tuple[int, int]], list[int]]:
        """Reads the host's clock from the time stamps of QEMU's events."""
        return qemu_clock.clock_stamps(qemu_of(guest), self.on_event, tries)

    def versions(self) -> dict[str, str]:
        """Versions of libvirtd and of QEMU on the host."""
        with self._explained("tell its versions"):
            return {"libvirt": _dotted(self._raw.getLibVersion()), "qemu": _dotted(self._raw.getVersion())}

    def host_identity(self) -> tuple[str, str]:
        """The UUID and the name of the host, as its libvirtd has them; a UUID may be that of another host too."""
        with self._explained("tell which host it is on"):
            found = ET.fromstring(self._raw.getCapabilities()).findtext("./host/uuid")
            return found or "", str(self._raw.getHostname())

    def memory(self) -> HostMemory:
        """The host's memory, as its libvirt tells it."""
        with self._explained("tell its free memory"):
            stats = self._raw.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
        return HostMemory(*(int(stats.get(name, 0)) * 1024 for name in ("total", "free", "buffers", "cached")))

    def host_statistics(self) -> dict[str, int]:
        """CPU time in ns and memory in bytes of the whole host; shared memory counts as page cache (``HostMemory``)."""
        with self._explained("tell the host's statistics"):
            cpu = self._raw.getCPUStats(libvirt.VIR_NODE_CPU_STATS_ALL_CPUS)
        memory = self.memory()
        return {"cpu_ns": cpu["user"] + cpu["kernel"], "memory_bytes": memory.total_bytes - memory.free_at_most_bytes,
                "cache_bytes": memory.cached_bytes}  # fmt: skip

    def guest_usages(self) -> dict[str, GuestUsage]:
        """What every active domain takes, by its name.

        What would have to wait for a job is left out: of a guest that is arriving, resident memory and blocks, until it is there.
        """
        flags = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
        with self._explained("tell the guests' statistics"):
            found = self._raw.getAllDomainStats(0, flags)
        return {
            domain.name(): usage_of({key: value for key, value in stats.items() if isinstance(value, int)})
            for domain, stats in found
        }

    def prepare(self) -> None:
        """Makes libvirt examine its QEMU now, which it does once."""
        with self._explained("examine QEMU"):
            self._raw.getDomainCapabilities(None, "x86_64", "pc", "qemu", 0)

    def find(self, uuid: str) -> Domain | None:
        """The domain of this UUID, running or not; None when there is none. A name alone may be that of somebody else's guest."""
        try:
            with self._explained(f"look for the guest {uuid}"):
                return Domain(self._raw.lookupByUUIDString(uuid))
        except NoGuestError:
            return None

    def find_named(self, name: str) -> Domain | None:
        """The domain of this name, running or not; None when there is none."""
        try:
            with self._explained(f"look for the guest {name}"):
                return Domain(self._raw.lookupByName(name))
        except NoGuestError:
            return None

    def running(self) -> list[Domain]:
        """Every guest that is active on the host, whoever it belongs to."""
        with self._explained("list domains"):
            return [Domain(raw) for raw in self._raw.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)]

    def create(self, xml: str, paused: bool = False) -> Domain:
        """Starts a transient domain; ``paused`` lets its processors stand still from the beginning."""
        with self._explained("start the guest"):
            return Domain(self._raw.createXML(xml, libvirt.VIR_DOMAIN_START_PAUSED if paused else 0))

    def saved_description(self, file: str) -> str:
        """The description within a saved state; ``file`` is a path on the host."""
        with self._explained(f"read the description in {file}"):
            return str(self._raw.saveImageGetXMLDesc(file, 0))

    def restore(self, file: str, xml: str | None = None) -> None:
        """Starts a guest from a saved state; ``file`` is a path on the host, ``xml`` a description instead of the saved one."""
        with self._explained(f"restore {file}"):
            self._raw.restoreFlags(file, xml, libvirt.VIR_DOMAIN_SAVE_RUNNING)

    def on_event(self, callback: Callable[[GuestEvent], None]) -> None:
        """Calls back, on libvirt's thread, for each event of QEMU's monitor, and for each of libvirt's own."""
        self._on_monitor_event(callback)
        self._on_lifecycle(callback)

    def _on_monitor_event(self, callback: Callable[[GuestEvent], None]) -> None:
        def forward(_conn: Any, domain: Any, name: str, seconds: int, micros: int, details: str | None, _opaque: Any) -> None:
            seen_ns = time.monotonic_ns()
            stamp_ns = seconds * 1_000_000_000 + micros * 1_000
            callback(qemu_event(domain.name(), name, stamp_ns, seen_ns, json.loads(details) if details else {}))

        with self._explained("watch QEMU's events"):
            number = libvirt_qemu.qemuMonitorEventRegister(self._raw, None, None, forward, None)
        self._subscriptions.append(lambda: libvirt_qemu.qemuMonitorEventDeregister(self._raw, number))

    def _on_lifecycle(self, callback: Callable[[GuestEvent], None]) -> None:
        def forward(_conn: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:
            callback(libvirt_event(domain.name(), event, detail, time.monotonic_ns()))

        with self._explained("watch domains"):
            number = self._raw.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, forward, None)
        self._subscriptions.append(lambda: self._raw.domainEventDeregisterAny(number))


def _dotted(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"

"""The door to libvirt: connections, domains, their jobs and events. Typed results, no policy.

libvirt-python is untyped and keeps one event loop per process; both stay in this module.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from whimbrel.errors import CapabilityError, EngineError

try:
    import libvirt
    import libvirt_qemu
except ImportError:  # reports, schemas and help work without it
    libvirt = None
    libvirt_qemu = None

_KEEPALIVE_S = 2
_KEEPALIVE_COUNT = 5

# Read with VIR_DOMAIN_JOB_STATS_*; libvirt's names for what we keep of a job.
JobStats = dict[str, int]


@dataclass(frozen=True)
class MonitorEvent:
    """A QEMU monitor event: its name, QEMU's own wall-clock stamp, and its data."""

    domain: str
    name: str
    realtime_ns: int
    seen_monotonic_ns: int
    data: dict[str, Any]


@dataclass(frozen=True)
class LifecycleEvent:
    """Libvirt's word that a domain has changed: ``started``, ``stopped``, ... and libvirt's detail."""

    domain: str
    name: str
    detail: int
    seen_monotonic_ns: int


_LIFECYCLE = (
    "defined",
    "undefined",
    "started",
    "suspended",
    "resumed",
    "stopped",
    "shutdown",
    "pmsuspended",
    "crashed",
)


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
            libvirt.registerErrorHandler(lambda *_: None, None)
            libvirt.virEventRegisterDefaultImpl()
            threading.Thread(target=cls._run, name="libvirt-events", daemon=True).start()
            cls._started = True

    @staticmethod
    def _run() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """What libvirt refuses becomes an EngineError that says what it could not do."""
    try:
        yield
    except libvirt.libvirtError as error:
        raise EngineError(f"libvirt could not {what}", details=error.get_error_message() or str(error)) from error


class Connection:
    """A connection to one host's libvirtd."""

    def __init__(self, uri: str, raw: Any) -> None:
        self.uri = uri
        self._raw = raw
        self._subscriptions: list[Callable[[], None]] = []

    @classmethod
    def open(cls, uri: str) -> Connection:
        """Connects; EngineError when nobody answers."""
        _EventLoop.ensure()
        with explained(f"connect to {uri}"):
            raw = libvirt.open(uri)
            with contextlib.suppress(libvirt.libvirtError):
                raw.setKeepAlive(_KEEPALIVE_S, _KEEPALIVE_COUNT)
        return cls(uri, raw)

    @property
    def raw(self) -> Any:
        """libvirt's own connection, for the other modules of this room."""
        return self._raw

    def close(self) -> None:
        """Ends the subscriptions and the connection."""
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

    def versions(self) -> dict[str, str]:
        """Versions of libvirtd and of QEMU on the host."""
        with explained("tell its versions"):
            return {"libvirt": _dotted(self._raw.getLibVersion()), "qemu": _dotted(self._raw.getVersion())}

    def free_memory_bytes(self) -> int:
        """Memory that is free on the host, or could be: page cache is given back when asked for."""
        with explained("tell its free memory"):
            stats = self._raw.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
        return int(sum(stats.get(name, 0) for name in ("free", "buffers", "cached"))) * 1024

    def host_statistics(self) -> dict[str, int]:
        """CPU time in ns and memory in bytes of the whole host."""
        with explained("tell the host's statistics"):
            cpu = self._raw.getCPUStats(libvirt.VIR_NODE_CPU_STATS_ALL_CPUS)
            memory = self._raw.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
        free = sum(memory.get(name, 0) for name in ("free", "buffers", "cached"))
        return {"cpu_ns": cpu["user"] + cpu["kernel"], "memory_bytes": (memory["total"] - free) * 1024,
                "cache_bytes": memory.get("cached", 0) * 1024}  # fmt: skip

    def guest_statistics(self) -> dict[str, dict[str, int]]:
        """Statistics of every active domain by its name, as libvirt reports them (virConnectGetAllDomainStats)."""
        with explained("tell the guests' statistics"):
            found = self._raw.getAllDomainStats(0, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE)
        return {domain.name(): {key: value for key, value in stats.items() if isinstance(value, int)} for domain, stats in found}

    def examine_qemu(self) -> None:
        """Makes libvirt examine its QEMU now; it does so once, and the first guest would have to wait for it."""
        with explained("examine QEMU"):
            self._raw.getDomainCapabilities(None, "x86_64", "pc", "qemu", 0)

    def find(self, name: str) -> Domain | None:
        """The domain of this name, running or not; None when there is none."""
        try:
            return Domain(self._raw.lookupByName(name))
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise EngineError(f"libvirt could not look for {name}", details=str(error)) from error

    def running(self) -> list[Domain]:
        """Every active domain."""
        with explained("list domains"):
            return [Domain(raw) for raw in self._raw.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)]

    def create(self, xml: str) -> Domain:
        """Starts a transient domain."""
        with explained("start the guest"):
            return Domain(self._raw.createXML(xml, 0))

    def restore(self, file: str, xml: str | None = None) -> None:
        """Starts a guest from a saved state; ``file`` is a path on the host."""
        with explained(f"restore {file}"):
            self._raw.restoreFlags(file, xml, libvirt.VIR_DOMAIN_SAVE_RUNNING)

    def on_monitor_event(self, callback: Callable[[MonitorEvent], None]) -> None:
        """Calls back, on libvirt's thread, for each QEMU event of each domain."""

        def forward(_conn: Any, domain: Any, name: str, seconds: int, micros: int, details: str | None, _opaque: Any) -> None:
            seen_ns = time.monotonic_ns()
            stamp_ns = seconds * 1_000_000_000 + micros * 1_000
            callback(MonitorEvent(domain.name(), name, stamp_ns, seen_ns, json.loads(details) if details else {}))

        with explained("watch QEMU's events"):
            number = libvirt_qemu.qemuMonitorEventRegister(self._raw, None, None, forward, None)
        self._subscriptions.append(lambda: libvirt_qemu.qemuMonitorEventDeregister(self._raw, number))

    def on_lifecycle(self, callback: Callable[[LifecycleEvent], None]) -> None:
        """Calls back, on libvirt's thread, when a domain starts, stops, ..."""

        def forward(_conn: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:
            seen_ns = time.monotonic_ns()
            word = _LIFECYCLE[event] if event < len(_LIFECYCLE) else f"event {event}"
            callback(LifecycleEvent(domain.name(), word, detail, seen_ns))

        with explained("watch domains"):
            number = self._raw.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, forward, None)
        self._subscriptions.append(lambda: self._raw.domainEventDeregisterAny(number))


@dataclass(frozen=True)
class MoveOptions:
    """What a pre-copy move is told; libvirt takes its bandwidth in whole MiB/s."""

    peer_uri: str
    move_uri: str
    bandwidth_mib_per_s: int


class Domain:
    """A guest as libvirt sees it."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.name: str = raw.name()

    @property
    def uuid(self) -> str:
        """What tells it from another of the same name."""
        return str(self._raw.UUIDString())

    @property
    def memory_bytes(self) -> int:
        """The most memory that the guest may have."""
        with explained(f"read the memory of {self.name}"):
            return int(self._raw.maxMemory()) * 1024

    @property
    def active(self) -> bool:
        """Whether a QEMU process exists for it."""
        try:
            return bool(self._raw.isActive())
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return False
            raise EngineError(f"libvirt could not tell whether {self.name} is active", details=str(error)) from error

    @property
    def executing(self) -> bool:
        """Whether its processors run: active and not paused."""
        try:
            state, _ = self._raw.state()
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return False
            raise EngineError(f"libvirt could not read the state of {self.name}", details=str(error)) from error
        return bool(state in (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED))

    def migrate(self, options: MoveOptions) -> None:
        """Moves it live, peer to peer, to the host at ``peer_uri``; returns when the move has ended."""
        parameters: dict[str, Any] = {
            libvirt.VIR_MIGRATE_PARAM_URI: options.move_uri,
            libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: options.bandwidth_mib_per_s,
        }
        flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
        with explained(f"move {self.name} to {options.peer_uri}"):
            self._raw.migrateToURI3(options.peer_uri, parameters, flags)

    def abort_job(self) -> None:
        """Aborts the running move; nothing happens when there is none."""
        with contextlib.suppress(libvirt.libvirtError):
            self._raw.abortJob()

    def set_max_downtime_ms(self, milliseconds: int) -> None:
        """The longest pause that QEMU may plan for (downtime-limit)."""
        with explained(f"set the longest downtime of {self.name}"):
            self._raw.migrateSetMaxDowntime(milliseconds, 0)

    def job_stats(self) -> JobStats | None:
        """The running job's statistics as reported; None when there is no job, or no domain any more."""
        return self._stats(0)

    def completed_job_stats(self) -> JobStats | None:
        """The statistics of the last completed job; read once, as libvirt forgets them."""
        return self._stats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)

    def _stats(self, flags: int) -> JobStats | None:
        try:
            raw = self._raw.jobStats(flags)
        except libvirt.libvirtError:
            return None
        if raw.get("type") == libvirt.VIR_DOMAIN_JOB_NONE:
            return None
        return {key: value for key, value in raw.items() if isinstance(value, int)}

    def monitor(self, command: str) -> dict[str, Any] | None:
        """A QEMU monitor command's answer; None when QEMU has gone or refuses."""
        try:
            text = libvirt_qemu.qemuMonitorCommand(self._raw, json.dumps({"execute": command}), 0)
        except libvirt.libvirtError:
            return None
        answer = json.loads(text).get("return")
        return answer if isinstance(answer, dict) else None

    def agent(self, command: str, arguments: dict[str, Any] | None = None, timeout_s: int = 20) -> Any:
        """A guest agent command's answer."""
        request = json.dumps({"execute": command, **({"arguments": arguments} if arguments else {})})
        with explained(f"ask the guest agent of {self.name} ({command})"):
            text = libvirt_qemu.qemuAgentCommand(self._raw, request, timeout_s, 0)
        return json.loads(text).get("return")

    def dirty_rate_mib_per_s(self, seconds: int) -> int:
        """Starts a measurement of the dirty rate by page sampling, waits for it, and returns whole MiB/s."""
        with explained(f"measure the dirty rate of {self.name}"):
            self._raw.startDirtyRateCalc(seconds, 0)
        limit_s = time.monotonic() + seconds + 30
        while time.monotonic() < limit_s:
            threading.Event().wait(0.1)
            with explained(f"read the dirty rate of {self.name}"):
                stats = self._connection_stats()
            if stats.get("dirtyrate.calc_status") == libvirt.VIR_DOMAIN_DIRTYRATE_MEASURED:
                return int(stats["dirtyrate.megabytes_per_second"])
        raise EngineError(f"the dirty rate of {self.name} was not measured within {seconds + 30} s")

    def _connection_stats(self) -> dict[str, Any]:
        connection = self._raw.connect()
        found = connection.domainListGetStats([self._raw], libvirt.VIR_DOMAIN_STATS_DIRTYRATE, 0)
        return dict(found[0][1])

    def save(self, file: str) -> None:
        """Stops the guest and writes its state to ``file``, a path on the host."""
        with explained(f"save {self.name} to {file}"):
            self._raw.saveFlags(file, None, libvirt.VIR_DOMAIN_SAVE_RUNNING)

    def suspend(self) -> None:
        """Lets its processors stand still."""
        with explained(f"pause {self.name}"):
            self._raw.suspend()

    def resume(self) -> None:
        """Lets its processors go on."""
        with explained(f"let {self.name} go on"):
            self._raw.resume()

    def shutdown_by_agent(self) -> None:
        """Asks the guest to power itself off."""
        with explained(f"shut {self.name} down"):
            self._raw.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)

    def destroy(self) -> None:
        """Takes its power away; nothing happens when it has none."""
        try:
            self._raw.destroy()
        except libvirt.libvirtError as error:
            if error.get_error_code() not in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID):
                raise EngineError(f"libvirt could not stop {self.name}", details=str(error)) from error

    @property
    def xml(self) -> ET.Element:
        """Its description as libvirt runs it."""
        with explained(f"describe {self.name}"):
            return ET.fromstring(self._raw.XMLDesc(0))


def _dotted(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"

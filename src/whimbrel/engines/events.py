"""What happens to a guest, as QEMU and libvirt say it, and what that means whoever says it. Pure.

Formats: docs/interop/qemu-qmp-ref (SHUTDOWN, STOP, RESUME, MIGRATION, MIGRATION_PASS, GUEST_PANICKED), and libvirt's
virDomainEventType with the details of each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

# What QEMU says of a SHUTDOWN (qapi/run-state.json, ShutdownCause). Of a signal or of "quit" libvirt's word is awaited, which
# follows: so it ends a QEMU whose guest has moved away, too.
_ENDED_BY_QEMU = {
    "guest-shutdown": "shut down",
    "guest-reset": "rebooted",
    "guest-panic": "panicked",
    "host-qmp-system-reset": "was reset from outside",
}
# What libvirt says. A guest that is "migrated" has not ended.
_ENDED_BY_LIBVIRT = {
    ("crashed", "panicked"): "panicked",
    ("crashed", "crashloaded"): "panicked, and started its crash kernel",
    ("stopped", "shutdown"): "was ended from outside, with its QEMU",
    ("stopped", "crashed"): "panicked",
    ("stopped", "failed"): "was lost with its QEMU, which died",
    ("stopped", "destroyed"): "was destroyed from outside",
    ("stopped", "saved"): "was saved and stopped from outside",
    ("stopped", "from snapshot"): "was stopped from outside, for a snapshot",
}
# A guest that is started, not as the receiver of a move.
_BEGINS = {"booted", "restored", "from snapshot"}
_LIFECYCLE = (
    "defined", "undefined", "started", "suspended", "resumed", "stopped", "shutdown", "pmsuspended", "crashed",
)  # fmt: skip
_REASONS = {
    "started": ("booted", "migrated", "restored", "from snapshot", "wakeup"),
    "suspended": (
        "paused", "migrated", "ioerror", "watchdog", "restored", "from snapshot", "api error", "postcopy", "postcopy failed",
    ),
    "resumed": ("unpaused", "migrated", "from snapshot", "postcopy", "postcopy failed"),
    "stopped": ("shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "from snapshot"),
    "shutdown": ("finished", "guest", "host"),
    "crashed": ("panicked", "crashloaded"),
}  # fmt: skip


@dataclass(frozen=True)
class GuestEvent:
    """Something that happened to a guest, by its name.

    ``source``, ``name`` and ``data`` are as the engine said it, for the record; ``realtime_ns`` is the engine's own wall clock,
    None where it has no stamp. The rest is what it means: ``pauses`` and ``runs``, on this host from now on; ``round``: this pass
    over memory begins; ``all_sent``: a move has completed; ``ended``: how it has ended by itself, in words after its name;
    ``gone``: nothing on this host runs it any more.
    """

    guest: str
    source: Literal["qemu", "libvirt"]
    name: str
    realtime_ns: int | None
    seen_monotonic_ns: int
    data: dict[str, Any] = field(default_factory=dict)
    pauses: bool = False
    runs: bool = False
    round: int | None = None
    all_sent: bool = False
    ended: str | None = None
    gone: bool = False


def qemu_event(guest: str, name: str, realtime_ns: int, seen_monotonic_ns: int, data: dict[str, Any]) -> GuestEvent:
    """An event of QEMU's monitor."""
    ended = "panicked" if name == "GUEST_PANICKED" else None
    if name == "SHUTDOWN":
        ended = _ENDED_BY_QEMU.get(str(data.get("reason")))
    return GuestEvent(
        guest, "qemu", name, realtime_ns, seen_monotonic_ns, data,
        pauses=name == "STOP",
        runs=name == "RESUME",
        round=int(data["pass"]) if name == "MIGRATION_PASS" else None,
        all_sent=name == "MIGRATION" and data.get("status") == "completed",
        ended=ended,
    )  # fmt: skip


def libvirt_event(guest: str, number: int, detail: int, seen_monotonic_ns: int) -> GuestEvent:
    """An event of libvirt's, by its number and that of its detail."""
    name = _LIFECYCLE[number] if 0 <= number < len(_LIFECYCLE) else f"event {number}"
    reasons = _REASONS.get(name, ())
    reason = reasons[detail] if 0 <= detail < len(reasons) else str(detail)
    return GuestEvent(
        guest, "libvirt", name, None, seen_monotonic_ns, {"detail": detail},
        runs=name == "resumed" or (name == "started" and reason in _BEGINS),
        ended=_ENDED_BY_LIBVIRT.get((name, reason)),
        gone=name == "stopped",
    )  # fmt: skip

"""What a move took, from what was heard of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from whimbrel.analysis.clocks import Conversion
from whimbrel.analysis.phases import Phase, find, in_order, pre_copy_phases
from whimbrel.migrate.technique import MoveReport
from whimbrel.records.trial import Event, HostClock


@dataclass(frozen=True)
class OwnFigures:
    """Each None where it is not known. ``blackout_ms`` is good to ``blackout_error_ms``."""

    total_s: float | None
    qemu_downtime_ms: int | None
    libvirt_downtime_ms: int | None
    blackout_ms: float | None
    blackout_error_ms: float | None
    transferred_bytes: int | None
    phases: tuple[Phase, ...]


def figures_from(
    events: Sequence[Event],
    conversion: Conversion,
    clocks: Mapping[str, HostClock],
    way: tuple[str, str],
    report: MoveReport | None,
    qemu_downtime_ms: int | None,
) -> OwnFigures:
    """Of a move that was made; ``clocks`` are those of source and destination, as far as they could be read."""
    if report is None or report.result != "moved":
        return OwnFigures(None, None, None, None, None, None, ())
    moments = in_order(events, conversion, clocks)
    source, destination = way
    resume_ns = find(moments, "qemu", destination, "RESUME")
    phases = tuple(pre_copy_phases(moments, source, destination, resume_ns))
    blackout = next(phase for phase in phases if phase.name == "stop-and-copy")
    # Stamps of two hosts, whose clocks must both be known.
    known = all(name in clocks for name in way) and blackout.length_s is not None
    completed = report.completed or {}
    return OwnFigures(
        total_s=(report.returned_ns - report.called_ns) / 1e9,
        qemu_downtime_ms=qemu_downtime_ms,
        libvirt_downtime_ms=completed.get("downtime"),
        blackout_ms=blackout.length_s * 1e3 if known and blackout.length_s is not None else None,
        blackout_error_ms=(conversion.error_ns + sum(clocks[name].offset_error_ns for name in way)) / 1e6 if known else None,
        transferred_bytes=completed.get("memory_processed"),
        phases=phases if known else (),
    )

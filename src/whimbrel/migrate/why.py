"""Why a move failed: what libvirt said, what QEMU wrote into its log at the destination, and what is known of such failures."""

from __future__ import annotations

from dataclasses import dataclass

from whimbrel.engines.failures import diagnose
from whimbrel.engines.qemu_log import words_since
from whimbrel.errors import EngineError, WhimbrelError
from whimbrel.migrate.technique import MoveRequest

NOTHING_IS_LOST = "nothing is lost: remove the cause and move it again"


@dataclass(frozen=True)
class Why:
    """``known`` is the name of the failure in ``engines.failures``; it, ``cause`` and ``cure`` are empty where nothing is known.

    ``said`` is the evidence, all of it; where nothing is known, its last line is libvirt's own.
    """

    known: str
    cause: str
    cure: str
    said: str


def why(request: MoveRequest, error: WhimbrelError | OSError | None, since_s: float) -> Why:
    """Says why a move failed that began at ``since_s`` on the wall clock."""
    if not isinstance(error, WhimbrelError):
        return Why("", "", "", str(error or ""))
    said = f"{error.brief}: {error.details}" if error.details else error.brief
    if request.carriers is not None or not isinstance(error, EngineError):
        return Why("", error.cause, error.resolution, said)
    there, guest = request.destination, request.what.name
    log = there.access.logs().get(f"{there.name}-{guest}.log")
    words = "" if log is None else words_since(log, since_s)
    failure = diagnose(error, words)
    if words:
        said = f"QEMU's log on host {there.name}: {words}\n{said}"
    if failure is not None:
        return Why(failure.name, failure.cause, failure.cure, said)
    more = f"; QEMU's log may say more: /var/log/libvirt/qemu/{guest}.log on host {there.name}" if log is None else ""
    return Why("", error.cause, error.resolution or f"{NOTHING_IS_LOST}{more}", said)

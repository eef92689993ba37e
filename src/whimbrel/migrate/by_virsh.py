"""A move by plain ``virsh migrate``, as an operator would type it on the source: what our own moves are compared with.

Nothing is reserved and no limit on rounds is kept: virsh has none of that. Its time-out, and an abort that is asked for, end it.
"""

from __future__ import annotations

import contextlib

from whimbrel.engines.failures import number_of
from whimbrel.engines.hypervisor import GuestMove
from whimbrel.errors import EngineError, NoGuestError
from whimbrel.migrate.live import completed_job, find_running
from whimbrel.migrate.technique import Journal, MoveReport, MoveRequest
from whimbrel.spec.migration import MigrationSpec, whole_mib_per_s
from whimbrel.system.deadline import Deadline
from whimbrel.system.process import start
from whimbrel.system.scratch import scratch_folder

_LOOK_EVERY_S = 0.05
ABORT_PATIENCE_S = 60.0


class ByVirsh:
    """Moves a guest by the command ``virsh migrate``. Implements ``migrate.technique.Technique``."""

    moves = "vm"

    def __init__(self, name: str) -> None:
        self.name = name

    def move(self, request: MoveRequest, journal: Journal) -> MoveReport:
        """Runs virsh on the source and waits for it; its last words are what is known of a failure."""
        called_ns = journal.mark("move called")
        with (
            request.source.hypervisor() as source,
            request.destination.hypervisor() as destination,
        ):
            guest = find_running(source, request)
            error, aborted = self._run(guest, request)
            return MoveReport(
                called_ns=called_ns,
                returned_ns=journal.note("move returned"),
                result="moved" if error is None else "aborted" if aborted else "failed",
                error=error,
                reserved_memory_bytes=0,
                reserved_disk_bytes=0,
                completed=completed_job(destination, request.what) if error is None else None,
            )

    @staticmethod
    def _run(guest: GuestMove, request: MoveRequest) -> tuple[EngineError | None, bool]:
        """What virsh said of its failure, None when it did not fail; and whether we made it stop."""
        deadline = Deadline(request.spec.timeout_s)
        aborted = False
        with scratch_folder() as folder:
            words = folder / "virsh.log"
            running = start(request.source.access.command(virsh_words(request)), log_file=words)
            try:
                while running.wait(_LOOK_EVERY_S) is None:
                    if aborted or deadline.passed or request.why_abort is not None:
                        # Said again until virsh ends: the first time libvirt may have no job yet.
                        aborted = True
                        _abort(guest)
            finally:
                # An end of virsh alone would let libvirt go on; where it has ended there is no job any more. What is past its
                # point of no return cannot be aborted, and is waited for.
                _abort(guest)
                patience = Deadline(ABORT_PATIENCE_S)
                while running.wait(_LOOK_EVERY_S) is None and not (patience.passed and not _memory_follows(guest)):
                    _abort(guest)
                code = running.stop(ask=False)
            said = words.read_text(errors="replace").strip() if words.exists() else ""
        if code == 0:
            return None, False
        return EngineError(f"virsh ended with exit code {code}", details=said, number=number_of(said) if said else None), aborted


def _abort(guest: GuestMove) -> None:
    """Whatever is answered, only the end of virsh counts."""
    with contextlib.suppress(EngineError):
        guest.abort()


def _memory_follows(guest: GuestMove) -> bool:
    """Whether the guest's memory follows it; True while nobody can say."""
    try:
        return guest.move_stage in ("memory follows", "broken off")
    except NoGuestError:
        return False
    except EngineError:
        return True


def virsh_words(request: MoveRequest) -> list[str]:
    """The command (virsh(1), migrate): ``virsh migrate --p2p --live guest qemu+tcp://server-b/system --migrateuri ...``."""
    return [
        "virsh", "migrate", "--p2p", "--abort-on-error", *_options(request.spec), request.what.name,
        request.destination.peering.peer_uri, "--migrateuri", request.destination.peering.move_uri,
    ]  # fmt: skip


def _options(spec: MigrationSpec) -> list[str]:
    words = [] if spec.technique == "paused" else ["--live"]
    # virsh's own switch comes after the first pass over memory.
    words += ["--postcopy", "--postcopy-after-precopy"] if spec.technique == "pre-post-copy" else []
    words += ["--auto-converge"] if spec.auto_converge else []
    words += ["--compressed", "--comp-methods", spec.compression] if spec.compression != "none" else []
    words += ["--parallel", "--parallel-connections", str(spec.connections)] if spec.connections > 1 else []
    words += ["--tls"] if spec.tls else []
    if spec.bandwidth_bytes_per_s is not None:
        words += ["--bandwidth", str(whole_mib_per_s(spec.bandwidth_bytes_per_s))]
    return words

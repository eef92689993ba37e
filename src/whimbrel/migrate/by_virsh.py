"""A move by plain ``virsh migrate``, as an operator would type it on the source: what our own moves are compared with.

Nothing is reserved, no limit on rounds is kept, and nobody looks at it meanwhile: virsh has none of that.
"""

from __future__ import annotations

from whimbrel.engines.libvirt import Connection
from whimbrel.errors import ToolError
from whimbrel.migrate.live import completed_job, find_running
from whimbrel.migrate.technique import Journal, MoveReport, MoveRequest
from whimbrel.spec.migration import MigrationSpec
from whimbrel.system.process import run

_MIB = 2**20


class ByVirsh:
    """Implements ``migrate.technique.Technique``."""

    moves = "vm"

    def __init__(self, name: str) -> None:
        self.name = name

    def move(self, request: MoveRequest, journal: Journal) -> MoveReport:
        """Runs virsh on the source and waits for it; its last words are what is known of a failure."""
        called_ns = journal.mark("move called")
        with (
            Connection.open(request.source.libvirt_uri) as source,
            Connection.open(request.destination.libvirt_uri) as destination,
        ):
            domain = find_running(source, request)
            error: str | None = None
            try:
                run(request.source.command(virsh_words(request)), timeout_s=request.spec.timeout_s)
            except ToolError as failed:
                # Where virsh did not end in time, libvirt still moves it.
                domain.abort_job()
                error = str(failed)
            return MoveReport(
                called_ns=called_ns,
                returned_ns=journal.mark("move returned"),
                result="moved" if error is None else "failed",
                error=error,
                reserved_memory_bytes=0,
                reserved_disk_bytes=0,
                completed=completed_job(destination, request.guest) if error is None else None,
            )


def virsh_words(request: MoveRequest) -> list[str]:
    """The command (virsh(1), migrate): ``virsh migrate --p2p --live guest qemu+tcp://server-b/system --migrateuri ...``."""
    return [
        "virsh", "migrate", "--p2p", "--abort-on-error", *_options(request.spec), request.guest, request.destination.peer_uri,
        "--migrateuri", request.destination.move_uri,
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
        words += ["--bandwidth", str(int(spec.bandwidth_bytes_per_s / _MIB))]
    return words

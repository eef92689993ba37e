"""A move in the words of libvirt and QEMU: what it is told, and how far it has come. Pure."""

from __future__ import annotations

from typing import Any

from whimbrel.engines.binding import libvirt
from whimbrel.engines.hypervisor import MoveOptions, MoveStage, Progress

# QEMU's words (query-migrate) for how far a move has come.
_STAGES: dict[str, MoveStage] = {
    "active": "under way",
    "postcopy-active": "memory follows",
    "postcopy-recover": "memory follows",
    "postcopy-recover-setup": "memory follows",
    "postcopy-paused": "broken off",
    "completed": "all sent",
}
# libvirt's names (VIR_DOMAIN_JOB_MEMORY_..., VIR_DOMAIN_JOB_DISK_...) for what we keep of a move's job.
_PROGRESS = {
    "iteration": "memory_iteration",
    "transferred_bytes": "memory_processed",
    "remaining_bytes": "memory_remaining",
    "total_bytes": "memory_total",
    "dirty_pages_per_s": "memory_dirty_rate",
    "normal_pages": "memory_normal",
    "constant_pages": "memory_constant",
    "disk_total_bytes": "disk_total",
    "disk_transferred_bytes": "disk_processed",
    "disk_remaining_bytes": "disk_remaining",
    "throttle_percent": "auto_converge_throttle",
}


def progress_of(stats: dict[str, int]) -> Progress:
    """Makes progress of the statistics of a job, as libvirt reports them."""
    return Progress(**{ours: stats.get(theirs) for ours, theirs in _PROGRESS.items()})


def flags_of(options: MoveOptions) -> int:
    """The options as libvirt's ``virDomainMigrateFlags``."""
    flags: int = libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
    for wanted, flag in (
        (options.live, libvirt.VIR_MIGRATE_LIVE),
        (options.post_copy, libvirt.VIR_MIGRATE_POSTCOPY),
        (options.auto_converge, libvirt.VIR_MIGRATE_AUTO_CONVERGE),
        (options.compression is not None, libvirt.VIR_MIGRATE_COMPRESSED),
        (options.connections > 1, libvirt.VIR_MIGRATE_PARALLEL),
        (options.tls, libvirt.VIR_MIGRATE_TLS),
        (options.resume, libvirt.VIR_MIGRATE_POSTCOPY_RESUME),
        (options.persist, libvirt.VIR_MIGRATE_PERSIST_DEST),
        (options.undefine_source, libvirt.VIR_MIGRATE_UNDEFINE_SOURCE),
        (options.storage == "full", libvirt.VIR_MIGRATE_NON_SHARED_DISK),
        (options.storage == "incremental", libvirt.VIR_MIGRATE_NON_SHARED_INC),
    ):
        flags |= flag if wanted else 0
    return flags


def parameters_of(options: MoveOptions) -> dict[str, Any]:
    """The options as the typed parameters of virDomainMigrateToURI3; its bandwidth is in whole MiB/s."""
    found: dict[str, Any] = {
        libvirt.VIR_MIGRATE_PARAM_URI: options.move_uri,
        libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: options.bandwidth_mib_per_s,
    }
    if options.destination_xml is not None:
        found[libvirt.VIR_MIGRATE_PARAM_DEST_XML] = options.destination_xml
    if options.tls and options.certificate_name is not None:
        found[libvirt.VIR_MIGRATE_PARAM_TLS_DESTINATION] = options.certificate_name
    if options.post_copy:
        found[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH_POSTCOPY] = options.bandwidth_mib_per_s
    if options.compression is not None:
        found[libvirt.VIR_MIGRATE_PARAM_COMPRESSION] = options.compression
    if options.connections > 1:
        found[libvirt.VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS] = options.connections
    return found


def stage_of(status: str | None) -> MoveStage | None:
    """The stage that QEMU's word stands for; None where it stands for none."""
    return None if status is None else _STAGES.get(status, "other")

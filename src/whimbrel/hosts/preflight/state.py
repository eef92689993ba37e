"""What the kernel of a host must let QEMU do beside running a guest: page faults handled by QEMU, for post-copy."""

from __future__ import annotations

from whimbrel.engines.domain import qemu_of
from whimbrel.engines.hypervisor import Guest
from whimbrel.errors import RefusedError
from whimbrel.hosts.preflight.finding import Finding, finding
from whimbrel.spec.fields import HostName

USERFAULTFD_FILE = "/proc/sys/vm/unprivileged_userfaultfd"


def examine_post_copy(host: HostName, guest: Guest, setting: str | None, wanted: bool) -> list[Finding]:
    """Whether a guest's memory could follow it here. ``setting`` is what USERFAULTFD_FILE holds there, None if unknown."""
    try:
        qemu_of(guest).try_page_faults()
    except RefusedError as error:
        said = error.details or error.brief
        if setting == "0":
            seen = f"vm.unprivileged_userfaultfd is 0, and QEMU says: {said}"
            return [finding("userfaultfd-off", host, seen, "blocks" if wanted else "warns")]
        # It also wants what post-copy does not (write protection), or is a QEMU that does not know it.
        return [] if setting == "1" else [finding("post-copy-unseen", host, said)]
    return []

"""What a saved state of a guest in KVM depends on besides its description: the processor that it was made on."""

from __future__ import annotations

import platform

from whimbrel.engines.cpus import cpu_of
from whimbrel.hosts.site import Accelerator, Site, first_host


def processor_of(site: Site, accelerator: Accelerator) -> dict[str, object]:
    """What tells the processor of the first host, where states are made, from another; empty for emulated guests.

    What KVM gives depends on the kernel too; libvirt does not tell that of a host that is not this machine.
    """
    if accelerator != "kvm":
        return {}
    with first_host(site).hypervisor() as connection:
        cpu = cpu_of(connection)
    kernel = platform.release() if first_host(site).access.shares_our_clock else None
    if cpu is None:
        return {"processor": {"kernel": kernel}}
    return {
        "processor": {
            "model": cpu.model, "vendor": cpu.vendor, "features": sorted(cpu.features), "microcode": cpu.microcode,
            "kernel": kernel,
        }
    }  # fmt: skip

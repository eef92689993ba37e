"""Guests on hosts: their disks, their boot, and what is asked of them while they run."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.engines.hypervisor import Guest, Hypervisor
from whimbrel.errors import GuestError, UsageError
from whimbrel.guests.domain_xml import Disk, DomainPlan, domain_xml, kept_when_it_crashes, with_disk_at
from whimbrel.guests.scripts import run_script
from whimbrel.hosts.host import Host
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.inside import Inside
from whimbrel.hosts.site import Accelerator, OwnDisk, Site, guests_of
from whimbrel.spec.service import DirtierSpec, GuestSpec
from whimbrel.system.deadline import Deadline, wait_until
from whimbrel.system.memory import read_meminfo

_BOOT_S = 300.0
_RESTORED_S = 30.0
_CHUNK_BYTES = 4 * 2**20
WITNESS_PORT = 7777
_WITNESS_PAGES = 1024


@dataclass(frozen=True)
class Memory:
    """The guest's own view of its memory, from proc_meminfo(5)."""

    total_bytes: int
    available_bytes: int
    cached_bytes: int


def plan_vm(
    site: Site,
    identity: GuestIdentity,
    guest: GuestSpec,
    accelerator: Accelerator,
    kernel_folder: Path | None,
    beside: Path,
    payload: Path | None = None,
) -> DomainPlan:
    """The description of a VM of the site; the same for every trial, so that a saved state fits.

    Its second disk is that in the folder ``beside``: the film, or what cloud-init finds where a VM boots from its first disk.
    """
    files = site.files.of(identity)
    disks = [Disk(files.disk, "vda", "qcow2"), Disk(files.image(beside / "disk.raw"), "vdb", "raw", readonly=True)]
    if payload is not None:
        disks.append(Disk(files.image(payload / "disk.raw"), "vdc", "raw", readonly=True))
    return DomainPlan(
        name=identity.name,
        uuid=identity.uuid,
        accelerator=accelerator,
        memory_bytes=guest.memory_bytes,
        vcpus=guest.vcpus,
        kernel=files.image(kernel_folder / "vmlinuz") if kernel_folder is not None else None,
        initrd=files.image(kernel_folder / "initrd.img") if kernel_folder is not None else None,
        kernel_options=(
            "root=/dev/vda", "rw", "console=ttyS0", "loglevel=4", "net.ifnames=0", "systemd.show_status=false",
            f"whimbrel.address={identity.address}/{site.network.prefix_length}",
            # A kernel that panics before it knows the device for it (domain_xml) resets at once, which is seen as well.
            "panic=-1",
        ),
        mac=identity.mac,
        bridge=site.network.bridge,
        emulator=site.platform.emulator,
        console_log=f"/var/log/libvirt/qemu/{identity.name}-console.log",
        disks=tuple(disks),
        cpu_model=site.platform.cpu_model,
    )  # fmt: skip


def boot(connection: Hypervisor, plan: DomainPlan) -> tuple[Guest, GuestAgent]:
    """Starts the guest and waits until its agent answers and systemd has settled."""
    running = connection.create(domain_xml(plan))
    agent = GuestAgent(running)
    agent.wait(_BOOT_S)
    agent.run(["systemctl", "is-system-running", "--wait"], check=False, timeout_s=_BOOT_S)
    return running, agent


def power_off(running: Guest, agent: GuestAgent) -> None:
    """Lets the guest shut down in order, so that its disk is clean."""
    agent.run(["sync"])
    running.shutdown_by_agent()
    wait_until(
        lambda: ((True, "off") if not running.active else (None, "still on")),
        "the guest's power-off", Deadline(120), error=GuestError,
    )  # fmt: skip


def agent_on(host: Host, guest: GuestIdentity, holding: ExitStack) -> GuestAgent:
    """The agent of the guest on a host, while ``holding`` is open; GuestError when it is not there."""
    found = holding.enter_context(host.hypervisor()).find(guest.uuid)
    if found is None:
        raise GuestError(f"{guest} is not on host {host.name}")
    return GuestAgent(found)


def own_disks(site: Site, guest: GuestIdentity, source: Host, destination: Host) -> tuple[OwnDisk, OwnDisk]:
    """The guest's disk on either host, where neither sees the other's; UsageError where hosts have no storage of their own."""
    here, there = site.files.own_disk(guest, source), site.files.own_disk(guest, destination)
    if here is None or there is None:
        raise UsageError("hosts by URI have no storage of their own yet", resolution="leave 'migration.storage' at shared")
    return here, there


def refuse_another(site: Site) -> None:
    """UsageError when a guest of ours is there already, left by someone who wanted to look at it."""
    for host in site.hosts.values():
        with host.hypervisor() as connection:
            for guest in guests_of(site):
                if connection.find(guest.uuid) is not None:
                    raise UsageError(
                        f"host {host.name} already has the guest {guest}",
                        resolution="'whimbrel undeploy' what runs there, or take the lab down ('whimbrel lab down')",
                    )


def what_is_left(site: Site) -> str:
    """What there is of our guests on the hosts, in words."""
    left = []
    for host in site.hosts.values():
        with host.hypervisor() as connection:
            for guest in guests_of(site):
                found = connection.find(guest.uuid)
                if found is not None:
                    how = "as it crashed" if found.crashed else "and runs" if found.executing else "and stands still"
                    left.append(f"{guest} is on host {host.name}, {how}")
    return "; ".join(left) or "no guest is left on it"


def take_power_away(host: Host, guest: GuestIdentity) -> None:
    """Ends the guest on a host; nothing happens where it is not, whatever else is there under its name."""
    with host.hypervisor() as connection:
        found = connection.find(guest.uuid)
        if found is not None:
            found.destroy()


def restore(
    site: Site,
    connection: Hypervisor,
    guest: GuestIdentity,
    state: Path,
    own: OwnDisk | None = None,
    keep_when_it_crashes: bool = False,
) -> tuple[GuestAgent, float]:
    """Starts the guest on a host from a saved state, as every trial does: its memory at hand, its clock set right.

    In how many seconds, it says too. Its disk lies where both hosts see it, or in ``own``. ``keep_when_it_crashes`` leaves
    its QEMU and memory as they are when it panics.
    """
    saved, description = lay_out(site, connection, guest, state, own, keep_when_it_crashes)
    _make_alike(site, state)
    began_s = time.monotonic()
    started = start_saved(connection, guest, saved, description)
    took_s = time.monotonic() - began_s
    agent = GuestAgent(started)
    agent.wait(_RESTORED_S)
    agent.set_clock()
    return agent, took_s


def lay_out(
    site: Site, connection: Hypervisor, guest: GuestIdentity, state: Path, own: OwnDisk | None, keep_when_it_crashes: bool
) -> tuple[str, str | None]:
    """Puts a saved state's disk where the guest's lies; returns where the host finds the rest, and a description that differs."""
    files = site.files.of(guest)
    saved = files.image(state / "memory.save")
    description: str | None = None
    if own is None:
        files.put_disk(state / "disk.qcow2")
    else:
        own.put(state / "disk.qcow2")
        description = with_disk_at(connection.saved_description(saved), files.disk, own.path)
    if keep_when_it_crashes:
        description = kept_when_it_crashes(description or connection.saved_description(saved))
    return saved, description


def start_saved(connection: Hypervisor, guest: GuestIdentity, saved: str, description: str | None = None) -> Guest:
    """Starts a guest from a file with its state, and nothing else; ``description`` counts instead of the saved one."""
    connection.restore(saved, description)
    started = connection.find(guest.uuid)
    if started is None:
        raise GuestError("the restored guest is not there", resolution="look at the host's libvirt log")
    return started


def _make_alike(site: Site, state: Path) -> None:
    """What makes each start from a state like every other one: its file in memory, and memory at hand for the guest."""
    _bring_into_page_cache(state / "memory.save")
    keep_memory_for(site, state)
    if site.accounting.standby_memory is not None:
        site.accounting.standby_memory.release()


def keep_memory_for(site: Site, state: Path) -> None:
    """Holds the memory that a guest restored from this state will take, until it is restored; elsewhere than here, nothing."""
    if site.accounting.standby_memory is None:
        return
    # QEMU takes huge pages, and fills some of them only in part.
    site.accounting.standby_memory.hold((state / "memory.save").stat().st_size * 5 // 4)


def _bring_into_page_cache(file: Path) -> None:
    """Every trial finds its state in memory, as otherwise only those would that come soon after another of the same state."""
    with file.open("rb", buffering=0) as stream:
        while stream.read(_CHUNK_BYTES):
            pass


def start_dirtier(inside: Inside, dirtier: DirtierSpec) -> None:
    """Lets memory change as asked; returns when every page of the working set is there."""
    rate_bytes_per_s = round(dirtier.rate_bytes_per_s)
    run_script(inside, "start_dirtier", rate_bytes_per_s, dirtier.working_set_bytes, dirtier.pattern, timeout_s=90)


def announce(inside: Inside) -> None:
    """Lets neighbours and switches learn where a guest is that was booted elsewhere than before.

    QEMU does so for one that was moved. A guest that says nothing by itself is found only once those who ask have forgotten
    where it was, up to a minute later (arp(7), base_reachable_time).
    """
    run_script(inside, "announce")


def start_witness(inside: Inside) -> None:
    """Starts the witness, which goes on from its file where there is one; returns when it can be asked."""
    run_script(inside, "start_witness", WITNESS_PORT, _WITNESS_PAGES)


def start_beside(inside: Inside, dirtier: DirtierSpec | None, witness: bool) -> None:
    """Starts what runs beside a service in a VM: what makes memory change, and the witness."""
    if dirtier is not None:
        start_dirtier(inside, dirtier)
    if witness:
        start_witness(inside)


def memory_of(inside: Inside) -> Memory:
    """What the guest says of its memory."""
    table = read_meminfo(inside.read("/proc/meminfo").decode())
    # Shared memory is among what is cached, and cannot be given up.
    return Memory(table["MemTotal"], table["MemAvailable"], table["Cached"] - table["Shmem"])

"""What a host's libvirt tells of all that a guest may need there, and what it tells of a guest: read, and nothing changed.

What its libvirt cannot say (a driver that is not installed, a call that is refused) is None: unknown, not absent.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, TypeVar

from whimbrel.engines.binding import explained, libvirt
from whimbrel.engines.domain import qemu_of
from whimbrel.engines.hypervisor import Guest, HostMemory, Hypervisor
from whimbrel.errors import RefusedError

T = TypeVar("T")
PowerState = Literal["runs", "paused", "crashed", "off"]
# virDomainState; whatever else an active domain is, it stands still.
_STATES: dict[int, PowerState] = {1: "runs", 2: "runs", 5: "off", 6: "crashed"}


@dataclass(frozen=True)
class Network:
    """A virtual network; ``forward`` is how it leads outside (``nat``, ``bridge``, ...), empty where it leads nowhere."""

    active: bool
    forward: str


@dataclass(frozen=True)
class StoragePool:
    """A storage pool; ``path`` is where its volumes lie on the host, empty where they lie elsewhere."""

    name: str
    path: str
    active: bool


@dataclass(frozen=True)
class Volume:
    """A file or device in a pool; ``changed`` is when, to the nanosecond, as the host's file system has it."""

    capacity_bytes: int
    changed: str


@dataclass(frozen=True)
class HostFacts:
    """A host; what is None its libvirt does not say.

    ``numa_nodes`` and ``cpus`` are their numbers, ``free_huge_pages`` counts by size in bytes, ``firmware`` files that it
    knows for the guest's machine, ``secrets`` UUIDs and usages, ``links`` names of network links, ``guests`` UUIDs by name, and
    ``active`` the UUIDs of those that are. ``mtus`` are of those links of which libvirt says it, in bytes.
    """

    versions: dict[str, tuple[int, ...]]
    memory: HostMemory
    cpus: frozenset[int]
    numa_nodes: frozenset[int]
    free_huge_pages: dict[int, int]
    firmware: frozenset[str] | None
    networks: dict[str, Network] | None
    pools: tuple[StoragePool, ...] | None
    secrets: frozenset[str] | None
    links: frozenset[str] | None
    guests: dict[str, str]
    active: frozenset[str]
    mtus: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class GuestFacts:
    """A guest, as its host has it now; ``blockers`` are QEMU's own reasons not to move it."""

    name: str
    uuid: str
    xml: str
    state: PowerState
    job: bool
    block_jobs: tuple[str, ...]
    snapshots: int
    checkpoints: int
    blockers: tuple[str, ...] | None


@dataclass(frozen=True)
class ListedGuest:
    """A guest in a list; ``persistent``: its host keeps its description when it is off. None is what its host does not say."""

    name: str
    uuid: str
    state: PowerState
    memory_bytes: int | None
    vcpus: int | None
    persistent: bool


def list_guests(host: Hypervisor) -> list[ListedGuest]:
    """Every guest of the host by its name, running or not, in one call, however many there are."""
    raw = host.raw
    kinds = libvirt.VIR_DOMAIN_STATS_STATE | libvirt.VIR_DOMAIN_STATS_BALLOON | libvirt.VIR_DOMAIN_STATS_VCPU
    with explained("list its guests", raw):
        told = raw.getAllDomainStats(kinds, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT)
        kept = {domain.UUIDString() for domain in raw.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT)}
    found = [
        ListedGuest(
            domain.name(), domain.UUIDString(), _STATES.get(stats.get("state.state", -1), "paused"),
            _kib(stats.get("balloon.maximum")), stats.get("vcpu.maximum"), domain.UUIDString() in kept,
        )
        for domain, stats in told
    ]  # fmt: skip
    return sorted(found, key=lambda guest: guest.name)


def _kib(number: int | None) -> int | None:
    return number * 1024 if number is not None else None


def processors(host: Hypervisor) -> int:
    """How many processors guests of the host can run on."""
    with explained("tell its processors", host.raw):
        return int(host.raw.getInfo()[2])


def guest_facts(guest: Guest) -> GuestFacts:
    """Reads what is known of a guest that is there."""
    domain = qemu_of(guest)
    raw = domain.raw
    with explained(f"describe {guest.name}", raw.connect(), raw):
        xml = str(raw.XMLDesc(0))
    active = guest.active
    state: PowerState = "off" if not active else "runs" if guest.executing else "crashed" if guest.crashed else "paused"
    targets = [target.get("dev", "") for target in ET.fromstring(xml).findall("./devices/disk/target")] if active else []
    return GuestFacts(
        guest.name, guest.uuid, xml, state,
        job=active and guest.progress() is not None,
        block_jobs=tuple(target for target in targets if _asked(raw, partial(raw.blockJobInfo, target, 0))),
        snapshots=_asked(raw, lambda: int(raw.snapshotNum(0))) or 0,
        checkpoints=len(_asked(raw, lambda: list(raw.listAllCheckpoints(0))) or []),
        blockers=domain.move_blockers() if active else None,
    )  # fmt: skip


def host_facts(host: Hypervisor, guest: ET.Element, known: HostFacts | None = None) -> HostFacts:
    """Reads what a host has, as far as this guest (its description) depends on it.

    Of what is ``known`` only that is read again which depends on the guest.
    """
    raw = host.raw
    firmware = _asked(raw, lambda: _firmware(raw, guest))
    mtus = _asked(raw, lambda: _mtus(raw, guest)) or {}
    if known is not None:
        return replace(known, firmware=firmware, mtus=mtus)
    with explained("tell what it can do", raw):
        capabilities = ET.fromstring(raw.getCapabilities())
        guests = {domain.name(): str(domain.UUIDString()) for domain in raw.listAllDomains(0)}
        # One call, however many there are.
        running = raw.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        active = frozenset(str(domain.UUIDString()) for domain in running)
    cells = capabilities.findall("./host/topology/cells/cell")
    cpus = frozenset(int(cpu.get("id", "0")) for cell in cells for cpu in cell.findall("./cpus/cpu"))
    return HostFacts(
        versions={name: tuple(map(int, version.split("."))) for name, version in host.versions().items()},
        memory=host.memory(),
        cpus=cpus or frozenset(range(int(raw.getInfo()[2]))),
        numa_nodes=frozenset(int(cell.get("id", "0")) for cell in cells) or frozenset({0}),
        free_huge_pages=_free_huge_pages(raw, cells),
        firmware=firmware,
        networks=_asked(raw, lambda: {net.name(): _network(net) for net in raw.listAllNetworks(0)}),
        pools=_asked(raw, lambda: tuple(map(_pool, raw.listAllStoragePools(0)))),
        secrets=_asked(raw, lambda: _secrets(raw)),
        links=_links(raw),
        guests=guests,
        active=active,
        mtus=mtus,
    )  # fmt: skip


def volume_at(host: Hypervisor, path: str) -> Volume | None:
    """What lies there, in a pool of the host; None when nothing does. RefusedError when no pool of the host holds it."""
    raw = host.raw
    with explained("list its storage pools", raw):
        holding = [pool for pool in raw.listAllStoragePools(0) if pool.isActive() and _holds(_pool(pool), path)]
    if not holding:
        raise RefusedError(f"no storage pool of the host holds {path}")
    with explained(f"look for {path}", raw):
        holding[0].refresh(0)
        names = {volume.path(): volume for volume in holding[0].listAllVolumes(0)}
        if path not in names:
            return None
        volume = names[path]
        told = ET.fromstring(volume.XMLDesc(0))
    stamps = told.find("./target/timestamps")
    changed = "" if stamps is None else f"{stamps.findtext('mtime', '')}/{stamps.findtext('ctime', '')}"
    return Volume(int(volume.info()[1]), changed)


def graphics_ports(host: Hypervisor) -> dict[int, str]:
    """Ports on which guests of the host show their screens, and whose they are."""
    found: dict[int, str] = {}
    for domain in host.running():
        with explained(f"describe {domain.name}", host.raw):
            shown = ET.fromstring(qemu_of(domain).raw.XMLDesc(0)).findall("./devices/graphics")
        found |= {int(each.get("port", "-1")): domain.name for each in shown}
    return {port: name for port, name in found.items() if port > 0}


def would_take(host: Hypervisor, description: str) -> str | None:
    """Why the host's libvirt does not take a description as it is; None when it does. Nothing is started or kept."""
    try:
        with explained("read the description", host.raw):
            host.raw.domainXMLToNative("qemu-argv", description, 0)
    except RefusedError as error:
        # Who may not ask, or cannot, has heard nothing against it.
        unable = (libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_OPERATION_DENIED, libvirt.VIR_ERR_ACCESS_DENIED)
        return None if error.number in unable else error.details or error.brief
    return None


def _holds(pool: StoragePool, path: str) -> bool:
    return bool(pool.path) and path.startswith(pool.path.rstrip("/") + "/") and "/" not in path[len(pool.path.rstrip("/")) + 1 :]


def _asked(raw: Any, ask: Callable[[], T]) -> T | None:
    try:
        with explained("say", raw):
            return ask()
    except RefusedError:
        return None


def _secrets(raw: Any) -> frozenset[str]:
    return frozenset(said for each in raw.listAllSecrets(0) for said in (each.UUIDString(), each.usageID()))


def _network(net: Any) -> Network:
    forward = ET.fromstring(net.XMLDesc(0)).find("forward")
    return Network(bool(net.isActive()), "" if forward is None else forward.get("mode", "nat"))


def _pool(pool: Any) -> StoragePool:
    path = ET.fromstring(pool.XMLDesc(0)).findtext("./target/path", "")
    return StoragePool(pool.name(), path, bool(pool.isActive()))


def _links(raw: Any) -> frozenset[str] | None:
    """Lists links by the interface driver, or else by the devices of the host."""
    named = _asked(raw, lambda: frozenset(each.name() for each in raw.listAllInterfaces(0)))
    if named is not None:
        return named
    return _asked(raw, lambda: frozenset(
        ET.fromstring(each.XMLDesc(0)).findtext("./capability/interface", "")
        for each in raw.listAllDevices(libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_NET)
    ))  # fmt: skip


def _mtus(raw: Any, guest: ET.Element) -> dict[str, int]:
    """Of the links that the guest is connected to, as the interface driver says."""
    sources = guest.findall("./devices/interface/source")
    names = {name for source in sources if (name := source.get("bridge") or source.get("dev"))}
    found: dict[str, int] = {}
    for each in raw.listAllInterfaces(0):
        if each.name() in names:
            size = ET.fromstring(each.XMLDesc(0)).find("./mtu")
            found |= {each.name(): int(size.get("size", "0"))} if size is not None else {}
    return found


def _firmware(raw: Any, guest: ET.Element) -> frozenset[str]:
    kind = guest.find("./os/type")
    machine = (kind.get("arch"), kind.get("machine")) if kind is not None else (None, None)
    told = ET.fromstring(raw.getDomainCapabilities(None, *machine, guest.get("type"), 0))
    return frozenset(each.text or "" for each in told.findall("./os/loader/value"))


def _free_huge_pages(raw: Any, cells: list[ET.Element]) -> dict[int, int]:
    sizes_kib = sorted({int(page.get("size", "0")) for cell in cells for page in cell.findall("./pages")})[1:]
    if not sizes_kib:
        return {}
    counted = _asked(raw, lambda: raw.getFreePages(sizes_kib, 0, len(cells), 0)) or {}
    return {size * 1024: sum(each.get(size, 0) for each in counted.values()) for size in sizes_kib}

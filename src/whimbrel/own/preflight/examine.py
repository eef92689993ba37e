"""A guest and two hosts, looked at before anything moves: everything is read, and nothing is put there."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TypeAlias

from whimbrel.engines.capabilities import Accelerator, machine_of
from whimbrel.engines.cpus import compare, model_of, needed_by
from whimbrel.engines.hypervisor import Guest, Hypervisor
from whimbrel.engines.libvirt_facts import HostFacts, graphics_ports, guest_facts, host_facts, volume_at, would_take
from whimbrel.errors import EngineError, RefusedError, UsageError
from whimbrel.hosts.one_host import refuse_one_host
from whimbrel.hosts.preflight.finding import Finding, finding
from whimbrel.own.claim import read_claim
from whimbrel.own.guest import find_guest
from whimbrel.own.preflight.devices import examine_devices
from whimbrel.own.preflight.examined import Examined, ExaminedHost, Looked
from whimbrel.own.preflight.machine import examine_machine
from whimbrel.own.preflight.network import examine_network
from whimbrel.own.preflight.state import examine_state
from whimbrel.own.preflight.storage import examine_storage, paths_of
from whimbrel.own.preflight.trying import try_way
from whimbrel.own.standing import Side
from whimbrel.spec.migration import MigrationSpec

# What hosts have, by their names.
KnownFacts: TypeAlias = dict[str, HostFacts]


def examine_move(name: str, source: Side, destination: Side, spec: MigrationSpec, tries: bool = False) -> list[Finding]:
    """All that stands against it, as far as anybody can see; what nobody could see is among it.

    ``tries``: the way between the hosts, too, with a small guest of ours on each for a moment.
    """
    return examine_moves([name], source, destination, spec, tries)[name]


def examine_moves(
    names: Sequence[str], source: Side, destination: Side, spec: MigrationSpec, tries: bool = False
) -> dict[str, list[Finding]]:
    """The same of many guests of one host, which are asked of one connection each; by their names."""
    with ExitStack() as held:
        open_sides = []
        for side in (source, destination):
            try:
                open_sides.append(held.enter_context(side.host.hypervisor()))
            except EngineError as error:
                silent = finding("host-silent", side.name, error.details or error.brief)
                return {name: [silent] for name in names}
        here, there = open_sides
        try:
            refuse_one_host(source.host, destination.host)
        except UsageError as error:
            one = finding("one-host", f"{source.name} and {destination.name}", error.brief)
            return {name: [one] for name in names}
        known: KnownFacts = {}
        found = {}
        for name in names:
            guest = find_guest(here, name)
            if guest is None:
                found[name] = [finding("guest-not-there", source.name, f"there is no guest {name!r}")]
            else:
                found[name] = examine_guest(guest, (here, there), (source, destination), spec, tries, known)
        return found


def examine_guest(
    guest: Guest, both: tuple[Hypervisor, Hypervisor], sides: tuple[Side, Side], spec: MigrationSpec, tries: bool = False,
    known: KnownFacts | None = None,
) -> list[Finding]:  # fmt: skip
    """The same of a guest that was found, between hosts that are two; what is known of these is not asked again."""
    facts = guest_facts(guest)
    root = ET.fromstring(facts.xml)
    known = {} if known is None else known
    for side, host in zip(sides, both, strict=True):
        known[side.name] = host_facts(host, root, known.get(side.name))
    source, destination = (ExaminedHost(side.name, known[side.name], side.spare_memory_bytes) for side in sides)
    it = Examined(
        facts, source, destination,
        files={path: look(path, *both) for path in paths_of(root)},
        ports=graphics_ports(both[1]) if root.find("./devices/graphics[@autoport='no']") is not None else {},
    )  # fmt: skip
    claimed = read_claim(guest) if facts.state != "off" else None
    found = [
        *examine_state(it, spec, str(claimed) if claimed is not None else None),
        *examine_machine(it), *examine_devices(it), *examine_storage(it), *examine_network(it),
    ]  # fmt: skip
    if facts.state != "off":
        found += _as_libvirt_compares(guest, both, sides, root)
    if tries:
        accelerator: Accelerator = "kvm" if root.get("type") == "kvm" else "tcg"
        seen = try_way(sides, both, accelerator, spec.ends_as_post_copy)
        return [*(each for each in found if each.code != "post-copy-unseen"), *seen]
    way = f"{sides[0].name} to {sides[1].name}"
    why = "libvirtd to libvirtd, ports for memory and clocks are tried by '--try', certificates for memory by a move alone"
    there = sides[1].host
    return [*found, finding("way-unseen", way, why, uri=there.peering.peer_uri, to=there.name, address=there.address)]


def _as_libvirt_compares(
    guest: Guest, both: tuple[Hypervisor, Hypervisor], sides: tuple[Side, Side], root: ET.Element
) -> list[Finding]:
    """Emulator, machine type, processor, and the description as a whole."""
    there, name = both[1], sides[1].name
    found = []
    emulator, kind = root.findtext("./devices/emulator") or None, root.find("./os/type")
    machine = kind.get("machine") if kind is not None else None
    accelerator: Accelerator = "kvm" if root.get("type") == "kvm" else "tcg"
    if emulator is not None and (why := _refused(lambda: machine_of(there, accelerator, emulator, None))) is not None:
        found.append(finding("emulator-missing", name, f"{emulator}: {why}", path=emulator))
        emulator = None
    if (why := _refused(lambda: machine_of(there, accelerator, emulator, machine))) is not None:
        found.append(finding("machine-type-missing", name, f"{machine}: {why}", type=machine, path=emulator or "QEMU"))
    found += _processor(guest, both, sides, root)
    if not found and (why := would_take(there, guest.arriving_description)) is not None:
        found.append(finding("description-refused", name, why))
    return found


def _processor(guest: Guest, both: tuple[Hypervisor, Hypervisor], sides: tuple[Side, Side], root: ET.Element) -> list[Finding]:
    needed = needed_by(guest, both[0])
    if needed is None:
        return []
    result = compare(needed, both[1])
    if result.result == "less":
        return [finding("guest-cpu-missing", sides[1].name, result.words)]
    found = [finding("guest-cpu-unseen", sides[1].name, result.words)] if result.result == "unknown" else []
    cpu = root.find("./cpu")
    if cpu is not None and cpu.get("mode") == "host-passthrough":
        here, there = map(model_of, both)
        differ = [f"{key}: {here.get(key, 'not said')} and {there.get(key, 'not said')}" for key in {**here, **there}
                  if here.get(key) != there.get(key)]  # fmt: skip
        found += [finding("cpu-differs", f"{sides[0].name} and {sides[1].name}", "; ".join(differ))] if differ else []
    return found


def look(path: str, here: Hypervisor, there: Hypervisor) -> Looked:
    """At one path on both hosts: at the source before and after, as the guest may write meanwhile."""
    try:
        before, arrived, after = volume_at(here, path), volume_at(there, path), volume_at(here, path)
    except RefusedError as error:
        return Looked(None, None, error.details or error.brief)
    return Looked(before if before == arrived else after, arrived)


def _refused(ask: Callable[[], object]) -> str | None:
    try:
        ask()
    except RefusedError as error:
        return error.details or error.brief
    return None

"""Each fault of a guest, or of two hosts, is named with its code, severity and side; healthy guests of many kinds have none."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.own_domains import HEALTHY, OVMF, SECRET, UUID, block, bridge, cdrom, disk, domain, network, rbd, screen
from whimbrel.engines.hypervisor import HostMemory
from whimbrel.engines.libvirt_facts import GuestFacts, HostFacts, Network, StoragePool, Volume
from whimbrel.hosts.preflight.finding import Finding, possible
from whimbrel.own.preflight.devices import examine_devices
from whimbrel.own.preflight.examined import Examined, ExaminedHost, Looked, numbers_in
from whimbrel.own.preflight.machine import examine_machine
from whimbrel.own.preflight.network import examine_network
from whimbrel.own.preflight.state import examine_state
from whimbrel.own.preflight.storage import examine_storage, paths_of
from whimbrel.spec.migration import MigrationSpec

GIB = 2**30
HOST = HostFacts(
    versions={"qemu": (10, 0, 2), "libvirt": (11, 3, 0)}, memory=HostMemory(64 * GIB, 32 * GIB, GIB, 8 * GIB),
    cpus=frozenset(range(8)), numa_nodes=frozenset({0, 1}), free_huge_pages={2 * 2**20: 4096, GIB: 0},
    firmware=frozenset({OVMF}),
    networks={"lan": Network(True, "bridge"), "default": Network(True, "nat")},
    pools=(StoragePool("images", "/srv/images", True),), secrets=frozenset({SECRET}),
    links=frozenset({"br0", "br1", "vmbr0", "br-int", "eno1"}), guests={}, active=frozenset(),
)  # fmt: skip
FILE = Volume(10 * GIB, "1764000000.000000001/1764000000.000000001")


@dataclass
class Scene:
    """A guest on one host, and the other; faults change it."""

    xml: str
    here: HostFacts = HOST
    there: HostFacts = HOST
    guest: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Looked] = field(default_factory=dict)
    ports: dict[int, str] = field(default_factory=dict)
    spec: MigrationSpec = field(default_factory=MigrationSpec)
    claimed_by: str | None = None

    def examine(self) -> list[Finding]:
        facts = GuestFacts("shop", UUID, self.xml, "runs", False, (), 0, 0, ())
        it = Examined(replace(facts, **self.guest), ExaminedHost("a", self.here), ExaminedHost("b", self.there), ports=self.ports)
        it = replace(it, files={path: self.files.get(path, Looked(FILE, FILE)) for path in paths_of(it.root)})
        found = [
            *examine_state(it, self.spec, self.claimed_by), *examine_machine(it), *examine_devices(it), *examine_storage(it),
            *examine_network(it),
        ]  # fmt: skip
        # Nobody sees that of any guest in a bridge.
        return [each for each in found if each.code != "segment-unseen"]


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_guest_has_nothing_against_it(name: str) -> None:
    found = Scene(HEALTHY[name]).examine()
    assert found == []
    assert possible(found) is True


def with_device(xml: str) -> Callable[[Scene], None]:
    """One more device."""
    return lambda scene: setattr(scene, "xml", scene.xml.replace("</devices>", f"{xml}</devices>"))


def with_part(xml: str) -> Callable[[Scene], None]:
    """One more part of the guest itself."""
    return lambda scene: setattr(scene, "xml", scene.xml.replace("<os>", f"{xml}<os>"))


def there(**more: Any) -> Callable[[Scene], None]:
    """Of the destination."""
    return lambda scene: setattr(scene, "there", replace(scene.there, **more))


def guest(**more: Any) -> Callable[[Scene], None]:
    """Of the guest as it is now."""
    return lambda scene: scene.guest.update(more)


def at(path: str, looked: Looked) -> Callable[[Scene], None]:
    """One more disk, in this file, and what was seen of it."""

    def sow(scene: Scene) -> None:
        with_device(disk(path, "vdx"))(scene)
        scene.files[path] = looked

    return sow


def medium(path: str) -> Callable[[Scene], None]:
    """A CD that the destination does not have."""

    def sow(scene: Scene) -> None:
        with_device(cdrom(path))(scene)
        scene.files[path] = Looked(FILE, None)

    return sow


def hostdev(kind: str) -> str:
    return f'<hostdev mode="subsystem" type="{kind}" managed="yes"><source/><alias name="hostdev0"/></hostdev>'


def taken(scene: Scene) -> None:
    with_device(screen(port=5955, autoport="no"))(scene)
    scene.ports[5955] = "till"


def on_a_bridge_of_its_own(scene: Scene) -> None:
    with_device(bridge("br9"))(scene)
    scene.here = replace(scene.here, links=HOST.links and HOST.links | {"br9"})


def firmware_of_the_source(scene: Scene) -> None:
    scene.xml = scene.xml.replace("</type>", f"</type><loader>{OVMF}</loader>")
    scene.there = replace(scene.there, firmware=frozenset())


def over_what_is_not_there(scene: Scene) -> None:
    with_device(disk("/srv/images/o", "vdw", below="/srv/images/base"))(scene)
    scene.files["/srv/images/base"] = Looked(FILE, None)


Said = tuple[str, str, str]
FAULTS: dict[str, tuple[Callable[[Scene], None], Said]] = {
    "older QEMU there": (there(versions={"qemu": (9, 2, 0), "libvirt": (11, 3, 0)}), ("older-qemu", "warns", "b")),
    "older libvirt there": (there(versions={"qemu": (10, 0, 2), "libvirt": (9, 0, 0)}), ("older-libvirt", "warns", "b")),
    "nested virtualization": (
        lambda scene: setattr(
            scene, "xml", scene.xml.replace("</model></cpu>", '</model><feature policy="require" name="svm"/></cpu>')
        ),
        ("nested-virtualization", "warns", "a"),
    ),
    "invariant TSC": (
        lambda scene: setattr(
            scene, "xml", scene.xml.replace("</model></cpu>", '</model><feature policy="require" name="invtsc"/></cpu>')
        ),
        ("tsc-invariant", "blocks", "a"),
    ),
    "a TSC of one frequency": (
        lambda scene: setattr(
            scene, "xml", scene.xml.replace('offset="utc"/>', 'offset="utc"><timer name="tsc" frequency="3000000000"/></clock>')
        ),
        ("tsc-frequency", "warns", "b"),
    ),
    "firmware that it lacks": (
        firmware_of_the_source,
        ("firmware-missing", "blocks", "b"),
    ),
    "firmware that nobody knows": (
        lambda scene: setattr(scene, "xml", scene.xml.replace("</type>", "</type><loader>/opt/fw.fd</loader>")),
        ("firmware-unseen", "unseen", "b"),
    ),
    "no memory there": (there(memory=HostMemory(8 * GIB, GIB // 4, 0, GIB // 4)), ("memory-short", "blocks", "b")),
    "memory that may be shared": (there(memory=HostMemory(8 * GIB, GIB // 4, 0, 4 * GIB)), ("memory-uncertain", "warns", "b")),
    "no huge pages there": (
        with_part("<memoryBacking><hugepages><page size='1' unit='G'/></hugepages></memoryBacking>"),
        ("huge-pages-missing", "blocks", "b"),
    ),
    "pinned to what it lacks": (
        with_part('<cputune><vcpupin vcpu="0" cpuset="12-13"/></cputune>'), ("cpus-pinned-away", "blocks", "b"),
    ),
    "pinned as a whole to what it lacks": (
        lambda scene: setattr(scene, "xml", scene.xml.replace('<vcpu placement="static"', '<vcpu cpuset="0-63,^3"')),
        ("cpus-pinned-away", "blocks", "b"),
    ),
    "a NUMA node that it lacks": (
        with_part('<numatune><memory mode="strict" nodeset="0-3"/></numatune>'), ("numa-missing", "blocks", "b"),
    ),
    "few processors there": (there(cpus=frozenset({0})), ("vcpus-many", "warns", "b")),
    "a PCI device": (with_device(hostdev("pci")), ("host-device", "blocks", "a")),
    "a mediated device": (with_device(hostdev("mdev")), ("host-device", "blocks", "a")),
    "a USB device": (with_device(hostdev("usb")), ("usb-device-of-host", "warns", "b")),
    "SR-IOV": (with_device('<interface type="hostdev"><source/></interface>'), ("host-device", "blocks", "a")),
    "vDPA": (with_device('<interface type="vdpa"><source dev="/dev/vhost-vdpa-0"/></interface>'), ("host-device", "blocks", "a")),
    "NVMe of the host": (
        with_device('<disk type="nvme" device="disk"><source type="pci"/><target dev="vdz"/></disk>'),
        ("host-device", "blocks", "a"),
    ),
    "a TPM of the host": (
        with_device('<tpm model="tpm-tis"><backend type="passthrough"/></tpm>'), ("host-device", "blocks", "a"),
    ),
    "an emulated TPM": (
        with_device('<tpm model="tpm-crb"><backend type="emulator" version="2.0"/></tpm>'), ("tpm-state", "warns", "b"),
    ),
    "virtiofs": (
        with_device('<filesystem type="mount"><driver type="virtiofs"/><source dir="/srv/x"/><target dir="x"/></filesystem>'),
        ("shared-folder", "blocks", "a"),
    ),
    "9p": (
        with_device('<filesystem type="mount"><source dir="/srv/x"/><target dir="x"/></filesystem>'),
        ("shared-folder", "blocks", "a"),
    ),
    "vhost-user network": (
        with_device('<interface type="vhostuser"><source type="unix" path="/run/v" mode="client"/></interface>'),
        ("vhost-user", "warns", "b"),
    ),
    "evdev": (with_device('<input type="evdev"><source dev="/dev/input/event3"/></input>'), ("evdev", "warns", "b")),
    "ivshmem": (
        with_device('<shmem name="m" role="peer"><model type="ivshmem-plain"/></shmem>'), ("shared-memory", "blocks", "a"),
    ),
    "NVDIMM": (
        with_device('<memory model="nvdimm"><source><path>/srv/nv</path></source></memory>'), ("memory-device", "warns", "b"),
    ),
    "a screen at the host's own address": (with_device(screen(address="10.0.0.1")), ("graphics-address", "blocks", "b")),
    "a screen at a port that is taken": (taken, ("graphics-port", "blocks", "b")),
    "3D": (
        with_device('<video><model type="virtio"><acceleration accel3d="yes"/></model></video>'),
        ("graphics-by-gpu", "blocks", "a"),
    ),
    "SPICE with GL": (with_device('<graphics type="spice"><gl enable="yes"/></graphics>'), ("graphics-by-gpu", "blocks", "a")),
    "serial to a file": (with_device('<serial type="file"><source path="/var/log/x"/></serial>'), ("host-file", "warns", "b")),
    "SEV": (with_part('<launchSecurity type="sev"/>'), ("encrypted-memory", "blocks", "a")),
    "TDX": (with_part('<launchSecurity type="tdx"/>'), ("encrypted-memory", "blocks", "a")),
    "user network": (with_device('<interface type="user"><target dev="u0"/></interface>'), ("user-network", "warns", "b")),
    "a disk that forgets": (
        with_device(disk("/srv/images/t", "vdy").replace("</disk>", "<transient/></disk>")), ("transient-disk", "blocks", "a"),
    ),
    "QEMU says no": (guest(blockers=("State blocked by non-migratable device",)), ("qemu-refuses", "blocks", "a")),
    "a disk that is not there": (at("/srv/images/x", Looked(FILE, None)), ("disk-not-there", "blocks", "b")),
    "another disk of that name and another size": (
        at("/srv/images/x", Looked(FILE, Volume(GIB, FILE.changed))), ("disk-is-another", "blocks", "b"),
    ),
    "another disk of that name": (
        at("/srv/images/x", Looked(FILE, Volume(10 * GIB, "1700000000.1/1700000000.1"))), ("disk-is-another", "blocks", "b"),
    ),
    "a disk that shows late there": (
        at("/srv/images/x", Looked(FILE, Volume(10 * GIB, "1763999990.1/1763999990.1"))), ("disk-unseen", "unseen", "b"),
    ),
    "a disk in no pool": (at("/mnt/x", Looked(None, None, "no storage pool holds it")), ("disk-unseen", "unseen", "b")),
    "a disk without stamps": (
        at("/srv/images/x", Looked(Volume(1, ""), Volume(1, ""))), ("disk-unseen", "unseen", "b"),
    ),
    "a CD that is not there": (medium("/srv/iso/x.iso"), ("medium-not-there", "blocks", "b")),
    "an image below that is not there": (
        over_what_is_not_there,
        ("disk-not-there", "blocks", "b"),
    ),
    "a pool that is not there": (
        with_device('<disk type="volume"><source pool="fast" volume="x"/><target dev="vdv"/></disk>'),
        ("pool-not-there", "blocks", "b"),
    ),
    "a secret that is not there": (with_device(rbd("0" * 36).replace("vda", "vdu")), ("secret-missing", "blocks", "b")),
    "a secret of iSCSI by its usage": (
        with_device(rbd("").replace('uuid=""', 'usage="libvirtiscsi"').replace("vda", "vdu")), ("secret-missing", "blocks", "b"),
    ),
    "a disk whose encryption has a secret that is not there": (
        with_device(disk("/srv/images/e", "vdt").replace("</disk>", f'<encryption><secret uuid="{UUID}"/></encryption></disk>')),
        ("secret-missing", "blocks", "b"),
    ),
    "snapshots": (guest(snapshots=2), ("snapshots", "blocks", "a")),
    "checkpoints": (guest(checkpoints=1), ("checkpoints", "warns", "b")),
    "a block job": (guest(block_jobs=("vda",)), ("block-job", "blocks", "a")),
    "a network that is not there": (with_device(network("dmz")), ("network-not-there", "blocks", "b")),
    "a network of its own": (with_device(network("default")), ("network-of-its-own", "warns", "b")),
    "a bridge that is not there": (on_a_bridge_of_its_own, ("link-not-there", "blocks", "b")),
    "a bridge that no list has": (with_device(bridge("br9")), ("link-unseen", "unseen", "b")),
    "paused": (guest(state="paused"), ("guest-not-running", "blocks", "a")),
    "off": (guest(state="off"), ("guest-not-running", "blocks", "a")),
    "crashed": (guest(state="crashed"), ("guest-not-running", "blocks", "a")),
    "a job": (guest(job=True), ("guest-job", "blocks", "a")),
    "claimed": (lambda scene: setattr(scene, "claimed_by", "eve on x since y"), ("guest-claimed", "blocks", "a")),
    "already there": (there(guests={"shop": UUID}, active=frozenset({UUID})), ("guest-already-there", "blocks", "b")),
    "known there": (there(guests={"shop": UUID}), ("description-there", "warns", "b")),
    "a namesake there": (there(guests={"shop": "other"}), ("guest-name-taken", "blocks", "b")),
    "post-copy": (
        lambda scene: setattr(scene, "spec", MigrationSpec(technique="post-copy")), ("post-copy-unseen", "unseen", "b"),
    ),
}  # fmt: skip


def said(found: list[Finding]) -> set[Said]:
    return {(each.code, each.severity, each.side) for each in found}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_single_fault_is_named_and_nothing_else(fault: str) -> None:
    sow, expected = FAULTS[fault]
    scene = Scene(HEALTHY["virt-install, q35 and BIOS"])
    sow(scene)
    found = scene.examine()
    assert said(found) == {expected}
    assert possible(found) is {"blocks": False, "warns": True, "unseen": None}[expected[1]]
    for each in found:
        assert each.seen
        assert "{" not in each.effect + each.cure


# These are about the same thing, so that one hides the other.
APART = [("older QEMU there", "older libvirt there"), ("already there", "known there"), ("already there", "a namesake there"),
         ("known there", "a namesake there"), ("paused", "off"), ("off", "crashed"), ("paused", "crashed"),
         ("no memory there", "memory that may be shared"), ("no memory there", "no huge pages there"),
         ("memory that may be shared", "no huge pages there"), ("firmware that it lacks", "firmware that nobody knows"),
         ("invariant TSC", "nested virtualization"), ("invariant TSC", "a TSC of one frequency"),
         ("pinned to what it lacks", "pinned as a whole to what it lacks"), ("few processors there", "pinned to what it lacks"),
         ("few processors there", "pinned as a whole to what it lacks"),
         ("a bridge that is not there", "a bridge that no list has")]  # fmt: skip


def test_two_hundred_faults_one_at_a_time_and_in_pairs_are_all_named() -> None:
    """On unlike guests, drawn with a fixed seed."""
    dice = random.Random(20231124)
    at_one_path = {name for name, (_, [code, _, _]) in FAULTS.items() if code.startswith(("disk-", "medium"))}
    pairs = [
        pair for pair in itertools.combinations(FAULTS, 2)
        if pair not in APART and pair[::-1] not in APART and not set(pair) <= at_one_path
    ]  # fmt: skip
    sown: list[tuple[str, ...]] = [(name,) for name in FAULTS] + dice.sample(pairs, 200 - len(FAULTS))
    hosts = [name for name, xml in HEALTHY.items() if "EPYC-Rome" in xml and "hugepages" not in xml and "numatune" not in xml
             and "cputune" not in xml and "loader" not in xml]  # fmt: skip
    missed = []
    for faults in sown:
        kind = dice.choice(hosts)
        scene = Scene(HEALTHY[kind])
        for fault in faults:
            FAULTS[fault][0](scene)
        if not {FAULTS[fault][1] for fault in faults} <= said(scene.examine()):
            missed.append((kind, faults, said(scene.examine())))
    assert len(sown) == 200
    assert missed == []


def test_what_libvirt_does_not_say_is_unseen_and_never_taken_for_well() -> None:
    scene = Scene(HEALTHY["virt-install, q35 and BIOS"])
    scene.there = replace(HOST, networks=None, links=None, secrets=None, firmware=None, pools=None)
    with_device('<disk type="volume"><source pool="fast" volume="x"/><target dev="vdv"/></disk>')(scene)
    with_device(network("lan") + rbd(SECRET).replace("vda", "vdu"))(scene)
    scene.xml = scene.xml.replace("</type>", f"</type><loader>{OVMF}</loader>")
    assert said(scene.examine()) == {
        ("network-unseen", "unseen", "b"), ("link-unseen", "unseen", "b"), ("secret-unseen", "unseen", "b"),
        ("firmware-unseen", "unseen", "b"), ("disk-unseen", "unseen", "b"),
    }  # fmt: skip


def test_an_old_qemu_cannot_give_up_its_cache() -> None:
    scene = Scene(HEALTHY["a cached disk"])
    scene.here = scene.there = replace(HOST, versions={"qemu": (2, 11, 0), "libvirt": (4, 0, 0)})
    assert said(scene.examine()) == {("disk-cached", "blocks", "a")}
    scene.xml = HEALTHY["a shared disk of a cluster"].replace('cache="none"', 'cache="writeback"')
    assert scene.examine() == []


def test_all_that_a_disk_lies_over_is_looked_for() -> None:
    import xml.etree.ElementTree as ET

    xml = domain(disk("/a", below="/b") + block("/dev/vg0/c") + cdrom(None) + cdrom("/d.iso") + rbd(SECRET))
    assert paths_of(ET.fromstring(xml)) == ["/a", "/b", "/dev/vg0/c", "/d.iso"]


@pytest.mark.parametrize(("text", "numbers"), [("0-3,^2,7", {0, 1, 3, 7}), ("5", {5}), ("", set()), ("0-1, 4", {0, 1, 4})])
def test_lists_of_processors(text: str, numbers: set[int]) -> None:
    assert numbers_in(text) == numbers


def test_of_a_bridge_that_both_have_the_size_of_packets_is_compared_and_its_network_is_not_seen() -> None:
    facts = GuestFacts("shop", UUID, domain(bridge("br0")), "runs", False, (), 0, 0, ())
    here, there = replace(HOST, mtus={"br0": 9000}), replace(HOST, mtus={"br0": 1500})
    found = examine_network(Examined(facts, ExaminedHost("a", here), ExaminedHost("b", there)))
    assert [(each.code, each.severity, each.side) for each in found] == [
        ("mtu-differs", "warns", "b"), ("segment-unseen", "unseen", "b"),
    ]  # fmt: skip
    assert found[0].seen == "br0: 1500 bytes on host b, 9000 on host a"
    for mtus in ({"br0": 9000}, {}):
        found = examine_network(Examined(facts, ExaminedHost("a", here), ExaminedHost("b", replace(HOST, mtus=mtus))))
        assert [each.code for each in found] == ["segment-unseen"]


def test_memory_that_is_to_stay_free_is_not_the_guests() -> None:
    facts = GuestFacts("shop", UUID, domain(), "runs", False, (), 0, 0, ())
    spare = ExaminedHost("b", HOST, spare_memory_bytes=40 * GIB)
    [found] = examine_machine(Examined(facts, ExaminedHost("a", HOST), spare))
    assert (found.code, found.side) == ("memory-short", "b")
    assert "and 40 GiB that are to stay free" in found.seen

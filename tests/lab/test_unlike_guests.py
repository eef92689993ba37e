"""Guests of many makes, described as people do, and moved there and back by an ordinary user who has two URIs: memory and disk of
each are as they were, its processors went on, and its description is the same. And faults: each is named before, and with
``--force`` the move fails as foretold, and one copy runs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.boot_witness import QUESTION, Witnessed, said_in, write_disk
from tests.their_hosts import ENVIRONMENT, TheirHosts
from tests.users import without_root
from whimbrel.engines.libvirt import Connection
from whimbrel.lab.server import Server
from whimbrel.system.deadline import Deadline, wait_until

pytestmark = pytest.mark.long

NOBODY = 65534
NAME = "unlike"
DISK = "/srv/shared/unlike.img"
MIB = 2**20


def disk(
    target: str = "vda", bus: str = "virtio", path: str = DISK, kind: str = "raw", options: str = 'cache="none"', more: str = ""
) -> str:
    return (
        f'<disk type="file" device="disk"><driver name="qemu" type="{kind}" {options}/><source file="{path}"/>'
        f'<target dev="{target}" bus="{bus}"/>{more}</disk>'
    )


def link(model: str = "virtio", more: str = "") -> str:
    return f'<interface type="bridge"><source bridge="br0"/><model type="{model}"/>{more}</interface>'


CPU = '<cpu mode="custom" match="exact"><model>qemu64</model></cpu>'


def guest(
    devices: str, *, machine: str = "q35", more: str = "", cpu: str = CPU,
    memory: str = '<memory unit="MiB">128</memory>', vcpu: str = "<vcpu>1</vcpu>", features: str = "<acpi/><apic/>",
    clock: str = '<clock offset="utc"/>', top: str = "",
) -> str:  # fmt: skip
    return (
        f'<domain type="qemu"><name>{NAME}</name><uuid>{uuid.uuid4()}</uuid>{top}{memory}{vcpu}{more}'
        f'<os><type arch="x86_64" machine="{machine}">hvm</type><boot dev="hd"/></os><features>{features}</features>{cpu}{clock}'
        f"<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{devices}</devices></domain>"
    )


VNC = '<graphics type="vnc" port="-1" listen="127.0.0.1"/><video><model type="vga"/></video>'
AGENT = '<channel type="unix"><target type="virtio" name="org.qemu.guest_agent.0"/></channel>'
RNG = '<rng model="virtio"><backend model="random">/dev/urandom</backend></rng>'
NUMA_CPU = (
    '<cpu mode="custom" match="exact"><model>qemu64</model><numa><cell id="0" cpus="0" memory="64" unit="MiB"/>'
    '<cell id="1" cpus="1" memory="64" unit="MiB"/></numa></cpu>'
)
NOVA = (
    '<metadata><nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1"><nova:name>shop</nova:name>'
    "</nova:instance></metadata>"
)
SYSINFO = '<sysinfo type="smbios"><system><entry name="manufacturer">Somebody</entry></system></sysinfo>'
HYPERV = '<acpi/><apic/><hyperv mode="custom"><relaxed state="on"/><vapic state="on"/></hyperv>'

UNLIKE: dict[str, str] = {
    "virt-install: q35, virtio, VNC, agent": guest(disk() + link() + AGENT + VNC + RNG),
    "i440fx with IDE and e1000": guest(disk("hda", "ide") + link("e1000"), machine="pc"),
    "SATA": guest(disk("sda", "sata") + link("e1000e")),
    "SCSI by virtio, directsync, as Proxmox": guest(
        '<controller type="scsi" model="virtio-scsi"/>'
        + disk("sda", "scsi", options='cache="directsync" io="native"')
        + link()
        + VNC,
        machine="pc",
        top=SYSINFO,
    ),
    "SCSI by LSI": guest('<controller type="scsi" model="lsilogic"/>' + disk("sda", "scsi") + link("rtl8139"), machine="pc"),
    "USB disk": guest('<controller type="usb" model="qemu-xhci"/>' + disk("sda", "usb")),
    "qcow2": guest(disk(path="/srv/shared/unlike.qcow2", kind="qcow2", options='cache="none" discard="unmap"') + link()),
    "a chain of qcow2, as a cloud image has": guest(
        disk(path="/srv/shared/unlike-top.qcow2", kind="qcow2") + link() + AGENT + RNG, top=NOVA
    ),
    "written back": guest(disk(options='cache="writeback"') + link()),
    "several disks and links": guest(
        disk()
        + disk("vdb", path="/srv/shared/unlike-2.img")
        + disk("sda", "sata", "/srv/shared/unlike-3.img")
        + link()
        + link("e1000")
        + link("rtl8139")
    ),
    "a CD, and an empty drive": guest(
        disk()
        + '<disk type="file" device="cdrom"><source file="/srv/shared/unlike.iso"/><target dev="sda" bus="sata"/><readonly/>'
        '</disk><disk type="file" device="cdrom"><target dev="sdb" bus="sata"/><readonly/></disk>' + link()
    ),
    "listening everywhere, with sound and a tablet": guest(
        disk() + '<graphics type="vnc" port="5977" autoport="no" listen="0.0.0.0"/><video><model type="cirrus"/></video>'
        '<input type="tablet" bus="usb"/><sound model="ich9"/>' + link()
    ),
    "balloon, watchdog, vsock": guest(
        disk() + '<memballoon model="virtio" autodeflate="on"/><watchdog model="i6300esb" action="reset"/>' + RNG
    ),
    "memory that was plugged in": guest(
        disk() + '<memory model="dimm"><target><size unit="MiB">128</size><node>0</node></target></memory>',
        more='<maxMemory slots="4" unit="MiB">1024</maxMemory>',
        memory='<memory unit="MiB">256</memory>',
        vcpu="<vcpu>2</vcpu>",
        cpu='<cpu mode="custom" match="exact"><model>qemu64</model><numa><cell id="0" cpus="0-1" memory="128" unit="MiB"/></numa>'
        "</cpu>",
    ),
    "processors to be plugged in": guest(disk() + link(), vcpu='<vcpu current="1">4</vcpu>'),
    "NUMA": guest(disk() + link(), vcpu="<vcpu>2</vcpu>", cpu=NUMA_CPU),
    "pinned, with an I/O thread": guest(
        disk(options='cache="none" iothread="1"') + link(),
        more='<iothreads>1</iothreads><cputune><vcpupin vcpu="0" cpuset="0-1"/></cputune>',
    ),
    "as for Windows": guest(
        disk("sda", "sata") + link("e1000e"),
        features=HYPERV,
        clock='<clock offset="localtime"><timer name="rtc" tickpolicy="catchup"/><timer name="pit" tickpolicy="delay"/>'
        '<timer name="hpet" present="no"/></clock>',
    ),
    "all that QEMU emulates": guest(disk() + link(), cpu='<cpu mode="maximum" migratable="on"/>', vcpu="<vcpu>2</vcpu>"),
    "memory in a memfd, a shared disk": guest(
        disk(more="<shareable/>") + link(), more='<memoryBacking><source type="memfd"/><access mode="shared"/></memoryBacking>'
    ),
    "serial lines, a channel, no network": guest(
        disk() + '<serial type="pty"/><console type="pty"/><controller type="virtio-serial"/>' + AGENT
    ),
    "shared memory as its master": guest(
        disk()
        + link()
        + '<shmem name="whimbrel-unlike" role="master"><model type="ivshmem-plain"/><size unit="M">4</size></shmem>'
    ),
}


@dataclass
class User:
    """An ordinary user, with the URIs of two hosts."""

    theirs: TheirHosts
    home: Path

    @property
    def servers(self) -> dict[str, Server]:
        return {name: self.theirs.lab.hosts[name] for name in ("a", "b")}

    def uri(self, name: str) -> str:
        return f"qemu+tls://{self.servers[name].address}/system?pkipath={self.home}/pki"

    def whimbrel(self, *words: str) -> subprocess.CompletedProcess[str]:
        own = {"HOME": str(self.home), "XDG_STATE_HOME": str(self.home / "state"), "WHIMBREL_HOME": "/nowhere"}
        command = self.theirs.lab.network.vantage.command([*without_root(), sys.executable, "-m", "whimbrel"])
        return subprocess.run([*command, *words], capture_output=True, text=True, timeout=300, env={**ENVIRONMENT, **own})

    def way(self, source: str, destination: str) -> list[str]:
        return ["--from", self.uri(source), "--to", self.uri(destination)]

    def virsh(self, name: str, *words: str) -> str:
        return self.servers[name].run(["virsh", *words], check=False).stdout

    @property
    def runs_on(self) -> list[str]:
        return [name for name in self.servers if NAME in self.virsh(name, "list", "--name", "--state-running").split()]

    def start(self, description: str) -> str:
        """Defines it on host a, starts it, and waits until its witness goes round; its description as it is kept."""
        with Connection.open(self.servers["a"].libvirt_uri) as connection:
            connection.raw.defineXML(description).create()
        self.rounds_on("a", 1)
        return self.kept("a")

    def kept(self, name: str) -> str:
        return "\n".join(line.strip() for line in self.virsh(name, "dumpxml", "--inactive", NAME).splitlines() if line.strip())

    def rounds_on(self, name: str, more: int) -> Witnessed:
        """What its witness says once it has gone round so many times more."""
        found: list[Witnessed] = []

        def gone_round() -> tuple[Witnessed | None, str]:
            said = said_in(self.virsh(name, "qemu-monitor-command", "--hmp", NAME, QUESTION))
            if said is not None:
                found.append(said)
            far = said is not None and said.rounds >= found[0].rounds + more
            return (said if far else None, f"so far {said}")

        return wait_until(gone_round, f"its witness on host {name}", Deadline(60))

    def remove(self) -> None:
        for name in self.servers:
            for word in ("destroy", "undefine"):
                with suppress(Exception):
                    self.virsh(name, word, NAME)


@pytest.fixture(scope="module")
def user(theirs: TheirHosts) -> Iterator[User]:
    home = Path("/tmp") / f"whimbrel-unlike-{os.getpid()}"
    shutil.copytree(theirs.file.parent / "pki", home / "pki")
    for path in [home, *home.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    found = User(theirs, home)
    shared, a = theirs.lab.shared, found.servers["a"]
    for name in ("unlike.img", "unlike-2.img", "unlike-3.img", "unlike.iso"):
        write_disk(shared / name, 8 * MIB)
    a.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", DISK, "/srv/shared/unlike.qcow2"])
    backing = ["-b", "/srv/shared/unlike.qcow2", "-F", "qcow2"]
    a.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, "/srv/shared/unlike-top.qcow2"])
    try:
        yield found
    finally:
        for file in shared.glob("unlike*"):
            file.unlink()
        shutil.rmtree(home)


@pytest.fixture(autouse=True)
def gone_afterwards(user: User) -> Iterator[None]:
    yield
    user.remove()


@pytest.mark.parametrize("name", UNLIKE)
def test_it_goes_there_and_back_as_it_was(user: User, name: str) -> None:
    kept = user.start(UNLIKE[name])
    for source, destination in (("a", "b"), ("b", "a")):
        done = user.whimbrel("migrate", NAME, *user.way(source, destination), "--json", "--check", "off")
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert said["result"] == "moved"
        # libvirt may write what it put there itself, as controllers, in another order.
        assert is_another_order(said["description_changed"])
        assert user.runs_on == [destination]
        found = user.rounds_on(destination, 2)
        assert (found.wrong_words, found.wrong_readings) == (0, 0)
        assert sorted(user.kept(destination).splitlines()) == sorted(kept.splitlines())


def is_another_order(changed: list[str]) -> bool:
    """Whether lines that differ before and after are the same lines."""
    lines = [line for line in changed if not line.startswith(("---", "+++", "@@", " "))]
    before, after = ([line[1:] for line in lines if line[0] == sign] for sign in "-+")
    return sorted(before) == sorted(after)


def test_the_way_between_the_hosts_is_tried_and_nothing_is_left(user: User) -> None:
    user.start(UNLIKE["SATA"])
    before = user.theirs.guests
    done = user.whimbrel("preflight", NAME, *user.way("a", "b"), "--try", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    codes = {each["code"] for each in json.loads(done.stdout)["findings"]}
    assert codes <= {"disk-unseen", "link-unseen", "post-copy-unseen", "userfaultfd-off"}, done.stdout
    assert user.theirs.guests == before


TAKEN = '<graphics type="vnc" port="5931" autoport="no" listen="127.0.0.1"/>'


@dataclass(frozen=True)
class Fault:
    """Which code names it, in which guest, what the move says that goes on all the same, and what is done beside."""

    code: str
    description: str
    said: str
    sow: str = ""


QCOW2 = disk(path="/srv/shared/unlike.qcow2", kind="qcow2")
SHMEM = '<shmem name="u" role="peer"><model type="ivshmem-plain"/><size unit="M">4</size></shmem>'
FAULTS: dict[str, Fault] = {
    "a disk that only one host has": Fault(
        "disk-not-there", guest(disk() + disk("vdb", path="/srv/own/unlike-own.img")), "unlike-own.img|shared storage", "own-disk"
    ),
    "snapshots": Fault("snapshots", guest(QCOW2), "snapshot", "snapshot"),
    "a screen at the host's own address": Fault(
        "graphics-address", guest(disk() + '<graphics type="vnc" port="-1" listen="ADDRESS"/>'), "assign|bind|vnc"
    ),
    "a screen at a port that is taken": Fault("graphics-port", guest(disk() + TAKEN), "5931", "port"),
    "shared memory as a peer": Fault("shared-memory", guest(disk() + SHMEM), "shmem|migrat"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_before_and_force_fails_as_foretold(user: User, name: str) -> None:
    fault = FAULTS[name]
    sow(user, fault.sow)
    user.start(fault.description.replace("ADDRESS", user.servers["a"].address))
    if fault.sow == "snapshot":
        user.virsh("a", "snapshot-create-as", NAME, "kept")
    try:
        seen = user.whimbrel("preflight", NAME, *user.way("a", "b"), "--json")
        assert seen.returncode == 3, seen.stdout + seen.stderr
        blocking = {each["code"] for each in json.loads(seen.stdout)["findings"] if each["severity"] == "blocks"}
        assert fault.code in blocking
        refused = user.whimbrel("migrate", NAME, *user.way("a", "b"), "--check", "off")
        assert (refused.returncode, user.runs_on) == (3, ["a"])
        assert fault.code in refused.stderr.partition("unlike cannot be moved:")[2].partition("\n")[0]
        forced = user.whimbrel("migrate", NAME, *user.way("a", "b"), "--check", "off", "--force")
        assert forced.returncode == 1, forced.stdout
        assert re.search(fault.said, forced.stderr.partition("the move failed")[2]), forced.stderr
        assert user.runs_on == ["a"]
        found = user.rounds_on("a", 1)
        assert (found.wrong_words, found.wrong_readings) == (0, 0)
    finally:
        with suppress(Exception):
            user.virsh("a", "snapshot-delete", NAME, "kept")
            user.virsh("b", "destroy", "other")
            user.virsh("b", "pool-destroy", "own")
            user.virsh("a", "pool-destroy", "own")


def sow(user: User, what: str) -> None:
    if what == "own-disk":
        user.servers["a"].run(["truncate", "-s", "8M", "/srv/own/unlike-own.img"])
        for name in user.servers:
            user.virsh(name, "pool-create-as", "own", "dir", "--target", "/srv/own")
    if what == "port":
        other = guest(TAKEN).replace(NAME, "other")
        with Connection.open(user.servers["b"].libvirt_uri) as connection:
            connection.create(other, paused=True)

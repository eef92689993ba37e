"""Descriptions of guests as people make them: virt-install, virt-manager, cloud images, and as Proxmox and OpenStack write them.

Each is as ``virsh dumpxml`` shows it while it runs, and moves between two healthy hosts.
"""

from __future__ import annotations

UUID = "5a1e7f4c-0000-4000-8000-000000000001"
EMULATOR = "/usr/bin/qemu-system-x86_64"
CPU = '<cpu mode="custom" match="exact" check="full"><model fallback="forbid">EPYC-Rome</model></cpu>'


def domain(
    devices: str = "", *, kind: str = "kvm", machine: str = "pc-q35-10.0", os: str = "", more: str = "", cpu: str = CPU,
    memory_mib: int = 1024, vcpus: int = 2, features: str = "<acpi/><apic/>", clock: str = '<clock offset="utc"/>',
) -> str:  # fmt: skip
    """A guest with these devices."""
    return f"""<domain type="{kind}" id="7"><name>shop</name><uuid>{UUID}</uuid>
<memory unit="KiB">{memory_mib * 1024}</memory><currentMemory unit="KiB">{memory_mib * 1024}</currentMemory>
<vcpu placement="static">{vcpus}</vcpu>{more}<os><type arch="x86_64" machine="{machine}">hvm</type>{os}</os>
<features>{features}</features>{cpu}
{clock}<devices><emulator>{EMULATOR}</emulator>{devices}</devices></domain>"""


def disk(
    path: str = "/srv/images/shop.qcow2", target: str = "vda", bus: str = "virtio", cache: str = "none", below: str = ""
) -> str:
    """A disk in a file."""
    chain = (
        f'<backingStore type="file"><format type="qcow2"/><source file="{below}"/><backingStore/></backingStore>' if below else ""
    )
    return (
        f'<disk type="file" device="disk"><driver name="qemu" type="qcow2" cache="{cache}"/><source file="{path}"/>{chain}'
        f'<target dev="{target}" bus="{bus}"/></disk>'
    )


def block(path: str, target: str = "vda") -> str:
    """A disk in a device, such as a volume of LVM."""
    return (
        f'<disk type="block" device="disk"><driver name="qemu" type="raw" cache="none"/><source dev="{path}"/>'
        f'<target dev="{target}" bus="virtio"/></disk>'
    )


def rbd(secret: str) -> str:
    """A disk in Ceph, as OpenStack writes it."""
    return (
        '<disk type="network" device="disk"><driver name="qemu" type="raw" cache="writeback" discard="unmap"/>'
        f'<auth username="cinder"><secret type="ceph" uuid="{secret}"/></auth>'
        '<source protocol="rbd" name="volumes/volume-1"><host name="10.0.0.9" port="6789"/></source>'
        '<target dev="vda" bus="virtio"/></disk>'
    )


def cdrom(path: str | None) -> str:
    """A CD drive, empty or not."""
    source = f'<source file="{path}"/>' if path else ""
    drive = f'<driver name="qemu" type="raw"/>{source}<target dev="sda" bus="sata"/><readonly/>'
    return f'<disk type="file" device="cdrom">{drive}</disk>'


def bridge(name: str = "br0") -> str:
    """A link to a bridge."""
    return (
        f'<interface type="bridge"><mac address="52:54:00:00:00:01"/><source bridge="{name}"/><target dev="vnet0"/>'
        '<model type="virtio"/></interface>'
    )


def network(name: str) -> str:
    """A link to a virtual network."""
    return f'<interface type="network"><source network="{name}"/><target dev="vnet0"/><model type="virtio"/></interface>'


def screen(kind: str = "vnc", address: str = "127.0.0.1", port: int = 5900, autoport: str = "yes") -> str:
    """A screen that is shown over the network."""
    return (
        f'<graphics type="{kind}" port="{port}" autoport="{autoport}" listen="{address}">'
        f'<listen type="address" address="{address}"/></graphics>'
    )


AGENT = '<channel type="unix"><target type="virtio" name="org.qemu.guest_agent.0" state="connected"/></channel>'
SERIAL = '<serial type="pty"><source path="/dev/pts/1"/><target type="isa-serial" port="0"/></serial>'
SMALL = (
    '<input type="tablet" bus="usb"/><memballoon model="virtio"/><watchdog model="itco" action="reset"/>'
    '<rng model="virtio"><backend model="random">/dev/urandom</backend></rng>'
)
OVMF = "/usr/share/OVMF/OVMF_CODE_4M.fd"
UEFI = f'<loader readonly="yes" type="pflash">{OVMF}</loader><nvram>/var/lib/libvirt/qemu/nvram/shop_VARS.fd</nvram>'
SECRET = "10e3a3a5-0000-4000-8000-00000000000c"

HEALTHY: dict[str, str] = {
    "virt-install, q35 and BIOS": domain(disk() + bridge() + AGENT + SERIAL + screen() + SMALL),
    "virt-install, i440fx": domain(disk(bus="ide", target="hda") + bridge() + screen(), machine="pc-i440fx-9.2"),
    "virt-manager, SPICE": domain(
        disk()
        + bridge()
        + screen("spice")
        + '<channel type="spicevmc"><target type="virtio" name="com.redhat.spice.0"/></channel>'
        '<redirdev bus="usb" type="spicevmc"/><sound model="ich9"/><video><model type="qxl"/></video>'
    ),
    "virt-install, UEFI": domain(disk() + bridge(), os=UEFI),
    "cloud image with its seed": domain(
        disk("/srv/images/shop.qcow2", below="/srv/images/debian-13.qcow2") + cdrom("/srv/images/seed.iso") + bridge()
    ),
    "emulated": domain(disk() + bridge(), kind="qemu", cpu='<cpu mode="maximum" check="none" migratable="on"/>'),
    "Proxmox-like, SCSI and a fixed VLAN bridge": domain(
        disk(target="sda", bus="scsi", cache="directsync") + '<controller type="scsi" model="virtio-scsi"/>' + bridge("vmbr0")
    ),
    "OpenStack-like, Ceph": domain(rbd(SECRET) + bridge("br-int") + SERIAL),
    "several disks and links": domain(
        disk() + disk("/srv/images/data.raw", "vdb") + disk("/srv/images/log.raw", "vdc") + bridge() + bridge("br1")
    ),
    "SATA": domain(disk(target="sda", bus="sata") + bridge()),
    "NVMe for the guest": domain(disk(target="nvme0n1", bus="nvme") + bridge()),
    "LVM": domain(block("/dev/vg0/shop") + bridge()),
    "no disk, started from the network": domain(bridge(), os='<boot dev="network"/>'),
    "an open network over a bridge": domain(disk() + network("lan")),
    "huge pages": domain(
        disk() + bridge(), more='<memoryBacking><hugepages><page size="2048" unit="KiB"/></hugepages></memoryBacking>'
    ),
    "NUMA": domain(disk() + bridge(), more='<numatune><memory mode="strict" nodeset="0"/></numatune>'),
    "pinned": domain(disk() + bridge(), more='<cputune><vcpupin vcpu="0" cpuset="0-1"/><emulatorpin cpuset="2"/></cputune>'),
    "memory and processors to be plugged in": domain(
        disk()
        + bridge()
        + '<memory model="dimm"><target><size unit="KiB">524288</size></target><address type="dimm" slot="0"/></memory>',
        more='<maxMemory slots="16" unit="KiB">8388608</maxMemory>',
    ),
    "empty CD drive": domain(disk() + cdrom(None) + bridge()),
    "listening everywhere": domain(disk() + bridge() + screen(address="0.0.0.0", port=5999, autoport="no")),
    "no network at all": domain(disk()),
    "macvtap": domain(disk() + '<interface type="direct"><source dev="eno1" mode="bridge"/><model type="virtio"/></interface>'),
    "shared memory as its master": domain(disk() + '<shmem name="m" role="master"><model type="ivshmem-doorbell"/></shmem>'),
    "a shared disk of a cluster": domain(disk().replace("</disk>", "<shareable/></disk>") + bridge()),
    "a cached disk": domain(disk(cache="writeback") + bridge()),
}

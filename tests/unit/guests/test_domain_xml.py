from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from whimbrel.errors import GuestError
from whimbrel.guests.domain_xml import Disk, DomainPlan, domain_xml, with_backing_left_open, with_disk_at

PLAN = DomainPlan(
    name="guest",
    uuid="00000000-0000-0000-0000-000000000001",
    accelerator="tcg",
    memory_bytes=2**30,
    vcpus=2,
    kernel="/k",
    initrd="/i",
    kernel_options=("root=/dev/vda", "a<b&c"),
    mac="52:54:00:00:00:01",
    bridge="br0",
    console_log="/var/log/c.log",
    emulator="/usr/libexec/qemu-kvm",
    disks=(Disk("/srv/x.qcow2", "vda", "qcow2"), Disk("/srv/film.raw", "vdb", "raw", readonly=True)),
)


def find(root: ET.Element, path: str) -> ET.Element:
    found = root.find(path)
    assert found is not None, path
    return found


def test_it_says_what_the_plan_says() -> None:
    root = ET.fromstring(domain_xml(PLAN))
    assert root.get("type") == "qemu"
    assert find(root, "devices/emulator").text == "/usr/libexec/qemu-kvm"
    assert find(root, "memory").text == str(2**20)
    assert find(root, "vcpu").text == "2"
    assert find(root, "os/cmdline").text == "root=/dev/vda a<b&c"
    first, second = root.findall("devices/disk")
    assert find(first, "driver").get("cache") == "none"
    assert first.find("readonly") is None
    assert second.find("readonly") is not None


def test_kvm_is_another_type() -> None:
    root = ET.fromstring(domain_xml(replace(PLAN, accelerator="kvm")))
    assert root.get("type") == "kvm"
    assert find(root, "cpu").get("mode") == "host-passthrough"


def disks(xml: str) -> dict[str, str | None]:
    """Where each disk lies, by the name that the guest gives it."""
    return {find(disk, "target").get("dev") or "": find(disk, "source").get("file") for disk in ET.fromstring(xml).iter("disk")}


def test_a_disk_elsewhere_is_all_that_changes() -> None:
    before = domain_xml(PLAN)
    after = with_disk_at(before, "/srv/x.qcow2", "/srv/own/x.qcow2")
    assert disks(after) == {"vda": "/srv/own/x.qcow2", "vdb": "/srv/film.raw"}
    assert with_disk_at(after, "/srv/own/x.qcow2", "/srv/x.qcow2") == ET.tostring(ET.fromstring(before), encoding="unicode")


def test_what_one_disk_lies_over_is_left_open_and_others_keep_theirs() -> None:
    # As libvirt describes a guest that runs: with what each disk was found to lie over.
    root = ET.fromstring(domain_xml(PLAN))
    for disk in root.iter("disk"):
        below = ET.SubElement(disk, "backingStore", type="file")
        ET.SubElement(below, "format", type="raw")
        ET.SubElement(below, "source", file="/srv/images/disk.raw")
    first, second = ET.fromstring(with_backing_left_open(ET.tostring(root, encoding="unicode"), "/srv/x.qcow2")).iter("disk")
    assert first.find("backingStore") is None
    assert find(first, "source").get("file") == "/srv/x.qcow2"
    assert find(second, "backingStore/source").get("file") == "/srv/images/disk.raw"


def test_a_description_without_that_disk_is_refused() -> None:
    with pytest.raises(GuestError, match=r"no disk at /srv/y\.qcow2"):
        with_disk_at(domain_xml(PLAN), "/srv/y.qcow2", "/srv/own/y.qcow2")


def test_without_a_kernel_it_boots_from_its_first_disk() -> None:
    root = ET.fromstring(domain_xml(replace(PLAN, kernel=None, initrd=None, kernel_options=())))
    assert find(root, "os/boot").get("dev") == "hd"
    assert [root.find(f"os/{key}") for key in ("kernel", "initrd", "cmdline")] == [None] * 3

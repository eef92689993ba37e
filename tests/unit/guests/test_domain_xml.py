from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

from whimbrel.guests.domain_xml import Disk, DomainPlan, domain_xml

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
    disks=(Disk("/srv/x.qcow2", "vda", "qcow2"), Disk("/srv/film.raw", "vdb", "raw", readonly=True)),
)


def find(root: ET.Element, path: str) -> ET.Element:
    found = root.find(path)
    assert found is not None, path
    return found


def test_it_says_what_the_plan_says() -> None:
    root = ET.fromstring(domain_xml(PLAN))
    assert root.get("type") == "qemu"
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

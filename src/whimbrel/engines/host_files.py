"""Small files that the kernel shows on a host (/sys, /proc), read through its libvirtd. Nothing is started or changed.

libvirt itself reads what a domain's disk holds (virDomainBlockPeek), also while the domain is off. So a domain of ours that is
never started names the files as its disks, and is gone again at the end.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from whimbrel.engines.binding import explained, libvirt
from whimbrel.engines.capabilities import Accelerator, kind_of
from whimbrel.engines.domain import Domain
from whimbrel.engines.hypervisor import Hypervisor
from whimbrel.errors import RefusedError

_MOST_BYTES = 64


class HostFiles:
    """The files that were named; each is read anew whenever it is asked for."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def read(self, path: str) -> str | None:
        """What it holds, without white space around it; None when there is no such file. RefusedError when libvirt may not."""
        found = b""
        try:
            with explained(f"read {path}", self._raw.connect()):
                # libvirt gives as much as was asked for or nothing, and nobody knows how long such a file is.
                while len(found) < _MOST_BYTES:
                    found += self._raw.blockPeek(path, len(found), 1, 0)
        except RefusedError as error:
            ended = error.number == libvirt.VIR_ERR_INVALID_ARG
            if not ended and "No such file" in error.details:
                return None
            if not ended or not found:
                raise
        return found.decode(errors="replace").strip()


@contextmanager
def host_files(connection: Hypervisor, accelerator: Accelerator, name: str, uuid: str, paths: list[str]) -> Iterator[HostFiles]:
    """The files through a domain of this name and UUID, which must be ours and in a ledger.

    libvirt takes no domain, even one that is off, of an ``accelerator`` that its QEMU lacks.
    """
    with explained("name files to read", connection.raw):
        raw = connection.raw.defineXML(_description(kind_of(accelerator), name, uuid, paths))
    try:
        yield HostFiles(raw)
    finally:
        Domain(raw).undefine()


def _description(kind: str, name: str, uuid: str, paths: list[str]) -> str:
    domain = ET.Element("domain", type=kind)
    for tag, text in (("name", name), ("uuid", uuid), ("memory", "1024")):
        ET.SubElement(domain, tag).text = text
    ET.SubElement(ET.SubElement(domain, "os"), "type").text = "hvm"
    devices = ET.SubElement(domain, "devices")
    for number, path in enumerate(paths):
        disk = ET.SubElement(devices, "disk", type="file", device="disk")
        ET.SubElement(disk, "driver", name="qemu", type="raw")
        ET.SubElement(disk, "source", file=path)
        ET.SubElement(disk, "target", dev=f"vd{chr(ord('a') + number)}", bus="virtio")
        ET.SubElement(disk, "readonly")
    return ET.tostring(domain, encoding="unicode")

"""Devices of the guest that cannot move, or that the destination must have as well. Pure."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from whimbrel.hosts.preflight.finding import Finding, finding
from whimbrel.own.preflight.examined import Examined

# Addresses at which any host can listen; empty stands for the host's own setting.
_ANYWHERE = ("", "0.0.0.0", "127.0.0.1", "::", "::1", "localhost")
_CHARACTERS = ("serial", "parallel", "console", "channel")


def examine_devices(it: Examined) -> list[Finding]:
    """Each of them, on the side that it matters on."""
    return [*_of_the_host(it), *_served_by_others(it), *_screens(it), *_files(it), *_memory(it), *_refused(it)]


def _of_the_host(it: Examined) -> list[Finding]:
    found = []
    for device in it.devices("hostdev"):
        kind = device.get("type", "a device")
        code = "usb-device-of-host" if kind == "usb" else "host-device"
        found.append(finding(code, it.destination.name if kind == "usb" else it.source.name, _said("hostdev", device, kind)))
    for link in it.devices("interface"):
        if link.get("type") in ("hostdev", "vdpa"):
            found.append(finding("host-device", it.source.name, _said("interface", link, link.get("type", ""))))
    for disk in it.devices("disk"):
        if disk.get("type") in ("nvme", "vhostvdpa"):
            found.append(finding("host-device", it.source.name, _said("disk", disk, disk.get("type", ""))))
    for backend in it.devices("tpm/backend"):
        if backend.get("type") == "passthrough":
            found.append(finding("host-device", it.source.name, "tpm: passthrough"))
        elif backend.get("type") == "emulator":
            found.append(finding("tpm-state", it.destination.name, f"tpm: emulated, version {backend.get('version', 'unknown')}"))
    for each in it.devices("input[@type='evdev']"):
        found.append(finding("evdev", it.destination.name, _said("input", each, _attribute(each, "source", "dev"))))
    return found


def _served_by_others(it: Examined) -> list[Finding]:
    found = []
    for shared in it.devices("filesystem"):
        if shared.get("type", "mount") == "mount":
            driver = _attribute(shared, "driver", "type") or "9p"
            found.append(finding("shared-folder", it.source.name, f"{driver}: {_attribute(shared, 'source', 'dir')}"))
    there = it.destination.name
    for kind in ("interface", "disk", "video/driver"):
        for device in it.devices(kind):
            if "vhostuser" in (device.get("type"), device.get("name")):
                seen = f"{kind}: {_attribute(device, 'source', 'path')}"
                found.append(finding("vhost-user", there, seen.rstrip(": ")))
    for link in it.devices("interface[@type='user']"):
        found.append(finding("user-network", there, _said("interface", link, _attribute(link, "backend", "type") or "user")))
    for shared in it.devices("shmem"):
        if shared.get("role") != "master":
            found.append(finding("shared-memory", it.source.name, f"shmem {shared.get('name', '')}"))
    return found


def _screens(it: Examined) -> list[Finding]:
    found = []
    for screen in it.devices("graphics"):
        kind = screen.get("type", "")
        for listen in screen.findall("listen[@type='address']") or [screen]:
            address = listen.get("address") or listen.get("listen") or ""
            if address not in _ANYWHERE:
                found.append(finding("graphics-address", it.destination.name, f"{kind} at {address}", address=address))
        port = int(screen.get("port", "-1"))
        owner = it.ports.get(port)
        if screen.get("autoport") == "no" and owner is not None:
            found.append(finding("graphics-port", it.destination.name, f"{kind} at port {port}, which {owner} has", port=port))
        if kind == "egl-headless" or screen.find("gl[@enable='yes']") is not None:
            found.append(finding("graphics-by-gpu", it.source.name, f"graphics: {kind}"))
    for model in it.devices("video/model"):
        if model.find("acceleration[@accel3d='yes']") is not None:
            found.append(finding("graphics-by-gpu", it.source.name, f"video: {model.get('type', '')} with 3D acceleration"))
    return found


def _files(it: Examined) -> list[Finding]:
    found = []
    for kind in _CHARACTERS:
        for device in it.devices(kind):
            if device.get("type") in ("file", "dev", "pipe"):
                found.append(finding("host-file", it.destination.name, f"{kind}: {_attribute(device, 'source', 'path')}"))
    return found


def _memory(it: Examined) -> list[Finding]:
    found = [
        finding("memory-device", it.destination.name, f"{each.get('model')}: {each.findtext('source/path', 'no path')}")
        for each in it.devices("memory")
        if each.get("model") in ("nvdimm", "virtio-pmem")
    ]
    sealed = it.root.find("./launchSecurity")
    # What an s390x calls so is moved by its own means.
    if sealed is not None and sealed.get("type") != "s390-pv":
        found.append(finding("encrypted-memory", it.source.name, f"launchSecurity: {sealed.get('type', '')}"))
    return found


def _refused(it: Examined) -> list[Finding]:
    """What QEMU itself names; of that which was named above it says nothing new."""
    return [finding("qemu-refuses", it.source.name, reason) for reason in it.guest.blockers or ()]


def _said(kind: str, device: ET.Element, more: str) -> str:
    target = _attribute(device, "target", "dev") or _attribute(device, "alias", "name")
    return f"{kind} {target}: {more}".replace(" :", ":").rstrip(": ")


def _attribute(device: ET.Element, path: str, name: str) -> str:
    found = device.find(path)
    return found.get(name, "") if found is not None else ""

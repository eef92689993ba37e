"""Two libvirtds with QEMU as libvirt-python shows them, as far as hosts are tried before a move: answers, numbers and words.

Held to the same contract as a lab's (tests/contract/test_trying_hosts.py). Faults are set as attributes.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.shared_hosts import FakePool
from whimbrel.engines import libvirt_storage
from whimbrel.engines.binding import libvirt, libvirt_qemu
from whimbrel.engines.libvirt import Connection
from whimbrel.spec.hosts import HostsSpec
from whimbrel.spec.libvirt_uri import split_libvirt_uri

_INTERNAL, _INVALID_ARG, _OPERATION_FAILED, _SYSTEM, _NO_DOMAIN, _INVALID = 1, 8, 9, 38, 42, 55
_UNSUPPORTED, _CPU = 67, 91
_UNSUPPORTED_ARGUMENT = 74
_FROM_RPC, _FROM_QEMU = 7, 10
_STARTED_BOOTED, _STOPPED_DESTROYED = (2, 0), (5, 1)


def error(code: int, message: str, origin: int = _FROM_QEMU) -> Exception:
    found: Exception = libvirt.libvirtError(message)
    found.err = (code, origin, message, 2, "", "", "", -1, -1)  # type: ignore[attr-defined]
    return found


class RawDomain:
    """A domain; ``sockets`` are the character devices that were added, by name."""

    def __init__(self, host: RawHost, description: str, active: bool) -> None:
        self.host = host
        self.root = ET.fromstring(description)
        self.active = active
        self.sockets: dict[str, dict[str, Any]] = {}
        self.number = self.root.findtext("uuid") or ""

    def name(self) -> str:
        return self.root.findtext("name") or ""

    def UUIDString(self) -> str:  # noqa: N802
        return self.number

    def connect(self) -> RawHost:
        return self.host

    def isActive(self) -> int:  # noqa: N802
        return int(self.active)

    def isPersistent(self) -> int:  # noqa: N802
        return int(not self.active)

    def state(self) -> list[int]:
        return [3, 1] if self.active else [5, 0]

    def undefine(self) -> None:
        del self.host.domains[self.number]

    def destroy(self) -> None:
        if not self.active:
            raise error(_INVALID, "Requested operation is not valid: domain is not running")
        self.host.domains.pop(self.number, None)
        self.host.tell(self, *_STOPPED_DESTROYED)

    def blockPeek(self, path: str, offset: int, size: int, flags: int) -> bytes:  # noqa: N802
        assert any(source.get("file") == path for source in self.root.iter("source")), "libvirt reads its disks only"
        if self.host.files_refused:
            raise error(_SYSTEM, f"Failed to open file '{path}': Permission denied")
        text = self.host.files.get(path)
        if text is None:
            raise error(_SYSTEM, f"Failed to open file '{path}': No such file or directory")
        found = text.encode()[offset : offset + size]
        if len(found) < size:
            raise error(_INVALID_ARG, f"invalid argument: '{path}' starting from {offset} has only 0 bytes available")
        return found

    def ask(self, request: str) -> str:
        """QEMU's monitor."""
        asked = json.loads(request)
        arguments = asked.get("arguments", {})
        try:
            return json.dumps({"return": getattr(self, "_" + asked["execute"].replace("-", "_"))(**arguments)})
        except ValueError as refused:
            return json.dumps({"error": {"class": "GenericError", "desc": str(refused)}})

    def _chardev_add(self, id: str, backend: dict[str, Any]) -> dict[str, Any]:
        data = backend["data"]
        if "reconnect-ms" in data and not self.host.knows_milliseconds:
            raise ValueError("Parameter 'reconnect-ms' is unexpected")
        port = int(data["addr"]["data"]["port"])
        if data["server"] and port in self.host.ports_in_use:
            raise ValueError(f"Failed to add chardev '{id}': Failed to find an available port: Address already in use")
        self.sockets[id] = data
        return {}

    def _chardev_remove(self, id: str) -> dict[str, Any]:
        del self.sockets[id]
        return {}

    def _query_chardev(self) -> list[dict[str, Any]]:
        found = []
        for label, data in self.sockets.items():
            port = int(data["addr"]["data"]["port"])
            stands = not data["server"] and self.host.reaches(port)
            found.append({"label": label, "filename": f"{'' if stands else 'disconnected:'}tcp:10.0.0.2:{port}"})
        return [*found, {"label": "charmonitor", "filename": "unix:/monitor.sock,server=on"}]

    def _migrate_set_capabilities(self, capabilities: list[dict[str, Any]]) -> dict[str, Any]:
        for each in capabilities:
            if each["capability"] not in ("postcopy-ram", "background-snapshot", "xbzrle"):
                raise ValueError(f"Parameter 'capability' does not accept value '{each['capability']}'")
            if each["capability"] == "background-snapshot" and each["state"] and not self.host.tracks_writes:
                raise ValueError("Background-snapshot is not supported by host kernel")
        return {}

    def migrateToURI3(self, uri: str, parameters: dict[str, Any], flags: int) -> None:  # noqa: N802
        there = self.host.peer
        assert there is not None
        if self.host.peer_trouble is not None:
            raise error(*self.host.peer_trouble, _FROM_RPC)
        if parameters["migrate_uri"].startswith("nowhere:"):
            raise error(
                _UNSUPPORTED_ARGUMENT, "argument unsupported: unsupported scheme nowhere in migration URI nowhere://localhost"
            )
        if there.emulator != self.root.findtext("devices/emulator"):
            raise error(_SYSTEM, f"Cannot check QEMU binary {self.root.findtext('devices/emulator')}: No such file or directory")
        if flags & libvirt.VIR_MIGRATE_TLS:
            looked_for = parameters.get("tls.destination") or parameters["migrate_uri"].removeprefix("tcp://")
            if looked_for not in there.certificate_names:
                raise error(
                    _INTERNAL,
                    "internal error: unable to execute QEMU command 'migrate': "
                    f"Certificate does not match the hostname {looked_for}",
                )
        if self.host.move_trouble is not None:
            raise error(*self.host.move_trouble)
        there.admit(self)
        del self.host.domains[self.number]
        there.domains[self.number] = self
        self.host = there


@dataclass
class RawHost:
    """A host and its libvirtd; also what libvirt-python calls a connection."""

    number: str
    libvirt_version: int = 11_003_000
    qemu_version: int = 10_000_013
    emulator: str = "/usr/bin/qemu-system-x86_64"
    # The newest first: that is what "pc" means.
    machines: list[str] = field(default_factory=lambda: ["pc-i440fx-10.0", "pc-i440fx-9.2"])
    kvm: bool = True
    features: set[str] = field(default_factory=lambda: {"aes", "avx2"})
    names_cpu_model: bool = True
    # Processors that it cannot give, by their names.
    lacks_models: frozenset[str] = frozenset()
    microcode: str = "1"
    files: dict[str, str] = field(default_factory=lambda: {
        "/sys/class/net/br0/mtu": "1500\n", "/sys/class/net/br0/bridge/bridge_id": "8000.0\n",
        "/proc/sys/vm/unprivileged_userfaultfd": "0\n",
    })  # fmt: skip
    files_refused: bool = False
    tracks_writes: bool = True
    knows_milliseconds: bool = True
    ports_in_use: set[int] = field(default_factory=set)
    closed_ports: set[int] = field(default_factory=set)
    certificate_names: set[str] = field(default_factory=lambda: {"one.example", "two.example"})
    # What libvirt says here when it opens the peer's URI, and when memory is sent: number and words.
    peer_trouble: tuple[int, str] | None = None
    move_trouble: tuple[int, str] | None = None
    start_trouble: tuple[int, str] | None = None
    peer: RawHost | None = None
    domains: dict[str, RawDomain] = field(default_factory=dict)
    # All that was ever there, by name.
    seen: list[str] = field(default_factory=list)
    # Who is told when a domain starts or stops.
    told: list[Any] = field(default_factory=list)

    def domainEventRegisterAny(self, domain: None, event: int, callback: Any, opaque: None) -> int:  # noqa: N802
        self.told.append(callback)
        return len(self.told) - 1

    def domainEventDeregisterAny(self, number: int) -> None:  # noqa: N802
        self.told[number] = None

    def tell(self, domain: RawDomain, event: int, detail: int) -> None:
        for callback in filter(None, self.told):
            callback(self, domain, event, detail, None)

    def isAlive(self) -> int:  # noqa: N802
        return 1

    def close(self) -> None:
        return None

    def getLibVersion(self) -> int:  # noqa: N802
        return self.libvirt_version

    def getVersion(self) -> int:  # noqa: N802
        return self.qemu_version

    def getHostname(self) -> str:  # noqa: N802
        return f"machine-{self.number}"

    def getCapabilities(self) -> str:  # noqa: N802
        return (
            f"<capabilities><host><uuid>{self.number}</uuid><cpu><arch>x86_64</arch><vendor>AMD</vendor>"
            f'<microcode version="{self.microcode}"/><signature family="26" model="2" stepping="1"/></cpu></host></capabilities>'
        )

    def getDomainCapabilities(self, emulator: str | None, arch: str, machine: str | None, kind: str, flags: int) -> str:  # noqa: N802
        if emulator not in (None, self.emulator):
            raise error(_SYSTEM, f"Cannot check QEMU binary {emulator}: No such file or directory")
        if kind == "kvm" and not self.kvm:
            raise error(_INVALID_ARG, f"invalid argument: KVM is not supported by '{self.emulator}' on this host")
        if machine not in (None, "pc", *self.machines):
            raise error(_INVALID_ARG, f"invalid argument: the machine '{machine}' is not supported by emulator '{self.emulator}'")
        full = self.machines[0] if machine in (None, "pc") else machine
        features = "".join(f'<feature policy="require" name="{name}"/>' for name in sorted(self.features))
        mode = f'<mode name="host-model" supported="yes"><model>EPYC</model>{features}</mode>' if self.names_cpu_model else ""
        return (
            f"<domainCapabilities><path>{self.emulator}</path><domain>{kind}</domain><machine>{full}</machine>"
            f"<arch>{arch}</arch><cpu>{mode}</cpu></domainCapabilities>"
        )

    def compareHypervisorCPU(self, emulator: str | None, arch: str, machine: str, kind: str, cpu: str, flags: int) -> int:  # noqa: N802
        wanted = {each.get("name") or "" for each in ET.fromstring(cpu).iter("feature") if each.get("policy") == "require"}
        model = ET.fromstring(cpu).findtext("model")
        lacks = ", ".join(sorted(wanted - self.features)) or (f"those of {model}" if model in self.lacks_models else "")
        if not lacks:
            return int(libvirt.VIR_CPU_COMPARE_SUPERSET if self.features > wanted else libvirt.VIR_CPU_COMPARE_IDENTICAL)
        if not flags & libvirt.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE:
            return int(libvirt.VIR_CPU_COMPARE_INCOMPATIBLE)
        said = f"the CPU is incompatible with host CPU: Host CPU does not provide required features: {lacks}"
        raise error(_CPU, said)

    def baselineHypervisorCPU(  # noqa: N802
        self, emulator: str | None, arch: str, machine: str, kind: str, cpus: list[str], flags: int
    ) -> str:
        """Of one processor it is itself."""
        assert flags == libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES
        [cpu] = cpus
        return cpu

    def lookupByUUIDString(self, number: str) -> RawDomain:  # noqa: N802
        if number not in self.domains:
            raise error(_NO_DOMAIN, f"Domain not found: no domain with matching uuid '{number}'")
        return self.domains[number]

    def defineXML(self, description: str) -> RawDomain:  # noqa: N802
        return self._add(RawDomain(self, description, active=False))

    def createXML(self, description: str, flags: int) -> RawDomain:  # noqa: N802
        if self.start_trouble is not None:
            raise error(*self.start_trouble)
        domain = RawDomain(self, description, active=True)
        assert flags & libvirt.VIR_DOMAIN_START_PAUSED, "nothing of ours may execute there"
        self.admit(domain)
        self._add(domain)
        self.tell(domain, *_STARTED_BOOTED)
        return domain

    def admit(self, domain: RawDomain) -> None:
        """What libvirt looks at before a domain may run here."""
        kind = domain.root.find("os/type")
        assert kind is not None
        machine = kind.get("machine")
        if machine == "pc":
            kind.set("machine", self.machines[0])
        elif machine not in self.machines:
            said = f"unsupported configuration: Emulator '{self.emulator}' does not support machine type '{machine}'"
            raise error(_UNSUPPORTED, said)
        for source in domain.root.findall("devices/interface/source"):
            if f"/sys/class/net/{source.get('bridge')}/mtu" not in self.files:
                raise error(_SYSTEM, f"Cannot get interface MTU on '{source.get('bridge')}': No such device")

    def _add(self, domain: RawDomain) -> RawDomain:
        if domain.root.get("type") == "kvm" and not self.kvm:
            raise error(
                _INVALID_ARG, "invalid argument: could not get preferred machine for /usr/bin/qemu-system-x86_64 type=kvm"
            )
        if domain.number in self.domains:
            raise error(_OPERATION_FAILED, f"operation failed: domain '{domain.name()}' already exists")
        self.domains[domain.number] = domain
        self.seen.append(domain.name())
        return domain

    def reaches(self, port: int) -> bool:
        """Whether a connection from here stands: somebody listens there, and nothing is in between."""
        assert self.peer is not None
        listens = any(
            data["server"] and int(data["addr"]["data"]["port"]) == port
            for domain in self.peer.domains.values()
            for data in domain.sockets.values()
        )
        return listens and port not in self.peer.closed_ports


class RawPair:
    """Both hosts, by their URIs, and the folder that they share."""

    def __init__(self) -> None:
        self.a = RawHost("1f9f0a34-0000-4000-8000-000000000001")
        self.b = RawHost("1f9f0a34-0000-4000-8000-000000000002")
        self.a.peer, self.b.peer = self.b, self.a
        self.folder: dict[str, bytes] = {}
        self.spec = self.spec_with()

    @staticmethod
    def spec_with(**more: Any) -> HostsSpec:
        """As a file names them."""
        return HostsSpec.model_validate({
            "a": {"libvirt": "qemu+tls://one.example/system", "address": "10.0.0.1"},
            "b": {"libvirt": "qemu+tls://two.example/system", "address": "10.0.0.2"},
            "storage": "/srv/shared", "guest_address": "10.0.0.100/24", "accelerator": "tcg", **more,
        })  # fmt: skip

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In libvirt's place, below our own door to it."""
        monkeypatch.setattr(Connection, "open", self.open)
        monkeypatch.setattr(libvirt_qemu, "qemuMonitorCommand", lambda raw, request, _: raw.ask(request))
        # No event of QEMU's own comes: nothing of ours executes.
        monkeypatch.setattr(libvirt_qemu, "qemuMonitorEventRegister", lambda *_: 0)
        monkeypatch.setattr(libvirt_qemu, "qemuMonitorEventDeregister", lambda *_: None)
        monkeypatch.setattr(libvirt_storage, "pool", self._pool)

    def open(self, uri: str) -> Connection:
        host = {"one.example": self.a, "two.example": self.b}[split_libvirt_uri(re.sub(r"\?.*", "", uri)).host]
        return Connection(uri, host)

    @contextmanager
    def _pool(self, connection: Connection, folder: str, owner: str) -> Iterator[FakePool]:
        yield FakePool(self.folder)

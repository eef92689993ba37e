"""Two hosts of somebody else's with a folder that both share, as several controllers see them through libvirt.

Held to the same contract as a real libvirt's pools (tests/contract/test_pools.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from whimbrel.engines import libvirt_storage
from whimbrel.engines.hypervisor import HostMemory
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import EngineError, SilentError
from whimbrel.spec.hosts import HostsSpec


@dataclass
class FakeDomain:
    """A VM that runs on a host."""

    name: str
    uuid: str
    host: FakeLibvirt
    active: bool = True
    executing: bool = True
    in_post_copy: bool = False
    split: bool = False
    crashed: bool = False

    def destroy(self) -> None:
        self.host.domains.pop(self.uuid, None)
        self.active = self.executing = False


@dataclass
class FakeLibvirt:
    """One host's libvirtd; ``uri`` is how it is reached."""

    uri: str
    number: str
    folder: dict[str, bytes]
    domains: dict[str, FakeDomain] = field(default_factory=dict)
    away: bool = False

    def start(self, name: str, uuid: str) -> None:
        """As libvirt does: neither name nor UUID may be there twice."""
        if uuid in self.domains or any(other.name == name for other in self.domains.values()):
            raise EngineError(f"domain {name} already exists")
        self.domains[uuid] = FakeDomain(name, uuid, self)

    def find(self, uuid: str) -> FakeDomain | None:
        return self.domains.get(uuid)

    def host_identity(self) -> tuple[str, str]:
        return self.number, f"machine-{self.number}"

    def versions(self) -> dict[str, str]:
        return {"libvirt": "11.3.0", "qemu": "10.0.0"}

    def memory(self) -> HostMemory:
        return HostMemory(8 * 2**30, 2 * 2**30, 0, 2 * 2**30)


class FakePool:
    """The shared folder, as one libvirtd's pool shows it."""

    def __init__(self, folder: dict[str, bytes]) -> None:
        self._folder = folder

    def names(self) -> set[str]:
        return set(self._folder)

    def send(self, file: Path, name: str) -> None:
        self.remove(name)
        self.put_new(file, name)

    def put_new(self, file: Path, name: str) -> None:
        if name in self._folder:
            raise EngineError(f"libvirt could not make {name}", details="it exists already")
        self._folder[name] = file.read_bytes()

    def fetch(self, name: str, file: Path) -> None:
        if name not in self._folder:
            raise EngineError(f"libvirt could not fetch {name}")
        file.write_bytes(self._folder[name])

    def make_empty(self, name: str) -> None:
        if name in self._folder:
            raise EngineError(f"libvirt could not make {name}", details="it exists already")
        self._folder[name] = b""

    def lay_over(self, name: str, backing: str, backing_format: str, size_bytes: int) -> None:
        self._folder[name] = f"{backing_format} {size_bytes} over {backing}".encode()

    def remove(self, name: str) -> None:
        self._folder.pop(name, None)

    def free_bytes(self) -> int:
        return 100 * 2**30


class SharedHosts:
    """Both hosts and their folder."""

    def __init__(self) -> None:
        self.folder: dict[str, bytes] = {}
        self.a = FakeLibvirt("qemu+tls://one.example/system", "1f9f0a34-0000-4000-8000-000000000001", self.folder)
        self.b = FakeLibvirt("qemu+tls://two.example/system", "1f9f0a34-0000-4000-8000-000000000002", self.folder)

    def spec(self, name: str = "hosts") -> HostsSpec:
        """As a file names them."""
        return HostsSpec.model_validate({
            "name": name,
            "a": {"libvirt": self.a.uri, "address": "10.0.0.1"}, "b": {"libvirt": self.b.uri, "address": "10.0.0.2"},
            "storage": "/srv/shared", "guest_address": "10.0.0.100/24",
            # Processors are a subject of their own (tests/unit/engines/test_cpus.py).
            "accelerator": "tcg",
        })  # fmt: skip

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In libvirt's place."""
        monkeypatch.setattr(Connection, "open", self.open)
        monkeypatch.setattr(libvirt_storage, "pool", self._pool)

    @contextmanager
    def open(self, uri: str) -> Iterator[FakeLibvirt]:
        found = next(host for host in (self.a, self.b) if host.uri == uri)
        if found.away:
            raise SilentError(f"libvirt could not connect to {uri}")
        yield found

    @staticmethod
    @contextmanager
    def _pool(connection: Any, folder: str, owner: str) -> Iterator[FakePool]:
        assert folder == "/srv/shared"
        yield FakePool(connection.folder)

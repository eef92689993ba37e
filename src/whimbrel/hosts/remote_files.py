"""Files of ours in the storage that hosts share, sent and fetched through the libvirt of one of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from whimbrel.engines.libvirt_storage import Pool, folder_at
from whimbrel.errors import UsageError
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.spec.hosts import HostsSpec
from whimbrel.system.ledger import Entry, Ledger, register_undo


class SharedStorage:
    """The folder that all hosts share, as one owner uses it: all that it makes has the owner's label, and is in the ledger."""

    def __init__(self, spec: HostsSpec, ledger: Ledger, label: str) -> None:
        self.folder = spec.storage
        self.label = label
        # Through the first host: the others see the same.
        self.uri = next(iter(spec.servers.values())).libvirt
        self._ledger = ledger

    @contextmanager
    def opened(self) -> Iterator[Pool]:
        """Opens the folder through the first host."""
        with folder_at(self.uri, self.folder, self.label) as storage:
            yield storage

    def make_ours(self, storage: Pool, name: str) -> Entry:
        """Lists a file before it is made; UsageError when there is one that is not listed, and so is not ours to replace."""
        content = {"uri": self.uri, "folder": self.folder, "name": name, "pool": self.label}
        entry = Entry("volume", json.dumps(content))
        if entry not in self._ledger.entries:
            if name in storage.names():
                raise UsageError(
                    f"{self.folder}/{name} is there already, and not in the ledger of what we made",
                    resolution="look at what it is, and move it away",
                )
            self._ledger.add("volume", entry.name)
        return entry

    @contextmanager
    def making(self, storage: Pool, name: str) -> Iterator[None]:
        """A file that goes away again at the end."""
        entry = self.make_ours(storage, name)
        try:
            yield
        finally:
            storage.remove(name)
            self._ledger.strike(entry)


class RemoteFiles:
    """The files of one guest. Implements ``hosts.site.GuestFiles``; ``sent`` are the images that the site's guests have there."""

    def __init__(self, guest: GuestIdentity, storage: SharedStorage, sent: set[str]) -> None:
        self._disk = f"{guest.name}.qcow2"
        self._saved = f"{guest.name}.save"
        self._storage = storage
        self._sent = sent

    @property
    def disk(self) -> str:
        """The path of the guest's disk on the hosts."""
        return f"{self._storage.folder}/{self._disk}"

    @property
    def saving(self) -> str:
        """Where the guest's state is saved."""
        return f"{self._storage.folder}/{self._saved}"

    def image(self, file: Path) -> str:
        """Sent the first time it is asked for."""
        name = f"{self._storage.label}-{file.parent.name}-{file.name}"
        if name not in self._sent:
            self._send(file, name)
            self._sent.add(name)
        return f"{self._storage.folder}/{name}"

    def new_disk(self, backing: Path, backing_format: str) -> None:
        """An empty disk over an image, and a name for what will be saved."""
        below = self.image(backing)
        size_bytes = _virtual_size_bytes(backing, backing_format)
        with self._storage.opened() as storage:
            self._storage.make_ours(storage, self._disk)
            self._storage.make_ours(storage, self._saved)
            storage.lay_over(self._disk, below, backing_format, size_bytes)

    def put_disk(self, saved: Path) -> None:
        """A copy of a disk that was saved."""
        self._send(saved, self._disk)

    def take(self, memory: Path, disk: Path) -> None:
        """Takes away what was saved, and the disk."""
        with self._storage.opened() as storage:
            storage.fetch(self._saved, memory)
            storage.remove(self._saved)
        self.take_disk(disk)

    def take_disk(self, disk: Path) -> None:
        """Fetches the guest's disk into a file here, and removes it there."""
        with self._storage.opened() as storage:
            storage.fetch(self._disk, disk)
            storage.remove(self._disk)

    def _send(self, file: Path, name: str) -> None:
        with self._storage.opened() as storage:
            self._storage.make_ours(storage, name)
            storage.send(file, name)


def _virtual_size_bytes(file: Path, kind: str) -> int:
    if kind == "raw":
        return file.stat().st_size
    with file.open("rb") as stream:
        # docs/interop/qcow2.txt: the virtual size stands at byte 24, big-endian.
        return int.from_bytes(stream.read(32)[24:32], "big")


def _remove_volume(entry: str) -> None:
    known = json.loads(entry)
    # An older whimbrel wrote no owner down.
    owner = known.get("pool", "whimbrel")
    with folder_at(known["uri"], known["folder"], owner) as storage:
        storage.remove(known["name"])


register_undo("volume", _remove_volume)

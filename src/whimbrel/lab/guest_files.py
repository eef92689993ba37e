"""Where a lab's guests have their files: in a folder that all servers see, or on a server's own disk."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from whimbrel.hosts.host import Host
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.images.store import ImageStore
from whimbrel.lab.own_disk import LabOwnDisk
from whimbrel.lab.server import Server
from whimbrel.spec.fields import HostName


class LabFiles:
    """The folder that all servers see, and the store of images, which they see too. Implements ``hosts.site.GuestFiles``."""

    saving = "/srv/shared/memory.save"

    def __init__(self, guest: GuestIdentity, shared: Path, store: Path, server: Server) -> None:
        self.disk = f"/srv/shared/{guest.name}.qcow2"
        self._shared = shared
        self._store = store
        self._server = server

    def image(self, file: Path) -> str:
        """The store is mounted in every server."""
        return f"/srv/images/{file.relative_to(self._store)}"

    def new_disk(self, backing: Path, backing_format: str) -> None:
        """An empty disk over an image of the store."""
        self._server.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", backing_format, "-b", self.image(backing), self.disk])

    def put_disk(self, saved: Path) -> None:
        """A copy of a disk that was saved."""
        shutil.copyfile(saved, self._here(self.disk))

    def take(self, memory: Path, disk: Path) -> None:
        """Takes away what was saved, and the disk."""
        shutil.move(self._here(self.saving), memory)
        self.take_disk(disk)

    def take_disk(self, disk: Path) -> None:
        """Moves the guest's disk into a file here."""
        shutil.move(self._here(self.disk), disk)

    def _here(self, path: str) -> Path:
        return self._shared / Path(path).name


class LabStorage:
    """The store of images, and the servers' disks. Implements ``hosts.site.Files``."""

    def __init__(self, store: ImageStore, shared: Path, servers: Mapping[HostName, Server]) -> None:
        self.store = store
        self._shared = shared
        self._servers = servers

    def of(self, guest: GuestIdentity) -> LabFiles:
        """The files of this VM."""
        return LabFiles(guest, self._shared, self.store.folder, next(iter(self._servers.values())))

    def own_disk(self, guest: GuestIdentity, host: Host) -> LabOwnDisk:
        """The VM's disk in the server's own folder."""
        return LabOwnDisk(guest, self._servers[host.name])

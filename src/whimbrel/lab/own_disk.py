"""A guest's disk in the folder that only one server sees: ``/srv/own``, at the same path on every server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from whimbrel.errors import ToolError, UsageError
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.site import DiskFacts
from whimbrel.lab.attended import attended
from whimbrel.lab.server import Server
from whimbrel.system.deadline import Deadline, wait_until

# qemu-nbd writes it when others can connect.
_PID_FILE = "/run/whimbrel-nbd.pid"
_READY_S = 30.0
_LOOK_EVERY_S = 0.2


class LabOwnDisk:
    """One guest's disk on one server. Implements ``hosts.site.OwnDisk``."""

    def __init__(self, guest: GuestIdentity, server: Server) -> None:
        self.path = f"/srv/own/{guest.name}.qcow2"
        self._here = server.config.own / f"{guest.name}.qcow2"
        self._server = server

    def put(self, saved: Path) -> None:
        """A copy of a disk that was saved."""
        shutil.copyfile(saved, self._here)

    @property
    def there(self) -> bool:
        """Whether the server has the file."""
        return self._here.exists()

    def facts(self) -> DiskFacts:
        """What qemu-img says of it, without the lock that a running guest holds."""
        said = self._server.run(["qemu-img", "info", "--force-share", "--output=json", self.path]).stdout
        return disk_facts(said)

    def make(self, like: DiskFacts, over_backing: bool) -> None:
        """An empty qcow2 image; qemu-img itself would write over one that is there."""
        over: list[str] = []
        if over_backing:
            if like.backing is None or like.backing_format is None:
                raise UsageError("the guest's disk lies over no other image", resolution="set 'migration.storage' to full")
            over = ["-b", like.backing, "-F", like.backing_format]
        try:
            self._here.touch(exist_ok=False)
        except FileExistsError as error:
            raise ToolError(f"server {self._server.name} already has an image {self.path}") from error
        self._server.run(["qemu-img", "create", "-q", "-f", "qcow2", *over, self.path, str(like.size_bytes)])

    @contextmanager
    def served(self, whole: bool) -> Iterator[str]:
        """By NBD, on the address that the other server moves guests to, so that it goes where memory would go."""
        address = self._server.config.move_address
        pid_file = self._server.seen_from_here(_PID_FILE)
        pid_file.unlink(missing_ok=True)
        command = [
            "qemu-nbd", "--read-only", f"--format={'qcow2' if whole else 'raw'}", f"--bind={address}",
            f"--pid-file={_PID_FILE}", self.path,
        ]  # fmt: skip
        with attended(self._server, command) as serving:
            wait_until(
                lambda: (True, "ready") if pid_file.exists() or serving.ended(0) else (None, "not yet"),
                f"serving the disk of server {self._server.name}", Deadline(_READY_S), error=ToolError,
            )  # fmt: skip
            yield f"nbd://{address}"

    def fetch(self, url: str, whole: bool, bytes_per_s: float | None, stop_if_unwanted: Callable[[], None]) -> None:
        """With qemu-img, which leaves out what is zero; past the page cache, as guests write."""
        rate = ["-r", str(round(bytes_per_s))] if bytes_per_s is not None else []
        into = ["-n", "--target-is-zero", "-O", "qcow2"] if whole else ["-O", "raw"]
        command = ["qemu-img", "convert", *rate, "-t", "none", "-f", "raw", *into, url, self.path]
        with attended(self._server, command) as copying:
            while not copying.ended(_LOOK_EVERY_S):
                stop_if_unwanted()

    def remove(self) -> None:
        """Removes it from here, so that this works for a server that has died as well."""
        self._here.unlink(missing_ok=True)


def disk_facts(said: str) -> DiskFacts:
    """Reads what ``qemu-img info --output=json`` prints."""
    found = json.loads(said)
    return DiskFacts(
        size_bytes=int(found["virtual-size"]),
        held_bytes=int(found["actual-size"]),
        backing=found.get("backing-filename"),
        backing_format=found.get("backing-filename-format"),
    )

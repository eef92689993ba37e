"""Several containers on one server, side by side in its cell, each with a network of its own: to see how many fit."""

from __future__ import annotations

import json
from dataclasses import dataclass

from whimbrel.guests.oci import description
from whimbrel.guests.scripts import run_script
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.inside import Cell
from whimbrel.services.service import Service

_START_S = 120.0


@dataclass(frozen=True)
class PackedContainers:
    """Containers of a service in a cell; ``root`` and ``film`` are where the hosts find what they are made from."""

    cell: Cell
    service: Service
    root: str
    film: str
    prefix_length: int
    open_files: int

    def prepare(self) -> None:
        """Lays out the film, which all of them share."""
        run_script(self.cell, "packed_film", self.film)

    def running(self) -> set[str]:
        """The names of those that run."""
        listed = json.loads(self.cell.run(["runc", "list", "--format", "json"]) or "null") or []
        return {each["id"] for each in listed if each["status"] == "running"}

    def start(self, guest: GuestIdentity) -> None:
        """One more, which answers at the guest's address; returns when it takes connections, GuestError when it does not."""
        name, home = guest.name, f"/srv/{guest.name}"
        serve = ["/bin/sh", "-c", f"{self.service.before_as_root}exec {self.service.command}"]
        config = description(name, serve, f"/run/netns/{name}", ["/srv/film"], "/dev/null", self.open_files)
        self.cell.run(["mkdir", "-p", f"{home}/upper", f"{home}/work", f"{home}/bundle/rootfs"])
        self.cell.write(f"{home}/bundle/config.json", json.dumps(config))
        # The name of a link has 15 characters at most.
        link = f"p-{guest.mac[-5:].replace(':', '')}"
        address = f"{guest.address}/{self.prefix_length}"
        run_script(
            self.cell, "packed_start", name, self.root, link, guest.mac, address, *self.service.ports, timeout_s=_START_S
        )  # fmt: skip

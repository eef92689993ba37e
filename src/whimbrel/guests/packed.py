"""Several containers on one server, side by side in its cell, each with a network of its own: to see how many fit."""

from __future__ import annotations

import json
from dataclasses import dataclass

from whimbrel.guests.oci import description
from whimbrel.guests.readiness import waiting_for
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
        """What all of them share."""
        self.cell.shell(f"set -e; mkdir -p /srv/film; mount --bind {self.film} /srv/film; mkdir -p /run/netns")

    def start(self, guest: GuestIdentity) -> None:
        """One more, which answers at the guest's address; returns when it takes connections, GuestError when it does not."""
        name, home = guest.name, f"/srv/{guest.name}"
        serve = ["/bin/sh", "-c", f"{self.service.before_as_root}exec {self.service.command}"]
        config = description(name, serve, f"/run/netns/{name}", ["/srv/film"], "/dev/null", self.open_files)
        self.cell.shell(f"mkdir -p {home}/upper {home}/work {home}/bundle/rootfs")
        self.cell.write(f"{home}/bundle/config.json", json.dumps(config))
        # The name of a link has 15 characters at most.
        link = f"p-{guest.mac[-5:].replace(':', '')}"
        ports = " ".join(map(str, self.service.ports))
        self.cell.shell(
            f"""set -e
            mount -t overlay overlay -o lowerdir={self.root},upperdir={home}/upper,workdir={home}/work {home}/bundle/rootfs
            ip netns add {name}
            ip link add {link} type veth peer name eth0 netns {name} address {guest.mac}
            ip link set {link} up master br0
            ip -n {name} link set lo up
            ip -n {name} link set eth0 up
            ip -n {name} address add {guest.address}/{self.prefix_length} dev eth0
            runc run --detach --bundle {home}/bundle {name} </dev/null >/dev/null 2>&1
            {waiting_for(ports, f"ip netns exec {name}")}
            """,
            timeout_s=_START_S,
        )

"""Hosts of somebody else's: a lab's servers that are used by their URIs alone, each with a VM of its owner's own on it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.labs import PROJECT
from whimbrel.engines.libvirt import Connection
from whimbrel.images.store import ImageStore
from whimbrel.lab.lab import Lab, ledger_of
from whimbrel.spec.lab import LabSpec
from whimbrel.system.certificates import equip_client

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PROJECT / "src")}

FILE = """\
schema_version: 1
name: remote
hosts:
  name: remote
  a: {{libvirt: "{a}", peer_libvirt: "qemu+tls://server-a/system", address: {address_a}}}
  b: {{libvirt: "{b}", peer_libvirt: "qemu+tls://server-b/system", address: {address_b}}}
  storage: /srv/shared
  guest_address: {guest}/24
  accelerator: {accelerator}
guest: {{saved_states: 1}}
observe: {{at_rest: 1 s, before: 2 s, after: 4 s}}
scenarios: [{{name: vm, title: nginx in a VM, form: vm, service: stream, arms: [{{viewers: 1}}]}}]
"""

# A VM of the other team's, as each host has one: it has no disk, and its firmware runs on.
THEIR_VM = """\
<domain type="qemu"><name>guest</name><uuid>{uuid}</uuid><memory unit="MiB">64</memory><os><type machine="pc">hvm</type></os>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator></devices></domain>"""
THEIR_UUIDS = {"a": "0b5e7f4c-0000-4000-8000-00000000000a", "b": "0b5e7f4c-0000-4000-8000-00000000000b"}


@dataclass
class TheirHosts:
    """What the other team gave us: a file with two URIs, and a place in their network to call from."""

    lab: Lab
    file: Path

    def command(self, *words: str | Path) -> list[str]:
        return [*self.lab.network.vantage.command([sys.executable, "-m", "whimbrel"]), *map(str, words)]

    def whimbrel(self, *words: str | Path, home: Path | None = None) -> subprocess.CompletedProcess[str]:
        """A command of ours, or of the controller whose home this is."""
        return self.started(self.command(*words), home)

    def started(self, command: list[str], home: Path | None = None) -> subprocess.CompletedProcess[str]:
        env = ENVIRONMENT if home is None else {**ENVIRONMENT, "WHIMBREL_HOME": str(home)}
        return subprocess.run(command, capture_output=True, text=True, timeout=600, env=env)

    @property
    def guests(self) -> dict[str, set[str]]:
        """Every guest on each host, by its UUID, running or not."""
        return {
            server.name: set(server.run(["virsh", "list", "--all", "--uuid"]).stdout.split())
            for server in (self.lab.hosts["a"], self.lab.hosts["b"])
        }

    @property
    def only_their_own(self) -> bool:
        """Whether their own VMs run on both hosts, and nothing else is there, running or not."""
        for server in (self.lab.hosts["a"], self.lab.hosts["b"]):
            said = server.run(["virsh", "list", "--uuid"]).stdout.split()
            if said != [THEIR_UUIDS[server.name]]:
                return False
        return self.guests == {name: {number} for name, number in THEIR_UUIDS.items()}

    @property
    def storage(self) -> set[str]:
        return {path.name for path in self.lab.shared.iterdir()}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TheirHosts]:
    folder = tmp_path_factory.mktemp("theirs")
    spec = LabSpec.model_validate({"name": "theirs", "network": "10.78.0.0/24", "link_rate": "1 Gbit/s", "tls": True})
    with ledger_of(spec.name) as ledger:
        ledger.undo_all()
        lab = Lab(spec, ImageStore(), ledger)
        lab.up()
        try:
            equip_client(lab.authority, "us", folder / "pki")
            for server in (lab.hosts["a"], lab.hosts["b"]):
                with Connection.open(server.libvirt_uri) as connection:
                    connection.create(THEIR_VM.format(uuid=THEIR_UUIDS[server.name]))
            uris = [f"qemu+tls://{server.address}/system?pkipath={folder}/pki" for server in (lab.hosts["a"], lab.hosts["b"])]
            file = folder / "remote.yaml"
            file.write_text(FILE.format(
                a=uris[0], b=uris[1], address_a=lab.hosts["a"].address, address_b=lab.hosts["b"].address, guest=lab.guest.address,
                accelerator=lab.platform.accelerator(lab.files.store.guest_disk(3 * 2**30)),
            ))  # fmt: skip
            yield TheirHosts(lab, file)
        finally:
            lab.down()

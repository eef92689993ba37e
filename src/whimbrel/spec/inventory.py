"""``hosts.yaml``: the hosts that a user has, by names that the user chose."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from whimbrel.errors import UsageError
from whimbrel.spec.document import parse_yaml, read_text, spec_error
from whimbrel.spec.fields import Bytes, BytesPerSecond, HostName, Name, Spec
from whimbrel.spec.hosts import RemoteHostSpec

FILE = "hosts.yaml"
_EXAMPLE = 'hosts: {north: {libvirt: "qemu+ssh://north.example/system", address: 10.0.0.1}}'


class InventoryHost(RemoteHostSpec):
    """A host: its libvirt, the address to which guests' memory is sent, and labels that its owner gives it.

    ``link_rate`` is what its link gives, for predictions. No move that we make from it or to it sends faster than
    ``most_bandwidth``, and none comes to it that would leave it less free memory than ``spare_memory``.
    """

    labels: tuple[Name, ...] = ()
    link_rate_bytes_per_s: BytesPerSecond | None = Field(alias="link_rate", default=None, gt=0)
    most_bandwidth_bytes_per_s: BytesPerSecond | None = Field(alias="most_bandwidth", default=None, ge=2**20)
    spare_memory_bytes: Bytes = Field(alias="spare_memory", default=0)


class Inventory(Spec):
    """All hosts of a user."""

    schema_version: Literal[1] = 1
    hosts: dict[HostName, InventoryHost] = Field(min_length=1, max_length=1000)

    def host(self, name: str) -> InventoryHost:
        """The host of this name; UsageError when there is none."""
        if name not in self.hosts:
            raise UsageError(
                f"there is no host {name!r}", resolution=f"those that there are: {', '.join(self.hosts)}; or give a URI"
            )
        return self.hosts[name]


def load_inventory(file: Path | None) -> Inventory:
    """Reads this file, or else ``hosts.yaml`` here, or ``$XDG_CONFIG_HOME/whimbrel/hosts.yaml``. UsageError, or SpecError."""
    found = file or next((each for each in _usual_files() if each.is_file()), None)
    if found is None:
        raise UsageError("there is no file of hosts", resolution=f"write {FILE}, such as '{_EXAMPLE}', or give two URIs")
    document = parse_yaml(read_text(found), found)
    try:
        return Inventory.model_validate(document)
    except ValidationError as error:
        raise spec_error(error, document, found, Inventory) from error


def _usual_files() -> list[Path]:
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return [Path(FILE), config / "whimbrel" / FILE]

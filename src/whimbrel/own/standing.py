"""Moves of guests of the user's own: one folder per guest with what was to be done, and the journal of its last move."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from whimbrel.durable import replace_text
from whimbrel.errors import UsageError
from whimbrel.hosts.by_uri import UriHost
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.migrate.journal import History, read_history
from whimbrel.migrate.technique import MoveRequest
from whimbrel.spec.fields import RECORD
from whimbrel.spec.migration import MigrationSpec
from whimbrel.system.folders import make_private, user_state

_FILE = "move.json"


class Side(BaseModel):
    """A host: what it is called here, how we reach it, how its peer does, and where memory is sent.

    ``link_rate_bytes_per_s`` is what its link gives, for predictions alone, None: nobody has said. No move is to send faster than
    ``most_bandwidth_bytes_per_s``, nor to leave it less free memory than ``spare_memory_bytes``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    uri: str
    address: str
    peer_uri: str | None = None
    certificate_name: str | None = None
    link_rate_bytes_per_s: float | None = None
    most_bandwidth_bytes_per_s: float | None = None
    spare_memory_bytes: int = 0

    @property
    def host(self) -> UriHost:
        """The host that can be asked."""
        return UriHost(self.name, self.uri, self.address, self.peer_uri, self.certificate_name)


class OwnMove(BaseModel):
    """What was to be moved, from where to where, and what is to be put back as it was.

    ``keep_there``: the destination keeps the description in the end, and the source does not. ``autostart``: it is started with
    its host. ``token`` is that of the claim.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    guest: GuestIdentity
    source: Side
    destination: Side
    memory_bytes: int
    persistent: bool
    keep_there: bool
    autostart: bool
    description: str
    definition: str
    spec: MigrationSpec
    token: str

    @property
    def accelerator(self) -> Literal["kvm", "tcg"]:
        """Whether it runs on the host's own processor."""
        return "kvm" if ET.fromstring(self.description).get("type") == "kvm" else "tcg"

    @property
    def vcpus(self) -> int:
        """How many processors it may have."""
        return vcpus_in(self.description)

    @property
    def folder(self) -> Path:
        """The folder in which it is kept."""
        return folder_of(self.guest.uuid)

    @property
    def journal_file(self) -> Path:
        """The journal, which says how far it has come."""
        return self.folder / "move.jsonl"

    @property
    def abort_file(self) -> Path:
        """There while it is to be aborted."""
        return self.folder / "abort"

    @property
    def history(self) -> History | None:
        """What its journal says; None when it was not begun."""
        return read_history(self.journal_file)

    def write(self) -> None:
        """Writes it down, in a folder that its owner alone may enter."""
        make_private(self.folder.parent)
        make_private(self.folder)
        replace_text(self.folder / _FILE, self.model_dump_json(indent=1) + "\n")

    def request(self) -> MoveRequest:
        """What techniques and recoveries are asked. Its disk is where both hosts see it."""
        return MoveRequest(
            what=self.guest,
            source=self.source.host,
            destination=self.destination.host,
            memory_bytes=self.memory_bytes,
            disk_bytes=0,
            spec=self.spec,
            persist=self.keep_there,
            undefine_source=self.keep_there and self.persistent,
        )


def vcpus_in(description: str) -> int:
    """How many processors a guest of this description may have."""
    return int(ET.fromstring(description).findtext("./vcpu") or 1)


def folder_of(uuid: str) -> Path:
    """What is kept of the last move of a guest."""
    return _moves() / uuid


def _moves() -> Path:
    return user_state() / "moves"


def known_moves() -> Iterator[OwnMove]:
    """The last move of each guest that this user has moved; UsageError names a file that is damaged."""
    for file in sorted(_moves().glob(f"*/{_FILE}")):
        yield _read(file)


def find_move(name: str) -> OwnMove | None:
    """The last move of the guest of this name or UUID, which is the one that is not done where two have the name.

    None where this user has moved none of that name.
    """
    found = [each for each in known_moves() if name in (each.guest.name, each.guest.uuid)]
    open_ones = [each for each in found if is_open(each)]
    if len(open_ones or found) > 1:
        uuids = ", ".join(each.guest.uuid for each in open_ones or found)
        raise UsageError(f"you have moved several guests called {name!r}", resolution=f"name one by its UUID: {uuids}")
    return next(iter(open_ones or found), None)


def is_open(move: OwnMove) -> bool:
    """Whether it is under way, or was interrupted."""
    history = move.history
    return history is not None and history.ended is None


def _read(file: Path) -> OwnMove:
    try:
        return OwnMove.model_validate(json.loads(file.read_text()), context=RECORD)
    except (ValidationError, ValueError) as error:
        raise UsageError(f"{file}: is damaged, or of another version of whimbrel: {error}") from error

"""Claims: a file for each host in the storage that hosts share says who uses the host, so that nobody else uses it meanwhile.

A claim is kept until its owner gives it back, however long that takes: from afar nobody can tell a crashed owner from a silent
one. It binds only those who look in the same folder; that no guest and no file of others is touched does not hang on it.
"""

from __future__ import annotations

import getpass
import json
import logging
import os
import platform
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from whimbrel.engines.door import hypervisor_at
from whimbrel.engines.libvirt_storage import Pool, folder_at
from whimbrel.errors import EngineError, UsageError
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.remote_files import SharedStorage
from whimbrel.spec.hosts import HostsSpec
from whimbrel.system.ledger import Ledger, register_undo

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Claim:
    """Who uses a host: a user on a machine, since when, and with which guests (UUIDs by name). By ``token`` we know ours."""

    user: str
    machine: str
    since: str
    guests: dict[str, str]
    token: str

    def __str__(self) -> str:
        return f"{self.user} on {self.machine} since {self.since}"


# Of a file that says nothing: whoever made it has not written into it yet, or never did.
_UNSAID = Claim("somebody who did not say who", "an unknown machine", "an unknown time", {}, "")


@dataclass(frozen=True)
class _Host:
    """A host of the site, and the name of its claim."""

    name: str
    uri: str
    file: str


class Claims:
    """The claims on all hosts of a site."""

    def __init__(self, spec: HostsSpec, storage: SharedStorage, ledger: Ledger) -> None:
        self._storage = storage
        self._ledger = ledger
        self._uris = {name: host.libvirt for name, host in spec.servers.items()}

    def take(self, guests: Sequence[GuestIdentity], take_over: bool) -> None:
        """Claims all hosts, or none; UsageError names whoever has one of them.

        With ``take_over`` a claim of others is replaced, unless a guest of theirs is still there.
        """
        hosts = self._hosts()
        ours = Claim(_user(), platform.node(), f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
                     {guest.name: guest.uuid for guest in guests}, uuid.uuid4().hex)  # fmt: skip
        with self._storage.opened() as storage:
            found = {host: claim for host in hosts if (claim := _read(storage, host.file)) is not None}
            for host, theirs in found.items():
                self._refuse(host, theirs, take_over)
            for host in hosts:
                self._write(storage, host, ours, found.get(host))

    def examine(self) -> str:
        """What doctor says; UsageError when others have claimed a host."""
        tokens = {json.loads(entry.name)["token"] for entry in self._ledger.entries if entry.kind == "claim"}
        with self._storage.opened() as storage:
            found = {host.name: (host, _read(storage, host.file)) for host in self._hosts()}
        for host, claim in found.values():
            if claim is not None and claim.token not in tokens:
                self._refuse(host, claim, take_over=False)
        ours = [name for name, (_, claim) in found.items() if claim is not None]
        return f"hosts {' and '.join(ours)} are in use by us" if ours else "nobody has claimed a host"

    def _hosts(self) -> list[_Host]:
        found = []
        for name, uri in self._uris.items():
            with hypervisor_at(uri) as connection:
                number, machine = connection.host_identity()
            found.append(_Host(name, uri, f"whimbrel-claim-{number or machine}"))
        return found

    def _refuse(self, host: _Host, theirs: Claim, take_over: bool) -> None:
        """UsageError, unless the claim may be taken over."""
        seen = self._guests_there(theirs)
        if take_over and not seen:
            return
        there = f"its guest is there: {', '.join(seen)}" if seen else "none of its guests is there any more: it may have crashed"
        by_force = "it is not taken over as long as its guest is there" if seen else "'--take-over' takes the hosts from it"
        raise UsageError(
            f"host {host.name} is in use by {theirs}",
            details=f"{there} (claim: {self._storage.folder}/{host.file})",
            resolution=f"wait for it; if it has crashed, 'whimbrel gc' on {theirs.machine} removes what it left; {by_force}",
        )

    def _guests_there(self, theirs: Claim) -> list[str]:
        found = []
        for name, uri in self._uris.items():
            with hypervisor_at(uri) as connection:
                found += [
                    f"{guest} on host {name}" for guest, number in theirs.guests.items() if connection.find(number) is not None
                ]
        return found

    def _write(self, storage: Pool, host: _Host, ours: Claim, replaced: Claim | None) -> None:
        """Makes the file, which only one can; of an owner that is replaced only the claim goes."""
        content = {"uri": self._storage.uri, "folder": self._storage.folder, "name": host.file, "pool": self._storage.label,
                   "token": ours.token}  # fmt: skip
        entry = self._ledger.add("claim", json.dumps(content))
        if replaced is not None and _read(storage, host.file) == replaced:
            storage.remove(host.file)
        with tempfile.NamedTemporaryFile("w", prefix="whimbrel-") as file:
            file.write(json.dumps(asdict(ours), indent=1) + "\n")
            file.flush()
            try:
                storage.put_new(Path(file.name), host.file)
            except EngineError:
                theirs = _read(storage, host.file)
                if theirs is None or theirs.token == ours.token:
                    raise
                self._ledger.strike(entry)
                self._refuse(host, theirs, take_over=False)


def confirm(ledger: Ledger) -> None:
    """UsageError when hosts that the ledger says are ours have been taken over since."""
    for entry in ledger.entries:
        if entry.kind != "claim":
            continue
        known = json.loads(entry.name)
        try:
            with folder_at(known["uri"], known["folder"], known["pool"]) as storage:
                found = _read(storage, known["name"])
        except EngineError as error:
            # Whoever recovers a guest from a host that is silent must not be kept from it.
            log.warning("whether the hosts are still ours is not known: %s", error)
            return
        if found is not None and found.token != known["token"]:
            raise UsageError(
                f"the hosts were taken over by {found}",
                details=f"claim: {known['folder']}/{known['name']}",
                resolution="what we left there is not touched by it: 'whimbrel undeploy' or 'whimbrel gc' removes it",
            )


def _read(storage: Pool, name: str) -> Claim | None:
    """Reads the claim that is there; None where there is none."""
    if name not in storage.names():
        return None
    with tempfile.NamedTemporaryFile(prefix="whimbrel-") as file:
        storage.fetch(name, Path(file.name))
        text = Path(file.name).read_text(errors="replace")
    try:
        return Claim(**json.loads(text))
    except (ValueError, TypeError):
        return _UNSAID


def _user() -> str:
    return os.environ.get("SUDO_USER") or getpass.getuser()


def _give_back(entry: str) -> None:
    """Removes a claim that is still ours."""
    known = json.loads(entry)
    with folder_at(known["uri"], known["folder"], known["pool"]) as storage:
        found = _read(storage, known["name"])
        if found is not None and found.token == known["token"]:
            storage.remove(known["name"])


register_undo("claim", _give_back)

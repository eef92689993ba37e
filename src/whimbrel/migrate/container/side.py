"""One side of a container's move: its carrier, the script that runs in it, and the journal that the script writes."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from whimbrel.guests.carrier import CONTAINER, CRIU_CONFIG, Carrier
from whimbrel.guests.oci import description

Role = Literal["source", "destination"]
MOVE = "/run/move"
_SCRIPTS: dict[Role, str] = {"source": "depart.sh", "destination": "arrive.sh"}
_JOBS: dict[Role, str] = {"source": "whimbrel-depart", "destination": "whimbrel-arrive"}
# What both CRIUs are told (criu(8)). We cut the network, at the bridge: CRIU need not lock it, and leaves no rules behind.
_OPTIONS = ("network-lock skip", "skip-in-flight", "ghost-limit 64M")
_HOOK = f"action-script {MOVE}/hook.sh"
_REHEARSAL = f"{MOVE}/rehearsal"
# A program that every image has, and that ends by itself should nobody end it; in the container's own network, which is there.
_SLEEP = description("rehearsal", ["/bin/sleep", "60"], f"/run/netns/{CONTAINER}", [], CRIU_CONFIG, open_files=1024)


@dataclass(frozen=True)
class Line:
    """One line of a journal: when, by the carrier's own wall clock, and what."""

    realtime_ns: int
    words: str


class Side:
    """One side of a move: its carrier, the script there, and what that has said."""

    def __init__(self, role: Role, carrier: Carrier) -> None:
        self.role = role
        self.carrier = carrier
        self._read = 0
        self._begun = False
        self._job = _JOBS[role]

    def begin(self, settings: Mapping[str, str | int]) -> None:
        """Puts scripts and settings in place and starts this side."""
        inside = self.carrier.inside
        # What an earlier move left goes first; whoever drove it may have died.
        for job in _JOBS.values():
            inside.end_job(job)
        self._do("make")
        folder = files("whimbrel.migrate.container")
        for name in ("common.sh", "files.sh", "hook.sh", "on.sh", _SCRIPTS[self.role]):
            inside.write(f"{MOVE}/{name}", (folder / name).read_text())
        inside.write(f"{MOVE}/container.sh", (files("whimbrel.guests") / "container.sh").read_text())
        given = {"SIDE": self.role, "SELF": self.carrier.address, **settings}
        inside.write(f"{MOVE}/settings", "".join(f"{key}={value}\n" for key, value in given.items()))
        options = [*_OPTIONS, _HOOK, *([f"address {self.carrier.address}"] if settings["TECHNIQUE"] == "post-copy" else [])]
        inside.write(f"{MOVE}/criu.conf", "\n".join(options) + "\n")
        # runc asks CRIU to log everything, which takes a good part of the time in which the container stands still.
        inside.write(CRIU_CONFIG, "verbosity 2\n")
        self._do("begin")
        if self.role == "destination":
            inside.run(["mkdir", _REHEARSAL])
            # What is rehearsed is not the container: our hook must not hear of it.
            inside.write(f"{_REHEARSAL}/criu.conf", "\n".join(_OPTIONS) + "\n")
            inside.write(f"{_REHEARSAL}/config.json", json.dumps(_SLEEP))
        inside.start_job(self._job, ["bash", f"{MOVE}/{_SCRIPTS[self.role]}"], f"{MOVE}/{self._job}.err")
        self._read, self._begun = 0, True

    def news(self) -> Iterator[Line]:
        """The lines since the last look; what is not taken, as something came in between, is news the next time."""
        if not self._begun:
            return
        # A line that is being written is read with the next look.
        lines = self.carrier.inside.read(f"{MOVE}/journal").decode(errors="replace").split("\n")[:-1]
        for line in lines[self._read :]:
            self._read += 1
            yield parse_line(line)

    def has_said(self, words: str) -> bool:
        """Whether its journal has this line; for one that somebody else began."""
        return any(line.partition(" ")[2] == words for line in self._do("journal").splitlines())

    def order(self, word: str) -> None:
        """Tells the source what comes next."""
        self._do("order", word)

    @property
    def running(self) -> bool:
        """Whether the script still runs."""
        return self.carrier.inside.job_runs(self._job)

    def end(self) -> None:
        """Lets the script end, which then leaves one copy or none on this side."""
        self.carrier.inside.end_job(self._job)

    def settle(self, how: Literal["go on", "end"]) -> None:
        """Lets a container that stands still here go on, or ends it."""
        # The link joins only with a container behind it: another one may have its address by now.
        then = "end_container" if how == "end" else 'has populated 1 && echo 0 >"$GROUP/cgroup.freeze" && attach'
        self.carrier.inside.run(["/bin/bash", "-c", f". {MOVE}/common.sh; cd {MOVE}; {then}"])

    def clear(self) -> None:
        """Gives back the memory of the move's folder, in which the container's own may be; its ports are open again."""
        self._do("clear")

    def fetch(self, path: str) -> bytes | None:
        """A small file of the move's folder; None when there is none."""
        encoded = self._do("fetch", path)
        return base64.b64decode(encoded) if encoded else None

    def last_words(self) -> str:
        """What its logs say of a failure."""
        return self._do("last-words").strip()

    def _do(self, verb: str, *arguments: str) -> str:
        """What ``folder.sh`` does by this name; GuestError when it fails."""
        script = (files("whimbrel.migrate.container") / "folder.sh").read_text()
        return self.carrier.inside.run(["/bin/bash", "-c", script, "folder.sh", verb, *arguments])


def parse_line(line: str) -> Line:
    """``1700000000.123456 words``; the stamp is bash's EPOCHREALTIME."""
    stamp, _, words = line.partition(" ")
    seconds, _, fraction = stamp.partition(".")
    return Line(int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9]), words)

"""One side of a container's move: its carrier, the script that runs in it, and the journal that the script writes."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from whimbrel.guests.carrier import Carrier

Role = Literal["source", "destination"]
MOVE = "/run/move"
_SCRIPTS: dict[Role, str] = {"source": "depart.sh", "destination": "arrive.sh"}
# What both CRIUs are told (criu(8)). We cut the network, at the bridge: CRIU need not lock it, and leaves no rules behind.
_OPTIONS = ("network-lock skip", "skip-in-flight", "ghost-limit 64M", f"action-script {MOVE}/hook.sh")


@dataclass(frozen=True)
class Line:
    """One line of a journal: when, by the carrier's own wall clock, and what."""

    realtime_ns: int
    words: str


class Side:
    """A side at work."""

    def __init__(self, role: Role, carrier: Carrier) -> None:
        self.role = role
        self.carrier = carrier
        self._read = 0
        self._unit = f"whimbrel-{_SCRIPTS[role].removesuffix('.sh')}"

    def begin(self, settings: Mapping[str, str | int]) -> None:
        """Puts scripts and settings in place and starts this side."""
        agent = self.carrier.agent
        # In memory, and of a size that the usual one of /run would not allow; programs may run from it, as they may not in /run.
        agent.shell(f"umount {MOVE} 2>/dev/null; mkdir -p {MOVE} && mount -t tmpfs -o size=60%,mode=700 move {MOVE}")
        folder = files("whimbrel.migrate.container")
        for name in ("common.sh", "hook.sh", _SCRIPTS[self.role]):
            agent.write(f"{MOVE}/{name}", (folder / name).read_text())
        given = {"SIDE": self.role, "SELF": self.carrier.address, **settings}
        agent.write(f"{MOVE}/settings", "".join(f"{key}={value}\n" for key, value in given.items()))
        options = [*_OPTIONS, *([f"address {self.carrier.address}"] if settings["TECHNIQUE"] == "post-copy" else [])]
        agent.write(f"{MOVE}/criu.conf", "\n".join(options) + "\n")
        agent.shell(
            f"chmod +x {MOVE}/hook.sh && touch {MOVE}/journal && systemctl reset-failed {self._unit} 2>/dev/null;"
            f" systemd-run --quiet --collect --unit={self._unit} --property=StandardError=file:{MOVE}/{self._unit}.err"
            f" bash {MOVE}/{_SCRIPTS[self.role]}"
        )

    def news(self) -> list[Line]:
        """The lines since the last look."""
        text = self.carrier.agent.shell(f"tail -n +{self._read + 1} {MOVE}/journal")
        # A line that is being written is read with the next look.
        lines = text.split("\n")[:-1]
        self._read += len(lines)
        return [parse_line(line) for line in lines]

    def order(self, word: str) -> None:
        """Tells the source what comes next."""
        self.carrier.agent.shell(f"echo {word} >{MOVE}/orders")

    @property
    def running(self) -> bool:
        """Whether the script still runs."""
        return self.carrier.agent.shell(f"systemctl is-active {self._unit} || true").strip() in ("active", "activating")

    def end(self) -> None:
        """Ends the script, and whatever it has started, where it is."""
        self.carrier.agent.shell(f"systemctl stop {self._unit} 2>/dev/null || true")

    def fetch(self, path: str) -> bytes | None:
        """A small file of the move's folder; None when there is none."""
        encoded = self.carrier.agent.shell(f"base64 {MOVE}/{path} 2>/dev/null || true")
        return base64.b64decode(encoded) if encoded else None

    def last_words(self) -> str:
        """What its logs say of a failure."""
        return self.carrier.agent.shell(
            f"cd {MOVE} && tail -n 3 journal; cat *.err work/*.err work/*/*.err work/*.log 2>/dev/null | tail -n 5;"
            " grep -h Error work/*/*.log 2>/dev/null | tail -n 5"
        ).strip()


def parse_line(line: str) -> Line:
    """``1700000000.123456 words``; the stamp is bash's EPOCHREALTIME."""
    stamp, _, words = line.partition(" ")
    seconds, _, fraction = stamp.partition(".")
    return Line(int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9]), words)

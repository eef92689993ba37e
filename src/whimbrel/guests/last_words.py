"""A guest that has ended by itself: how, when, and what it leaves: the end of its console and QEMU's log, perhaps its memory."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from whimbrel.errors import EngineError
from whimbrel.hosts.host import Host
from whimbrel.records.trial import EndRecord
from whimbrel.units import format_moment

_CONSOLE_LINES = 40
_LOG_LINES = 12
# What a terminal takes for an order (ECMA-48): sequences that begin with ESC, and other control characters.
_ORDERS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*\x07?|\x1b.?|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class End:
    """How a guest ended, and when we heard of it: by our wall clock, and on the monotonic clock.

    ``stamp_ns`` is QEMU's own time of it, None where only libvirt said so.
    """

    guest: str
    host: str
    how: str
    realtime_ns: int
    seen_ns: int
    stamp_ns: int | None = None

    def __str__(self) -> str:
        return f"the guest {self.guest} {self.how}, on host {self.host} at {format_moment(self.realtime_ns)}"


class LastWords:
    """Made when a trial or a move begins: guests of one name write into the same files, one after the other."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self._hosts = {host.name: host for host in hosts}
        self._lengths = {name: len(text) for host in hosts for name, text in host.access.logs().items()}

    def of(self, end: End, during: str) -> EndRecord:
        """All that is known of an end; ``during`` is what was being done."""
        host = self._hosts[end.host]
        logs = host.access.logs()
        return EndRecord(
            guest=end.guest,
            host=end.host,
            how=end.how,
            realtime_ns=end.realtime_ns,
            seen_ns=end.seen_ns,
            during=during,
            left=_left(host, end.guest),
            console=self._tail(logs, f"{end.host}-{end.guest}-console.log", _CONSOLE_LINES),
            qemu_log=self._tail(logs, f"{end.host}-{end.guest}.log", _LOG_LINES),
        )

    def _tail(self, logs: dict[str, str], name: str, lines: int) -> list[str]:
        new = logs.get(name, "")[self._lengths.get(name, 0) :]
        return [readable(line) for line in new.splitlines() if line.strip()][-lines:]


def readable(line: str) -> str:
    """A line without what a terminal would take for an order."""
    return _ORDERS.sub("", line).rstrip()


def _left(host: Host, name: str) -> str:
    try:
        with host.hypervisor() as connection:
            found = next((guest for guest in connection.running() if guest.name == name), None)
            if found is None:
                return "its QEMU has gone, and its memory with it"
            if found.crashed:
                return f"its QEMU is kept on host {host.name}, with the memory as it was when it crashed ('virsh dump')"
            return f"its QEMU is still there on host {host.name}"
    except EngineError as error:
        return f"unknown: {error.brief}"

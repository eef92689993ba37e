"""TCP connections that a guest's QEMU makes and takes on its host, beside the guest: whether two hosts reach each other's ports.

They are character devices that no device of the guest uses; nothing is sent over them.
"""

from __future__ import annotations

from typing import Any

from whimbrel.engines.domain import qemu_of
from whimbrel.engines.hypervisor import Guest
from whimbrel.errors import RefusedError

_RETRY_EVERY_S = 1


class QemuSockets:
    """The sockets of one guest's QEMU; they end with it, or with ``close``."""

    def __init__(self, guest: Guest) -> None:
        self._domain = qemu_of(guest)
        self._open: list[str] = []

    def listen(self, port: int) -> bool:
        """Takes connections to a port on all addresses of the host; False when somebody else has the port."""
        try:
            self._add(f"probe-listens-{port}", "", port, server=True, wait=False)
        except RefusedError as error:
            if "in use" not in error.details:
                raise
            return False
        return True

    def connect(self, host: str, port: int) -> None:
        """Begins to connect, and goes on trying; see ``connected``."""
        name = f"probe-calls-{port}"
        try:
            self._add(name, host, port, server=False, **{"reconnect-ms": _RETRY_EVERY_S * 1000})
        except RefusedError:
            # So QEMU before 9.2 calls it, in whole seconds.
            self._add(name, host, port, server=False, reconnect=_RETRY_EVERY_S)

    def connected(self) -> set[int]:
        """The ports to which a connection that was begun here stands."""
        return {
            int(label.rpartition("-")[2])
            for each in self._domain.monitor_list("query-chardev")
            if (label := str(each["label"])).startswith("probe-calls-") and not each["filename"].startswith("disconnected:")
        }

    def close(self) -> None:
        """Closes every socket that was opened here."""
        while self._open:
            self._domain.monitor("chardev-remove", {"id": self._open.pop()})

    def _add(self, name: str, host: str, port: int, **how: Any) -> None:
        address = {"type": "inet", "data": {"host": host, "port": str(port)}}
        self._domain.monitor("chardev-add", {"id": name, "backend": {"type": "socket", "data": {"addr": address, **how}}})
        self._open.append(name)

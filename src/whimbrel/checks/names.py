"""Names and their addresses: looked up again and again, because a service may move to another address."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from dataclasses import dataclass

# A name that is asked for often is looked up once in so long: its new address is found that soon.
_GOOD_FOR_S = 1.0


@dataclass(frozen=True)
class Address:
    """An address of a host, without a port."""

    family: socket.AddressFamily
    text: str

    def with_port(self, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
        """The address as sockets take it; a zone such as ``%eth0`` becomes a number."""
        if self.family == socket.AF_INET:
            return self.text, port
        bare, _, zone = self.text.partition("%")
        return bare, port, 0, (int(zone) if zone.isdecimal() else socket.if_nametoindex(zone)) if zone else 0


class Names:
    """All checks' look-ups: one at a time for each name."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[float, list[Address]]] = {}
        self._looking: dict[str, asyncio.Task[list[Address]]] = {}

    async def addresses(self, host: str) -> list[Address]:
        """All addresses of a host, the best one first; socket.gaierror when it has none, or nobody says."""
        literal = _literal(host)
        if literal is not None:
            return [literal]
        looked_s, found = self._found.get(host, (0.0, []))
        if found and time.monotonic() - looked_s < _GOOD_FOR_S:
            return found
        task = self._looking.get(host)
        if task is None:
            task = self._looking[host] = asyncio.create_task(self._look_up(host))
            task.add_done_callback(lambda done: self._forget(host, done))
        # Shielded: one question that has waited for long enough must not end the look-up for the others.
        return await asyncio.shield(task)

    def _forget(self, host: str, done: asyncio.Task[list[Address]]) -> None:
        self._looking.pop(host, None)
        if not done.cancelled():
            # Whoever has asked may have stopped waiting: then nobody else hears of it.
            done.exception()

    async def _look_up(self, host: str) -> list[Address]:
        loop = asyncio.get_running_loop()
        try:
            infos = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except UnicodeError as error:
            raise socket.gaierror(socket.EAI_NONAME, f"{host!r} is no name of a host") from error
        found = list(dict.fromkeys(_address(family, where) for family, _, _, _, where in infos))
        self._found[host] = time.monotonic(), found
        return found


def _address(family: socket.AddressFamily, where: tuple[object, ...]) -> Address:
    text = str(where[0])
    zone = where[3] if len(where) > 3 else 0
    return Address(family, f"{text}%{zone}" if zone and "%" not in text else text)


def _literal(host: str) -> Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return Address(socket.AF_INET if address.version == 4 else socket.AF_INET6, host)

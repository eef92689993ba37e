"""``icmp:``: echo requests, each with a number of its own; when an answer came is what the kernel says.

Through the kernel's ping socket, which users may open whose group is in ``net.ipv4.ping_group_range``; else through a raw
one, which takes root or CAP_NET_RAW.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time

from whimbrel.checks.check import Answer, Asker, Check, Failed, Listener, Tools
from whimbrel.checks.failures import failure_of
from whimbrel.checks.names import Address
from whimbrel.errors import CapabilityError
from whimbrel.observe.probe import checksum
from whimbrel.system.clock import SO_TIMESTAMPNS, KernelClock

_REQUEST = {socket.AF_INET: 8, socket.AF_INET6: 128}
_REPLY = {socket.AF_INET: 0, socket.AF_INET6: 129}
_PROTOCOL = {socket.AF_INET: socket.IPPROTO_ICMP, socket.AF_INET6: socket.IPPROTO_ICMPV6}
_HEADER = struct.Struct("!BBHHH")
# Which check it is (other pings on this machine hear the same answers), and which question.
_PAYLOAD = struct.Struct("!8sQ")


def open_socket(family: socket.AddressFamily) -> tuple[socket.socket, bool]:
    """A socket for echo requests, and whether it is a raw one; CapabilityError when we may open neither."""
    refused: OSError | None = None
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            opened = socket.socket(family, kind | socket.SOCK_NONBLOCK, _PROTOCOL[family])
        except OSError as error:
            if not isinstance(error, PermissionError) and kind == socket.SOCK_RAW:
                raise
            refused = error
            continue
        opened.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        return opened, kind == socket.SOCK_RAW
    raise CapabilityError(
        f"icmp: this user may not ping ({refused})",
        resolution="run it as root, or allow it: sysctl net.ipv4.ping_group_range='0 2147483647'; or check tcp: or http: instead",
    ) from refused


class _Pinging:
    """A socket that sends echo requests to one address."""

    def __init__(self, address: Address, token: bytes) -> None:
        self.address = address
        self._token = token
        self._socket, self._raw = open_socket(address.family)
        self._clock = KernelClock()
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._identifier = os.getpid() & 0xFFFF
        try:
            self._socket.connect(address.with_port(0))
        except BaseException:
            self._socket.close()
            raise
        asyncio.get_running_loop().add_reader(self._socket, self._receive)

    async def ask(self, number: int) -> int:
        self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._socket.send(self._request(number))
            return await self._waiting[number]
        finally:
            del self._waiting[number]

    def _request(self, number: int) -> bytes:
        payload = _PAYLOAD.pack(self._token, number)
        kind, sequence = _REQUEST[self.address.family], number & 0xFFFF
        bare = _HEADER.pack(kind, 0, 0, self._identifier, sequence) + payload
        # Of version 6 the kernel counts it, and for its own ping socket that of version 4 too.
        return _HEADER.pack(kind, 0, checksum(bare), self._identifier, sequence) + payload

    def _receive(self) -> None:
        while True:
            try:
                packet, extras, _, _ = self._socket.recvmsg(512, 64)
            except BlockingIOError:
                return
            except OSError as error:
                # What a router has said of one of those that are out: the oldest.
                self._fail_oldest(error)
                continue
            number = self._number_in(packet)
            waiting = self._waiting.get(number) if number is not None else None
            if waiting is not None and not waiting.done():
                waiting.set_result(self._clock.arrival_ns(extras, time.monotonic_ns()))

    def _fail_oldest(self, error: OSError) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(failure_of(error))
                return

    def _number_in(self, packet: bytes) -> int | None:
        """The number in an answer to us. A raw socket of version 4 gives the IP header too."""
        body = packet[(packet[0] & 0x0F) * 4 :] if self._raw and self.address.family == socket.AF_INET else packet
        if len(body) < _HEADER.size + _PAYLOAD.size or body[0] != _REPLY[self.address.family]:
            return None
        token, number = _PAYLOAD.unpack_from(body, _HEADER.size)
        return int(number) if token == self._token else None

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(Failed("other", "its name leads to another address now"))


class _Icmp:
    schemes = ("icmp",)
    prefix = "icmp:"
    rate_per_s = 50.0
    options: dict[str, str] = {}  # noqa: RUF012

    def listens(self, check: Check) -> bool:
        return False

    def open(self, check: Check, tools: Tools) -> Asker | Listener:
        return IcmpAsker(check, tools)


class IcmpAsker:
    """Pings one host, wherever its name leads."""

    def __init__(self, check: Check, tools: Tools) -> None:
        self._host = check.url.removeprefix("icmp:").removeprefix("//").rstrip("/").strip("[]")
        if not self._host or "/" in self._host or self._host.count(":") == 1:
            raise check.wrong("it is icmp:HOST, without a port or a path")
        open_socket(socket.AF_INET)[0].close()
        self._tools = tools
        self._token = os.urandom(8)
        self._number = 0
        self._pinging: _Pinging | None = None

    async def ask(self) -> Answer:
        """Sends one echo request and waits for its answer."""
        addresses = await self._tools.names.addresses(self._host)
        if self._pinging is None or self._pinging.address not in addresses:
            if self._pinging is not None:
                self._pinging.close()
            # It may be that it cannot be made anew.
            self._pinging = None
            self._pinging = _Pinging(addresses[0], self._token)
        self._number += 1
        pinging = self._pinging
        return Answer(await pinging.ask(self._number), pinging.address.text)

    async def close(self) -> None:
        """Closes the socket that asks."""
        if self._pinging is not None:
            self._pinging.close()


KIND = _Icmp()

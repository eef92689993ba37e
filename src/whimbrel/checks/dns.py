"""``dns:NAME`` or ``dns://SERVER:PORT/NAME?type=A`` (RFC 4501): a question to a name server over UDP."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver

from whimbrel.checks.check import Answer, Asker, Check, Failed, Listener, Tools
from whimbrel.checks.names import Address

_PORT = 53
_MOST_QUESTIONS = 1 << 16


class _Socket(asyncio.DatagramProtocol):
    """Questions that are out, by their number, to one server."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.transport: asyncio.DatagramTransport | None = None
        self.waiting: dict[int, asyncio.Future[tuple[int, bytes]]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, _: object) -> None:
        waiting = self.waiting.get(int.from_bytes(data[:2], "big"))
        if waiting is not None and not waiting.done():
            waiting.set_result((time.monotonic_ns(), data))

    def error_received(self, error: Exception) -> None:
        # Of one of those that are out; which, nobody says.
        for waiting in self.waiting.values():
            if not waiting.done():
                waiting.set_exception(error)
                return


class DnsAsker:
    """Asks one server for one name."""

    def __init__(self, check: Check, tools: Tools) -> None:
        rest = check.url.removeprefix("dns:")
        server, self._port = "", _PORT
        if rest.startswith("//"):
            _, server, self._port = check.parts(_PORT)
            rest = rest[2:].partition("/")[2]
        name, _, query = rest.partition("?")
        self._tools = tools
        self._server = server or _system_server(check)
        self._text = check.option("text")
        kind = check.option("type") or query.upper().removeprefix("TYPE=") or "A"
        try:
            self._question = dns.message.make_query(dns.name.from_text(name), kind.upper())
        except (dns.exception.DNSException, UnicodeError) as error:
            raise check.wrong(f"it cannot be asked for {name!r}, type {kind}: {error or type(error).__name__}") from error
        if not name:
            raise check.wrong("it names no name to ask for", "write dns:shop.example, or dns://10.0.0.1/shop.example")
        self._number = 0
        self._socket: _Socket | None = None
        self._making = asyncio.Lock()

    async def ask(self) -> Answer:
        """One question, by a number that none of those has that are out."""
        used = await self._socket_to(await self._tools.names.addresses(self._server))
        assert used.transport is not None
        while True:
            self._number = (self._number + 1) % _MOST_QUESTIONS
            number = self._number
            if number not in used.waiting:
                break
        used.waiting[number] = asyncio.get_running_loop().create_future()
        try:
            used.transport.sendto(number.to_bytes(2, "big") + self._question.to_wire()[2:])
            answered_ns, data = await used.waiting[number]
        finally:
            del used.waiting[number]
        self._judge(number, data)
        return Answer(answered_ns, used.address.text)

    async def _socket_to(self, addresses: list[Address]) -> _Socket:
        async with self._making:
            if self._socket is None or self._socket.address not in addresses:
                await self.close()
                made = _Socket(addresses[0])
                await asyncio.get_running_loop().create_datagram_endpoint(
                    lambda: made, remote_addr=made.address.with_port(self._port)[:2], family=made.address.family
                )
                self._socket = made
            return self._socket

    def _judge(self, number: int, data: bytes) -> None:
        try:
            answer = dns.message.from_wire(data, ignore_trailing=True)
        except dns.exception.DNSException as error:
            raise Failed("wrong-answer", f"this is no DNS: {error or type(error).__name__}") from error
        self._question.id = number
        if not self._question.is_response(answer) and answer.rcode() == dns.rcode.NOERROR:
            raise Failed("wrong-answer", "it answers another question")
        if answer.rcode() != dns.rcode.NOERROR:
            raise Failed("wrong-answer", dns.rcode.to_text(answer.rcode()))
        records = [record.to_text() for rrset in answer.answer for record in rrset]
        if answer.flags & dns.flags.TC:
            # There is more than fits into a datagram: it was answered, and that is what is asked here.
            return
        if not records:
            raise Failed("wrong-answer", "there is no such record")
        if self._text and self._text not in records:
            raise Failed("wrong-answer", f"it is {', '.join(records)[:100]}")

    async def close(self) -> None:
        """Closes the socket that asks."""
        if self._socket is not None:
            if self._socket.transport is not None:
                self._socket.transport.abort()
            for waiting in self._socket.waiting.values():
                if not waiting.done():
                    waiting.set_exception(Failed("other", "the server has another address now"))
            self._socket = None


def _system_server(check: Check) -> str:
    try:
        return str(dns.resolver.Resolver().nameservers[0])
    except (dns.exception.DNSException, OSError, IndexError) as error:
        raise check.wrong("this machine has no name server", "name one: dns://SERVER/NAME") from error


class _Dns:
    schemes = ("dns",)
    prefix = "dns:"
    rate_per_s = 20.0
    options = {  # noqa: RUF012
        "type": "type of record; default: A, or what ?type= says",
        "text": "a record that a good answer has, such as an address",
    }

    def listens(self, check: Check) -> bool:
        return False

    def open(self, check: Check, tools: Tools) -> Asker | Listener:
        return DnsAsker(check, tools)


KIND = _Dns()

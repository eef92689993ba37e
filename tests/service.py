"""A real service to watch, in a process of its own that can be stopped and killed: HTTP, a TCP echo, WebSocket and DNS.

Run as ``python service.py [ADDRESS]``: prints its ports as JSON. HTTP paths: /, /status/N, /redirect, /trickle (a byte every
50 ms), /endless, /flood, /slow/S, /close (kept by no connection), /cut (closes in the middle), /echo (the body back),
/noise (no HTTP at all).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import dns.message
import dns.rrset
from websockets.asyncio.server import ServerConnection, serve

from whimbrel.system.process import Running, start

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


async def _http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while await _answer(reader, writer):
            pass
    writer.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    path = head.split(" ")[1]
    length = next((int(line[15:]) for line in head.splitlines() if line.lower().startswith("content-length:")), 0)
    body = await reader.readexactly(length)
    goes_on = path != "/close"
    if path.startswith("/status/"):
        writer.write(f"HTTP/1.1 {path[8:]} So\r\nContent-Length: 0\r\n\r\n".encode())
    elif path == "/redirect":
        writer.write(b"HTTP/1.1 302 There\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")
    elif path == "/trickle":
        for byte in _OK:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.005)
    elif path == "/endless":
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)
    elif path == "/flood":
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(1 << 16))
            await writer.drain()
    elif path.startswith("/slow/"):
        await asyncio.sleep(float(path[6:]))
        writer.write(_OK)
    elif path == "/close":
        writer.write(_OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    elif path == "/cut":
        writer.write(_OK[:-2])
        goes_on = False
    elif path == "/echo":
        text = head.encode() + body
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
    elif path == "/noise":
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
    else:
        writer.write(_OK)
    await writer.drain()
    return goes_on


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _websocket(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


class _Dns(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        question = dns.message.from_wire(data)
        answer = dns.message.make_response(question)
        name = question.question[0].name
        if name.to_text().startswith("nothing"):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        else:
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.7"))
        self._transport.sendto(answer.to_wire(), address)


async def main() -> None:
    parent = os.getppid()
    address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1"
    first = int(os.environ.get("FIRST_PORT", "0"))
    ports_wanted = [first + at if first else 0 for at in range(4)]
    http = await asyncio.start_server(_http, address, ports_wanted[0], backlog=1024)
    echo = await asyncio.start_server(_echo, address, ports_wanted[1], backlog=1024)
    websocket = await serve(_websocket, address, ports_wanted[2])
    loop = asyncio.get_running_loop()
    resolver, _ = await loop.create_datagram_endpoint(_Dns, local_addr=(address, ports_wanted[3]))
    ports = {
        "http": http.sockets[0].getsockname()[1], "echo": echo.sockets[0].getsockname()[1],
        "ws": next(iter(websocket.sockets)).getsockname()[1], "dns": resolver.get_extra_info("sockname")[1],
    }  # fmt: skip
    if len(sys.argv) > 3:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2], sys.argv[3])
        secure = await asyncio.start_server(_http, address, 0, ssl=context)
        ports["https"] = secure.sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)
    # A test that is killed cannot end it.
    while os.getppid() == parent:
        await asyncio.sleep(0.5)


class Service:
    """The process, and where each of its protocols is."""

    def __init__(self, running: Running, address: str = "127.0.0.1") -> None:
        self.running = running
        self.ports: dict[str, int] = json.loads(running.stdout.readline())
        self.address = address

    def url(self, kind: str, path: str = "") -> str:
        """A check of it."""
        scheme = {"http": "http", "https": "https", "echo": "tcp", "ws": "ws", "dns": "dns"}[kind]
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{scheme}://{host}:{self.ports[kind]}" + ("" if kind == "echo" else f"/{path}")


@contextlib.contextmanager
def running_service(*arguments: str, inside: list[str] | None = None, first_port: int = 0) -> Iterator[Service]:
    """A service for as long as it is entered; ``inside`` is what to put before its command.

    Its ports follow ``first_port``; without one the kernel chooses.
    """
    env = {"PYTHONPATH": str(Path(__file__).parents[1] / "src"), "FIRST_PORT": str(first_port)}
    running = start([*(inside or []), sys.executable, __file__, *arguments], stdout=True, env=env)
    try:
        yield Service(running, arguments[0] if arguments else "127.0.0.1")
    finally:
        running.kill_all()
        running.stop(1, ask=False)


if __name__ == "__main__":
    asyncio.run(main())

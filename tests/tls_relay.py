"""TLS in front of a server that speaks none, as a load balancer puts it there.

Run as ``python tls_relay.py PORT TARGET_PORT CERTIFICATE KEY``: what comes to PORT is passed on to TARGET_PORT of this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import sys


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def main(port: int, target: int, certificate: str, key: str) -> None:
    parent = os.getppid()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        its_reader, its_writer = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(_copy(reader, its_writer), _copy(its_reader, writer))

    async with await asyncio.start_server(relay, "127.0.0.1", port, ssl=context):
        # A test that is killed cannot end it.
        while os.getppid() == parent:
            await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))

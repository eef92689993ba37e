"""A relay that withholds everything while it is stopped: ``python withholding.py PORT...`` prints the port for each of these.

What lies behind it goes on meanwhile, and the kernel takes new connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from functools import partial


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()


async def _relay(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    there, back = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))
    back.close()
    writer.close()


async def main() -> None:
    parent = os.getppid()
    servers = [await asyncio.start_server(partial(_relay, int(port)), "127.0.0.1", 0, backlog=1024) for port in sys.argv[1:]]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    while os.getppid() == parent:
        await asyncio.sleep(0.5)


if __name__ == "__main__":
    asyncio.run(main())

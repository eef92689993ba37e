"""TCP connections of checks, with or without TLS: which address answered is known, and a silent one does not hide the others."""

from __future__ import annotations

import asyncio
import socket
import ssl
from functools import cache
from typing import TypeVar

from whimbrel.checks.check import Check
from whimbrel.checks.names import Address, Names

# An address that says nothing is waited for that long while there is another one to try.
_HEAD_START_S = 1.0
TLS_OPTIONS = {
    "verify": "no: take any certificate",
    "ca": "FILE: trust certificates signed by this one",
}

Protocol = TypeVar("Protocol", bound=asyncio.BaseProtocol)


async def connect(names: Names, host: str, port: int) -> tuple[socket.socket, str]:
    """A connected socket, and the address it leads to; the OSError of the last address tried when none takes it."""
    found = await names.addresses(host)
    for address in found[:-1]:
        try:
            async with asyncio.timeout(_HEAD_START_S):
                return await _connect_to(address, port), address.text
        except OSError:
            # TimeoutError is one.
            continue
    return await _connect_to(found[-1], port), found[-1].text


async def _connect_to(address: Address, port: int) -> socket.socket:
    connecting = socket.socket(address.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(connecting, address.with_port(port))
    except BaseException:
        connecting.close()
        raise
    return connecting


async def attach(protocol: Protocol, connected: socket.socket, tls: ssl.SSLContext | None, host: str) -> Protocol:
    """Gives a connected socket to an asyncio protocol, after the handshake where there is TLS."""
    try:
        await asyncio.get_running_loop().create_connection(
            lambda: protocol, sock=connected, ssl=tls, server_hostname=host if tls is not None else None
        )
    except BaseException:
        connected.close()
        raise
    return protocol


def tls_for(check: Check) -> ssl.SSLContext:
    """How a check's certificates are looked at; UsageError when its file of them cannot be read."""
    verify = check.one_of("verify", "yes", "no")
    try:
        return _tls(verify == "yes", check.option("ca"))
    except (OSError, ssl.SSLError) as error:
        raise check.wrong(f"ca={check.option('ca')}: {getattr(error, 'strerror', None) or error}") from error


@cache
def _tls(verify: bool, ca: str) -> ssl.SSLContext:
    # Reading all of a machine's certificates takes tens of milliseconds, so many checks share one.
    context = ssl.create_default_context(cafile=ca or None)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context

"""Addresses to serve at: ADDRESS:PORT as a user writes it, and as we may be asked by it."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass

from whimbrel.errors import UsageError

_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<name>[\w.-]*)):(?P<port>\d{1,5})")


@dataclass(frozen=True)
class Address:
    """Where to serve; port 0 means one that is free. ``option`` is what it was given for."""

    host: str
    port: int
    option: str

    @classmethod
    def parse(cls, text: str, option: str) -> Address:
        """Reads ``ADDRESS:PORT``; without an address it is this machine alone. UsageError for anything else."""
        match = _ADDRESS.fullmatch(text)
        if match is None or int(match["port"]) > 65535:
            raise UsageError(
                f"{option}: {text!r} is no ADDRESS:PORT", resolution=f"such as {option}=127.0.0.1:8080; it may be left out"
            )
        return cls(match["six"] or match["name"] or "127.0.0.1", int(match["port"]), option)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def listen(self) -> socket.socket:
        """A socket that listens there; UsageError when there can be none."""
        try:
            family, _, _, _, address = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
            return socket.create_server(address[:2], family=family)
        except OSError as error:
            raise UsageError(
                f"{self.option} {self.host}:{self.port}: {error.strerror or error}", resolution="name another address or port"
            ) from error


def url_of(listening: socket.socket) -> str:
    """The URL at which a browser finds it."""
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def names_of(listening: socket.socket) -> list[str]:
    """What a browser on this machine may call it."""
    host, port = listening.getsockname()[:2]
    return [f"{name}:{port}" for name in (f"[{host}]" if ":" in host else host, "localhost")]

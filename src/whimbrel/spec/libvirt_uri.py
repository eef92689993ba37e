"""Which libvirt URIs a file may name. Pure.

libvirt's own URIs can start programs: ``qemu+ext:///system?command=/bin/x``, ``qemu+ssh://h/system?command=...`` and
``?netcat=...``, and a user or host that begins with ``-`` is an option to ssh. whimbrel runs as root, and files are passed on.
So only what is listed here is taken; libvirt's list: https://libvirt.org/uri.html#transport-configuration.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import unquote

from pydantic import AfterValidator, Field

_EXAMPLE = "qemu+tls://host.example/system"
# Taken from the text itself: urlsplit(3) drops line breaks, and libvirt parses a URI in its own way.
_URI = re.compile(
    r"qemu(?:\+(?P<transport>[a-z0-9]+))?://(?:(?P<user>[^@/?#]*)@)?(?P<host>\[[0-9A-Fa-f:.]*\]|[^:/?#@\[\]]*)(?::(?P<port>[0-9]*))?"
    r"/system(?:\?(?P<query>[^#]*))?",
    re.ASCII,
)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", re.ASCII)
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?", re.ASCII)
_PATH = re.compile(r"/[A-Za-z0-9._/@+=:,-]*", re.ASCII)


def _absolute_path(value: str) -> str | None:
    return None if _PATH.fullmatch(value) and ".." not in value.split("/") else "is no absolute path of plain characters"


def _one_of(*known: str) -> Callable[[str], str | None]:
    return lambda value: None if value in known else f"is not one of {', '.join(known)}"


def _without_asking(value: str) -> str | None:
    """Only ways to log in at which nobody has to type anything."""
    return None if set(value.split(",")) <= {"agent", "privkey"} else "can be agent, privkey or both: nobody is there to type"


_MODE = {"mode": _one_of("auto", "direct", "legacy")}
_PROXY = {"proxy": _one_of("auto", "netcat", "native"), "socket": _absolute_path, "keyfile": _absolute_path, **_MODE}
_LIBSSH = {**_PROXY, "known_hosts": _absolute_path, "sshauth": _without_asking}
# Per transport, each parameter that it may have, and what is wrong with a value. What is left out starts a program (command,
# netcat), is opened by the other side (name), or lets anybody pass for the host (no_verify, known_hosts_verify, tls_priority).
_PARAMETERS: dict[str, dict[str, Callable[[str], str | None]]] = {
    "unix": {"socket": _absolute_path, **_MODE},
    "tcp": {},
    "tls": {"pkipath": _absolute_path},
    "ssh": {**_PROXY, "no_tty": _one_of("0", "1")},
    "libssh": _LIBSSH,
    "libssh2": _LIBSSH,
}


@dataclass(frozen=True)
class UriParts:
    """A libvirt URI, taken apart; ``host`` is empty for a socket of this machine, and an IPv6 address has no brackets."""

    transport: str
    user: str
    host: str
    port: int | None
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def local(self) -> bool:
        """Whether it means the machine on which it is opened, whichever that is."""
        return not self.host or is_loopback(self.host)


def split_libvirt_uri(value: str) -> UriParts:
    """The parts of a URI that a file may name; ValueError says what is wrong with any other."""
    found = _URI.fullmatch(value)
    if found is None:
        raise ValueError(f"{value!r} is no libvirt URI of a QEMU host, such as {_EXAMPLE}")
    host, user = found["host"].strip("[]"), found["user"]
    transport = found["transport"] or ("tls" if host else "unix")
    if transport not in _PARAMETERS:
        raise ValueError(f"{value!r}: a file may not ask for the transport {transport!r}; {', '.join(_PARAMETERS)} it may")
    if transport == "unix" and (host or user is not None or found["port"] is not None):
        raise ValueError(f"{value!r}: a UNIX socket is on this machine: it has no host, as in qemu+unix:///system?socket=/path")
    if transport != "unix" and not host:
        raise ValueError(f"{value!r} names no host: write one, such as {_EXAMPLE}")
    if user is not None and (not _USER.fullmatch(user) or "ssh" not in transport):
        raise ValueError(f"{value!r}: {user!r} cannot be a user here: letters, digits, '.', '_' and '-', with ssh only")
    return UriParts(
        transport, user or "", check_host(host) if host else "", _port(value, found["port"]),
        _parameters(value, transport, found["query"] or ""),
    )  # fmt: skip


def _port(uri: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not text or not 0 < int(text) < 65536:
        raise ValueError(f"{uri!r}: {text!r} is no port")
    return int(text)


def _parameters(uri: str, transport: str, query: str) -> dict[str, str]:
    known = _PARAMETERS[transport]
    given: dict[str, str] = {}
    # libvirt takes ';' for '&' as well.
    for part in re.split("[&;]", query) if query else []:
        key, _, raw = part.partition("=")
        value = unquote(raw)
        if key not in known:
            may = f"{', '.join(known)} it may" if known else "it may have none"
            raise ValueError(f"{uri!r}: a file may not give {transport} the parameter {key!r}; {may}")
        wrong = "is there twice" if key in given else known[key](value)
        if wrong is not None:
            raise ValueError(f"{uri!r}: {key}={value!r} {wrong}")
        given[key] = value
    return given


def check_host(value: str) -> str:
    """A name, an IPv4 or an IPv6 address (without brackets) of a host, as it was given; ValueError when it is not one."""
    if ":" in value or re.fullmatch(r"[0-9.]+", value):
        try:
            address = ipaddress.ip_address(value)
        except ValueError as error:
            raise ValueError(f"{value!r} is no address: write an IPv4 or IPv6 address, or a name") from error
        if "%" in value or address.is_multicast or str(address) == "255.255.255.255":
            raise ValueError(f"{value!r} is no address of one host")
        return value
    if not _HOST_NAME.fullmatch(value) or ".." in value:
        raise ValueError(f"{value!r} is no name or address of a host")
    return value


def is_address(host: str) -> bool:
    """Whether it is an IPv4 or IPv6 address, and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a checked name or address means whatever machine uses it: 127.0.1.1, ::1, 0.0.0.0, localhost."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.lower().rstrip(".")
        return name in ("localhost", "ip6-localhost", "ip6-loopback") or name.endswith((".localhost", ".localdomain"))
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback or (mapped or address).is_unspecified


def _checked(value: str) -> str:
    split_libvirt_uri(value)
    return value


LibvirtUri = Annotated[str, Field(max_length=400), AfterValidator(_checked)]


def without_asking(uri: str) -> str:
    """The URI, such that ssh fails where it would ask for a password, or whether to trust a host: nobody is there to answer."""
    if not uri.startswith("qemu+ssh://") or "no_tty=" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}no_tty=1"

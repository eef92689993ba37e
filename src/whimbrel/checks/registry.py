"""All kinds of check. A kind's module, and the library that speaks its protocol, is loaded when a check of it is made."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from whimbrel.checks.check import Asker, Check, Kind, Listener, Tools

# Each module has a ``KIND``.
_MODULES = {
    "http": "http",
    "tcp": "tcp",
    "icmp": "icmp",
    "dns": "dns",
    "ws": "websocket",
    "exec": "program",
    "rtmp": "rtmp",
    "hls": "hls",
}
KINDS = tuple(_MODULES)
_SECURE = {"https": "http", "wss": "ws", "rtmps": "rtmp"}
SCHEMES = {**{name: name for name in KINDS}, **_SECURE}


def kind_named(name: str) -> Kind:
    """A kind of check, one of ``KINDS``."""
    return cast(Kind, import_module(f"whimbrel.checks.{_MODULES[name]}").KIND)


def open_check(check: Check, tools: Tools) -> Asker | Listener:
    """Makes ready to ask; UsageError when the check says what cannot be."""
    return kind_named(check.kind).open(check, tools)


def kind_listens(check: Check) -> bool:
    """Whether a check's answers come by themselves, so that there is no schedule and no latency."""
    return kind_named(check.kind).listens(check)

"""Network namespaces by name (iproute2's ``ip netns``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from whimbrel.system.process import run

FOLDER = Path("/run/netns")


# A kernel started with ipv6.disable=1 has none to switch off.
_NO_IPV6 = "cd /proc/sys/net/ipv6/conf 2>/dev/null || exit 0; for f in all default; do echo 1 >$f/disable_ipv6; done"


def create(name: str) -> None:
    """Makes a namespace with its loopback up and IPv6 off: nothing in it speaks unless we make it."""
    run(["ip", "netns", "add", name])
    run(["ip", "-n", name, "link", "set", "lo", "up"])
    run([*inside(name), "sh", "-c", _NO_IPV6])


def exists(name: str) -> bool:
    """Whether a namespace of this name is there."""
    return (FOLDER / name).exists()


def delete(name: str) -> None:
    """Removes the namespace and with it every link in it; nothing happens when there is none."""
    if exists(name):
        run(["ip", "netns", "delete", name])


def inside(name: str) -> Sequence[str]:
    """The words to put before a command so that it runs in the namespace."""
    return ["nsenter", f"--net={FOLDER / name}"]

"""Whether two hosts are two: one under two names shows each of its guests twice, and who ends one copy has ended the only one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from whimbrel.errors import EngineError, UsageError
from whimbrel.hosts.host import Host


def refuse_one_host(a: Host, b: Host) -> None:
    """UsageError when two hosts are one, or cannot be told apart by libvirt; EngineError when one does not say which it is."""
    first, second = a.identity(), b.identity()
    if not first.uuid or first.uuid != second.uuid:
        return
    names = f"hosts {a.name} and {b.name}"
    if first.name == second.name:
        raise UsageError(
            f"{names} are one host, {first.name} (UUID {first.uuid}), under two names: a guest cannot move to where it is",
            resolution=f"name another host as {b.name}; a guest that seems to run on both runs there once: stop nothing",
        )
    raise UsageError(
        f"{names}, {first.name} and {second.name}, have one UUID, {first.uuid}: libvirt refuses to move a guest between them",
        resolution="if they are two, give each a UUID of its own: 'host_uuid' in libvirtd.conf, then start libvirtd again;"
        f" if they are one, name another host as {b.name}",
    )


def refuse_hosts_that_are_one(hosts: Iterable[Host]) -> None:
    """Does as ``refuse_one_host`` for any two of several hosts."""
    for a, b in itertools.combinations(hosts, 2):
        refuse_one_host(a, b)


def why_not_two(a: Host, b: Host) -> str:
    """Why it is not certain that two hosts are two; nothing when it is."""
    try:
        refuse_one_host(a, b)
    except (UsageError, EngineError) as error:
        return error.brief
    return ""

"""Whether guests in KVM find on each of two hosts what they are given on the other."""

from __future__ import annotations

import logging

from whimbrel.engines.cpus import Comparison, common_models, compare, cpu_of, named
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import UsageError
from whimbrel.spec.hosts import HostsSpec

log = logging.getLogger(__name__)


def compare_hosts(spec: HostsSpec, a: Connection, b: Connection) -> dict[str, Comparison]:
    """By the host's name, how its processor compares to what guests are given: on the other host, or by the name in the file.

    Empty for emulated guests, and where a host has no KVM to compare.
    """
    if spec.accelerator != "kvm":
        return {}
    if spec.cpu is not None:
        return {name: compare(named(spec.cpu), host) for name, host in (("a", a), ("b", b))}
    of_a, of_b = cpu_of(a), cpu_of(b)
    if of_a is None or of_b is None:
        return {}
    return {"a": compare(of_b.description, a), "b": compare(of_a.description, b)}


def need_processors(spec: HostsSpec) -> None:
    """UsageError when a guest of host A, where saved states are made, cannot run on B, or none of the file's name on either.

    A guest that may go to B and not come back is only warned of.
    """
    if spec.accelerator != "kvm":
        return
    with Connection.open(spec.a.libvirt) as a, Connection.open(spec.b.libvirt) as b:
        found = compare_hosts(spec, a, b)
        lesser = [name for name in ("b", "a") if name in found and found[name].result == "less"]
        if not lesser:
            return
        common = common_models(a, b)
    first, other = lesser[0], "a" if lesser[0] == "b" else "b"
    given = f"all that guests are given on {other}" if spec.cpu is None else f"all of {spec.cpu}"
    said = f"the processor of host {first} has not {given}"
    if spec.cpu is None and first == "a":
        log.warning("%s (%s): guests that were started there do not move to it", said, found["a"].words)
        return
    raise UsageError(said, details=found[first].words, resolution=f"name one that both have, as 'hosts.cpu': {common}")

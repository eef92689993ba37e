"""Whether guests in KVM find on each host what they are given on the others."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack

from whimbrel.engines.cpus import Comparison, common_models, compare, cpu_of, named
from whimbrel.engines.door import hypervisor_at
from whimbrel.engines.hypervisor import Hypervisor
from whimbrel.errors import UsageError
from whimbrel.spec.fields import HostName
from whimbrel.spec.hosts import HostsSpec

log = logging.getLogger(__name__)


def compare_hosts(spec: HostsSpec, pair: Mapping[HostName, Hypervisor]) -> dict[HostName, Comparison]:
    """By the host's name, how its processor compares to what guests are given: on the other host, or by the name in the file.

    Empty for emulated guests, and where one of the two hosts has no KVM to compare.
    """
    if spec.accelerator != "kvm":
        return {}
    if spec.cpu is not None:
        return {name: compare(named(spec.cpu), host) for name, host in pair.items()}
    (one, here), (other, there) = pair.items()
    given_here, given_there = cpu_of(here), cpu_of(there)
    if given_here is None or given_there is None:
        return {}
    return {one: compare(given_there.description, here), other: compare(given_here.description, there)}


def need_processors(spec: HostsSpec) -> None:
    """UsageError when a guest of the first host, where saved states are made, cannot run on another, or none of the file's name.

    A guest that may go to another host and not come back is only warned of.
    """
    if spec.accelerator != "kvm":
        return
    first, *others = spec.servers
    for other in others:
        _need_pair(spec, first, other)


def _need_pair(spec: HostsSpec, first: HostName, other: HostName) -> None:
    with ExitStack() as held:
        here, there = (held.enter_context(hypervisor_at(spec.servers[name].libvirt)) for name in (first, other))
        found = compare_hosts(spec, {first: here, other: there})
        lesser = [name for name in (other, first) if name in found and found[name].result == "less"]
        if not lesser:
            return
        common = common_models(here, there)
    less, more = lesser[0], other if lesser[0] == first else first
    given = f"all that guests are given on {more}" if spec.cpu is None else f"all of {spec.cpu}"
    said = f"the processor of host {less} has not {given}"
    if spec.cpu is None and less == first:
        log.warning("%s (%s): guests that were started there do not move to it", said, found[less].words)
        return
    raise UsageError(said, details=found[less].words, resolution=f"name one that both have, as 'hosts.cpu': {common}")

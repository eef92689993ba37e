"""Profiles what is deployed: how it dirties its memory, and what the link to the other host gives."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

from whimbrel.deployment.bringing_up import guest_of
from whimbrel.deployment.deployed import Deployment, plan_of
from whimbrel.deployment.standing import places_of, refuse_destination, where_it_runs
from whimbrel.errors import UsageError
from whimbrel.hosts.site import Site
from whimbrel.moves.instruments import Instruments
from whimbrel.observe.dirty_profile import Profiled, profile_guest
from whimbrel.spec.fields import HostName
from whimbrel.system.scratch import scratch_folder


def profile(
    deployment: Deployment, site: Site, to: HostName | None, seconds: float, sample: int, told: Callable[[float], None]
) -> Profiled:
    """Profiles a deployed VM where it runs, over so many seconds; it goes on meanwhile.

    The link is tried to the host ``to``; to the first one where it does not run, when none is named.
    """
    if deployment.moves_container:
        raise UsageError("a container between carriers cannot be profiled: its pages lie somewhere in its carrier's memory")
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    with ExitStack() as holding:
        source = where_it_runs(deployment, site, places_of(deployment, site, holding))
        if to is not None:
            refuse_destination(deployment, site, source, to)
        destination = to or next(name for name in site.hosts if name != source)
        plan = plan_of(deployment.spec, source, destination)
        memory_bytes = deployment.spec.guest.memory_bytes
        found = profile_guest(site.hosts[source], guest_of(deployment, site), memory_bytes, seconds, sample, told)
        folder = holding.enter_context(scratch_folder())
        instruments = Instruments(site, deployment.spec, plan, [site.hosts[source], site.hosts[destination]], folder)
        with ExitStack() as meanwhile:
            link = instruments.try_link(meanwhile)()
    return Profiled(source, found, link, time.monotonic() - began_s, time.process_time() - began_cpu_s)

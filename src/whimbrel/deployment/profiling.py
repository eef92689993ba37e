"""Profiles what is deployed: how it dirties its memory, and what the link to the other host gives."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from whimbrel.deployment.bringing_up import AnySite, guest_of
from whimbrel.deployment.deployed import Deployment, plan_of
from whimbrel.deployment.moving import places_of, where_it_runs
from whimbrel.errors import UsageError
from whimbrel.hosts.host import Host
from whimbrel.observe.dirty_profile import profile_guest
from whimbrel.predict.profile import Profile
from whimbrel.records.trial import HostName
from whimbrel.trial.instruments import Instruments


@dataclass(frozen=True)
class Profiled:
    """What was found, and what finding it took: our own CPU time. ``link_bytes_per_s`` None where the link cannot be tried."""

    host: HostName
    profile: Profile
    link_bytes_per_s: float | None
    took_s: float
    cpu_s: float


def profile(deployment: Deployment, site: AnySite, seconds: float, sample: int, told: Callable[[float], None]) -> Profiled:
    """Profiles a deployed VM where it runs, over so many seconds; it goes on meanwhile."""
    if deployment.moves_container:
        raise UsageError("a container between carriers cannot be profiled: its pages lie somewhere in its carrier's memory")
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    with ExitStack() as holding:
        source = where_it_runs(deployment, site, places_of(deployment, site, holding))
        hosts: dict[HostName, Host] = {"a": site.host_a, "b": site.host_b}
        plan = plan_of(deployment.spec, source)
        memory_bytes = deployment.spec.guest.memory_bytes
        found = profile_guest(hosts[source], guest_of(deployment, site), memory_bytes, seconds, sample, told)
        folder = Path(holding.enter_context(tempfile.TemporaryDirectory(prefix="whimbrel-")))
        instruments = Instruments(site, deployment.spec, plan, [hosts[source], hosts[plan.destination]], folder)
        with ExitStack() as meanwhile:
            link = instruments.try_link(meanwhile)()
    return Profiled(source, found, link, time.monotonic() - began_s, time.process_time() - began_cpu_s)

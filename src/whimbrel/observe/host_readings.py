"""What hosts do while a guest of the user's own moves, for whoever looks on: as their libvirts say, and kept nowhere."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from whimbrel.errors import EngineError, RefusedError
from whimbrel.events import Bus, Sample
from whimbrel.hosts.host import Host
from whimbrel.observe.sampler import LibvirtReader

log = logging.getLogger(__name__)

_EVERY_S = 0.5
_JOIN_S = 5.0


@contextmanager
def host_readings(hosts: Sequence[Host], bus: Bus) -> Iterator[None]:
    """Publishes samples of these hosts as a sampler does, if somebody listens; one that falls silent has no more of them."""
    ended = threading.Event()

    def read(host: Host) -> None:
        try:
            with host.hypervisor() as connection:
                reader = LibvirtReader(host.name, connection, round(_EVERY_S * 1e9))
                while not ended.wait(_EVERY_S):
                    _publish(reader, bus)
        except EngineError:
            log.debug("host %s is read no longer", host.name, exc_info=True)

    threads = [threading.Thread(target=read, args=(host,), name=f"read {host.name}", daemon=True) for host in hosts]
    if bus.wants_samples:
        for thread in threads:
            thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join(_JOIN_S)


def _publish(reader: LibvirtReader, bus: Bus) -> None:
    t_ns = time.monotonic_ns()
    try:
        for row in reader.host_rows(t_ns):
            bus.publish(Sample("sampler", t_ns, row))
    except RefusedError:
        log.debug("a reading was refused", exc_info=True)

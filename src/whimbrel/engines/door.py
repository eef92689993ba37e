"""Which hypervisor answers at a URI."""

from __future__ import annotations

from whimbrel.engines.hypervisor import Hypervisor
from whimbrel.engines.libvirt import Connection


def hypervisor_at(uri: str) -> Hypervisor:
    """Connects; SilentError when nobody answers, RefusedError when we are not let in. To be closed."""
    return Connection.open(uri)

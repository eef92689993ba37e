"""Whether this machine lets CRIU move a container between its servers as it is wanted; tried, as nothing else can say."""

from __future__ import annotations

from collections.abc import Mapping

from whimbrel.errors import CapabilityError
from whimbrel.images.store import ImageStore
from whimbrel.lab.criu_check import examine_criu
from whimbrel.migrate.techniques import lacks


def need_container_techniques(wanted: Mapping[str, str], store: ImageStore) -> None:
    """CapabilityError names whoever wants a technique that cannot be done; nothing is tried where nobody wants one."""
    findings = examine_criu(store) if wanted else []
    for who, technique in wanted.items():
        reason = lacks(technique, findings)
        if reason is not None:
            raise CapabilityError(
                f"a container cannot be moved between servers by {technique} here, as {who} wants it",
                details=reason,
                resolution="'whimbrel techniques' lists what can be done; the form 'nested' moves it between VMs",
            )

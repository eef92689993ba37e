"""The place of a deployed service, held for as long as a command works in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from whimbrel.cli.interrupts import Interrupts
from whimbrel.deployment.bringing_up import AnySite
from whimbrel.deployment.deployed import Deployment
from whimbrel.errors import UsageError
from whimbrel.hosts.claims import confirm
from whimbrel.images.store import ImageStore
from whimbrel.moves.place import ledger_for, site_for


@contextmanager
def held(deployment: Deployment, when_interrupted: str) -> Iterator[AnySite]:
    """The place, which nobody else may change meanwhile."""
    with ledger_for(deployment.spec) as ledger, Interrupts(ledger, when_interrupted):
        if not ledger.entries:
            raise UsageError(f"the place of {deployment.name} is gone", resolution=f"'whimbrel undeploy {deployment.name}'")
        confirm(ledger)
        yield site_for(deployment.spec, ImageStore(), ledger, number=deployment.number)

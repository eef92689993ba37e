"""The site of a deployed service, held for as long as somebody works in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from whimbrel.deployment.deployed import Deployment
from whimbrel.errors import UsageError
from whimbrel.hosts.claims import confirm
from whimbrel.hosts.site import Site
from whimbrel.images.store import ImageStore
from whimbrel.moves.site import ledger_for, site_for
from whimbrel.system.ledger import Ledger

# What is entered for as long as a ledger is held: how signals end the work is the business of whoever owns the process.
# None: nothing is made that would have to be removed.
Guard = Callable[[Ledger | None], AbstractContextManager[object]]


def unguarded(ledger: Ledger | None) -> AbstractContextManager[object]:
    """Signals do what they do in any Python program: Ctrl-C raises KeyboardInterrupt, and what was made is removed."""
    return nullcontext()


@contextmanager
def held(deployment: Deployment, guard: Guard = unguarded) -> Iterator[Site]:
    """The site, which nobody else may change meanwhile."""
    with ledger_for(deployment.spec) as ledger, guard(ledger):
        if not ledger.entries:
            raise UsageError(
                f"nothing is left of the lab or the hosts' share of {deployment.name}",
                resolution=f"'whimbrel undeploy {deployment.name}' forgets it",
            )
        confirm(ledger)
        yield site_for(deployment.spec, ImageStore(), ledger, number=deployment.number)

"""Brings a deployed service whose move was interrupted to one running copy."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from whimbrel.deployment.bringing_up import AnySite
from whimbrel.deployment.deployed import Deployment
from whimbrel.deployment.moving import places_of, request_for
from whimbrel.errors import UsageError
from whimbrel.migrate.journal import POST_COPY, History, note_end, read_history
from whimbrel.migrate.recover import recover, sides_of
from whimbrel.migrate.recovery import Decision, Intention
from whimbrel.records.trial import HostName
from whimbrel.spec.migration import MigrationSpec


def bring_back(deployment: Deployment, site: AnySite, boot_anew: bool, told: Callable[[Decision], None]) -> str:
    """The host on which its one copy runs in the end. Also of use where no move is known: something else may have gone wrong.

    UsageError when its move is still driven by somebody, UnsafeStateError when there can be no running copy.
    """
    history = read_history(deployment.journal_file)
    if history is not None and history.ended is None and history.intent.driven:
        raise UsageError(
            f"{deployment.name} is being moved by process {history.intent.pid}",
            resolution=f"wait for it, or 'whimbrel abort {deployment.name}'",
        )
    interrupted = history if history is not None and history.ended is None else None
    source: HostName = "b" if interrupted is not None and interrupted.intent.source == "b" else "a"
    migration: MigrationSpec = interrupted.intent.spec if interrupted is not None else deployment.spec.migration
    with ExitStack() as holding:
        request = request_for(deployment, site, migration, source, places_of(deployment, site, holding))
        sides = sides_of(request, deployment.description or "")
        where = recover(sides, request, _intention(interrupted, boot_anew), told)
    if interrupted is not None:
        note_end(deployment.journal_file, "moved" if where == interrupted.intent.destination else "failed")
    deployment.abort_file.unlink(missing_ok=True)
    return where


def _intention(interrupted: History | None, boot_anew: bool) -> Intention:
    if interrupted is None:
        return Intention(boot_anew=boot_anew)
    left_to_restart = interrupted.intent.spec.technique == "restart" and interrupted.has("leave")
    return Intention(
        switched=interrupted.has(POST_COPY),
        between=interrupted.has("powered off") or left_to_restart,
        boot_anew=boot_anew,
    )

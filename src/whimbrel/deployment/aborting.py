"""Asks whoever moves what is deployed to abort, and waits for how the move ends."""

from __future__ import annotations

from whimbrel.deployment.deployed import Deployment
from whimbrel.errors import UsageError
from whimbrel.migrate.journal import read_history
from whimbrel.system.deadline import pause

_LOOK_EVERY_S = 0.25


def ask_to_abort(deployment: Deployment) -> str:
    """Asks whoever moves it to abort, and waits for the end of the move; how it ended.

    UsageError when nothing moves it.
    """
    history = read_history(deployment.journal_file)
    if history is None or history.ended is not None:
        raise UsageError(f"{deployment.name} is not being moved")
    if not history.driven:
        raise UsageError(
            f"nobody drives the move of {deployment.name} any more (last step: {history.last})",
            resolution=f"'whimbrel recover {deployment.name}'",
        )
    deployment.abort_file.touch()
    # Past its point of no return a move takes as long as it gets on; whoever drives it knows when it does not.
    while history.driven:
        pause(_LOOK_EVERY_S)
        history = read_history(deployment.journal_file) or history
    return history.ended or "unsafe"

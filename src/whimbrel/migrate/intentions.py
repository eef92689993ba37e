"""What the journal of a move says of how far it may have come, for its recovery. Pure."""

from __future__ import annotations

from whimbrel.migrate.cold import BOOT_THERE, SHUTTING_DOWN
from whimbrel.migrate.journal import BOOTED_ANEW, POST_COPY, History
from whimbrel.migrate.recovery import Intention


def interrupted_move(history: History | None) -> History | None:
    """The move, if it has not ended."""
    return history if history is not None and history.ended is None else None


def is_shutting_down(interrupted: History | None) -> bool:
    """Whether it was told to power off, and was not seen to be off."""
    return interrupted is not None and interrupted.has(SHUTTING_DOWN) and not interrupted.has("powered off")


def intention_of(history: History | None, boot_anew: bool) -> Intention:
    """What the journal adds to what both sides say now; ``boot_anew`` is the user's wish."""
    booted = history is not None and history.has(BOOTED_ANEW)
    interrupted = interrupted_move(history)
    if interrupted is None:
        return Intention(boot_anew=boot_anew, booted=booted)
    spec = interrupted.intent.spec
    left_to_restart = spec.technique == "restart" and interrupted.has("leave")
    # Once it was booted there, only a disk that both hosts see is certain to be the newest.
    off = interrupted.has(SHUTTING_DOWN) and not (interrupted.has(BOOT_THERE) and spec.storage != "shared")
    # virsh gives its own order to switch, and writes nothing down.
    by_virsh = spec.by == "virsh" and spec.technique == "pre-post-copy"
    return Intention(
        switched=interrupted.has(POST_COPY) or by_virsh, between=off or left_to_restart, boot_anew=boot_anew, booted=booted
    )

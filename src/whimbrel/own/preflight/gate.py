"""Whether a move may begin, by what stands against it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from whimbrel.errors import CapabilityError
from whimbrel.hosts.preflight.finding import Finding, kinds

# A claim was refused before, or is taken over.
_ELSEWHERE = ("guest-claimed",)


def refuse_blocked(name: str, found: Sequence[Finding], force: bool) -> None:
    """CapabilityError where something blocks the move, unless it is to go on all the same.

    Where two copies could run, or data be lost, it does not go on whatever was asked for.
    """
    blocking = [each for each in found if each.severity == "blocks" and each.code not in _ELSEWHERE]
    lasting = [each.code for each in blocking if kinds()[each.code].never_forced]
    if not blocking or (force and not lasting):
        return
    more = f"--force does not go past {', '.join(lasting)}: two copies could run, or data be lost" if lasting else (
        "or see with --force how far it comes: the guest goes on where it is when the move fails"
    )  # fmt: skip
    lines = [line for each in blocking for line in (f"{each.code} ({each.side}): {each.seen}", f"  {each.effect}; {each.cure}")]
    raise CapabilityError(
        f"{name} cannot be moved: {', '.join(each.code for each in blocking)}",
        details="\n".join(lines),
        resolution=f"do what is said there; {more}. Nothing was moved",
    )


def in_words(found: Sequence[Finding]) -> list[str]:
    """What is to be known of a move that begins: each that blocks or warns, and the codes of what was not seen."""
    said = [f"{each.severity}: {each.code} ({each.side}): {each.seen}" for each in found if each.severity != "unseen"]
    unseen = list(dict.fromkeys(each.code for each in found if each.severity == "unseen"))
    return [*said, f"not seen: {', '.join(unseen)} ('whimbrel preflight' says more)"] if unseen else said

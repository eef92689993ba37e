"""``migrate --from``, and ``abort`` and ``recover`` of such moves: guests that whimbrel has not deployed, without root."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from whimbrel.analysis.answers import CheckFigures
from whimbrel.api.running import write_report
from whimbrel.checks.url import parse_check
from whimbrel.cli.interrupts import Interrupts
from whimbrel.cli.terminal import complain
from whimbrel.deployment.deployed import folder_of
from whimbrel.errors import UnsafeStateError, UsageError
from whimbrel.live.beside import Beside
from whimbrel.own.moving import Asked, OwnMoved
from whimbrel.own.recovering import bring_back_own
from whimbrel.own.standing import OwnMove, find_move, is_open
from whimbrel.own.watching import NO_CHECKS, Checks
from whimbrel.plain_text import visible
from whimbrel.records.store import CampaignFolder
from whimbrel.report.content import PAGE
from whimbrel.report.quantities import spoken, written
from whimbrel.units import format_duration

Guest = Annotated[str, typer.Argument(metavar="NAME", help="What is deployed; with --from any guest, by its name or UUID.")]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="URI|HOST", help="The libvirt where GUEST runs, or its name in hosts.yaml."),
]
Persistent = Annotated[
    bool | None,
    typer.Option(
        "--persistent/--transient",
        help="With --from: whether the destination keeps its description; default: as the source does.",
    ),
]
UndefineSource = Annotated[
    bool | None,
    typer.Option("--undefine-source/--keep-source", help="With --from: whether the source forgets it; default: as above."),
]
Peer = Annotated[
    str | None,
    typer.Option(metavar="URI", help="With --from: how the source's libvirt reaches the destination's; default: as --to."),
]
Address = Annotated[str | None, typer.Option(help="With --from: where its memory is sent; default: the host in --peer or --to.")]
CheckUrls = Annotated[
    list[str] | None,
    typer.Option(
        "--check", metavar="URL", help="With --from: ask this meanwhile, as 'watch' does; several times. 'off': ask nothing."
    ),
]
_FIGURES = ("total_s", "qemu_downtime_ms", "libvirt_downtime_ms", "blackout_ms", "service_gap_ms", "transferred_bytes")


def keeping(persistent: bool | None, undefine_source: bool | None) -> bool | None:
    """Whether the destination keeps the description, and the source does not; None: if the source does now."""
    if persistent is None or undefine_source is None or persistent == undefine_source:
        return undefine_source if persistent is None else persistent
    if persistent:
        raise UsageError(
            "--persistent with --keep-source would leave its description on both hosts: whoever starts it on the source makes"
            " a second copy of a guest that runs"
        )
    raise UsageError("--transient with --undefine-source would leave its description on no host: it is gone when it is off")


def checks_of(urls: list[str] | None) -> Checks | None:
    """What is asked while it moves; None: what libvirt knows its addresses to be. UsageError for a check that cannot be."""
    if urls is None:
        return None
    if urls == ["off"]:
        return NO_CHECKS
    for url in urls:
        parse_check(url)
    return Checks(tuple(urls))


def tell_own(asked: Asked, moved: OwnMoved | None, as_json: bool, seen: Beside | None) -> int:
    """Says what a move took, where one was made; a page that follows it ends in its report. What made it fail is raised."""
    if moved is None:
        return 0
    page = None
    if moved.folder is not None:
        write_report(CampaignFolder.open(moved.folder), figures=False)
        page = moved.folder / PAGE
        if seen is not None:
            seen.report = page
    _tell(moved, page, as_json)
    if moved.ending.error is not None:
        if isinstance(moved.ending.error, UnsafeStateError):
            complain(f"'whimbrel recover {moved.move.guest}' looks at both hosts and brings it back where that is safe")
        raise moved.ending.error
    return 0


def _tell(moved: OwnMoved, page: Path | None, as_json: bool) -> None:
    ending, figures = moved.ending, moved.figures
    if as_json:
        content = {
            "name": moved.move.guest.name, "uuid": moved.move.guest.uuid, "result": ending.result, "runs_on": ending.runs_on,
            "technique": moved.move.spec.technique, **{key: getattr(figures, key) for key in _FIGURES},
            "blackout_error_ms": figures.blackout_error_ms,
            "phases": {phase.name: phase.length_s for phase in figures.phases},
            "checks": [_check_json(name, found) for name, found in moved.checks.items()],
            "description_changed": moved.changed, "findings": [asdict(each) for each in moved.found],
            "known_failure": ending.known, "error": str(ending.error) if ending.error is not None else None,
            "report": str(page) if page is not None else None,
        }  # fmt: skip
        print(json.dumps(content, indent=1))
    elif ending.result == "moved":
        print(f"{moved.move.guest} runs on host {' and '.join(ending.runs_on)}")
        for key in _FIGURES:
            print(f"{spoken(key):20s}{written(key, getattr(figures, key), None)}")
        for phase in figures.phases:
            print(f"phase {phase.name:14s}{written('length_s', phase.length_s)}")
    if not as_json:
        for name, found in moved.checks.items():
            print(f"check {visible(name)}: {_check_words(found)}")
        if page is not None:
            print(f"report: {page}")
    _tell_changes(moved.changed)


def _check_json(name: str, found: CheckFigures) -> dict[str, object]:
    keys = ("sent", "failed", "failures", "longest_gap_s", "longest_gap_at_least_s", "gap_resolution_s", "usual_gap_s")
    return {"name": name, **{key: getattr(found, key) for key in keys}}


def _check_words(found: CheckFigures) -> str:
    gap = "the longest gap is not known"
    if found.longest_gap_s is not None:
        gap = f"longest gap {format_duration(found.longest_gap_s)}"
    elif found.longest_gap_at_least_s is not None:
        gap = f"longest gap at least {format_duration(found.longest_gap_at_least_s)}"
    usual = f", usually {format_duration(found.usual_gap_s)}" if found.usual_gap_s is not None else ""
    return f"{gap}{usual}; {found.failed} of {found.sent} questions failed"


def _tell_changes(changed: list[str]) -> None:
    if changed:
        complain("its description is not what it was, as libvirt has rewritten it:\n" + visible("\n".join(changed)))


def own_move(name: str) -> OwnMove | None:
    """The move of a guest of the user's own that ``abort`` and ``recover`` mean by this name; None: what is deployed."""
    found = find_move(name)
    deployed = os.geteuid() == 0 and folder_of(name).exists()
    return found if found is not None and (is_open(found) or not deployed) else None


def recover_own(move: OwnMove, boot_anew: bool) -> None:
    """Brings it to one running copy and says where that is."""
    with Interrupts(None, "stopping; recover it again later"):
        where, changed = bring_back_own(move, boot_anew, lambda decision: complain(f"{decision.step}: {decision.why}"))
    print(f"{move.guest} runs on host {where}, and nowhere else")
    _tell_changes(changed)

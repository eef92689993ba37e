"""``predict GUEST``: what a move of a deployed service would cost."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from whimbrel.cli.profile import profile_with_bar
from whimbrel.deployment.deployed import find
from whimbrel.errors import UsageError
from whimbrel.observe.dirty_profile import USUAL_SAMPLE
from whimbrel.predict.expectation import Expectation
from whimbrel.predict.move import expectation_of, why_not
from whimbrel.predict.overheads import Overheads
from whimbrel.predict.range import Range
from whimbrel.spec.fields import HostName
from whimbrel.spec.migration import MigrationSpec
from whimbrel.spec.overrides import migration_with
from whimbrel.system.root import need_root
from whimbrel.trial.foresight import overheads_from
from whimbrel.units import format_bytes, format_duration, format_rate


def predict_guest(name: str, to: HostName, seconds: str, sets: list[str], learn_from: list[Path], as_json: bool) -> None:
    """Profiles it where it runs, and says what a move to that host would take."""
    need_root("profiling a guest")
    deployment = find(name)
    migration = migration_with(deployment.spec.migration, None, sets)
    reason = why_not(migration)
    if reason is not None:
        raise UsageError(reason)
    overheads = overheads_from(learn_from)
    profiled = profile_with_bar(name, to, seconds, USUAL_SAMPLE)
    found = expectation_of(profiled.profile, profiled.link_bytes_per_s, deployment.spec, migration, overheads)
    tell(name, to, found, overheads, migration, as_json)


def tell(name: str, to: HostName, found: Expectation, overheads: Overheads, migration: MigrationSpec, as_json: bool) -> None:
    """What is expected of a move, and what is known of such moves."""
    if as_json:
        content = {"name": name, "to": to, "learned_from": overheads.learned_from, "forced": found.forced, **asdict(found)}
        content["stalls"] = [{"buffer_s": buffer_s, "stalls": stalls} for buffer_s, stalls in found.stalls.items()]
        print(json.dumps(content, indent=1))
        return
    _tell(found, overheads, migration.max_downtime_s)
    if migration.bandwidth_note:
        print(f"bandwidth: {migration.bandwidth_note}")


def _tell(found: Expectation, overheads: Overheads, limit_s: float) -> None:
    print(_verdict(found))
    for what, figure in (("total", found.total_s), ("downtime", found.downtime_s), ("blackout", found.blackout_s),
                         ("reachability gap", found.reachability_gap_s), ("service gap", found.service_gap_s)):  # fmt: skip
        if figure is not None:
            print(f"{what:18s}{_durations(figure)}")
    if found.sent_bytes is not None:
        sent = found.sent_bytes
        print(f"{'sent':18s}{format_bytes(sent.middle)} ({format_bytes(sent.least)} to {format_bytes(sent.most)})")
    if found.bandwidth_needed_bytes_per_s is not None and found.shortest_pause_s is not None:
        print(f"a pause of {format_duration(limit_s)} needs more than {format_rate(found.bandwidth_needed_bytes_per_s)};"
              f" this link can reach any pause above {format_duration(found.shortest_pause_s)}, given time")  # fmt: skip
    for buffer_s, stalls in found.stalls.items():
        said = {True: "runs out of film", False: "plays on", None: "may run out of film"}[stalls]
        print(f"a player that holds {format_duration(buffer_s)} {said}")
    if overheads.learned_from:
        print(f"what a move takes beside its memory was learned from {overheads.learned_from} earlier moves")
    else:
        print("what a move takes beside its memory is not known here: --learn names results of earlier moves")


def _verdict(found: Expectation) -> str:
    if found.converges is None:
        return "it may not converge: what was measured leaves that open"
    if found.converges and found.rounds is None:
        return "it ends, whatever the guest does: each page is sent once"
    return {
        "by itself": f"it converges, in {found.rounds} round{'s' if found.rounds != 1 else ''}",
        "rounds": f"memory changes faster than the link carries it: only the limit on rounds ends it, in round {found.rounds}",
        "time-out": f"it does not end by itself in time: its time-out stops the guest, in round {found.rounds}",
        "not in time": "it does not end within its time-out",
        "never": "it does not converge: memory changes faster than the link carries it",
    }[found.end]


def _durations(figure: Range) -> str:
    return f"{format_duration(figure.middle)} ({format_duration(figure.least)} to {format_duration(figure.most)})"

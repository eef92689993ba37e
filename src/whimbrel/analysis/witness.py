"""Does what the witness says after a move fit what the technique promised? Pure."""

from __future__ import annotations

from collections.abc import Collection

from whimbrel.records.trial import WitnessRecord
from whimbrel.spec.migration import Promise


def broken(promises: Collection[Promise], record: WitnessRecord) -> list[str]:
    """What was promised and not kept, in words. A witness that says nothing after the move keeps nothing."""
    before, after = record.before, record.after
    if after is None:
        return ["the witness does not answer after the move"]
    reasons = []
    if "memory" in promises and after.wrong:
        reasons.append(f"{after.wrong} of {after.pages} pages of memory are not what they were")
    if "memory" in promises and after.started != before.started:
        reasons.append("the witness was started anew")
    if "counter" in promises and (record.went_back or after.counter < before.counter):
        reasons.append(f"the counter went back, from {before.counter} to {after.counter}")
    if "connection" in promises and record.connections > 1:
        reasons.append("the connection was lost")
    if "connection" in promises and record.misnumbered:
        reasons.append(f"{record.misnumbered} messages of the connection were left out or came twice")
    if "file" in promises and not after.file:
        reasons.append("records of the file that were on disk are not there any more")
    elif "file" in promises and after.file < before.file:
        reasons.append(f"the file went back, from {before.file} to {after.file}")
    return reasons

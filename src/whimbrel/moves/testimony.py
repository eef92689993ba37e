"""Listens to the witness throughout a move, and asks it in the end whether what arrived is what left."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack

from whimbrel.analysis.witness import broken
from whimbrel.errors import TrialError
from whimbrel.moves.instruments import Instruments
from whimbrel.records.trial import WitnessRecord
from whimbrel.spec.migration import Promise
from whimbrel.system.instrument import Instrument

_PATIENCE_S = 60.0


def listen(instruments: Instruments, meanwhile: ExitStack, patience_s: float = _PATIENCE_S) -> Instrument:
    """A connection to the witness, once it hears it; InstrumentError when nothing comes over it in time."""
    witness = meanwhile.enter_context(instruments.witness())
    witness.wait_for(lambda said: any(line["say"] == "hears" for line in said), "to hear the witness", patience_s)
    return witness


def testimony(witness: Instrument) -> WitnessRecord:
    """What the witness said before and after, of an instrument that was told to end; TrialError when it did not before."""
    witness.wait_for(lambda said: any(line["say"] == "verified" for line in said), "to ask the witness", _PATIENCE_S)
    lines = {line["say"]: line for line in witness.said}
    before, after = lines["hears"]["found"], dict(lines["verified"])
    if before is None:
        raise TrialError("the witness did not answer before the move")
    heard = {key: after[key] for key in ("messages", "misnumbered", "went_back", "connections")}
    return WitnessRecord(before=before, after=after["found"], **heard)


def judge(promises: Collection[Promise], said: WitnessRecord) -> None:
    """TrialError when something that was promised was not kept."""
    reasons = broken(promises, said)
    if reasons:
        raise TrialError(
            "what arrived is not what left", details="; ".join(reasons), resolution="look at the logs beside the record"
        )

"""A witness, and viewers, who look on while a container moves; and what they must have seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.labs import quick
from whimbrel.lab.lab import Lab
from whimbrel.moves.instruments import Instruments
from whimbrel.records.trial import Plan
from whimbrel.services.client import CLIENTS
from whimbrel.system.deadline import pause
from whimbrel.system.instrument import Instrument

VIEWERS = 2


@dataclass(frozen=True)
class Spectators:
    """``player`` is None where only the witness looks on. What they saw is known when they are gone."""

    witness: Instrument
    player: Instrument | None

    @property
    def found(self) -> dict[str, Any]:
        """What was in the container's memory and file at the end."""
        found = self._verified["found"]
        assert found is not None
        return dict(found)

    def assert_it_went_on(self) -> None:
        """No memory changed, no number left out, and nobody's connection lost."""
        said = self._verified
        print(said)
        assert (self.found["wrong"], self.found["started"]) == (0, 0)
        assert self.found["file"] > 0
        assert (said["connections"], said["misnumbered"], said["went_back"]) == (1, 0, False)
        if self.player is not None:
            assert [line for line in self.player.said if line["say"] == "lost"] == []

    def assert_it_started_again(self) -> None:
        """Only the file is promised: the counter goes on from what was in it."""
        assert self.found["started"] > 0
        assert self.found["file"] > self.found["started"]

    @property
    def _verified(self) -> dict[str, Any]:
        return next(line for line in self.witness.said if line["say"] == "verified")


@contextmanager
def spectators(lab: Lab, folder: Path, viewers: int = VIEWERS) -> Iterator[Spectators]:
    """They look on before and after as well."""
    arm = f"container-{viewers}"
    plan = Plan(scenario="container", arm=arm, form="container", viewers=viewers, block=1, order=1, state_boot=1)
    instruments = Instruments(lab, quick(), plan, [lab.hosts["a"], lab.hosts["b"]], folder)
    with ExitStack() as looking:
        witness = looking.enter_context(instruments.witness())
        player = looking.enter_context(instruments.client(CLIENTS["viewers"])) if viewers else None
        witness.wait_for(lambda said: any(line["say"] == "hears" for line in said), "to hear", 20)
        if player is not None:
            player.wait_for(lambda said: sum(line["say"] == "playing" for line in said) == viewers, "to play", 30)
        pause(2)
        yield Spectators(witness, player)
        pause(4)
        for instrument in (witness, player):
            if instrument is not None:
                instrument.tell_to_end()

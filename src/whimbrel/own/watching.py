"""What watches a move of a guest of the user's own: its users' questions, and its hosts; each in a process of its own.

Nothing of it holds the move up, and what fails of it once the move has begun is only said.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from whimbrel.errors import InstrumentError, UsageError
from whimbrel.events import Bus
from whimbrel.own.standing import Side
from whimbrel.records.trial import Event, InstrumentCost
from whimbrel.spec.checks import WrittenCheck
from whimbrel.system.instrument import Instrument, Line

log = logging.getLogger(__name__)

# No longer than that is waited until all checks are steady, and after the move until all are as before.
MOST_BEFORE_S, MOST_AFTER_S = 30.0, 60.0
_SAMPLE_EVERY_S = 0.1
_MOMENT_S = 1.0


@dataclass(frozen=True)
class Checks:
    """What is asked, as files write it. ``given``: by the user, so that each must answer from the beginning; others are left out.

    ``before_s`` and ``after_s`` are how long it is watched around the move; None: until it is steady, and until it is as before.
    """

    written: tuple[str | WrittenCheck, ...] = ()
    given: bool = True
    before_s: float | None = None
    after_s: float | None = None


NO_CHECKS = Checks()


def checks_as_json(checks: Checks) -> list[Any]:
    """As files, records and programs of ours read them."""
    return [each if isinstance(each, str) else each.model_dump(mode="json") for each in checks.written]


class Watch:
    """Runs from before a move until all is as before. Series are written into ``folder``.

    ``sampled`` are hosts whose processors, memory and traffic are sampled through their libvirt.
    """

    def __init__(self, checks: Checks, sampled: Sequence[Side], folder: Path, bus: Bus) -> None:
        self._checks = checks
        self._bus = bus
        self._stack = ExitStack()
        self.unmeasured: dict[str, str] = {}
        self._asker = self._instrument(
            "checks", "whimbrel.watch.asker", {"checks": checks_as_json(checks)}, folder
        ) if checks.written else None  # fmt: skip
        hosts = {side.name: side.uri for side in sampled}
        self._sampler = self._instrument(
            "sampler", "whimbrel.observe.sampler", {"points": [], "libvirt": hosts, "every_s": _SAMPLE_EVERY_S}, folder, "hosts"
        ) if hosts else None  # fmt: skip

    def _instrument(self, name: str, module: str, given: Mapping[str, Any], folder: Path, series: str = "") -> Instrument:
        return Instrument(
            name, module, dict(given), output=folder / f"{series or name}.parquet", log_file=folder / f"{name}.log", bus=self._bus
        )

    def __enter__(self) -> Watch:
        with ExitStack() as stack:
            for instrument in self._running:
                if instrument is self._asker:
                    self._bus.step("trying the checks")
                stack.enter_context(instrument)
            if self._asker is not None:
                self._need_answers()
                self._wait_until_known()
            self._stack = stack.pop_all()
        return self

    @property
    def _running(self) -> list[Instrument]:
        return [each for each in (self._sampler, self._asker) if each is not None]

    def _need_answers(self) -> None:
        silent: dict[str, str] = self._said("silent")["checks"]
        if silent and self._checks.given:
            raise UsageError(
                f"{len(silent)} of {len(self._checks.written)} checks have no good answer; nothing was moved",
                details="\n".join(f"{name}: {words}" for name, words in silent.items()),
                resolution="correct the URL, or start the service",
            )
        for name, words in silent.items():
            self._bus.note(f"not asked meanwhile: {name}: {words}")

    def _wait_until_known(self) -> None:
        """How it answers when nothing moves: until that is steady, or for a moment where nobody has asked for it."""
        before_s = self._checks.before_s if self._checks.given else _MOMENT_S
        if before_s is None:
            self._wait_for("steady", lambda line: bool(line["steady"]), MOST_BEFORE_S, "before the move")
        else:
            self._let_pass(self._said("asks")["began_ns"], before_s)

    def wait_until_as_before(self, returned_ns: int) -> None:
        """After the move; Ctrl-C only ends the waiting."""
        if self._asker is None:
            return
        with suppress(KeyboardInterrupt):
            if self._checks.after_s is not None:
                self._let_pass(returned_ns, self._checks.after_s)
                return
            self._bus.step("watching until all is as before")
            self._wait_for(
                "as before", lambda line: line["as_before"] and line["at_ns"] - line["span_ns"] >= returned_ns, MOST_AFTER_S,
                "after the move",
            )  # fmt: skip

    def _let_pass(self, since_ns: int, seconds: float) -> None:
        self._wait_for(
            "asked", lambda line: line["at_ns"] >= since_ns + seconds * 1e9, seconds + MOST_BEFORE_S, "as long as said"
        )

    def _wait_for(self, state: str, true: Callable[[Line], bool], most_s: float, when: str) -> None:
        assert self._asker is not None
        if not self._said("asks")["checks"]:
            return
        try:
            self._asker.wait_for(lambda said: said[-1]["say"] == "state" and true(said[-1]), f"to be {state}", most_s)
        except InstrumentError as error:
            if self._asker.ended:
                log.warning("the checks ended: %s", error)
            else:
                self._bus.note(f"the checks were not {state} within {most_s:.0f} s {when}")

    def _said(self, word: str) -> Line:
        assert self._asker is not None
        return next(line for line in self._asker.said if line["say"] == word)

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        """An instrument that has failed makes what it saw unknown, and nothing else."""
        for instrument in self._running:
            with suppress(InstrumentError):
                instrument.tell_to_end()
        try:
            self._stack.__exit__(kind, value, trace)
        except InstrumentError as error:
            log.warning("%s", error.brief)
            self.unmeasured["what watched the move"] = error.brief

    @property
    def costs(self) -> list[InstrumentCost]:
        """What each took, once all have ended."""
        return [InstrumentCost(name=each.name, **each.cost) for each in self._running]

    def events(self) -> list[Event]:
        """What figures are to know of the checks, once all have ended: which there were, and when they were asked."""
        if self._asker is None:
            return []
        words = [line for line in self._asker.said if line["say"] == "words"]
        if not words:
            return []
        asks = self._said("asks")
        found = [_event("watch begun", asks["began_ns"]), _event("watch ended", words[-1]["ended_ns"])]
        return [*found, *(_event("check", asks["began_ns"], check) for check in asks["checks"])]


def _event(name: str, at_ns: int, data: Mapping[str, Any] | None = None) -> Event:
    return Event(source="whimbrel", host=None, name=name, realtime_ns=None, seen_ns=at_ns, data=dict(data or {}))

"""Checks are asked while somebody else moves the service, in a process of its own that a move does not hold up.

It says which checks it asks (``asks``), those that were silent from the beginning (``silent``), and, a few times a second, how
they answer (``state``): whether all are steady, and whether all are as before in the last ``span_ns``. Told to end it writes
what became of every question (``series.CHECKS_SCHEMA``), and says the last words of each way to fail (``words``).
Run as ``python -m whimbrel.watch.asker CONFIGURATION``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from whimbrel.analysis.steadiness import as_before, span_ns, steady
from whimbrel.checks.check import Check, Tools
from whimbrel.checks.names import Names
from whimbrel.checks.registry import open_check
from whimbrel.checks.written import parsed
from whimbrel.errors import WhimbrelError
from whimbrel.events import Bus, Published, Sample
from whimbrel.records.series import write_series
from whimbrel.spec.checks import WrittenCheck
from whimbrel.system.child import Child, Readings, configuration
from whimbrel.watch.asking import Asking
from whimbrel.watch.command import raise_descriptor_limit
from whimbrel.watch.log import CheckLog, whole_frame
from whimbrel.watch.telling import Telling, told_of

_LOOK_S = 0.2


class _State:
    """How the checks answer just now, and what was usual when all were steady first."""

    def __init__(self, checks: Sequence[Check], logs: Sequence[CheckLog]) -> None:
        self._logs = logs
        self._spans_ns = [span_ns(check.rate_per_s) for check in checks]
        self._began_ns = time.monotonic_ns()
        self._usual_ns: list[int | None] | None = None

    def told(self) -> dict[str, Any]:
        """As ``state`` tells it."""
        now_ns = time.monotonic_ns()
        both = list(zip(self._logs, self._spans_ns, strict=True))
        settled = all(
            steady(log.ended_since(now_ns - 2 * span), log.oldest_open_ns, now_ns, span, self._began_ns) for log, span in both
        )
        if settled and self._usual_ns is None:
            self._usual_ns = [_longest_ns(log, self._began_ns) for log in self._logs]
        usual_ns = self._usual_ns or [None] * len(self._logs)
        returned = all(
            as_before(log.ended_since(now_ns - span), log.oldest_open_ns, now_ns, span, 0, usual)
            for (log, span), usual in zip(both, usual_ns, strict=True)
        )
        span = max(self._spans_ns, default=0)
        return {"at_ns": now_ns, "span_ns": span, "steady": settled, "as_before": returned}


def _longest_ns(log: CheckLog, since_ns: int) -> int | None:
    good = [each.ended_ns - each.due_ns for each in log.ended_since(since_ns) if each.good]
    return max(good, default=None)


async def _ask(child: Child, given: dict[str, Any]) -> None:
    """All of it. Checks that are silent from the beginning are left out: whoever needs them ends us then."""
    checks = [parsed(each if isinstance(each, str) else WrittenCheck.model_validate(each)) for each in given["checks"]]
    silent = await _cannot_be_asked(checks)
    asking = Asking([check for check in checks if check.name not in silent])
    names = [check.name for check in checks if check.name not in silent]
    silent |= {names[position]: words for position, words in (await asking.try_all()).items()}
    child.say("silent", checks=silent)
    if silent:
        await asking.stop(asyncio.Event())
        checks = [check for check in checks if check.name not in silent]
        asking = Asking(checks)
    began_ns = time.monotonic_ns()
    asking.start()
    state = _State(checks, asking.logs)
    child.say("asks", began_ns=began_ns, checks=[told_of(check) for check in checks])
    child.say("ready")
    with Bus() as bus:
        hand_on(bus)
        telling = asyncio.create_task(Telling(checks, asking.logs, bus).run())
        while not child.stopping:
            await asyncio.sleep(_LOOK_S)
            asking.check_alive()
            child.say("state", **state.told())
        telling.cancel()
        await asking.stop(asyncio.Event())
    write_series(whole_frame(asking.logs), given["output"])
    child.say("words", ended_ns=time.monotonic_ns(), words=[log.words for log in asking.logs])
    child.say_cost([], asking.looks)


async def _cannot_be_asked(checks: Sequence[Check]) -> dict[str, str]:
    """Those that this user, or this machine, cannot ask, with why, by their names."""
    found = {}
    for check in checks:
        try:
            await open_check(check, Tools(Names(), lambda: None)).close()
        except WhimbrelError as error:
            found[check.name] = error.in_one_line
    return found


def hand_on(bus: Bus) -> None:
    """To whoever looks on, where somebody does."""
    readings = Readings()
    if not readings.wanted:
        return

    def give(news: Sequence[Published]) -> None:
        for each in news:
            if isinstance(each, Sample):
                readings.give(t_ns=each.t_ns, **each.values)

    bus.subscribe("readings", give)


def main() -> None:
    """Asks until told to stop, then writes the series."""
    child = Child()
    raise_descriptor_limit()
    asyncio.run(_ask(child, configuration()))


if __name__ == "__main__":
    main()

"""The checks of a user's own service, as an instrument of its trial: asked from the vantage, as its users would.

To whoever listens each check is a viewer: it plays once it has been answered well. Run as
``python -m whimbrel.watch.as_instrument CONFIGURATION``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from whimbrel.checks.check import Check
from whimbrel.checks.written import parsed
from whimbrel.events import Bus
from whimbrel.records.series import write_series
from whimbrel.spec.checks import WrittenCheck
from whimbrel.system.child import Child, configuration
from whimbrel.watch.asker import hand_on
from whimbrel.watch.asking import Asking
from whimbrel.watch.command import raise_descriptor_limit
from whimbrel.watch.log import whole_frame
from whimbrel.watch.telling import Telling, told_of

_LOOK_S = 0.05
_TRY_AGAIN_S = 0.5
# Late answers are waited for as long as each check says, but no longer than whoever started us waits for our end.
_MOST_LATE_S = 15.0


def checks_in(given: dict[str, Any]) -> list[Check]:
    """The checks of a configuration, at the address that it names."""
    written = [check if isinstance(check, str) else WrittenCheck.model_validate(check) for check in given["checks"]]
    return [parsed(check, given["address"]) for check in written]


async def ask(checks: Sequence[Check], child: Child) -> tuple[Asking, list[float]]:
    """Asks until told to stop, once every check has been answered well; who asked, and how late its loop came round (s)."""
    asking = Asking(checks)
    child.say("ready")
    await _until_all_answer(asking, len(checks), child)
    asking.start()
    began_ns = time.monotonic_ns()
    child.say("watch begun", t_ns=began_ns)
    for check in checks:
        child.say("check", t_ns=began_ns, **told_of(check))
    with Bus() as bus:
        hand_on(bus)
        telling = asyncio.create_task(Telling(checks, asking.logs, bus).run())
        lateness_s = await _until_told(asking, child)
        telling.cancel()
    child.say("watch ended", t_ns=time.monotonic_ns())
    enough = asyncio.Event()
    asyncio.get_running_loop().call_later(_MOST_LATE_S, enough.set)
    await asking.stop(enough)
    return asking, lateness_s


async def _until_all_answer(asking: Asking, count: int, child: Child) -> None:
    playing: set[int] = set()
    while len(playing) < count and not child.stopping:
        silent = await asking.try_all()
        for position in range(count):
            if position not in silent and position not in playing:
                playing.add(position)
                child.say("playing", viewer=position + 1, t_ns=time.monotonic_ns())
            elif position in silent:
                child.say("failed", viewer=position + 1, t_ns=time.monotonic_ns(), reason=silent[position])
        if len(playing) < count:
            await asyncio.sleep(_TRY_AGAIN_S)


async def _until_told(asking: Asking, child: Child) -> list[float]:
    lateness_s = []
    while not child.stopping:
        due_s = time.monotonic() + _LOOK_S
        await asyncio.sleep(_LOOK_S)
        lateness_s.append(max(0.0, time.monotonic() - due_s))
        asking.check_alive()
    return lateness_s


def main() -> None:
    """Asks, then writes what became of every question."""
    child = Child()
    given = configuration()
    raise_descriptor_limit()
    asking, lateness_s = asyncio.run(ask(checks_in(given), child))
    write_series(whole_frame(asking.logs), given["output"])
    child.say_cost(lateness_s, asking.looks)


if __name__ == "__main__":
    main()

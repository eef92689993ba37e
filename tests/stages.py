"""A command in one of the stages of a campaign, made of what the real ones are made of: ``python -m tests.stages STAGE FOLDER``.

It says something again and again until there is a file ``enough``. It makes the file ``ready`` when it has come that far,
``told`` when a signal has come, ``removed`` when a clean-up has come to its end, and ``done`` at the end of all.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from whimbrel.cli.streams import hold_streams

hold_streams()

from tests.fakes import GUEST, FakeHost, FakeJournal, FakeTechnique  # noqa: E402
from whimbrel.cli import app  # noqa: E402
from whimbrel.cli.interrupts import Interrupts  # noqa: E402
from whimbrel.cli.terminal import Steps, complain  # noqa: E402
from whimbrel.errors import WhimbrelError  # noqa: E402
from whimbrel.images.store import ImageStore  # noqa: E402
from whimbrel.migrate.carry_out import carry_out  # noqa: E402
from whimbrel.migrate.technique import MoveRequest  # noqa: E402
from whimbrel.spec.migration import MigrationSpec  # noqa: E402
from whimbrel.system import ledger as ledgers  # noqa: E402
from whimbrel.system.ledger import Ledger  # noqa: E402

Say = Callable[[str], None]
# Only so that what nobody ends does not go on for ever.
PATIENCE_S = 600.0


def note_signals(folder: Path) -> None:
    """Says in a file that a signal has come, whoever listens to us; then it is handled as before."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        handler = signal.getsignal(number)
        assert callable(handler)

        def noted(number: int, frame: FrameType | None, handler: Callable[..., object] = handler) -> None:
            (folder / "told").touch()
            handler(number, frame)

        signal.signal(number, noted)


def work(folder: Path, say: Say) -> None:
    note_signals(folder)
    (folder / "ready").touch()
    until_s = time.monotonic() + PATIENCE_S
    while not (folder / "enough").exists() and time.monotonic() < until_s:
        say("working")
        time.sleep(0.02)


def make_images(folder: Path, say: Say, ledger: Ledger) -> None:
    ImageStore(say).ensure_named("image", {}, "an image", lambda out, _: work(folder, say))


def rest(folder: Path, say: Say, ledger: Ledger) -> None:
    # As a trial that takes what fails for a failure of its own.
    try:
        work(folder, say)
    except (WhimbrelError, OSError) as error:
        complain(f"the trial failed: {error}")


def move(folder: Path, say: Say, ledger: Ledger) -> None:
    a, b = FakeHost("a"), FakeHost("b")
    a.guests[GUEST.uuid] = "runs"
    request = MoveRequest(GUEST, a, b, 2**20, 2**20, MigrationSpec())
    technique = FakeTechnique([a, b], lambda _: work(folder, say))
    carry_out(technique, request, FakeJournal(), lambda: "pre-copy")


def clear_up(folder: Path, say: Say, ledger: Ledger) -> None:
    def remove(_: str) -> None:
        work(folder, say)
        (folder / "removed").touch()

    ledgers.register_undo("volume", remove)
    ledger.undo_all()


STAGES = {"images": make_images, "rest": rest, "moving": move, "clean-up": clear_up}


def stage(name: str, folder: Path) -> None:
    with Ledger("lab-stages") as ledger, Interrupts(ledger), Steps(1, 1.0) as steps:
        ledger.add("folder", str(folder / "made"))
        (folder / "made").mkdir()
        if name == "clean-up":
            ledger.add("volume", "a volume")
        try:
            STAGES[name](folder, steps.step, ledger)
        finally:
            ledger.undo_all()
        (folder / "done").touch()


if __name__ == "__main__":
    app.app.command()(stage)
    app.main()
    sys.exit("app.main ends the process")

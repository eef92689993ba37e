"""Where words go: results to stdout, progress and complaints to stderr."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable

from whimbrel.plain_text import visible
from whimbrel.records.store import CampaignFolder
from whimbrel.report.table import Table
from whimbrel.units import format_duration

# Columns of the main table that a terminal shows; the page shows all.
_TERMINAL_COLUMNS = ("scenario", "viewers", "succeeded", "total (s)", "ratio", "paper ratio", "QEMU downtime (ms)",
                     "blackout (ms)", "reachability gap (ms)", "service gap (ms)", "stalls in VLC")  # fmt: skip
_NARROWEST_TABLE = 100
_WIDTH_WITHOUT_TERMINAL = 160
# Nobody wonders so long; and who does is not told more often than that.
PATIENCE_S, AGAIN_S = 2.0, 10.0


def complain(text: str) -> None:
    """Writes an error to stderr."""
    print(f"whimbrel: {visible(text)}", file=sys.stderr, flush=True)


def print_table(table: Table, whole: bool = False) -> None:
    """The main table on stdout, or another one as a ``whole``; a narrow terminal gets a block of lines per arm instead."""
    positions = [position for position, column in enumerate(table.columns) if whole or column.heading in _TERMINAL_COLUMNS]
    console = Console(width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL, highlight=False, markup=False)
    if console.width < _NARROWEST_TABLE:
        for line in table.lines:
            for position in positions:
                print(f"{table.columns[position].heading}: {line[position]}")
            print()
        return
    shown = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for position in positions:
        shown.add_column(table.columns[position].heading, justify="left" if position == 0 else "right")
    for line in table.lines:
        shown.add_row(*(line[position] for position in positions))
    console.print(shown)


class _Bar(Progress):
    """A bar, and beneath it what else is shown."""

    beneath: RenderableType | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        """Returns them as they are shown, from above."""
        yield from super().get_renderables()
        if self.beneath is not None:
            yield self.beneath


class Steps:
    """Progress of long work on stderr: a bar with the time left on a terminal, plain lines elsewhere.

    Beneath the bar is room for more: it implements ``screen.Screen``.
    """

    def __init__(self, total: int, estimate_s: float) -> None:
        self._total = total
        self._estimate_s = estimate_s
        self._done = 0
        self._took_s = 0.0
        self._timed = 0
        self._began_s = time.monotonic()
        self.console = Console(stderr=True, highlight=False, markup=False)
        self._live = self.console.is_terminal
        self._bar = _Bar(
            TextColumn("{task.description}", markup=False), BarColumn(bar_width=20), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"), console=self.console, transient=True, disable=not self._live,
        )  # fmt: skip
        self._task = self._bar.add_task("starting", total=total, left="")

    def __enter__(self) -> Steps:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, shown: RenderableType) -> None:
        """Shows it beneath the bar."""
        self._bar.beneath = shown
        self._bar.refresh()

    def clear(self) -> None:
        """Shows the bar alone."""
        self._bar.beneath = None

    def step(self, text: str) -> None:
        """Shows what is being done now."""
        text = visible(text)
        if self._live:
            self._bar.update(self._task, description=text, left=self.left())
        else:
            print(f"[{format_duration(time.monotonic() - self._began_s):>12}] {text}", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Prints a line that stays on the screen."""
        if self._live:
            self.console.print(visible(text))
        else:
            self.step(text)

    def skip(self, pieces: int) -> None:
        """Counts pieces that were done before."""
        self._done += pieces
        self._bar.update(self._task, completed=self._done, left=self.left())

    def more(self, pieces: int) -> None:
        """Adds pieces to the work."""
        self._total += pieces
        self._bar.update(self._task, total=self._total)

    def done(self, took_s: float) -> None:
        """Counts one more piece as done."""
        self._done += 1
        self._took_s += took_s
        self._timed += 1
        self._bar.update(self._task, completed=self._done, left=self.left())

    def left(self) -> str:
        """About how long the rest will take."""
        each_s = self._took_s / self._timed if self._timed else self._estimate_s
        return f"about {format_duration(max(1, each_s * (self._total - self._done)))} left"


def notice() -> Callable[[str], None]:
    """Tells of single steps, for commands without a bar."""
    return complain


@contextmanager
def waiting(words: Callable[[], str]) -> Iterator[None]:
    """Says on stderr what takes so long, once it has taken a while, and again from time to time; nothing of what is quick."""
    ended = threading.Event()

    def speak() -> None:
        patience_s = PATIENCE_S
        while not ended.wait(patience_s):
            notice()(words())
            patience_s = AGAIN_S

    speaker = threading.Thread(target=speak, name="waiting", daemon=True)
    speaker.start()
    try:
        yield
    finally:
        ended.set()
        speaker.join()


@contextmanager
def reading(campaign: CampaignFolder) -> Iterator[Callable[[int], None]]:
    """While a campaign is read: what ``load_trials`` tells how many trials it has."""
    read, made = 0, campaign.made

    def told(done: int) -> None:
        nonlocal read
        read = done

    def words() -> str:
        return f"{read:,} of {made:,} trials of {campaign.folder} are read" if read < made else "working out what the trials show"

    with waiting(words):
        yield told

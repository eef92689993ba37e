"""What a terminal shows of a move and of a campaign, from what is published."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from whimbrel.cli import showing, terminal
from whimbrel.cli.live import observed
from whimbrel.cli.screen import Above, OwnScreen
from whimbrel.cli.showing import CampaignBar, MoveShown
from whimbrel.cli.terminal import Steps
from whimbrel.events import MORE_PLANNED, STEP, TRIAL_BEGUN, TRIAL_DONE, WATCHED, Published, Sample
from whimbrel.records.trial import Event


def told(name: str, **data: object) -> Event:
    return Event(source="whimbrel", host=None, name=name, realtime_ns=None, seen_ns=time.monotonic_ns(), data=data)


def qemu(host: str, name: str, **data: object) -> Event:
    # Two clocks cannot be read at one moment: a millisecond later it is surely after what was told before.
    return Event(source="qemu", host=host, name=name, realtime_ns=time.time_ns() + 10**6, seen_ns=time.monotonic_ns(), data=data)


def job(t_s: float, sent_mib: int, left_mib: int) -> Sample:
    row = {"t_ns": round(t_s * 1e9), "iteration": 2, "transferred_bytes": sent_mib << 20, "remaining_bytes": left_mib << 20,
           "dirty_pages_per_s": 256}  # fmt: skip
    return Sample("job", round(t_s * 1e9), row)


UNDER_WAY: list[Published] = [
    told(WATCHED, source="north", destination="east"),
    told("move called"),
    qemu("north", "MIGRATION", status="active"),
    job(1, 100, 31),
    job(2, 111, 20),
]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(showing, "say_at_once", lines.append)
    return lines


def test_a_move_is_shown_with_its_phase_its_round_and_what_is_left(shown: list[str]) -> None:
    line = MoveShown(OwnScreen())
    line.observe(UNDER_WAY)
    # 11 MiB in the last second and 1 MiB dirtied: 20 MiB are gone in 2 s.
    words = "pre-copy round 2 111 MiB sent 20 MiB left 256 pages/s dirtied about 2 s to go (2 s to 2 s)"
    assert [text[9:].split() for text in shown] == [words.split()]


def test_it_is_shown_at_most_twice_a_second_and_not_once_it_has_returned(shown: list[str]) -> None:
    line = MoveShown(OwnScreen())
    line.observe(UNDER_WAY)
    line.observe([job(3, 112, 19)])
    assert len(shown) == 1
    eager = MoveShown(OwnScreen(), every_s=0)
    eager.observe(UNDER_WAY)
    eager.observe([job(3, 112, 19)])
    assert len(shown) == 3
    eager.observe([told("move returned"), job(4, 113, 18)])
    assert len(shown) == 3


def carrier(name: str) -> Event:
    return Event(
        source="carrier", host="north", name=name, realtime_ns=time.time_ns() + 10**6, seen_ns=time.monotonic_ns(), data={}
    )


def test_of_a_container_it_is_shown_what_its_carriers_say(shown: list[str]) -> None:
    line = MoveShown(OwnScreen())
    line.observe([*UNDER_WAY[:2], carrier("connected"), carrier("round 1")])
    assert [text[9:].split() for text in shown] == [["pre-copy", "round", "1"]]


def on_terminal(width: int, *batches: list[Published]) -> list[str]:
    """What is on a terminal of that width after each batch."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=width, color_system=None, highlight=False, markup=False)
    return seen_in(file, MoveShown(OwnScreen(console), every_s=0), *batches)


def seen_in(file: io.StringIO, line: MoveShown, *batches: list[Published]) -> list[str]:
    screens = []
    for batch in batches:
        before = file.tell()
        line.observe(batch)
        screens.append(file.getvalue()[before:])
    return screens


def plain(screen: str) -> list[str]:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", screen).splitlines()


def reading(now_ns: int) -> Sample:
    return Sample("player", now_ns, {"t_ns": now_ns, "viewer": [1], "packets": [1], "arrived_ns": [now_ns], "dropped": 0})


@pytest.mark.parametrize("width", [40, 120])
def test_on_a_terminal_it_is_shown_in_place_with_phases_and_viewers(width: int) -> None:
    now_ns = time.monotonic_ns()
    strip = [reading(now_ns + each * 200_000_000) for each in range(6)]
    [screen, end] = on_terminal(width, [*UNDER_WAY, *strip], [told("move returned")])
    lines = plain(screen)
    assert max(map(len, lines)) <= width
    assert [line.split()[0] for line in lines[1:] if line.strip()] == ["reservation", "pre-copy", "viewer"]
    # Five fifths of a second.
    assert lines[-1].rstrip().endswith(" ━━━━━")
    # Each of its lines is erased in the end, and what follows begins where it began.
    assert end.endswith("\x1b[1A\x1b[2K" * len(lines))


def on_campaign(monkeypatch: pytest.MonkeyPatch, width: int) -> tuple[io.StringIO, Steps]:
    """A bar on a terminal of that width."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=width, color_system=None, highlight=False, markup=False)
    monkeypatch.setattr(terminal, "Console", lambda **_: console)
    return file, Steps(2, 60.0)


@pytest.mark.parametrize("width", [40, 120])
def test_of_a_campaign_each_move_is_shown_beneath_the_bar(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    file, steps = on_campaign(monkeypatch, width)
    with steps:
        shown = MoveShown(steps, every_s=0)
        [screen, _] = seen_in(file, shown, [*UNDER_WAY, reading(time.monotonic_ns())], [told("move returned")])
        lines = plain(screen)[-5:]
        assert max(map(len, lines)) <= width
        assert [line.split()[0] for line in lines[2:]] == ["reservation", "pre-copy", "viewer"]
        before = file.tell()
        steps.step("writing the page")
        steps.clear()
        time.sleep(0.3)
        assert "viewer" not in file.getvalue()[before:]


def test_of_a_watch_all_is_shown_from_its_first_to_its_last_moment() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=60, color_system=None, highlight=False, markup=False)
    now_ns = time.monotonic_ns()
    states = [Sample("checks", now_ns + each * 200_000_000, {"states": {"web": state}})
              for each, state in enumerate(("good", "good", "silent", "failed", "good"))]  # fmt: skip
    begun = told(WATCHED, source=None, destination=None), told("move called")
    shown = MoveShown(OwnScreen(console), every_s=0, throughout=True)
    before, during, after = seen_in(
        file, shown, [told(STEP, text="watching until all is steady"), *states], list(begun), [told("move returned", exit_code=0)]
    )
    assert plain(before)[0].rstrip() == "watching until all is steady"
    name, strip = plain(before)[-1].split()
    assert (name, re.sub(r"(.)\1+", r"\1", strip)) == ("web", "━·x━")
    assert [line.split()[0] for line in plain(during)[-2:]] == ["command", "web"]
    assert plain(during)[-2].split() == ["command", "under", "way"]
    assert [line.split()[0] for line in plain(after)[-2:]] == ["command", "web"]


def test_what_a_command_prints_goes_above_by_lines() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=60, highlight=False, markup=False, color_system="standard")
    above = Above(console)
    for part in (b"one\ntw", b"o\n10 %\r20", b" %\r100 %\r\n", b"\x1b[31mred\x1b[0m\x1b[2J\x07 end"):
        above.take(part)
    assert file.getvalue() == "one\ntwo\n100 %\n"
    above.end()
    assert file.getvalue().splitlines()[3:] == ["\x1b[31mred\x1b[0m end"]
    above.end()
    assert len(file.getvalue().splitlines()) == 4


def test_a_campaign_is_shown_trial_by_trial(capsys: pytest.CaptureFixture[str]) -> None:
    bar = CampaignBar(Steps(2, 60.0), 2)
    bar.observe(
        [
            told(TRIAL_BEGUN, order=1, arm="vm", block=0),
            told(STEP, text="moving"),
            told(TRIAL_DONE, order=1, arm="vm", result="moved", succeeded=True, error=None),
            told(MORE_PLANNED, trials=[{}, {}, {}]),
            told(TRIAL_BEGUN, order=2, arm="nested", block=7),
            told(TRIAL_DONE, order=2, arm="nested", result="failed", succeeded=False, error="the link died"),
        ]
    )
    said = [line.partition("] ")[2] for line in capsys.readouterr().err.splitlines()]
    assert said[0] == "trial 1 of 2 (about 2 min left): vm, warm-up"
    assert said[1] == "moving"
    assert said[2].startswith("trial 2 of 5 (about ")
    assert said[2].endswith(" left): nested, block 7")
    assert said[3] == "trial 2 failed: the link died"


def test_what_an_observer_missed_is_said_when_all_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    def failing(news: object) -> None:
        raise OSError("no room")

    with observed() as bus:
        bus.subscribe("page", failing)
        bus.tell("first")
    assert capsys.readouterr().err == "whimbrel: the page missed 1 of 1 events and samples: it failed (OSError: no room)\n"

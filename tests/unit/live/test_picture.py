"""A picture is what was published; whoever was told up to some position is told the rest, and nothing twice."""

from __future__ import annotations

from typing import Any

from whimbrel.events import FIGURES, MORE_PLANNED, PLANNED, STEP, TRIAL_BEGUN, TRIAL_DONE, WATCHED, Sample
from whimbrel.live.picture import Picture, Position
from whimbrel.records.trial import Event

S = 1_000_000_000
# The wall clock is so far ahead of the monotonic one.
OFFSET_NS = 1_000 * S


def told(t_s: float, name: str, **data: Any) -> Event:
    return Event(source="whimbrel", host=None, name=name, realtime_ns=None, seen_ns=round(t_s * S), data=data)


def qemu(t_s: float, host: str, name: str, **data: Any) -> Event:
    # It was seen a tenth of a second later than QEMU says it was.
    return Event(
        source="qemu", host=host, name=name, realtime_ns=OFFSET_NS + round(t_s * S), seen_ns=round((t_s + 0.1) * S), data=data
    )


def job(t_s: float, sent: int, left: int, dirty: int | None = 0) -> Sample:
    row = {"t_ns": round(t_s * S), "iteration": 1, "transferred_bytes": sent, "remaining_bytes": left, "total_bytes": sent + left,
           "dirty_pages_per_s": dirty}  # fmt: skip
    return Sample("job", round(t_s * S), row)


def host(t_s: float, name: str, cpu_s: float, sent: int | None) -> Sample:
    row = {"t_ns": round(t_s * S), "subject": name, "cpu_s": cpu_s, "memory_bytes": 7, "net_received_bytes": None,
           "net_sent_bytes": sent, "disk_read_bytes": 0, "disk_written_bytes": 0}  # fmt: skip
    return Sample("sampler", round(t_s * S), row)


MOVE = [
    told(10, WATCHED, source="north", destination="east"),
    told(11, "move called"),
    qemu(11.5, "east", "MIGRATION", status="setup"),
    qemu(11.6, "north", "MIGRATION", status="active"),
    qemu(12, "north", "MIGRATION_PASS", **{"pass": 2}),
]
END = [
    qemu(15, "north", "STOP"),
    qemu(15.25, "east", "RESUME"),
    qemu(15.3, "east", "MIGRATION", status="completed"),
    told(15.6, "move returned"),
]


def picture(*news: Event | Sample) -> Picture:
    found = Picture("a move", 10 * S, OFFSET_NS)
    for each in news:
        found.take(each)
    return found


def test_phases_open_and_close_by_qemus_own_stamps() -> None:
    shown = picture(*MOVE).sections["move"]
    assert (shown["source"], shown["destination"], shown["called"], shown["returned"]) == ("north", "east", 1.0, None)
    assert shown["phases"] == [
        {"name": "reservation", "from": 1.0, "to": 1.5},
        {"name": "pre-copy", "from": 1.6, "to": None},
    ]
    assert shown["rounds"] == [{"number": 2, "from": 2.0}]
    ended = picture(*MOVE, *END).sections["move"]
    assert ended["phases"][1:] == [
        {"name": "pre-copy", "from": 1.6, "to": 5.0},
        {"name": "stop-and-copy", "from": 5.0, "to": 5.25},
        {"name": "commitment", "from": 5.3, "to": None},
        {"name": "activation", "from": 5.25, "to": None},
    ]
    assert ended["returned"] == 5.6


def test_the_next_move_is_shown_by_itself() -> None:
    shown = picture(*MOVE, job(13, 5, 5), *END, told(20, WATCHED, source="east", destination="north"), job(21, 1, 9))
    assert shown.sections["move"]["phases"] == []
    assert [row[0] for row in shown.series["job"].rows] == [11.0]


def test_the_expected_end_is_shown_with_its_bounds() -> None:
    # 20, 10 and 30 a second, of which one page of 4,096 bytes is dirtied again.
    shown = picture(
        *MOVE, job(12, 0, 400_000), job(13, 20_000, 380_000, 1), job(14, 30_000, 370_000, 1), job(15, 60_000, 340_000, 1)
    )
    found = shown.sections["job"]
    assert found["converges"] is True
    assert round(found["left_s"], 3) == round(340_000 / (30_000 - 4096), 3)
    assert found["least_s"] == found["left_s"]
    assert round(found["most_s"], 3) == round(340_000 / (10_000 - 4096), 3)
    stuck = picture(*MOVE, job(12, 0, 400_000, 1), job(13, 20_000, 380_000, 5)).sections["job"]
    assert (stuck["converges"], stuck["left_s"], stuck["most_s"]) == (False, None, None)


def test_counters_of_hosts_become_rates_and_what_was_not_read_is_unknown() -> None:
    shown = picture(host(10, "north", 1.0, 100), host(12, "north", 2.0, 300), host(13, "north", 2.0, None))
    series = shown.series["host north"]
    rows = [dict(zip(series.columns, row, strict=True)) for row in series.rows]
    assert [(row["t"], row["cpu"], row["net_out_bytes_per_s"], row["net_in_bytes_per_s"]) for row in rows] == [
        (2.0, 0.5, 100.0, None),
        (3.0, 0.0, None, None),
    ]


def test_a_campaign_is_shown_trial_by_trial_and_no_verdict() -> None:
    trials = [{"order": number, "arm": "vm", "block": 1, "made": number == 1} for number in (1, 2, 3)]
    more = [{"order": 4, "arm": "vm", "block": 2, "made": False}]
    shown = picture(
        told(10, PLANNED, trials=trials),
        told(11, TRIAL_BEGUN, order=2, arm="vm"),
        told(12, FIGURES, total_s=3.0, blackout_ms=None),
        told(12, TRIAL_DONE, order=2, arm="vm", result="failed", succeeded=False),
        told(13, TRIAL_BEGUN, order=3, arm="vm"),
        told(14, MORE_PLANNED, trials=more),
    )
    assert [(each["order"], each["state"]) for each in shown.sections["campaign"]["trials"]] == [
        (1, "done"), (2, "failed"), (3, "now"), (4, "to come"),
    ]  # fmt: skip
    assert shown.sections["figures"] == {"total_s": 3.0, "blackout_ms": None}
    assert set(shown.sections) == {"about", "steps", "campaign", "strips", "figures"}


def test_who_comes_late_is_told_the_whole_and_then_only_what_is_new() -> None:
    shown = picture(*MOVE, job(12, 1, 9), told(12, STEP, text="moving"))
    position: Position = {}
    message, position = shown.since(position)
    assert set(message["sections"]) == {"about", "steps", "move", "job"}
    assert message["series"]["job"]["anew"]
    assert shown.since(position) == ({}, position)
    shown.take(job(13, 2, 8))
    message, position = shown.since(position)
    assert set(message["sections"]) == {"job"}
    assert message["series"]["job"] == {"columns": ("t", "sent_bytes", "left_bytes", "dirty_bytes_per_s"), "anew": False,
                                        "rows": [[3.0, 2, 8, 0]]}  # fmt: skip
    shown.end(report=True)
    message, position = shown.since(position)
    assert message == {"sections": {"about": {"title": "a move", "ended": True, "report": True}}}


def test_a_series_that_grows_long_is_thinned_and_told_anew() -> None:
    shown = picture(*MOVE, *(job(12 + number / 20, number, 10_000 - number) for number in range(2400)))
    _, position = shown.since({})
    shown.take(job(500, 3000, 7000))
    message, position = shown.since(position)
    told_anew = message["series"]["job"]
    assert told_anew["anew"]
    assert len(told_anew["rows"]) == 1201
    assert (told_anew["rows"][0][0], told_anew["rows"][-1][0]) == (2.0, 490.0)


def strips(*news: Event | Sample) -> dict[str, Any]:
    found: dict[str, Any] = picture(*news).sections["strips"]["strips"]
    return found


def test_the_probe_is_silent_from_its_last_answer_until_the_next() -> None:
    def reading(t_s: float, last_s: float) -> Sample:
        return Sample("probe", round(t_s * S), {"sent": 1, "answered": 1, "last_answer_ns": round(last_s * S)})

    found = strips(reading(11, 11), reading(12, 11.9), reading(12.2, 12.0), reading(12.4, 12.0), reading(13, 12.9))
    assert found["probe"] == [[1.0, 2.0, "good"], [2.0, 2.4, "silent"], [2.4, 3.0, "good"]]


def test_each_viewer_has_a_strip_of_its_own() -> None:
    def reading(t_s: float, *last_s: float | None) -> Sample:
        values = {
            "viewer": [1, 2],
            "packets": [1, 1],
            "arrived_ns": [None if each is None else round(each * S) for each in last_s],
        }
        return Sample("player", round(t_s * S), values)

    lost = Event(source="player", host=None, name="lost", realtime_ns=None, seen_ns=13 * S, data={"viewer": 1})
    found = strips(reading(11, 11, None), reading(12, 12, 11.9), lost)
    assert found == {
        "viewer 1": [[1.0, 2.0, "good"], [2.0, 3.0, "failed"]],
        "viewer 2": [[1.0, 1.0, "silent"], [1.0, 2.0, "good"]],
    }


def test_checks_have_strips_and_more_than_fit_are_counted() -> None:
    states = {f"check {number}": "good" for number in range(250)}
    shown = picture(Sample("checks", 11 * S, {"results": {}, "latencies_s": {}, "states": states})).sections["strips"]
    assert (len(shown["strips"]), shown["left_out"]) == (200, 50)


def test_of_a_move_by_a_command_it_is_shown_that_it_runs() -> None:
    begun = told(10, WATCHED, source=None, destination=None, traceparent=None), told(11, "move called")
    assert picture(*begun).sections["move"]["phases"] == [{"name": "command", "from": 1.0, "to": None}]
    assert picture(*begun, told(12, "move returned", exit_code=0)).sections["move"]["phases"][0]["to"] == 2.0


def test_where_a_move_goes_may_be_learned_from_its_arrival() -> None:
    called = told(10, WATCHED, source="north", destination=None, traceparent=None)
    ended = picture(called, *MOVE[1:], *END).sections["move"]
    assert [phase["name"] for phase in ended["phases"]] == [
        "reservation", "pre-copy", "stop-and-copy", "commitment", "activation",
    ]  # fmt: skip
    assert ended["phases"][2] == {"name": "stop-and-copy", "from": 5.0, "to": 5.25}

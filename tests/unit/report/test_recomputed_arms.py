"""Every figure of an arm, limit and instrument of a published campaign, computed again from its tables alone, by other means.

| on the page and in the summary | program | here |
|---|---|---|
| medians of an arm, at rest, of instruments | NumPy | ``median`` in SQL |
| their intervals | SciPy's ``quantile_test`` | binomial sums with ``math.comb`` |
| success rate, Clopper and Pearson's interval | SciPy's ``binomtest`` | quantiles of the beta distribution |
| ratio to the first scenario, and the paper's | Python | SQL |
| stalls, time stalled, start-up by player buffer | sums over a trial's viewers in Python | SQL over the table of playbacks |
| MOS, of each viewer and of the worst | ``analysis.opinion`` | Hossfeld's formula, written otherwise |
| a trial's service gap | the worst viewer, in Python | SQL over the table of viewers |
| limits: p50 and its like, min, max | NumPy's ``median_unbiased``, Wilks's count | Hyndman and Fan's type 8 by hand, 1 - q^n |
| figure 11: every trial, intervals of medians | rows of the chart | SQL, binomial sums |
| every trial of every arm: which of them count | rows of the chart | SQL |
| main table, costs at rest, instruments, every trial, every viewer | templates | the page's text against the above |

The line of medians in figure 11 and the marks of medians among every trial are drawn in the browser, from rows looked at here.
Charts over time show one trial each and no statistic. Throughput and seconds of low throughput are shown for each viewer only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest

from tests import textbook
from tests.published import Published, numbers
from whimbrel.spec.evidence import FIGURES as FIGURES_OF_MOVES

FIGURES = (*FIGURES_OF_MOVES, "rounds")
# A campaign that was published before its arms had these cannot show them.
LATER = ("link_bytes", "source_cpu_s", "destination_cpu_s")
CPU = {"source_cpu_s": "source CPU (s)", "destination_cpu_s": "destination CPU (s)"}
AT_REST = {
    "guest_memory_used_bytes": "rest_memory_used_bytes",
    "guest_cached_bytes": "rest_cached_bytes",
    "qemu_memory_bytes": "rest_qemu_memory_bytes",
    "state_memory_bytes": "rest_state_memory_bytes",
    "disk_used_bytes": "rest_disk_used_bytes",
    "cpu_cores": "rest_cpu_cores",
}
# Of each trial and buffer: over all its viewers, and only when each of them has an answer.
PLAYBACKS = """
    select {figure} from (
        select trial, count(*) as n, sum(p.stalls) as stalls, count(p.startup_s) as started,
            case when count(p.stalled_s) = count(*) then sum(p.stalled_s) end as stalled_s,
            case when count(p.startup_s) = count(*) then max(p.startup_s) end as startup_s,
            list(struct_pack(stalls := p.stalls, stalled_s := p.stalled_s)) as each
        from playbacks p join counting t using (trial)
        where t.arm = '{arm}' and p.protocol = 'rtmp' and p.buffer_s = {buffer} and t.measured
        group by trial, t.viewers having count(*) = t.viewers
    ) order by trial
"""


def same_spread(found: dict[str, Any], values: Sequence[float | None], independent: bool = True) -> None:
    known = [float(value) for value in values if value is not None]
    assert found["known"] == len(known)
    ends = textbook.median_interval(known) if known and independent and not found.get("unended") else None
    assert (found["interval"] is None) == (ends is None)
    if ends is not None:
        assert (found["interval"]["low"], found["interval"]["high"]) == pytest.approx(ends)
        assert found["interval"]["confidence"] == 0.95
    if known:
        assert (found["least"], found["greatest"]) == pytest.approx((min(known), max(known)))


def says(cell: str, spread: dict[str, Any], divisor: float = 1) -> None:
    """The cell has the median, and the interval or the ends, each rounded as it is shown; before them what has only a bound."""
    if spread.get("unended"):
        bound, _, cell = cell.partition("; ")
        assert bound == f"at least {spread['at_least'] / divisor:.0f} in {spread['unended']}"
        counted, _, cell = cell.removeprefix("in ").partition(" ")
        assert int(counted) == spread["known"]
    if spread["median"] is None:
        assert cell == "–"
        return
    ends = spread["interval"] or {"low": spread["least"], "high": spread["greatest"]}
    shown = numbers(cell.replace("95 %", ""))
    expected = [value / divisor for value in (spread["median"], ends["low"], ends["high"])][: len(shown)]
    assert len(shown) in (1, 3)
    for text, value in zip(shown, expected, strict=True):
        assert float(text) == pytest.approx(value, abs=0.501 * 10.0 ** -len(text.partition(".")[2]))


def columns_of(published: Published, table: str) -> list[str]:
    return published.column(f"select column_name from (describe {table})")


def figures_of(published: Published) -> list[str]:
    have_them = "source_cpu_s" in columns_of(published, "trials")
    return [figure for figure in FIGURES if have_them or figure not in LATER]


def test_arms_have_their_trials_and_medians(published: Published) -> None:
    assert {arm["name"] for arm in published.summary["arms"]} == set(published.column("select distinct arm from counting"))
    for arm in published.summary["arms"]:
        for figure in figures_of(published):
            where = f"from counting where arm = '{arm['name']}' and measured"
            same_spread(arm[figure], published.column(f"select {figure} {where}"))
            assert arm[figure]["median"] == pytest.approx(published.column(f"select median({figure}) {where}")[0])
            bound = f"{figure.removesuffix('_ms')}_at_least_ms"
            if bound in columns_of(published, "trials"):
                found = published.ask(f"select count({bound}), max({bound}) {where}")
                assert found == [(arm[figure]["unended"], arm[figure]["at_least"])]


def test_success_rates_are_clopper_and_pearsons(published: Published) -> None:
    for arm in published.summary["arms"]:
        ((tried, well, measured),) = published.ask(
            "select count(*), count(*) filter (result in ('moved', 'stayed')), count(*) filter (measured)"
            f" from counting where arm = '{arm['name']}'"
        )
        assert (arm["trials"], arm["moved"], arm["measured"]) == (tried, well, measured)
        assert arm["success"]["share"] == pytest.approx(well / tried)
        interval = arm["success"]["interval"]
        assert (interval["low"], interval["high"]) == pytest.approx(textbook.clopper_pearson(well, tried))


def test_ratios_are_to_the_first_arm_of_the_first_scenario(published: Published) -> None:
    arms = published.summary["arms"]
    for arm in arms:
        (ratio,) = published.column(
            f"select median(total_s) filter (arm = '{arm['name']}' and measured)"
            f" / median(total_s) filter (arm = '{arms[0]['name']}' and measured) from counting"
        )
        assert arm["ratio"] == (None if ratio is None else pytest.approx(ratio))
        times = arm["published_total_s"], arms[0]["published_total_s"]
        assert arm["published_ratio"] == (None if None in times else pytest.approx(times[0] / times[1]))


def test_stalls_and_opinions_are_those_of_the_playbacks(published: Published) -> None:
    for stalls, stalled_s, opinion in published.ask("select stalls, stalled_s, stalling_mos from playbacks"):
        # Of a stall whose end was not seen nobody knows how bad it was.
        assert opinion == (None if stalled_s is None else pytest.approx(textbook.stalling_mos(stalls, stalled_s)))
    for arm in published.summary["arms"]:
        for buffer in arm["stalls"]:
            asked = {"arm": arm["name"], "buffer": buffer}
            for figure in ("stalls", "stalled_s", "startup_s"):
                values = published.column(PLAYBACKS.format(figure=figure, **asked))
                same_spread(arm[figure][buffer], values)
            worst = [
                min(textbook.stalling_mos(viewer["stalls"], viewer["stalled_s"]) for viewer in viewers)
                for viewers in published.column(PLAYBACKS.format(figure="each", **asked))
                if all(viewer["stalled_s"] is not None for viewer in viewers)
            ]
            same_spread(arm["stalling_mos"][buffer], worst)


def test_a_trials_service_gap_is_that_of_its_worst_viewer(published: Published) -> None:
    rows = published.ask(
        "select any_value(t.service_gap_ms), max(v.service_gap_ms), count(v.service_gap_ms) = count(*) from viewers v"
        " join trials t using (trial) where v.protocol = 'rtmp' group by trial"
    )
    for gap, worst, all_known in rows:
        assert gap == (pytest.approx(worst) if all_known else None)


def at_rest_title(arm: dict[str, Any]) -> str:
    """An arm's scenario, and what is in its guest besides."""
    parts = [part for part in arm["particulars"].split(", ") if part.startswith("form ") or part.endswith(" idle beside it")]
    return str(arm["title"]) + (f" ({', '.join(parts)})" if parts else "")


def test_costs_at_rest_are_over_all_trials(published: Published) -> None:
    for cost, cells in zip(published.summary["at_rest"], published.shown("rest"), strict=True):
        arms = [f"'{arm['name']}'" for arm in published.summary["arms"] if at_rest_title(arm) == cost["title"]]
        where = f"from trials where arm in ({', '.join(arms)})"
        for name, column in AT_REST.items():
            # Arms that start from one saved state have its memory in common: no interval can be claimed.
            same_spread(cost[name], published.column(f"select {column} {where}"), independent=False)
            assert cost[name]["median"] == pytest.approx(published.column(f"select median({column}) {where}")[0])
        assert cells[0] == cost["title"]
        for cell, name in zip(cells[1:], AT_REST, strict=True):
            says(cell, cost[name], 1 if name == "cpu_cores" else 2**20)


def test_costs_of_instruments_are_over_all_trials(published: Published) -> None:
    found = published.summary["instruments"]
    assert [cost["instrument"] for cost in found] == published.column("select distinct instrument from instruments order by 1")
    # A page that was published before instruments told of their holes ends with the lateness.
    names = ("cpu_s", "jitter_p50_ms", "jitter_p99_ms", *(("largest_hole_ms",) if "largest_hole_ms" in found[0] else ()))
    for cost, cells in zip(found, published.shown("instruments"), strict=True):
        for name, cell in zip(names, cells[1:], strict=True):
            where = f"from instruments where instrument = '{cost['instrument']}'"
            same_spread(cost[name], published.column(f"select {name} {where}"), independent=False)
            assert cost[name]["median"] == pytest.approx(published.column(f"select median({name}) {where}")[0])
            says(cell, cost[name])


def test_limits_hold_what_the_table_says(published: Published) -> None:
    for tick in published.summary["limits"]:
        match = re.fullmatch(r"(\w+) of (\w+) ([<>]=?) (\S+)", tick["limit"])
        assert match is not None
        statistic, figure, sign, bound = match.groups()
        values = published.column(f"select {figure} from counting where arm = '{tick['arm']}'")
        share = float(statistic[1:]) / 100 if statistic[0] == "p" else None
        if None in values or (share is not None and share > 0.5 and 1 - share ** len(values) < 0.95):
            assert (tick["value"], tick["kept"]) == (None, False)
            continue
        outermost = min(values) if statistic == "min" else max(values)
        value = outermost if share is None else textbook.quantile_type_8(values, share)
        assert tick["value"] == pytest.approx(value)
        assert tick["kept"] == {"<": value < float(bound), ">": value > float(bound),
                                "<=": value <= float(bound), ">=": value >= float(bound)}[sign]  # fmt: skip
    for line, tick in zip(published.items("ticks"), published.summary["limits"], strict=True):
        said = f"{'✓' if tick['kept'] else '✗'} {tick['arm']}: {tick['limit']} "
        assert line == said + (f"({tick['reason']})" if tick["value"] is None else f"(it is {tick['value']:.6g})")


def test_the_pages_main_table_says_the_same(published: Published) -> None:
    for cells, arm in zip(published.shown("main"), published.summary["arms"], strict=True):
        assert cells[0].startswith(arm["title"])
        tries = f"{arm['moved']} of {arm['trials']}"
        assert cells[2].startswith(tries)
        if arm["trials"] >= 6:
            ends = textbook.clopper_pearson(arm["moved"], arm["trials"])
            assert cells[2].endswith(f"[{ends[0]:.0%} to {ends[1]:.0%}]")
        assert cells[4] == ("–" if arm["ratio"] is None else f"{arm['ratio']:.2f}")
        assert cells[6] == ("–" if arm["published_ratio"] is None else f"{arm['published_ratio']:.2f}")
        says(cells[3], arm["total_s"])
        for cell, figure in zip(cells[7:12], FIGURES[1:6], strict=True):
            says(cell, arm[figure])
        line = dict(zip(published.headings("main"), cells, strict=True))
        says(line["moved (MiB)"], arm["transferred_bytes"], 2**20)
        says(line["rounds"], arm["rounds"])
        for figure in CPU.keys() & figures_of(published):
            says(line[CPU[figure]], arm[figure])
        for buffer, cell in zip(sorted(arm["stalls"], key=float), cells[12:], strict=False):
            stalls, stalled_s, opinion = (arm[name][buffer] for name in ("stalls", "stalled_s", "stalling_mos"))
            if stalls["median"] is None:
                assert cell == "–"
                continue
            some = [f"{stalls['median']:g}", f"{1e3 * stalled_s['median']:.0f}"] if stalls["greatest"] else []
            bound = [f"{1e3 * stalled_s['at_least']:.0f}", f"{stalled_s['unended']}"] if stalled_s.get("unended") else []
            assert numbers(cell) == [*some, f"{opinion['median']:.1f}", *bound]


def test_figure_11_has_every_trial_and_the_intervals_of_the_medians(published: Published) -> None:
    known = {trial: (arm, total_s) for trial, arm, total_s in published.ask(
        "select trial, arm, total_s from counting where total_s is not null and viewers > 0"
    )}  # fmt: skip
    dots = published.rows_of("series", "viewers", "total_s", "trial")
    assert {dot["trial"]: dot["total_s"] for dot in dots} == {trial: round(total_s, 3) for trial, (_, total_s) in known.items()}
    bars = {(bar["series"], bar["viewers"]): bar for bar in published.rows_of("series", "viewers", "low", "high")}
    for dot in dots:
        arm = known[dot["trial"]][0]
        ends = textbook.median_interval([total_s for of, total_s in known.values() if of == arm])
        bar = bars.get((dot["series"], dot["viewers"]))
        assert (bar is None) == (ends is None)
        assert bar is None or (bar["low"], bar["high"]) == pytest.approx(ends, abs=0.00051)


def test_the_chart_of_every_trial_marks_those_that_count(published: Published) -> None:
    evidence = published.summary["evidence"]
    if evidence is None:
        return
    dots = published.rows_of("arm", "order", "block", "value", "counted", "way")
    figure = evidence["figure"]
    known = published.ask(f"select trial, {figure}, trial in (select trial from counting) from trials where {figure} is not null")
    assert {dot["order"]: dot["value"] for dot in dots} == {trial: round(float(value), 4) for trial, value, _ in known}
    assert {dot["order"] for dot in dots if dot["counted"] == "counts"} == {trial for trial, _, counts in known if counts}


def test_every_trial_on_the_page_is_in_the_table(published: Published) -> None:
    rows = published.ask(
        "select trial, arm, source, destination, state_boot, total_s, blackout_ms, service_gap_ms, service_gap_usual_ms,"
        " link_bytes / 1048576, 100 * vcpu_wait_share_during, reach_before_ok, reach_before_failed from trials order by trial"
    )
    bounds = bounds_of(published, "trials", "null")
    for cells, row in zip(published.shown("trials"), rows, strict=True):
        trial, arm, source, destination, boot, *figures = row
        assert cells[:2] == [str(trial), arm]
        assert cells[3:5] == [f"{source.upper()} to {destination.upper()}", str(boot)]
        forms = ("{:.2f}", "{:.1f}", "{:.0f}", "{:.0f}", "{:.0f}", "{:.1f} %")
        bound = bounds.get((trial, None))
        assert cells[6:12] == [filled(form, value, bound if at == 2 else None)
                               for at, (form, value) in enumerate(zip(forms, figures, strict=False))]  # fmt: skip
        ok, failed = figures[6:]
        assert cells[12].split(",")[0] == ("–" if ok is None else f"{ok:.0f}/{ok + failed:.0f}")


def test_every_viewer_on_the_page_is_in_the_table(published: Published) -> None:
    rows = published.ask(
        "select trial, arm, viewer, service_gap_ms, usual_silence_ms, throughput_bytes_per_s * 8 / 1000, low_s, connections_lost"
        " from viewers where protocol = 'rtmp' order by trial, viewer"
    )
    forms = ("{}", "{}", "{}", "{:.0f}", "{:.0f}", "{:.0f}", "{:.1f}", "{:.0f}")
    bounds = bounds_of(published, "viewers", "viewer")
    for cells, row in zip(published.shown("viewers"), rows, strict=True):
        bound = bounds.get((row[0], row[2]))
        assert cells[:8] == [filled(form, value, bound if at == 3 else None)
                             for at, (form, value) in enumerate(zip(forms, row, strict=True))]  # fmt: skip


def bounds_of(published: Published, table: str, viewer: str) -> dict[tuple[int, int | None], float]:
    """The lower bounds of service gaps that had not ended with the recording; older campaigns have none."""
    if "service_gap_at_least_ms" not in columns_of(published, table):
        return {}
    question = f"select trial, {viewer}, service_gap_at_least_ms from {table} where service_gap_at_least_ms is not null"
    found = {(trial, number): bound for trial, number, bound in published.ask(question)}
    # The campaign that is made up has a stream that never comes back.
    assert found
    return found


def filled(form: str, value: float | str | None, at_least: float | None = None) -> str:
    if value is None and at_least is not None:
        return f"at least {form.format(at_least)}"
    return "–" if value is None else form.format(value)

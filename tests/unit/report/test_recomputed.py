"""Every verdict of a published campaign, computed again from its exported tables alone, by other means than the program's own.

| on the page and in the summary | program | here |
|---|---|---|
| blocks that count, or would with nothing left out | Python | SQL over the table of trials |
| ratio (Hodges-Lehmann) | NumPy | Walsh averages written out |
| its interval | sums of ranks, one by one | every centre at and between Walsh averages, all 2^n sign flips at each |
| p: different | sums of ranks, one by one | all 2^n sign flips, and SciPy's ``permutation_test`` |
| p: equivalent (two one-sided tests) | the same | all 2^n sign flips at both edges of the margin |
| adjusted p (Holm) | statsmodels | by hand |
| medians by block and by saved state | trials drawn with replacement | multinomial weights and weighted medians |
| overlap (Cliff's delta) | SciPy's ``mannwhitneyu`` | pairs counted in SQL |
| "about n more blocks" | Noether's formula, own test on simulated campaigns | SciPy's ``wilcoxon`` on other simulated campaigns |
| the words of each verdict, the table and the chart of ratios | templates | the page's text against the above |

What arms, limits, instruments and figure 11 say is computed again in ``test_recomputed_arms``.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from tests import textbook
from tests.published import Published, numbers

Verdict = dict[str, Any]
WHOLE = "group by block having count(distinct arm) = (select count(distinct arm) from trials) order by block"


def good_blocks(published: Published) -> list[int]:
    """Those that hold every arm and were not spoilt, as many as were promised."""
    whole = published.column(f"select block from counting {WHOLE}")
    return whole[: published.summary["evidence"]["blocks_promised"]]


def planned_blocks(published: Published) -> list[int]:
    """Those that were planned at the start, spoilt or not."""
    whole = published.column(f"select block from trials where counts and repeats_block is null {WHOLE}")
    return whole[: published.summary["evidence"]["blocks_promised"]]


def verdicts(published: Published) -> list[tuple[Verdict, list[float]]]:
    """Each verdict of the summary, with the log ratios within the blocks that count, from the table."""
    evidence = published.summary["evidence"]
    if evidence is None:
        return []
    return [(verdict, logs(published, verdict, good_blocks(published))) for verdict in evidence["verdicts"]]


def logs(published: Published, verdict: Verdict, blocks: list[int]) -> list[float]:
    figure = verdict["figure"]
    return published.column(
        f"select ln(median(x.{figure}) / median(y.{figure})) from trials x join trials y using (block)"
        f" where x.counts and y.counts and x.arm = '{verdict['arm']}' and y.arm = '{verdict['over']}'"
        f" and x.{figure} > 0 and y.{figure} > 0 and block in ({listed(blocks)}) group by block order by block"
    )


def listed(blocks: list[int]) -> str:
    return ", ".join(map(str, blocks))


def ends(interval: dict[str, float] | None) -> tuple[float, float] | None:
    return (interval["low"], interval["high"]) if interval else None


def standing(published: Published, values: list[float]) -> list[float]:
    """The ends of the interval of a ratio, from its logarithms; none where there are too few."""
    found = textbook.centres_not_rejected(values, published.summary["evidence"]["error"])
    return [math.exp(end) for end in found or ()]


def adjusted(published: Published, rows: list[list[float]]) -> list[tuple[float, float]]:
    """Both p-values of each verdict, from its log ratios."""
    margin = published.summary["evidence"]["margin"] if rows else 0.0
    different = textbook.holm([textbook.sign_flips(values)[2] for values in rows])
    return list(zip(different, textbook.holm([textbook.not_equivalent_p(values, margin) for values in rows]), strict=True))


def test_the_other_means_are_those_of_the_textbooks() -> None:
    # Hollander, Wolfe and Chicken, examples 3.1 to 3.4: depression before and after, T+ = 5, P = 0.020, -0.46, [-0.786, -0.010].
    change = [-0.952, 0.147, -1.022, -0.430, -0.620, -0.590, -0.490, 0.080, -0.010]
    assert textbook.sign_flips(change)[1] == pytest.approx(10 / 512)
    assert textbook.hodges_lehmann(change) == pytest.approx(-0.46)
    assert textbook.centres_not_rejected(change, 0.05) == pytest.approx((-0.786, -0.010))
    # Conover, table A3: of 9 figures the 2nd and the 8th; of 5 there is no interval.
    assert textbook.median_interval(range(1, 10)) == (2, 8)
    assert textbook.median_interval(range(5)) is None
    # 10 of 10, as any table has it, and a quantile between two figures.
    assert textbook.clopper_pearson(10, 10) == pytest.approx((0.6915, 1), abs=1e-4)
    assert textbook.quantile_type_8([1, 2, 3, 4], 0.5) == pytest.approx(2.5)
    assert textbook.holm([0.04, 0.01, 1, 0.03]) == pytest.approx([0.09, 0.04, 1, 0.09])


def test_ratios_are_hodges_and_lehmanns(published: Published) -> None:
    for verdict, values in verdicts(published):
        assert published.summary["evidence"]["blocks"] == len(good_blocks(published))
        assert verdict["blocks"] == len(values)
        assert verdict["blocks"] + verdict["blocks_left_out"] == len(good_blocks(published))
        assert verdict["ratio"] == pytest.approx(math.exp(textbook.hodges_lehmann(values)))


def test_intervals_hold_every_ratio_that_all_sign_flips_leave_standing(published: Published) -> None:
    for verdict, values in verdicts(published):
        assert list(ends(verdict["interval"]) or ()) == pytest.approx(standing(published, values))


def test_p_values_are_those_of_all_sign_flips_adjusted_by_hand(published: Published) -> None:
    found = verdicts(published)
    for _, values in found:
        assert textbook.sign_flips(values)[2] == pytest.approx(textbook.permuted_p(values))
    for (verdict, _), (p_different, p_equivalent) in zip(
        found, adjusted(published, [values for _, values in found]), strict=True
    ):
        error = published.summary["evidence"]["error"]
        assert (verdict["p_different"], verdict["p_equivalent"]) == pytest.approx((p_different, p_equivalent))
        assert (verdict["different"], verdict["equivalent"]) == (p_different <= error, p_equivalent <= error)


def test_what_had_been_shown_with_nothing_left_out(published: Published) -> None:
    evidence = published.summary["evidence"]
    undone = evidence["verdicts_with_nothing_left_out"] if evidence else []
    assert bool(undone) == bool(evidence and evidence["spoilt"])
    rows = [logs(published, verdict, planned_blocks(published)) for verdict in undone]
    for verdict, values, p_values in zip(undone, rows, adjusted(published, rows), strict=True):
        assert verdict["ratio"] == pytest.approx(math.exp(textbook.hodges_lehmann(values)))
        assert (verdict["p_different"], verdict["p_equivalent"]) == pytest.approx(p_values)
        assert verdict["words"] in published.said_after("With nothing left out:")


def test_overlap_is_counted_pair_by_pair(published: Published) -> None:
    for verdict, _ in verdicts(published):
        figure, blocks = verdict["figure"], listed(good_blocks(published))
        (delta,) = published.column(
            f"select avg(sign(x.{figure} - y.{figure})) from counting x, counting y where x.{figure} > 0 and y.{figure} > 0"
            f" and x.arm = '{verdict['arm']}' and y.arm = '{verdict['over']}' and x.block in ({blocks}) and y.block in ({blocks})"
        )
        assert verdict["overlap"] == pytest.approx(delta)


@pytest.mark.parametrize(("name", "cluster"), [("medians_by_block", "block"), ("medians_by_state", "saved_state")])
def test_bootstrap_intervals_are_those_of_clusters_weighed_by_how_often_they_are_drawn(
    published: Published, name: str, cluster: str
) -> None:
    for verdict, _ in verdicts(published):
        figure, found = verdict["figure"], verdict[name]
        rows = published.ask(
            f"select {figure}, arm = '{verdict['arm']}', {cluster}, string_agg(distinct arm, ' ' order by arm)"
            f" over (partition by {cluster}) from counting where arm in ('{verdict['arm']}', '{verdict['over']}')"
            f" and block in ({listed(good_blocks(published))}) and {figure} > 0"
        )
        values, ours, clusters, strata = zip(*rows, strict=True)
        side = np.array(ours)
        assert found["estimate"] == pytest.approx(np.median(np.array(values)[side]) / np.median(np.array(values)[~side]))
        least = min(len({each for each, own in zip(clusters, ours, strict=True) if own == which}) for which in (True, False))
        assert found["clusters"] == least
        assert (found["interval"] is None) == (least < 6)
        if found["interval"] is None:
            continue
        share = textbook.tail_share(least)
        # Both were drawn at random: 2,000 times there, 20,000 times here.
        slack = 3.5 * math.sqrt(share * (1 - share) * (1 / 2_000 + 1 / 20_000))
        inner, outer = share + slack, max(0.0, share - slack)
        drawn = np.quantile(textbook.redrawn(values, ours, clusters, strata), [outer, inner, 1 - inner, 1 - outer])
        assert drawn[0] * 0.9999 <= found["interval"]["low"] <= drawn[1] * 1.0001
        assert drawn[2] * 0.9999 <= found["interval"]["high"] <= drawn[3] * 1.0001


def test_about_as_many_more_blocks_decide_it_in_simulated_campaigns(published: Published) -> None:
    for verdict, values in verdicts(published):
        if verdict["more_blocks"] is None:
            continue
        evidence = published.summary["evidence"]
        error = evidence["error"] / len(evidence["verdicts"])
        about = textbook.hodges_lehmann(values), float(np.std(values, ddof=1))
        count = verdict["blocks"] + verdict["more_blocks"]
        assert max(textbook.power_to_decide(*about, count, evidence["margin"], error)) > 0.76
        if verdict["more_blocks"] > 1:
            assert max(textbook.power_to_decide(*about, round(0.7 * count), evidence["margin"], error)) < 0.8


def test_the_pages_words_say_the_same(published: Published) -> None:
    found = verdicts(published)
    both = adjusted(published, [values for _, values in found])
    lines = published.items("verdicts") if found else []
    for line, (verdict, values), (p_different, p_equivalent) in zip(lines, found, both, strict=True):
        error, margin = (published.summary["evidence"][name] for name in ("error", "margin"))
        word = {
            (True, False): "different",
            (True, True): f"different, but within {100 * margin:g} %",
            (False, True): f"equivalent within {100 * margin:g} %",
            (False, False): "undecided",
        }[p_different <= error, p_equivalent <= error]
        assert re.search(rf"\b{re.escape(verdict['hypothesis'])}: {word}(;| \()", line)
        assert f"ratio {math.exp(textbook.hodges_lehmann(values)):.3f}" in line
        assert f"from {len(values)} block" in line


def test_the_pages_table_of_evidence_says_the_same(published: Published) -> None:
    found = verdicts(published)
    both = adjusted(published, [values for _, values in found])
    for cells, (verdict, values), p_values in zip(published.shown("evidence"), found, both, strict=True):
        assert cells[:3] == [verdict["hypothesis"], f"{verdict['arm']} over {verdict['over']}", verdict["figure"]]
        assert cells[3] == f"{math.exp(textbook.hodges_lehmann(values)):.3f}"
        assert numbers(cells[4]) == [f"{end:.3f}" for end in standing(published, values)]
        assert cells[5:7] == ["< 0.0001" if p < 0.0001 else f"{p:.4f}" for p in p_values]
        assert cells[7] == str(len(values))
        for cell, name in zip(cells[8:10], ("medians_by_block", "medians_by_state"), strict=True):
            shown = [verdict[name]["estimate"], *(ends(verdict[name]["interval"]) or ())]
            assert numbers(cell) == [f"{value:.3f}" for value in shown]
        assert cells[10] == f"{verdict['overlap']:.2f}"


def test_the_chart_of_ratios_has_them_and_their_intervals(published: Published) -> None:
    rows = published.rows_of("hypothesis", "verdict", "ratio", "low", "high", "blocks")
    for row, (verdict, _) in zip(rows, verdicts(published), strict=True):
        low, high = ends(verdict["interval"]) or (None, None)
        assert (row["ratio"], row["low"], row["high"]) == pytest.approx((verdict["ratio"], low, high), abs=0.00006)

from __future__ import annotations

from whimbrel.analysis.steadiness import Recent, as_before, span_ns, steady

S, MS = 1_000_000_000, 1_000_000


def questions(from_ms: int, to_ms: int, takes_ms: float = 2, good: bool = True) -> list[Recent]:
    return [Recent(at * MS, round((at + takes_ms) * MS), good) for at in range(from_ms, to_ms, 50)]


def test_a_span_holds_five_questions() -> None:
    assert (span_ns(20), span_ns(1), span_ns(0.1)) == (2 * S, 5 * S, 50 * S)


def test_two_spans_alike_are_steady() -> None:
    assert steady(questions(0, 4_000), None, 4 * S, 2 * S, 0)
    assert steady([*questions(0, 2_000, 10), *questions(2_000, 4_000, 19)], None, 4 * S, 2 * S, 0)
    assert steady([*questions(0, 2_000, 0.1), *questions(2_000, 4_000, 1)], None, 4 * S, 2 * S, 0)


def test_what_is_not_steady() -> None:
    assert not steady([*questions(0, 2_000, 10), *questions(2_000, 4_000, 21)], None, 4 * S, 2 * S, 0)
    assert not steady([*questions(0, 3_950), *questions(3_950, 4_000, good=False)], None, 4 * S, 2 * S, 0)
    # Too early: the first span is not over since the watch began; nothing was asked; a question is out for too long.
    assert not steady(questions(0, 4_000), None, 4 * S, 2 * S, 1)
    assert not steady([], None, 4 * S, 2 * S, 0)
    assert not steady(questions(0, 4_000), 1_900 * MS, 4 * S, 2 * S, 0)
    assert steady(questions(0, 4_000), 2_100 * MS, 4 * S, 2 * S, 0)


def test_as_before() -> None:
    assert as_before(questions(5_000, 7_000), None, 7 * S, 2 * S, 5 * S, 2 * MS)
    assert as_before(questions(5_000, 7_000, 2), None, 7 * S, 2 * S, 5 * S, None)
    assert not as_before(questions(5_000, 7_000, 3), None, 7 * S, 2 * S, 5 * S, 2 * MS)
    assert not as_before([*questions(5_000, 6_950), *questions(6_950, 7_000, good=False)], None, 7 * S, 2 * S, 5 * S, 2 * MS)
    assert not as_before(questions(5_000, 7_000), 4_900 * MS, 7 * S, 2 * S, 5 * S, 2 * MS)
    # The command has not ended for as long as a span.
    assert not as_before(questions(0, 7_000), None, 7 * S, 2 * S, 5 * S + 1, 2 * MS)

"""Whether a service answers steadily, and whether it does so as it did before. Pure.

Steady: in each of two spans that follow one another every question was answered well, and their median latencies are alike:
within a factor of two, or a millisecond. As before: in the last span every question was answered well, and the median latency
is no more than the longest that was seen before. No distribution is assumed; a span holds five questions or more.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import NamedTuple

LEAST_SPAN_S = 2.0
LEAST_QUESTIONS = 5
_ALIKE_FACTOR = 2.0
_ALIKE_NS = 1_000_000


class Recent(NamedTuple):
    """A question that has ended: when it was due, when it ended, and whether it was answered well."""

    due_ns: int
    ended_ns: int
    good: bool


def span_ns(rate_per_s: float) -> int:
    """How long a span is, for so many questions a second."""
    return round(1e9 * max(LEAST_SPAN_S, LEAST_QUESTIONS / rate_per_s))


def steady(recent: Iterable[Recent], oldest_open_ns: int | None, now_ns: int, span: int, since_ns: int) -> bool:
    """Whether two spans up to now, both after ``since_ns``, are alike and without a failure."""
    if now_ns - 2 * span < since_ns or _overdue(oldest_open_ns, now_ns, span):
        return False
    medians = []
    for back in (2, 1):
        from_ns, to_ns = now_ns - back * span, now_ns - (back - 1) * span
        median_ns = _median_ns(question for question in recent if from_ns <= question.due_ns < to_ns)
        if median_ns is None:
            return False
        medians.append(median_ns)
    shorter, longer = sorted(medians)
    return longer <= shorter * _ALIKE_FACTOR or longer - shorter <= _ALIKE_NS


def as_before(
    recent: Iterable[Recent], oldest_open_ns: int | None, now_ns: int, span: int, since_ns: int, longest_before_ns: int | None
) -> bool:
    """Whether the last span, all of it after ``since_ns``, is without a failure and no slower than before."""
    if now_ns - span < since_ns or _overdue(oldest_open_ns, now_ns, span):
        return False
    median_ns = _median_ns(question for question in recent if now_ns - span <= question.due_ns < now_ns)
    return median_ns is not None and (longest_before_ns is None or median_ns <= max(longest_before_ns, _ALIKE_NS))


def _overdue(oldest_open_ns: int | None, now_ns: int, span: int) -> bool:
    """Whether a question is out since before the span: how it ends may yet be a failure."""
    return oldest_open_ns is not None and oldest_open_ns < now_ns - span


def _median_ns(questions: Iterable[Recent]) -> float | None:
    """The median latency; None where one has failed, or there are too few to tell."""
    ended = list(questions)
    if len(ended) < LEAST_QUESTIONS - 1 or not all(question.good for question in ended):
        return None
    return statistics.median(question.ended_ns - question.due_ns for question in ended)

"""Predicted against measured, on trials whose truth is known."""

from __future__ import annotations

import json

import pytest

from tests.campaigns import RECORDED, prediction_of
from whimbrel.analysis.counting import Trialled
from whimbrel.analysis.figures import derive
from whimbrel.analysis.predictor import compare, judge, record_of
from whimbrel.records.trial import Event, Prediction, TrialRecord
from whimbrel.spec.fields import RECORD

RAW = json.loads((RECORDED / "trials" / "0003-baseline" / "trial.json").read_text())


def trial(expected_s: float | None, total_s: float = 10.0, converges: bool | None = True, limit: str | None = None) -> Trialled:
    """The recorded trial as if it had taken so long, and so long had been expected."""
    record = TrialRecord.model_validate(RAW, context=RECORD)
    assert record.move is not None
    move = record.move.model_copy(update={"returned_ns": record.move.called_ns + round(total_s * 1e9)})
    prediction = Prediction.model_validate(prediction_of(expected_s or 0.0, move.called_ns) | {"converges": converges})
    if expected_s is None:
        prediction = prediction.model_copy(update={"total_s": None})
    events = list(record.events)
    if limit is not None:
        events.append(Event(source="whimbrel", host=None, name=limit, realtime_ns=None, seen_ns=move.called_ns + 1))
    changed = record.model_copy(update={"move": move, "prediction": prediction, "events": events})
    return Trialled(changed, derive(changed, {}))


def test_errors_are_shares_of_what_was_measured() -> None:
    found = record_of([trial(11.0), trial(10.0), trial(7.0), trial(None)])
    assert found is not None
    [total] = found.accuracies
    assert (total.figure, total.trials) == ("total", 3)
    assert total.median_error == pytest.approx(0.1)
    assert total.bias == pytest.approx(0.0)
    # 11 ± 1.1 and 10 ± 1 hold 10; 7 ± 0.7 does not.
    assert total.covered == pytest.approx(2 / 3)
    assert total.typical_width == pytest.approx(0.1)


def test_an_interval_holds_its_own_ends() -> None:
    [found] = compare(trial(10.0 / 1.1))
    assert found.inside
    assert found.error == pytest.approx(1 / 1.1 - 1)


@pytest.mark.parametrize(
    ("converges", "limit", "wrong", "ended"),
    [
        (True, None, False, True),
        (True, "stop and copy", True, False),
        (False, "stop and copy", False, False),
        (False, None, True, True),
        (None, "abort", False, False),
    ],
)
def test_a_verdict_is_wrong_when_it_was_said_and_was_not_so(
    converges: bool | None, limit: str | None, wrong: bool, ended: bool
) -> None:
    found = judge(trial(10.0, converges=converges, limit=limit))
    assert found is not None
    assert (found.wrong, found.ended) == (wrong, ended)


def test_words_name_the_trials_that_were_foreseen_wrongly() -> None:
    found = record_of([trial(10.0), trial(10.0, limit="stop and copy"), trial(10.0, converges=None)])
    assert found is not None
    assert found.verdict == (
        "Will it converge? Of 3 pre-copy moves: 1 foreseen rightly, 1 left open, 1 foreseen wrongly: 3 (baseline)."
    )
    assert found.words[1] == (
        "Predicted total: off by 0.0% (median), 0.0% (95th percentile) of 3 moves; 100% lay inside the interval."
    )


def test_nothing_is_said_of_a_campaign_without_predictions() -> None:
    record = TrialRecord.model_validate(RAW, context=RECORD)
    assert record_of([Trialled(record, derive(record, {}))]) is None

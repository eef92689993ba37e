import random
from collections.abc import Callable

import pytest
from benchmarks.pairs import ratio, take_turns


def test_every_way_has_its_turn_in_every_round() -> None:
    taken: list[str] = []

    def way(name: str) -> Callable[[], float]:
        def take() -> float:
            taken.append(name)
            return 1.0

        return take

    notes: list[str] = []
    found = take_turns({name: way(name) for name in "abc"}, rounds=4, note=notes.append)
    assert notes[0] == f"round 1 of 4: {taken[0]} 1.000 s"
    assert [sorted(taken[start : start + 3]) for start in range(0, 12, 3)] == [["a", "b", "c"]] * 4
    assert len({tuple(taken[start : start + 3]) for start in range(0, 12, 3)}) > 1
    assert all(len(values) == 4 for values in found.values())


def test_a_ratio_and_its_interval() -> None:
    found = ratio([2, 4, 6, 8, 10, 12], [1, 2, 3, 4, 5, 6])
    assert (found.middle, found.least, found.greatest) == (2, 2, 2)
    assert found.certainty == pytest.approx(1 - 2 / 64)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    dice = random.Random(1)
    held = 0
    for _ in range(400):
        found = ratio([1.1 * dice.lognormvariate(0, 0.1) for _ in range(9)], [1.0] * 9)
        held += found.least <= 1.1 <= found.greatest
    assert held / 400 > 0.93

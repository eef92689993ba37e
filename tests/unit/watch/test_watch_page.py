from __future__ import annotations

import re

from tests.unit.watch.test_findings import BROKEN
from tests.unit.watch.watches import good, watched
from whimbrel.watch.findings import findings_of
from whimbrel.watch.page import timeline_chart


def test_the_timeline_has_a_row_per_check_in_their_order() -> None:
    findings = findings_of(watched(("http://a.example/#web", BROKEN), ("icmp:b.example#host", good(0, 10_000))))
    svg = timeline_chart([findings]).svg
    assert svg.index("1 web") < svg.index("2 host")
    # Answers, failures and the gap have their colours, the move and the mark theirs.
    for colour in ("#54a24b", "#e45756", "#1d2733", "#4c78a8", "#b279a2"):
        assert re.search(colour, svg), colour

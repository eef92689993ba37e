from __future__ import annotations

import subprocess
from importlib.resources import files

import pytest

from whimbrel.migrate.container.rounds import enough
from whimbrel.migrate.container.side import Line, parse_line


@pytest.mark.parametrize(
    ("pages", "said"),
    [
        ([], None),
        ([1256], None),
        ([1256, 9], "few pages are left: 9"),
        ([64], "few pages are left: 64"),
        ([1256, 900], None),
        ([1256, 900, 850], None),
        ([1256, 320, 310, 330], "they no longer shrink: 330 pages"),
        ([1256, 900, 1000], "they grow: 900 pages, then 1000"),
        ([5000, 4000, 3000, 2000], "4 rounds were made"),
    ],
)
def test_rounds_end_as_those_of_p_haul(pages: list[int], said: str | None) -> None:
    assert enough(pages, most_rounds=4) == said


def test_a_line_of_a_journal() -> None:
    assert parse_line("1795416319.958156 frozen") == Line(1_795_416_319_958_156_000, "frozen")
    assert parse_line("1795416319.9 failed: it could not").words == "failed: it could not"


@pytest.mark.parametrize("script", ["common.sh", "files.sh", "hook.sh", "on.sh", "arrive.sh", "depart.sh"])
def test_scripts_parse(script: str) -> None:
    text = (files("whimbrel.migrate.container") / script).read_text()
    assert subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True).stderr == ""

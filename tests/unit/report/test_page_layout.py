"""The page fits: wide tables come in parts, and who sees or uses it otherwise is thought of."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.campaigns import RECORDED
from whimbrel.records.store import CampaignFolder
from whimbrel.report.content import build_report
from whimbrel.report.layout import write_page
from whimbrel.report.table import Column, Table, parts_of


@pytest.fixture
def page(tmp_path: Path) -> str:
    campaign = CampaignFolder.open(Path(shutil.copytree(RECORDED, tmp_path / "campaign")))
    return write_page(campaign, build_report(campaign)).read_text()


@pytest.mark.parametrize(("columns", "sizes"), [(5, [5]), (6, [6]), (7, [6, 3]), (11, [6, 6, 3])])
def test_a_wide_table_comes_in_parts_that_begin_alike_and_lose_nothing(columns: int, sizes: list[int]) -> None:
    table = Table(
        [Column(f"c{each}", "") for each in range(columns)], [[f"{line}/{each}" for each in range(columns)] for line in (1, 2)]
    )
    parts = parts_of(table, keys=2, most=6)
    assert [len(part.columns) for part in parts] == sizes
    for part in parts:
        assert [column.heading for column in part.columns[:2]] == ["c0", "c1"]
        assert [line[:2] for line in part.lines] == [["1/0", "1/1"], ["2/0", "2/1"]]
        assert all(len(line) == len(part.columns) for line in part.lines)
    assert [column.heading for part in parts for column in part.columns[2:]] == [f"c{each}" for each in range(2, columns)]
    assert [cell for part in parts for cell in part.lines[1][2:]] == [f"2/{each}" for each in range(2, columns)]


def test_no_part_of_the_main_table_is_wider_than_the_page(page: str) -> None:
    tables = re.findall(r'<table id="main[-\d]*">(.*?)</table>', page, re.DOTALL)
    assert [len(re.findall("<th ", table)) for table in tables] == [13, 8]


def test_headings_say_what_they_are_of_and_what_scrolls_does_so_by_keys(page: str) -> None:
    assert not re.findall(r"<th(?! scope=)[ >]", page)
    for element in re.findall(r'<div class="(?:scroll|chart)"[^>]*>', page):
        assert 'tabindex="0"' in element
        assert re.search(r'aria-label="[^"]+"', element)
    assert page.count("<main>") == page.count("</main>") == 1


def test_it_is_for_the_night_and_for_paper_too(page: str) -> None:
    style = page[page.index("<style>") : page.index("</style>")]
    assert "@media (prefers-color-scheme: dark)" in style
    assert "size: A4" in style
    # A colour that is not a mode's own would be unreadable in the other.
    rules = style[style.index("* {") : style.index("@media print")]
    assert set(re.findall(r"[^-]color: (#\w+)", rules)) == {"#1d2733"}

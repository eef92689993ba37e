"""A campaign as it is published: tables as CSV, the summary as JSON, the page. Nothing else of it is looked at."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb

TABLES = ("trials", "viewers", "playbacks", "instruments")


@dataclass(frozen=True)
class Published:
    """A folder that holds what a reader gets."""

    folder: Path

    @cached_property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())
        return found

    @cached_property
    def page(self) -> str:
        return (self.folder / "report.html").read_text()

    @cached_property
    def _database(self) -> duckdb.DuckDBPyConnection:
        database = duckdb.connect()
        for name in TABLES:
            file = self.folder / f"{name}.csv"
            database.execute(f"create table {name} as from read_csv('{file}', sample_size = -1, auto_detect = true)")
            self._give_types(database, name)
        spoilt = "select block from trials where counts and spoilt is not null" if self.summary["evidence"] else "select -1"
        database.execute(f"create temp view counting as select * from trials where counts and block not in ({spoilt})")
        return database

    @staticmethod
    def _give_types(database: duckdb.DuckDBPyConnection, name: str) -> None:
        """A column without a value has no type in a CSV; here it is one of unknown numbers."""
        for column, kind, *_ in database.execute(f"describe {name}").fetchall():
            if kind == "VARCHAR" and database.execute(f"select count({column}) from {name}").fetchall() == [(0,)]:
                database.execute(f"alter table {name} alter {column} type double")

    def ask(self, question: str) -> list[tuple[Any, ...]]:
        """SQL over the tables; ``counting`` are the trials that count."""
        return self._database.execute(question).fetchall()

    def column(self, question: str) -> list[Any]:
        """The first column of an answer."""
        return [row[0] for row in self.ask(question)]

    def shown(self, table: str) -> list[list[str]]:
        """The cells of one of the page's tables, line by line, without its headings."""
        parts = []
        for content in self._parts(table):
            lines = re.findall(r"<tr>(.*?)</tr>", content, re.DOTALL)
            parts.append(
                [[_text(cell) for cell in re.findall(r"<td>(.*?)</td>", line, re.DOTALL)] for line in lines if "<td>" in line]
            )
        return [_joined(pieces) for pieces in zip(*parts, strict=True)]

    def headings(self, table: str) -> list[str]:
        """The headings of one of the page's tables."""
        return _joined([[_text(cell) for cell in re.findall(r"<th[^>]*>(.*?)</th>", content)] for content in self._parts(table)])

    def _parts(self, table: str) -> list[str]:
        """A wide table comes in parts, each of which begins with the same two columns."""
        return re.findall(rf'<table[^>]* id="{table}(?:-\d)?">(.*?)</table>', self.page, re.DOTALL)

    def items(self, name: str) -> list[str]:
        """The lines of one of the page's lists."""
        match = re.search(rf'<ul [^>]*"{name}">(.*?)</ul>', self.page, re.DOTALL)
        return [_text(item) for item in re.findall(r"<li[^>]*>(.*?)</li>", match[1], re.DOTALL)] if match else []

    def said_after(self, words: str) -> str:
        """The rest of the paragraph that begins with these words."""
        match = re.search(rf"{re.escape(words)}(.*?)</p>", self.page, re.DOTALL)
        return _text(match[1]) if match else ""

    def rows_of(self, *columns: str) -> list[dict[str, Any]]:
        """The data of the chart that has these columns and no others; none where there is no such chart."""
        everything = [rows for chart in self._charts for rows in chart["datasets"].values()]
        return next((rows for rows in everything if rows and set(rows[0]) == set(columns)), [])

    @cached_property
    def _charts(self) -> list[dict[str, Any]]:
        """The charts' definitions, with their data."""
        start = self.page.index("const specs = [") + len("const specs = ")
        found: list[dict[str, Any]] = json.loads(self.page[start : self.page.index("\n];\nspecs.forEach", start)] + "]")
        return found


def _text(cell: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", " ", cell)).strip()


def numbers(text: str) -> list[str]:
    """Every number in a text, as it is written."""
    return re.findall(r"-?\d+(?:\.\d+)?", text)


def _joined(parts: Sequence[list[str]]) -> list[str]:
    return [cell for position, part in enumerate(parts) for cell in part[2 if position else 0 :]]

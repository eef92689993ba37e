"""A table as a picture, for where neither Markdown nor LaTeX is taken."""

from __future__ import annotations

import textwrap
from html import escape

import vl_convert

from whimbrel.report.table import Table

_FONT_PX = 13
_LINE_PX = 18
_PAD_PX = 10
# A letter is narrower than this on average, so no text leaves its column.
_LETTER_PX = 0.62 * _FONT_PX
_SCALE = 2
_MOST_LETTERS = 32
_MOST_OF_A_HEADING = 14
# A picture that is higher nobody can use.
MOST_LINES = 60


def as_svg(table: Table) -> str:
    """The table, the first column to the left, all others to the right; what is in brackets has a line of its own."""
    headings = [_folded(column.heading, _MOST_OF_A_HEADING) for column in table.columns]
    rows = [headings, *([_apart(cell) for cell in line] for line in table.lines)]
    widths = [max(len(text) for row in rows for text in row[at]) * _LETTER_PX + 2 * _PAD_PX for at in range(len(table.columns))]
    parts, top = [], 0.0
    for number, row in enumerate(rows):
        height = max(map(len, row)) * _LINE_PX + _PAD_PX
        if number == 0:
            parts.append(f'<rect width="{sum(widths):.0f}" height="{height}" fill="#f3f6f9"/>')
        parts += [_cell(lines, widths, at, top, bold=number == 0) for at, lines in enumerate(row)]
        top += height
        parts.append(f'<rect y="{top - 1:.0f}" width="{sum(widths):.0f}" height="1" fill="#dde3ea"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{sum(widths):.0f}" height="{top:.0f}" font-family="sans-serif"'
        f' font-size="{_FONT_PX}" fill="#1d2733"><rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>'
    )


def as_png(table: Table) -> bytes:
    """The same as PNG."""
    png: bytes = vl_convert.svg_to_png(as_svg(table), scale=_SCALE)
    return png


def _apart(cell: str) -> list[str]:
    """A cell's lines: ``median [least to greatest]`` has two."""
    first, bracket, rest = cell.partition(" [")
    return [*_folded(first), *([f"[{rest}"] if bracket else [])]


def _folded(text: str, most: int = _MOST_LETTERS) -> list[str]:
    return textwrap.wrap(text, most) or [""]


def _cell(lines: list[str], widths: list[float], at: int, top: float, bold: bool) -> str:
    left = sum(widths[:at])
    x, anchor = (left + _PAD_PX, "start") if at == 0 else (left + widths[at] - _PAD_PX, "end")
    how = f'text-anchor="{anchor}"' + (' font-weight="bold"' if bold else "")
    middles = (top + _PAD_PX + (number + 0.5) * _LINE_PX for number in range(len(lines)))
    return "".join(f'<text x="{x:.1f}" y="{y:.1f}" {how}>{escape(line)}</text>' for y, line in zip(middles, lines, strict=True))

"""A table for a text of one's own: as Markdown, and as LaTeX. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from whimbrel.report.table import Table

_LATEX = {"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
          "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "–": "--", "±": r"$\pm$", "·": r"$\cdot$"}  # fmt: skip
_MARKDOWN = str.maketrans({"\\": r"\\", "|": r"\|", "*": r"\*", "_": r"\_", "`": r"\`", "<": "&lt;", "\n": " "})


def as_markdown(table: Table) -> str:
    """A table as GitHub and others write it; figures to the right."""
    headings = [column.heading for column in table.columns]
    lines = [_row(headings), _row([":--", *["--:"] * (len(headings) - 1)], escape=False), *(_row(line) for line in table.lines)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str], escape: bool = True) -> str:
    return f"| {' | '.join(cell.translate(_MARKDOWN) if escape else cell for cell in cells)} |"


def as_latex(table: Table) -> str:
    """A ``tabular`` with the rules of the package booktabs."""
    rows = [" & ".join(map(_latex, line)) + r" \\" for line in ([column.heading for column in table.columns], *table.lines)]
    columns = "l" + "r" * (len(table.columns) - 1)
    return "\n".join([rf"\begin{{tabular}}{{{columns}}}", r"\toprule", rows[0], r"\midrule", *rows[1:], r"\bottomrule",
                      r"\end{tabular}"]) + "\n"  # fmt: skip


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text.replace("\n", " "))

"""A check as a file writes it: a URL, or a mapping with ``url`` and the options that otherwise stand behind ``#``."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import replace

from whimbrel.checks.check import Check
from whimbrel.checks.url import parse_check
from whimbrel.errors import UsageError
from whimbrel.spec.checks import ADDRESS, Value, WrittenCheck
from whimbrel.spec.evidence import check_in


def parsed(check: str | WrittenCheck, address: str | None = None) -> Check:
    """The check; UsageError when it says what cannot be.

    It asks a service at ``address`` where its URL leaves that open. Its name, where it has none, is its URL as it is written.
    """
    if isinstance(check, str):
        found = parse_check(check)
    else:
        given = {
            key: [_text(each) for each in (value if isinstance(value, list) else [value])]
            for key, value in (check.model_extra or {}).items()
        }
        found = parse_check(check.url, given=given)
    return replace(found, url=found.url.replace(ADDRESS, address)) if address is not None else found


def need_figures(checks: Iterable[Check], figures: Iterable[str]) -> None:
    """UsageError when a figure is of a check that is not there (``evidence.check_in``)."""
    names = {check.name for check in checks}
    for figure in figures:
        name = check_in(figure)
        if name is not None and name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            raise UsageError(
                f"{figure!r}: there is no check {name!r}",
                resolution=f"did you mean {near[0]!r}?" if near else f"checks are {', '.join(sorted(names))}",
            )


def _text(value: Value) -> str:
    """As it would stand behind ``#``."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)

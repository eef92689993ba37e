"""A check as a file writes it: a URL, or a mapping with ``url`` and the options that otherwise stand behind ``#``."""

from __future__ import annotations

from whimbrel.checks.check import Check
from whimbrel.checks.url import parse_check
from whimbrel.spec.checks import ADDRESS, Value, WrittenCheck


def parsed(check: str | WrittenCheck, address: str | None = None) -> Check:
    """The check, of a service at ``address`` where its URL leaves that open; UsageError when it says what cannot be."""
    if isinstance(check, str):
        return parse_check(_at(check, address))
    given = {
        key: [_text(each) for each in (value if isinstance(value, list) else [value])]
        for key, value in (check.model_extra or {}).items()
    }
    return parse_check(_at(check.url, address), given=given)


def _at(url: str, address: str | None) -> str:
    return url.replace(ADDRESS, address) if address is not None else url


def _text(value: Value) -> str:
    """As it would stand behind ``#``."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)

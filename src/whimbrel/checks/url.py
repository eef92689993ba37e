"""How a check is written: ``URL#name,rate=20,timeout=2s,KEY=VALUE``.

What stands behind the last ``#`` is for us and is never sent: a URL's fragment (RFC 3986, section 3.5). Values may be
percent-encoded; a word alone is the check's name, or switches an option on.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

from whimbrel.checks.check import Check, Kind
from whimbrel.checks.registry import KINDS, SCHEMES, kind_named
from whimbrel.errors import UsageError
from whimbrel.units import parse_duration

DEFAULT_TIMEOUT_S = 10.0
MOST_RATE_PER_S, LEAST_RATE_PER_S = 1000.0, 0.01
MOST_TIMEOUT_S, LEAST_TIMEOUT_S = 600.0, 0.01
GENERAL_OPTIONS = {
    "name": "what the check is called; default: its URL",
    "rate": "questions per second",
    "timeout": "how long an answer is waited for, such as 2s; default: 10s",
}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?:/s)?")
_LONGEST_NAME = 200


def parse_check(text: str, kind: str | None = None, given: Mapping[str, Sequence[str]] | None = None) -> Check:
    """A check as it is written; ``kind`` puts the scheme before a URL that has none; ``given`` are options from elsewhere.

    UsageError for a scheme, an option, a rate or a duration that cannot be.
    """
    url, _, behind = text.strip().rpartition("#") if "#" in text else (text.strip(), "", "")
    url = _with_scheme(url, kind)
    name = SCHEMES[url.partition(":")[0]]
    found = kind_named(name)
    options = _options(url, behind, found)
    for key, values in (given or {}).items():
        options.setdefault(_known(url, key, found), []).extend(values)
    general = {key: options.pop(key)[-1] for key in GENERAL_OPTIONS if key in options}
    return Check(
        kind=name,
        url=url,
        name=_name(url, general.get("name", url)),
        rate_per_s=_rate(url, general["rate"]) if "rate" in general else found.rate_per_s,
        timeout_s=_timeout(url, general["timeout"]) if "timeout" in general else DEFAULT_TIMEOUT_S,
        options={key: tuple(values) for key, values in options.items()},
    )


def _with_scheme(url: str, kind: str | None) -> str:
    """A URL with a scheme that is known, in lower case, and is of this kind where one is said."""
    match = _SCHEME.match(url)
    scheme = match[1].lower() if match else ""
    if kind is None:
        if scheme not in SCHEMES:
            raise UsageError(f"{url!r}: {_no_scheme(url, scheme)}", resolution=f"it is one of {', '.join(SCHEMES)}")
        return _complete(scheme, url)
    of_kind = [known for known, its in SCHEMES.items() if its == kind]
    if scheme in of_kind:
        return _complete(scheme, url)
    # "localhost:80" has no scheme; "ftp://host" has, and so has "http://host" where a name is wanted.
    if "://" in url and kind not in ("exec", "hls"):
        raise UsageError(f"--{kind} {url}: {scheme}:// is not {' or '.join(f'{known}:' for known in of_kind)}")
    if not url:
        raise UsageError(f"--{kind} names nothing to ask")
    return kind_named(kind).prefix + url


def _complete(scheme: str, url: str) -> str:
    rest = url[len(scheme) + 1 :]
    if not rest.strip("/"):
        raise UsageError(f"{url!r} names nothing to ask")
    return f"{scheme}:{rest}"


def _no_scheme(url: str, scheme: str) -> str:
    if not scheme:
        return "a check begins with its scheme, as in https://shop.example/health"
    if re.fullmatch(r"[A-Za-z0-9.-]+:[0-9]+(/.*)?", url):
        return f"a check begins with its scheme: http://{url}, or tcp://{url}"
    near = difflib.get_close_matches(scheme, SCHEMES, n=1)
    return f"{scheme}: is no scheme of a check" + (f"; did you mean {near[0]}:?" if near else "")


def _options(url: str, behind: str, kind: Kind) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for part in filter(None, re.split("[,&]", behind)):
        key, equals, value = part.partition("=")
        if not equals and key not in kind.options:
            key, value = "name", key
        elif not equals:
            value = "yes"
        found.setdefault(_known(url, key, kind), []).append(unquote(value))
    return found


def _known(url: str, key: str, kind: Kind) -> str:
    known = {**GENERAL_OPTIONS, **kind.options}
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1)
        raise UsageError(
            f"{url}: {key!r} is not an option of this check",
            resolution=f"did you mean {near[0]!r}?" if near else f"its options are {', '.join(known)}",
        )
    return key


def _name(url: str, name: str) -> str:
    if not name.strip() or not name.isprintable():
        raise UsageError(f"{url}: {name!r} cannot be a name")
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _rate(url: str, text: str) -> float:
    match = _RATE.fullmatch(text.strip())
    if match is None or not LEAST_RATE_PER_S <= float(match[1]) <= MOST_RATE_PER_S:
        raise UsageError(
            f"{url}: a rate is a number of questions per second from {LEAST_RATE_PER_S:g} to {MOST_RATE_PER_S:g}, not {text!r}"
        )
    return float(match[1])


def _timeout(url: str, text: str) -> float:
    try:
        timeout_s = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{url}: timeout: {error}") from error
    if not LEAST_TIMEOUT_S <= timeout_s <= MOST_TIMEOUT_S:
        raise UsageError(f"{url}: a timeout is from 10 ms to 10 min, not {text}")
    return timeout_s


def options_text() -> str:
    """Every kind with its schemes, rate and options, for a help text."""
    lines = ["every check", *_listed(GENERAL_OPTIONS)]
    for name in KINDS:
        kind = kind_named(name)
        schemes = " ".join(f"{scheme}:" for scheme in kind.schemes)
        lines += [f"{schemes}  (rate: {kind.rate_per_s:g} per second)", *_listed(kind.options)]
    return "\n".join(lines)


def _listed(options: Mapping[str, str]) -> list[str]:
    return [f"  {key:10s}  {meaning}" for key, meaning in options.items()]

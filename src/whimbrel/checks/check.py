"""What a check is, and what each kind of check must be able to do.

A kind is one module here and a line in ``registry``. It either *asks*: each question has an answer of its own; or it
*listens*: it connects once, and whatever comes from then on by itself is an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import SplitResult, urlsplit

from whimbrel.checks.names import Names
from whimbrel.errors import UsageError
from whimbrel.units import parse_duration

if TYPE_CHECKING:
    import polars as pl

Failure = Literal["refused", "reset", "timed-out", "wrong-answer", "tls", "unreachable", "name", "other"]
# What failed here, not there: no question was put, so nothing is known of the service.
NOT_SENT = "not-sent"
# What the player of a stream holds. Of HLS little is asked for, so that a silence of the server's is one here too.
RTMP_BUFFER, HLS_BUFFER = "1s", "500ms"
MOST_BUFFER_S = 600.0


@dataclass(frozen=True)
class Check:
    """One thing to ask again and again. ``options`` are the kind's own, each with every value that was given for it."""

    kind: str
    url: str
    name: str
    rate_per_s: float
    timeout_s: float
    options: Mapping[str, tuple[str, ...]]

    def option(self, key: str, default: str = "") -> str:
        """The last value that was given for an option."""
        return self.options.get(key, (default,))[-1]

    def flag(self, key: str) -> bool:
        """Whether an option is switched on; UsageError when it says neither yes nor no."""
        value = self.option(key, "no")
        if value not in ("yes", "no"):
            raise self.wrong(f"{key} is yes or no, not {value!r}")
        return value == "yes"

    def duration_s(self, key: str, default: str) -> float:
        """An option that is a duration with its unit; UsageError when it is not one, or is 0."""
        try:
            found_s = parse_duration(self.option(key, default))
        except ValueError as error:
            raise self.wrong(f"{key}: {error}") from error
        if not 0 < found_s <= MOST_BUFFER_S:
            raise self.wrong(f"{key} is more than nothing and at most {MOST_BUFFER_S:g} s, not {self.option(key)}")
        return found_s

    def one_of(self, key: str, *values: str) -> str:
        """An option that can only be one of these, the first of which is what it is by itself."""
        value = self.option(key, values[0])
        if value not in values:
            raise self.wrong(f"{key} is {' or '.join(values)}, not {value!r}")
        return value

    def wrong(self, problem: str, resolution: str = "") -> UsageError:
        """What is wrong with it, as an error that names it."""
        return UsageError(f"{self.url}: {problem}", resolution=resolution)

    def parts(self, default_port: int | None) -> tuple[SplitResult, str, int]:
        """Its URL taken apart, its host, and its port; UsageError when one of them is missing or cannot be."""
        try:
            parts = urlsplit(self.url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise self.wrong(str(error)) from error
        if not host:
            raise self.wrong("names no host")
        if parts.username is not None:
            raise self.wrong(
                "a password in a URL would stand on the page", "HTTP takes it as header=Authorization:%20Basic%20..."
            )
        if port is None and default_port is None:
            raise self.wrong("names no port", f"write {parts.scheme}://{parts.netloc}:PORT")
        if port == 0:
            raise self.wrong("there is no port 0")
        return parts, host, port if port is not None else default_port or 0


@dataclass(frozen=True)
class Answer:
    """A good answer: when all of it was there (ns of the monotonic clock), and which address gave it, if one did."""

    answered_ns: int
    address: str = ""


class Failed(Exception):  # noqa: N818 (an outcome, not an error of ours)
    """A question was not answered, or not well; ``failure`` is how."""

    def __init__(self, failure: Failure, words: str) -> None:
        super().__init__(words)
        self.failure: Failure = failure
        self.words = words


class NotSent(Exception):  # noqa: N818
    """A question could not even be put, for a reason of this machine's own."""


@dataclass(frozen=True)
class Tools:
    """What an asker is given: names and their addresses, and whom to tell of a connection that was kept and is lost."""

    names: Names
    lost: Callable[[], None]


class Asker(Protocol):
    """Puts questions, any number at a time."""

    async def ask(self) -> Answer:
        """One question to its end. ``Failed``, ``NotSent`` or an OSError otherwise; it is cancelled when its time is up."""

    async def close(self) -> None:
        """Closes what connects us with the service."""


class Listener(Protocol):
    """Keeps a connection open and hears what comes on it."""

    async def listen(self, heard: Callable[[int], None]) -> None:
        """Calls ``heard`` with the moment (ns) of each thing that comes, until the connection is lost; then raises as ``ask``."""

    def film(self, position: int) -> pl.DataFrame | None:
        """What came of a film, as viewer ``position``: ``PACKETS_SCHEMA`` or ``SEGMENTS_SCHEMA``; None where it plays none."""

    async def close(self) -> None:
        """Closes what connects us with the service."""


class Kind(Protocol):
    """One kind of check.

    ``schemes`` are those of its URLs; ``prefix`` is put before a value that has none; ``options`` are its keys behind ``#``,
    and what each means; a question is asked ``rate_per_s`` times a second where the check does not say.
    """

    schemes: tuple[str, ...]
    prefix: str
    options: Mapping[str, str]
    rate_per_s: float

    def listens(self, check: Check) -> bool:
        """Whether this check is opened as a listener."""

    def open(self, check: Check, tools: Tools) -> Asker | Listener:
        """Makes ready to ask; nothing is sent yet. UsageError when the check says what cannot be."""

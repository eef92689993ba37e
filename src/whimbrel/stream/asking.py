"""One question to an HTTP server, and whatever became of it: an answer, a refusal, or silence."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass

import aiohttp
from yarl import URL

from whimbrel.stream.playlist import Resource

# A server that says nothing for so long has not answered, before its answer or in the middle of it.
_SILENCE_S = 10.0
_MOST_REDIRECTS = 10
# Of what comes so much is kept: whole playlists, and enough of a segment to see what is in it.
KEPT_BYTES = 4 << 20
_SAID_CHARACTERS = 200


@dataclass(frozen=True)
class Answer:
    """What became of a question. ``status`` is HTTP's, 0 when no whole answer came, and ``reason`` says why not.

    ``url`` is where the answer came from, after redirects; ``body`` its beginning, ``size_bytes`` how much came.
    """

    url: str
    status: int
    reason: str
    body: bytes
    size_bytes: int
    asked_ns: int
    arrived_ns: int

    @property
    def came(self) -> bool:
        """Whether it brought what was asked for."""
        return self.status in (200, 206)

    @property
    def final(self) -> bool:
        """Whether the server said that it does not have or give this, rather than that it cannot just now."""
        return 400 <= self.status < 500 and self.status not in (408, 425, 429)

    @property
    def said(self) -> str:
        """Says for people what the server answered, and where."""
        said = f"HTTP {self.status} {self.reason}".strip() if self.status else self.reason
        return f"{said} ({self.url})"


class Asker:
    """One viewer's connections to servers, kept while they last, and its cookies. Use within an event loop."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_SILENCE_S, sock_read=_SILENCE_S),
            cookie_jar=aiohttp.CookieJar(unsafe=True),  # from servers without a name as well
            headers={"User-Agent": "whimbrel", "Accept-Encoding": "identity"},
            # A redirect is followed as it was sent: signed addresses hold for their very bytes.
            requote_redirect_url=False,
        )

    async def close(self) -> None:
        """Leaves all servers, and closes what was kept open."""
        await self._session.close()

    async def get(self, wanted: Resource) -> Answer:
        """Asks once, and follows redirects; what fails is in the answer."""
        asked_ns = time.monotonic_ns()
        try:
            return await self._get(wanted, asked_ns)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(wanted.url, 0, _reason(error), b"", 0, asked_ns, time.monotonic_ns())

    async def _get(self, wanted: Resource, asked_ns: int) -> Answer:
        headers = {}
        if wanted.size_bytes is not None:
            headers["Range"] = f"bytes={wanted.first_byte}-{wanted.first_byte + wanted.size_bytes - 1}"
        async with self._session.get(URL(wanted.url, encoded=True), headers=headers, max_redirects=_MOST_REDIRECTS) as response:
            body, size_bytes = bytearray(), 0
            async for piece in response.content.iter_any():
                size_bytes += len(piece)
                body += piece[: KEPT_BYTES - len(body)]
            arrived_ns = time.monotonic_ns()
            status, reason, url = response.status, response.reason or "", str(response.url)
        if wanted.size_bytes is not None:
            # A server need not know of ranges, and may send the whole file instead.
            kept = bytes(body[wanted.first_byte : wanted.first_byte + wanted.size_bytes]) if status == 200 else bytes(body)
            whole = size_bytes >= wanted.first_byte + wanted.size_bytes if status == 200 else size_bytes == wanted.size_bytes
            if status in (200, 206) and not whole:
                status, reason = 0, f"{size_bytes} bytes instead of the {wanted.size_bytes} from {wanted.first_byte} on"
            return Answer(url, status, reason, kept, size_bytes, asked_ns, arrived_ns)
        return Answer(url, status, reason, bytes(body), size_bytes, asked_ns, arrived_ns)


def _reason(error: Exception) -> str:
    if isinstance(error, (asyncio.TimeoutError, TimeoutError)):
        return f"no answer for {_SILENCE_S:.0f} s"
    if isinstance(error, aiohttp.TooManyRedirects):
        return f"more than {_MOST_REDIRECTS} redirects"
    if isinstance(error, aiohttp.ClientConnectorError):
        known = error.os_error
        # A system's error by its number; one of a name that is not known has a negative number and a text of its own.
        if known.errno is not None and known.errno > 0:
            return os.strerror(known.errno)
        return known.strerror or type(known).__name__
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer broke off"
    if isinstance(error, (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)):
        return f"it leads to {str(error)[:_SAID_CHARACTERS]}, which is not an address of HTTP"
    return (str(error) or type(error).__name__)[:_SAID_CHARACTERS]

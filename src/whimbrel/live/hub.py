"""One picture for every page that is open: each is told what is new since it was told last, at its own pace."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from whimbrel.events import Published, Sample
from whimbrel.live.picture import Picture, Position

# Events wake pages at once, samples twice a second; no page is told more often than this.
_SAMPLES_EVERY_S = 0.5
_AT_MOST_EVERY_S = 0.05
# Between nothing and nothing a line, so that whoever holds the connection open knows that it lives.
_BEAT_S = 10.0


class Hub:
    """Keeps the picture on a running event loop."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.open = 0
        self.ended = False
        self._news = asyncio.Event()
        self._stale = False
        # By position: pages that keep pace are at the same one, so each text is made once.
        self._texts: dict[frozenset[object], tuple[str, Position]] = {}

    def take(self, news: Published) -> None:
        """Takes in one event or sample."""
        self.picture.take(news)
        self._texts.clear()
        if isinstance(news, Sample):
            self._stale = True
        else:
            self.wake()

    def end(self, report: bool) -> None:
        """Nothing more will come."""
        self.picture.end(report)
        self._texts.clear()
        self.ended = True
        self.wake()

    def wake(self) -> None:
        """Tells every page what is new."""
        self._stale = False
        waiting, self._news = self._news, asyncio.Event()
        waiting.set()

    async def tick(self) -> None:
        """Tells of samples, until it is cancelled."""
        while True:
            await asyncio.sleep(_SAMPLES_EVERY_S)
            if self._stale:
                self.wake()

    async def follow(self) -> AsyncIterator[str]:
        """What a page is to know, whole at first and then what is new: server-sent events."""
        position: Position = {}
        self.open += 1
        try:
            while True:
                news = self._news
                text, position = self._since(position)
                if text:
                    yield text
                if self.ended:
                    return
                try:
                    await asyncio.wait_for(news.wait(), _BEAT_S)
                except TimeoutError:
                    yield ": nothing new\n\n"
                await asyncio.sleep(_AT_MOST_EVERY_S)
        finally:
            self.open -= 1

    def _since(self, position: Position) -> tuple[str, Position]:
        key = frozenset(position.items())
        if key not in self._texts:
            message, after = self.picture.since(position)
            self._texts[key] = f"data: {json.dumps(message)}\n\n" if message else "", after
        return self._texts[key]

"""``hls:URL``: not there yet, and says so: today's HLS player plays nothing but the film of a lab."""

from __future__ import annotations

from whimbrel.checks.check import Asker, Check, Listener, Tools


class _Hls:
    schemes = ("hls",)
    prefix = "hls:"
    rate_per_s = 1.0
    options: dict[str, str] = {}  # noqa: RUF012

    def listens(self, check: Check) -> bool:
        return False

    def open(self, check: Check, tools: Tools) -> Asker | Listener:
        address = check.url.removeprefix("hls:")
        raise check.wrong("HLS cannot be watched yet", f"watch its playlist meanwhile: --http '{address}#text=%23EXTM3U'")


KIND = _Hls()

"""Who asks a service: programs that play or ask for as many clients of their kind as a trial wants, and what they keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from whimbrel.records.trial import Source
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.checks import WrittenCheck


@dataclass(frozen=True)
class Heard:
    """Where it is written when a client was served: a column of moments (ns of the monotonic clock) in a series.

    The longest time without such a moment is the client's service gap.
    """

    series: str
    column: str


@dataclass(frozen=True)
class Client:
    """A kind of client. All of a trial run in one process, the ``instrument``, at the vantage.

    ``key`` says in plans how many there are, and in arms where those say it; a reader calls one a ``called`` viewer, or by its
    ``noun``. The process is ``module``, given
    ``settings`` of the file and the guest's address; it writes ``series``, and says ``playing`` of each client when it is served.
    ``heard`` is what a gap is in what it saw; None where that knows only stalls. ``program`` is another's that it needs on this
    machine, from Debian's ``packages``.
    """

    key: str
    called: str
    protocol: str
    instrument: Source
    module: str
    series: str
    settings: Callable[[CampaignSpec, str], Mapping[str, Any]]
    heard: Heard | None = None
    program: str | None = None
    packages: tuple[str, ...] = ()
    noun: str = "viewer"

    def number_in(self, plan: object) -> int:
        """How many an arm, or the plan of a trial, has."""
        return int(getattr(plan, self.key, 0))


def _rtmp(spec: CampaignSpec, address: str) -> Mapping[str, Any]:
    stream = spec.stream
    return {"url": f"rtmp://{address}/film/film.flv", "read_ahead_s": stream.read_ahead_s, "length_s": stream.length_s}


def _checks(spec: CampaignSpec, address: str) -> Mapping[str, Any]:
    assert spec.service is not None
    written = [check.model_dump() if isinstance(check, WrittenCheck) else check for check in spec.service.checks]
    return {"checks": written, "address": address}


def _hls(spec: CampaignSpec, address: str) -> Mapping[str, Any]:
    return {"url": f"http://{address}/hls/film.m3u8", "buffer_s": spec.stream.hls_buffer_s}


CLIENTS = {
    client.key: client
    for client in (
        Client("viewers", "", "rtmp", "player", "whimbrel.stream.player", "packets", _rtmp, heard=Heard("packets", "arrived_ns")),
        Client("hls_viewers", "HLS", "hls", "hls player", "whimbrel.stream.hls_player", "segments", _hls),
        Client(
            "vlc_viewers",
            "VLC",
            "rtmp",
            "vlc player",
            "whimbrel.stream.vlc_player",
            "vlc",
            _rtmp,
            program="vlc",
            packages=("vlc-bin", "vlc-plugin-base"),
        ),
        Client("checks", "", "", "checks", "whimbrel.watch.as_instrument", "checks", _checks, noun="check"),
    )
}


def counted(client: Client, number: int) -> str:
    """Says how many clients of a kind there are, for people: ``2 HLS viewers``."""
    return f"{number} {client.called} {client.noun}{'s' if number > 1 else ''}".replace("  ", " ")


def watched_by(plan: object) -> list[tuple[Client, int]]:
    """Every kind of client that an arm, or the plan of a trial, has, with how many of it there are."""
    return [(client, number) for client in CLIENTS.values() if (number := client.number_in(plan))]

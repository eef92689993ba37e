"""What an HLS playlist says: the segments of a stream, or the variants that there are of it. Pure.

Formats: RFC 8216; of its successor (draft-pantos-hls-rfc8216bis) EXT-X-GAP and HOLD-BACK. Whole segments are played, so parts
of segments (low-latency HLS) are passed over, as they may be.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import m3u8

# Everything else is passed over unread: what a viewer does not need, such as a date, must not spoil the rest.
_READ = ("EXTINF", "EXT-X-BYTERANGE", "EXT-X-ENDLIST", "EXT-X-GAP", "EXT-X-KEY", "EXT-X-MAP", "EXT-X-MEDIA",
         "EXT-X-MEDIA-SEQUENCE", "EXT-X-PLAYLIST-TYPE", "EXT-X-SERVER-CONTROL", "EXT-X-START", "EXT-X-STREAM-INF")  # fmt: skip
# Lines end with LF or CRLF alone; what Python also takes for the end of one may stand in a title.
_NO_LINE_ENDS = dict.fromkeys(map(ord, "\v\f\x1c\x1d\x1e\x85\u2028\u2029"), " ")
# Characters that may stand in an address; "%" is the beginning of one that was written otherwise.
_AS_THEY_ARE = "%/:;=@!$&'()*+,?~[]"
# A viewer of a live stream keeps so many target durations away from its end (6.3.3).
_HELD_BACK_TARGETS = 3


@dataclass(frozen=True)
class Resource:
    """Something to be asked for: an address and, where it is a part of that, its first byte and how many there are."""

    url: str
    first_byte: int = 0
    size_bytes: int | None = None


@dataclass(frozen=True)
class Segment:
    """A piece of the stream, by its media sequence number.

    ``beforehand`` is what a player must have before it can play it: its initialization section (EXT-X-MAP) and its key.
    ``encryption`` names a method, and ``gap`` says that the server has no media for it.
    """

    number: int
    media: Resource
    length_s: float
    gap: bool = False
    beforehand: tuple[Resource, ...] = ()
    initialization: Resource | None = None
    encryption: str | None = None


@dataclass(frozen=True)
class MediaPlaylist:
    """Segments in their order. ``complete`` says that there will be no more.

    ``start_s`` is where the server wants viewers to begin, from the end where negative; ``hold_back_s`` how far from the end of
    a live stream they are to stay.
    """

    first: int
    segments: tuple[Segment, ...]
    target_s: float
    complete: bool
    start_s: float | None
    hold_back_s: float

    @property
    def last(self) -> int:
        """The number of its last segment; one before its first when it has none."""
        return self.segments[-1].number if self.segments else self.first - 1


@dataclass(frozen=True)
class Variant:
    """One of several renderings of the same stream; ``audio_url`` is where its sound is when that comes apart."""

    url: str
    bandwidth_bits_per_s: int
    resolution: str | None
    codecs: str | None
    audio_url: str | None


@dataclass(frozen=True)
class MultivariantPlaylist:
    """The renderings, the best first."""

    variants: tuple[Variant, ...]


Playlist = MediaPlaylist | MultivariantPlaylist


def address(base: str, reference: str) -> str:
    """A reference of a playlist at ``base`` as a whole address (RFC 3986, section 5.2); ValueError when it is not HTTP's."""
    try:
        scheme, host, path, query, _ = urlsplit(urljoin(base, reference))
    except ValueError as error:
        raise ValueError(f"it refers to {reference!r}, which is no address: {error}") from error
    if scheme not in ("http", "https") or not host:
        raise ValueError(f"it refers to {reference!r}, which is not an address of HTTP")
    return urlunsplit((scheme, host, quote(path, safe=_AS_THEY_ARE), quote(query, safe=_AS_THEY_ARE), ""))


def read_playlist(text: str, url: str) -> Playlist:
    """Reads what was found at ``url``, which is the base of its relative addresses; ValueError says why it is no playlist."""
    if text.split(None, 1)[:1] != ["#EXTM3U"] or not text.startswith("#"):
        raise ValueError(f"it is no playlist: it begins with {text[:40]!r} instead of #EXTM3U")
    if "#EXT-X-DEFINE:" in text:
        raise ValueError("it defines variables (EXT-X-DEFINE), which whimbrel does not put in")
    found = _parse(text)
    if found["playlists"] and found["segments"]:
        raise ValueError("it holds both segments and variants, which no playlist may")
    if found["is_variant"] and not found["playlists"]:
        raise ValueError("it says that there are variants, and names none")
    return _variants(found, url) if found["playlists"] else _media(found, url)


def _parse(text: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = m3u8.parse(text.translate(_NO_LINE_ENDS), custom_tags_parser=_takes_over)
    except Exception as error:  # the parser raises whatever a damaged line leads it to
        raise ValueError(f"it cannot be read: {type(error).__name__}: {error}") from error
    return found


def _takes_over(line: str, _number: int, data: dict[str, Any], _state: object) -> bool:
    """Whether the parser need not read a line; a length that is to be a whole number is often none, and harmless so."""
    tag, _, value = line.removeprefix("#").partition(":")
    if tag == "EXT-X-TARGETDURATION":
        data["targetduration"] = float(value)
        return True
    return tag not in _READ


def _variants(found: dict[str, Any], url: str) -> MultivariantPlaylist:
    variants = []
    for playlist in found["playlists"]:
        said: dict[str, Any] = playlist["stream_info"]
        variants.append(
            Variant(
                url=address(url, playlist["uri"]),
                bandwidth_bits_per_s=said.get("bandwidth") or 0,
                resolution=said.get("resolution"),
                codecs=said.get("codecs"),
                audio_url=_sound(found["media"], said.get("audio"), url),
            )
        )
    return MultivariantPlaylist(tuple(sorted(variants, key=lambda variant: -variant.bandwidth_bits_per_s)))


def _sound(media: list[dict[str, str]], group: str | None, url: str) -> str | None:
    """Where the sound of a variant is that a player would take; None where it is in the variant itself."""
    offered = [each for each in media if each.get("type") == "AUDIO" and group is not None and each.get("group_id") == group]
    preferred = [each for key in ("default", "autoselect") for each in offered if each.get(key) == "YES"]
    chosen = next(iter(preferred + offered), None)
    return address(url, chosen["uri"]) if chosen is not None and chosen.get("uri") else None


def _media(found: dict[str, Any], url: str) -> MediaPlaylist:
    first = found["media_sequence"]
    segments = tuple(_segments(found, url, first))
    target_s = found.get("targetduration") or max((segment.length_s for segment in segments), default=0.0)
    if not 0 <= target_s < math.inf:
        raise ValueError(f"its target duration is {target_s}")
    control = found.get("server_control", {})
    return MediaPlaylist(
        first=first,
        segments=segments,
        target_s=target_s,
        # One of VOD is never loaded again (6.3.4), and cannot grow.
        complete=found["is_endlist"] or found["playlist_type"] == "vod",
        start_s=found.get("start", {}).get("time_offset"),
        hold_back_s=max(control.get("hold_back", 0.0), _HELD_BACK_TARGETS * target_s),
    )


def _segments(found: dict[str, Any], url: str, first: int) -> Iterator[Segment]:
    ranges = _Ranges()
    # The last entry has no address where it is one of parts only.
    for number, said in enumerate((each for each in found["segments"] if "uri" in each), first):
        length_s = said.get("duration")
        if length_s is None or not 0 <= length_s < math.inf:
            raise ValueError(f"segment {number} ({said['uri']}) has no length (EXTINF)")
        encryption, key = _encryption(said.get("key"), url)
        section = said.get("init_section")
        initialization = _initialization(section, url) if section is not None else None
        yield Segment(
            number=number,
            media=ranges.resource(address(url, said["uri"]), said.get("byterange")),
            length_s=length_s,
            gap=bool(said.get("gap_tag")),
            beforehand=tuple(each for each in (initialization, key) if each is not None),
            initialization=initialization,
            encryption=encryption,
        )


def _initialization(section: dict[str, str], url: str) -> Resource:
    if "uri" not in section:
        raise ValueError("an initialization section (EXT-X-MAP) has no address")
    return _Ranges().resource(address(url, section["uri"]), section.get("byterange"), first_byte=0)


def _encryption(key: dict[str, str] | None, url: str) -> tuple[str | None, Resource | None]:
    """The method, and the key where it can be had by HTTP."""
    method = (key or {}).get("method", "NONE")
    if method == "NONE" or key is None:
        return None, None
    if method == "AES-128" and key.get("uri"):
        return method, Resource(address(url, key["uri"]))
    return method, None


class _Ranges:
    """Parts of files: one without a first byte goes on where the one before it ended (4.3.2.2)."""

    def __init__(self) -> None:
        self._url = ""
        self._end = 0

    def resource(self, url: str, byterange: str | None, first_byte: int | None = None) -> Resource:
        if byterange is None:
            self._url = ""
            return Resource(url)
        size, _, at = byterange.strip().partition("@")
        if at:
            first_byte = _number(at)
        elif first_byte is None:
            if url != self._url:
                raise ValueError(f"a byte range of {url} does not say where it begins, and no other goes before it")
            first_byte = self._end
        size_bytes = _number(size)
        if not size_bytes:
            raise ValueError(f"a byte range of {url} is empty")
        self._url, self._end = url, first_byte + size_bytes
        return Resource(url, first_byte, size_bytes)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise ValueError(f"{text!r} is no whole number")
    return int(text)

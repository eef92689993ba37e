"""Playlists that RFC 8216 allows, what a viewer is to ask for by each, and what is no playlist."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whimbrel.stream.playlist import (
    MediaPlaylist,
    MultivariantPlaylist,
    Resource,
    Segment,
    address,
    read_playlist,
)

AT = "http://tv.example/film/hd/list.m3u8?token=1"


def media(text: str, url: str = AT) -> MediaPlaylist:
    found = read_playlist(text, url)
    assert isinstance(found, MediaPlaylist)
    return found


def one(*lines: str, url: str = AT) -> MediaPlaylist:
    """A playlist of these lines after what each begins with."""
    return media("\n".join(["#EXTM3U", "#EXT-X-TARGETDURATION:4", *lines, ""]), url)


HERE = "http://tv.example/film/hd"
# What stands in the line of a segment, and what is to be asked for (RFC 8216, 4.1 and 6.3.1; RFC 3986, section 5).
ADDRESSES = {
    "relative": ("0000.ts", f"{HERE}/0000.ts"),
    "in a folder": ("a/b/0000.ts", f"{HERE}/a/b/0000.ts"),
    "an absolute path": ("/other/0000.ts", "http://tv.example/other/0000.ts"),
    "upwards": ("../sd/0000.ts", "http://tv.example/film/sd/0000.ts"),
    "upwards beyond the root": ("../../../../0000.ts", "http://tv.example/0000.ts"),
    "a whole address": ("http://cdn.example:8080/0000.ts", "http://cdn.example:8080/0000.ts"),
    "another scheme": ("https://cdn.example/0000.ts", "https://cdn.example/0000.ts"),
    "another host": ("//cdn.example/0000.ts", "http://cdn.example/0000.ts"),
    "a query alone": ("?part=7", f"{HERE}/list.m3u8?part=7"),
    "a query": ("s.ts?sig=a%2Bb%2Fc==&n=1/2", f"{HERE}/s.ts?sig=a%2Bb%2Fc==&n=1/2"),
    "a space": ("my film 1.ts", f"{HERE}/my%20film%201.ts"),
    "written otherwise": ("my%20film%2F1.ts", f"{HERE}/my%20film%2F1.ts"),
    "another script": ("naïve-影.ts", f"{HERE}/na%C3%AFve-%E5%BD%B1.ts"),
    "a time of day": ("12:30:00.ts", f"{HERE}/12:30:00.ts"),
    "a mark in it": ("s.ts#t=4", f"{HERE}/s.ts"),
    "signs": ("a+b(c)!$&'*,;=@~.ts", f"{HERE}/a+b(c)!$&'*,;=@~.ts"),
    "quotes": ('a"b<c>.ts', f"{HERE}/a%22b%3Cc%3E.ts"),
    "an IPv6 host": ("http://[2001:db8::7]/s.ts", "http://[2001:db8::7]/s.ts"),
}


@pytest.mark.parametrize(("line", "wanted"), ADDRESSES.values(), ids=ADDRESSES)
def test_an_address_is_found_from_where_the_playlist_was(line: str, wanted: str) -> None:
    assert [segment.media for segment in one("#EXTINF:4,", line).segments] == [Resource(wanted)]


@pytest.mark.parametrize("line", ["ftp://tv.example/s.ts", "file:///etc/passwd", "a:b.ts", "http://[::1/s.ts"])
def test_what_is_no_address_of_http_is_named(line: str) -> None:
    with pytest.raises(ValueError, match="it refers to") as caught:
        one("#EXTINF:4,", line)
    assert repr(line) in str(caught.value)


FILE = f"{HERE}/all.ts"
# Lines of a playlist, and the segments that are in it: number, first byte, how many, and length.
RANGES = {
    "both ends": (["#EXT-X-BYTERANGE:75@100", "#EXTINF:4,", "all.ts"], [(0, 100, 75, 4.0)]),
    "before the length": (["#EXTINF:4,", "#EXT-X-BYTERANGE:75@0", "all.ts"], [(0, 0, 75, 4.0)]),
    "going on": (
        ["#EXTINF:4,", "#EXT-X-BYTERANGE:75@10", "all.ts", "#EXTINF:2.5,", "#EXT-X-BYTERANGE:20", "all.ts"],
        [(0, 10, 75, 4.0), (1, 85, 20, 2.5)],
    ),
    "the whole file": (["#EXTINF:4,", "all.ts"], [(0, 0, None, 4.0)]),
}  # fmt: skip


@pytest.mark.parametrize(("lines", "wanted"), RANGES.values(), ids=RANGES)
def test_parts_of_a_file(lines: list[str], wanted: list[tuple[int, int, int | None, float]]) -> None:
    found = one(*lines).segments
    assert [(each.number, each.media.first_byte, each.media.size_bytes, each.length_s) for each in found] == wanted
    assert {each.media.url for each in found} == {FILE}


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["#EXTINF:4,", "#EXT-X-BYTERANGE:75", "all.ts"], "does not say where it begins"),
        (["#EXTINF:4,", "#EXT-X-BYTERANGE:7@0", "a.ts", "#EXTINF:4,", "#EXT-X-BYTERANGE:7", "b.ts"], "does not say where"),
        (["#EXTINF:4,", "#EXT-X-BYTERANGE:7@0", "a.ts", "#EXTINF:4,", "a.ts", "#EXTINF:4,", "#EXT-X-BYTERANGE:7", "a.ts"], "it"),
        (["#EXTINF:4,", "#EXT-X-BYTERANGE:0@0", "all.ts"], "is empty"),
        (["#EXTINF:4,", "#EXT-X-BYTERANGE:-5@0", "all.ts"], "no whole number"),
        (["#EXTINF:4,", "#EXT-X-BYTERANGE:5@x", "all.ts"], "no whole number"),
    ],
)  # fmt: skip
def test_parts_that_nobody_can_ask_for(lines: list[str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        one(*lines)


# Lines, and (number, name, length, gap) of each segment: what stands between segments changes none of them.
LINES = {
    "a title": (["#EXTINF:4,A title, with a comma", "a.ts"], [(0, "a.ts", 4.0, False)]),
    "no comma": (["#EXTINF:4", "a.ts"], [(0, "a.ts", 4.0, False)]),
    "a fraction": (["#EXTINF:3.003000,", "a.ts"], [(0, "a.ts", 3.003, False)]),
    "comments and blank lines": (["", "# by hand", "#EXTINF:4,", "", "#comment", "a.ts", ""], [(0, "a.ts", 4.0, False)]),
    "tags that nobody knows": (["#EXT-X-NEW:1", "#EXTINF:4,", "#EXT-VENDOR", "a.ts"], [(0, "a.ts", 4.0, False)]),
    "a tag that begins like another": (["#EXT-X-GAPS", "#EXTINF:4,", "a.ts"], [(0, "a.ts", 4.0, False)]),
    "a number": (["#EXT-X-MEDIA-SEQUENCE:4294967296", "#EXTINF:4,", "a.ts"], [(4294967296, "a.ts", 4.0, False)]),
    "a gap": (["#EXTINF:4,", "#EXT-X-GAP", "a.ts", "#EXTINF:4,", "b.ts"], [(0, "a.ts", 4.0, True), (1, "b.ts", 4.0, False)]),
    "a discontinuity": (
        ["#EXT-X-DISCONTINUITY-SEQUENCE:3", "#EXTINF:4,", "a.ts", "#EXT-X-DISCONTINUITY", "#EXTINF:2,", "b.ts"],
        [(0, "a.ts", 4.0, False), (1, "b.ts", 2.0, False)],
    ),
    "a date": (["#EXT-X-PROGRAM-DATE-TIME:2026-02-19T14:54:23.031+08:00", "#EXTINF:4,", "a.ts"], [(0, "a.ts", 4.0, False)]),
    "a date that is none": (["#EXT-X-PROGRAM-DATE-TIME:soon", "#EXTINF:4,", "a.ts"], [(0, "a.ts", 4.0, False)]),
    "a range of dates": (
        ['#EXT-X-DATERANGE:ID="x",START-DATE="2026-01-01T00:00:60Z",X-A="b,c"', "#EXTINF:4,", "a.ts"], [(0, "a.ts", 4.0, False)]),
    "an advertisement": (["#EXT-X-CUE-OUT:30", "#EXTINF:4,", "a.ts", "#EXT-X-CUE-IN"], [(0, "a.ts", 4.0, False)]),
    "parts of segments": (
        ["#EXT-X-PART-INF:PART-TARGET=1.0", '#EXT-X-PART:DURATION=1.0,URI="a.0.ts"', "#EXTINF:4,", "a.ts",
         '#EXT-X-PART:DURATION=1.0,URI="b.0.ts"', '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="b.1.ts"'], [(0, "a.ts", 4.0, False)]),
    "another end of a line": (["#EXTINF:4,", "a.ts\r"], [(0, "a.ts", 4.0, False)]),
    "no end of a line": (["#EXTINF:4,One\u2028two\x85three", "a.ts"], [(0, "a.ts", 4.0, False)]),
    "a length of 0": (["#EXTINF:0,", "a.ts"], [(0, "a.ts", 0.0, False)]),
    "encryption that ends": (
        ['#EXT-X-KEY:METHOD=AES-128,URI="k"', "#EXT-X-KEY:METHOD=NONE", "#EXTINF:4,", "a.ts"], [(0, "a.ts", 4.0, False)]),
}  # fmt: skip


@pytest.mark.parametrize(("lines", "wanted"), LINES.values(), ids=LINES)
def test_lines_between_segments(lines: list[str], wanted: list[tuple[int, str, float, bool]]) -> None:
    found = one(*lines).segments
    assert found == tuple(Segment(number, Resource(f"{HERE}/{name}"), length_s, gap) for number, name, length_s, gap in wanted)


@pytest.mark.parametrize(
    ("lines", "complete"),
    [
        ([], False),
        (["#EXT-X-ENDLIST"], True),
        (["#EXT-X-PLAYLIST-TYPE:VOD"], True),
        (["#EXT-X-PLAYLIST-TYPE:EVENT"], False),
        (["#EXT-X-PLAYLIST-TYPE:EVENT", "#EXT-X-ENDLIST"], True),
    ],
)
def test_only_a_playlist_that_says_so_is_complete(lines: list[str], complete: bool) -> None:
    assert one("#EXTINF:4,", "a.ts", *lines).complete is complete


def test_an_initialization_section_holds_until_the_next() -> None:
    found = one(
        "#EXTINF:4,", "a.ts", '#EXT-X-MAP:URI="init.mp4",BYTERANGE="720@8"', "#EXTINF:4,", "b.m4s", "#EXTINF:4,", "c.m4s",
        '#EXT-X-MAP:URI="/other.mp4"', "#EXTINF:4,", "d.m4s", '#EXT-X-MAP:BYTERANGE="9",URI="x.mp4"', "#EXTINF:4,", "e.m4s",
    )  # fmt: skip
    inits = [
        None,
        *[Resource(f"{HERE}/init.mp4", 8, 720)] * 2,
        Resource("http://tv.example/other.mp4"),
        Resource(f"{HERE}/x.mp4", 0, 9),
    ]
    assert [each.initialization for each in found.segments] == inits
    assert [each.beforehand for each in found.segments] == [() if init is None else (init,) for init in inits]


def test_encryption_is_named_and_its_key_asked_for() -> None:
    found = one(
        '#EXT-X-KEY:METHOD=AES-128,URI="https://keys.example/k?a=1,2",IV=0x1', "#EXTINF:4,", "a.ts",
        '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://k",KEYFORMAT="com.example"', "#EXTINF:4,", "b.ts",
        "#EXT-X-KEY:METHOD=NONE", "#EXTINF:4,", "c.ts",
    )  # fmt: skip
    assert [each.encryption for each in found.segments] == ["AES-128", "SAMPLE-AES", None]
    assert [each.beforehand for each in found.segments] == [(Resource("https://keys.example/k?a=1,2"),), (), ()]


def test_what_a_live_stream_asks_of_its_viewers() -> None:
    assert one("#EXTINF:4,", "a.ts").hold_back_s == 12
    assert one("#EXT-X-SERVER-CONTROL:HOLD-BACK=20.5,CAN-BLOCK-RELOAD=YES", "#EXTINF:4,", "a.ts").hold_back_s == 20.5
    assert one("#EXT-X-START:TIME-OFFSET=-10.5,PRECISE=YES").start_s == -10.5
    assert media("#EXTM3U\n#EXT-X-TARGETDURATION:6.006\n").target_s == 6.006
    assert media("#EXTM3U\n#EXTINF:7,\na.ts\n").target_s == 7


MULTIVARIANT = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aac",NAME="Deutsch",LANGUAGE="de",URI="de/list.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aac",NAME="L'anglais",DEFAULT=YES,AUTOSELECT=YES,URI="en/list.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="inside",NAME="English",DEFAULT=YES
#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="aac",NAME="English",DEFAULT=YES,URI="text.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=1280000,CODECS="avc1.4d401e,mp4a.40.2",RESOLUTION=640x360,AUDIO="aac"
low.m3u8
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=99999999,URI="fast.m3u8"
#EXT-X-STREAM-INF:AVERAGE-BANDWIDTH=7000000,BANDWIDTH=7680000,RESOLUTION=1920x1080,AUDIO="inside"
/high.m3u8?x=1
#EXT-X-STREAM-INF:BANDWIDTH=7680000
http://backup.example/high.m3u8
"""


def test_variants_are_ordered_and_know_their_sound() -> None:
    found = read_playlist(MULTIVARIANT, AT)
    assert isinstance(found, MultivariantPlaylist)
    assert [(each.url, each.bandwidth_bits_per_s, each.resolution, each.audio_url) for each in found.variants] == [
        ("http://tv.example/high.m3u8?x=1", 7680000, "1920x1080", None),
        ("http://backup.example/high.m3u8", 7680000, None, None),
        (f"{HERE}/low.m3u8", 1280000, "640x360", f"{HERE}/en/list.m3u8"),
    ]
    assert found.variants[2].codecs == "avc1.4d401e,mp4a.40.2"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "begins with '' instead of #EXTM3U"),
        ("<html>403</html>", "begins with '<html>403</html>' instead"),
        ("\ufeff#EXTM3U\n", "instead of #EXTM3U"),
        ("\n#EXTM3U\n", "instead of #EXTM3U"),
        ("#EXTM3UX\n", "instead of #EXTM3U"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n#EXTINF:1,\na.ts\n", "both segments and variants"),
        ("#EXTM3U\n#EXTINF:long,\na.ts\n", "cannot be read: ValueError"),
        ("#EXTM3U\n#EXTINF:-1,\na.ts\n", "has no length"),
        ("#EXTM3U\n#EXTINF:nan,\na.ts\n", "has no length"),
        ("#EXTM3U\n#EXTINF:inf,\na.ts\n", "has no length"),
        ("#EXTM3U\n#EXT-X-BYTERANGE:5@0\na.ts\n", "has no length"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:inf\n", "its target duration is inf"),
        ("#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:x\n", "cannot be read"),
        ("#EXTM3U\n#EXT-X-MAP:BYTERANGE=\"1@0\"\n#EXTINF:1,\na.ts\n", "has no address"),
        ('#EXTM3U\n#EXT-X-DEFINE:NAME="h",VALUE="x"\n#EXTINF:1,\n{$h}.ts\n', "EXT-X-DEFINE"),
    ],
)  # fmt: skip
def test_what_is_no_playlist_is_named(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        read_playlist(text, AT)


_TAGS = st.sampled_from(
    ["#EXTM3U", "#EXTINF:", "#EXT-X-BYTERANGE:", "#EXT-X-KEY:", "#EXT-X-MAP:", "#EXT-X-MEDIA:", "#EXT-X-STREAM-INF:", "",
     "#EXT-X-SERVER-CONTROL:", "#EXT-X-MEDIA-SEQUENCE:", "#EXT-X-TARGETDURATION:", "#EXT-X-ENDLIST", "#EXT-X-GAP", "#EXTINF:4,",
     "#EXT-X-START:"]
)  # fmt: skip
_LINES = st.lists(st.tuples(_TAGS, st.text(max_size=12)).map("".join), max_size=8)


@given(_LINES)
def test_rubbish_is_refused_in_words(lines: list[str]) -> None:
    found: MediaPlaylist | MultivariantPlaylist | None = None
    said = ""
    try:
        found = read_playlist("\n".join(["#EXTM3U", *lines]), AT)
    except ValueError as error:
        said = str(error)
    if found is None:
        assert re.match("it |its |segment |an initialization |a byte range |'.*' is no whole number", said), said
        return
    if isinstance(found, MediaPlaylist):
        numbers = [segment.number for segment in found.segments]
        assert numbers == list(range(found.first, found.first + len(numbers)))
        assert all(0 <= segment.length_s < math.inf for segment in found.segments)
        assert all(segment.media.url.startswith(("http://", "https://")) for segment in found.segments)
    else:
        assert all(variant.url.startswith(("http://", "https://")) for variant in found.variants)


@given(st.text(max_size=30))
def test_any_address_is_whole_and_plain_or_refused(reference: str) -> None:
    try:
        found = address(AT, reference)
    except ValueError:
        return
    assert found.startswith(("http://", "https://"))
    assert "#" not in found
    assert " " not in found

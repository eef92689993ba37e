from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whimbrel.checks.check import Tools
from whimbrel.checks.names import Names
from whimbrel.checks.registry import KINDS, SCHEMES, kind_named, open_check
from whimbrel.checks.url import parse_check
from whimbrel.errors import UsageError


def test_a_url_alone() -> None:
    check = parse_check("https://shop.example/health?deep=1")
    assert (check.kind, check.url, check.name) == (
        "http",
        "https://shop.example/health?deep=1",
        "https://shop.example/health?deep=1",
    )
    assert (check.rate_per_s, check.timeout_s, dict(check.options)) == (20.0, 10.0, {})


def test_what_stands_behind_the_hash() -> None:
    check = parse_check("http://a.example/#shop,rate=5/s,timeout=500ms,status=2xx,header=A:%20x%2Cy,header=B: z")
    assert (check.url, check.name, check.rate_per_s, check.timeout_s) == ("http://a.example/", "shop", 5.0, 0.5)
    assert dict(check.options) == {"status": ("2xx",), "header": ("A: x,y", "B: z")}
    assert parse_check("http://a.example/#name=shop&rate=5").name == "shop"


def test_a_flag_is_no_name() -> None:
    check = parse_check("exec:tail -f log#lines,tail")
    assert (check.name, check.flag("lines"), check.url) == ("tail", True, "exec:tail -f log")
    assert parse_check("tcp://a.example:1#lines").name == "lines"


@pytest.mark.parametrize(
    ("kind", "text", "url"),
    [
        ("icmp", "10.0.0.5", "icmp:10.0.0.5"),
        ("icmp", "2001:db8::1", "icmp:2001:db8::1"),
        ("tcp", "db.example:5432", "tcp://db.example:5432"),
        ("http", "localhost:8080/x", "http://localhost:8080/x"),
        ("http", "HTTPS://shop.example/", "https://shop.example/"),
        ("dns", "shop.example", "dns:shop.example"),
        ("ws", "wss://a.example/", "wss://a.example/"),
        ("rtmp", "rtmps://a.example/live/one", "rtmps://a.example/live/one"),
        ("exec", "pg_isready -h db", "exec:pg_isready -h db"),
        ("exec", "curl http://a.example/", "exec:curl http://a.example/"),
        ("hls", "https://a.example/x.m3u8", "hls:https://a.example/x.m3u8"),
    ],
)
def test_an_option_puts_the_scheme_before(kind: str, text: str, url: str) -> None:
    check = parse_check(text, kind)
    assert (check.url, check.kind) == (url, kind)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ftp://a.example/", "ftp: is no scheme"),
        ("htp://a.example/", "did you mean http:?"),
        ("localhost:8080", "http://localhost:8080, or tcp://localhost:8080"),
        ("shop.example", "begins with its scheme"),
        ("http:", "names nothing"),
        ("http://a.example/#rate=0", "rate"),
        ("http://a.example/#rate=5000", "rate"),
        ("http://a.example/#rate=nan", "rate"),
        ("http://a.example/#timeout=5", "timeout"),
        ("http://a.example/#timeout=0 ms", "timeout"),
        ("http://a.example/#methd=GET", "did you mean 'method'?"),
        ("http://a.example/#name=", "cannot be a name"),
        ("tcp://a.example:1#send=x,header=y", "'header' is not an option"),
    ],
)
def test_what_cannot_be_meant(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_check(text)
    assert said in str(error.value)


@pytest.mark.parametrize(("kind", "text"), [("icmp", "http://a.example/"), ("http", "ws://a.example/"), ("tcp", "")])
def test_a_url_of_another_kind(kind: str, text: str) -> None:
    with pytest.raises(UsageError):
        parse_check(text, kind)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http://a.example:99999/", "out of range"),
        ("http://a.example:x/", "Port could not be cast"),
        ("http://:80/", "names no host"),
        ("http://me:secret@a.example/", "a password in a URL"),
        ("http://[::1/", "Invalid IPv6"),
        ("tcp://a.example", "names no port"),
        ("tcp://a.example:0", "no port 0"),
        ("tcp://a.example:1#text=x", "there is no 'send'"),
        ("http://a.example/#status=20", "status=20"),
        ("http://a.example/#status=abc", "status=abc"),
        ("http://a.example/#header=nothing", "NAME: VALUE"),
        ("http://a.example/#header=A:%20x%0D%0AB:y", "cannot be asked"),
        ("http://a.example/#method=GE T", "cannot be asked"),
        ("http://a.example/#connection=both", "kept or fresh"),
        ("https://a.example/#ca=/nowhere", "No such file"),
        ("https://a.example/#verify=maybe", "yes or no"),
        ("icmp:a.example/x", "without a port or a path"),
        ("icmp:a.example:80", "without a port or a path"),
        ("dns:", "names nothing"),
        ("dns://10.0.0.1/", "no name"),
        ("dns://10.0.0.1/x#type=Q", "type Q"),
        ("dns://10.0.0.1/a..b", "cannot be asked"),
        ("ws://", "names nothing"),
        ("rtmp://a.example/live", "names no stream"),
        ("exec:x#lines=2", "yes or no"),
        ("hls:a.example/x.m3u8", "names no playlist"),
        ("hls:https://a.example/x.m3u8#buffer=2", "is no duration"),
    ],
)
def test_what_a_kind_refuses(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        open_check(parse_check(text), Tools(Names(), lambda: None))
    assert said in str(error.value)


def test_every_scheme_is_of_a_kind_that_says_so() -> None:
    assert {scheme: name for name in KINDS for scheme in kind_named(name).schemes} == SCHEMES


@given(st.text(max_size=60))
def test_no_text_is_an_internal_error(text: str) -> None:
    for kind in (None, *KINDS):
        try:
            check = parse_check(text, kind)
            assert check.name
            assert 0.01 <= check.rate_per_s <= 1000
        except UsageError:
            pass


@given(st.sampled_from(sorted(SCHEMES)), st.text(max_size=40))
def test_no_url_is_an_internal_error_of_its_kind(scheme: str, rest: str) -> None:
    try:
        check = parse_check(f"{scheme}:{rest}")
        asker = open_check(check, Tools(Names(), lambda: None))
    except UsageError:
        return
    assert check.kind in KINDS
    assert callable(asker.close)

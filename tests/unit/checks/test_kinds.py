"""Each kind against a real service on the loopback: what is a good answer, what is not, and what becomes of connections."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.service import Service, running_service
from whimbrel.checks.check import Answer, Asker, Failed, Tools
from whimbrel.checks.failures import failure_of
from whimbrel.checks.names import Address, Names
from whimbrel.checks.registry import open_check
from whimbrel.checks.url import parse_check
from whimbrel.system.certificates import Authority
from whimbrel.watch.asking import asks

Value = TypeVar("Value")


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running_service() as running:
        yield running


class Losses:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def using(url: str, do: Callable[[Asker, Losses], Awaitable[Value]]) -> Value:
    """Does something with what asks a URL, and closes it."""

    async def go() -> Value:
        lost = Losses()
        asker = open_check(parse_check(url), Tools(Names(), lost))
        assert asks(asker)
        try:
            return await do(asker, lost)
        finally:
            await asker.close()

    return asyncio.run(go())


def outcome(url: str, within_s: float = 20.0) -> str:
    """What becomes of one question."""

    async def ask(asker: Asker, _: Losses) -> str:
        try:
            async with asyncio.timeout(within_s):
                await asker.ask()
        except Exception as error:
            found = failure_of(error)
            return found.failure if isinstance(found, Failed) else "not-sent"
        return "good"

    return using(url, ask)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", "good"),
        ("redirect", "good"),
        ("status/404", "wrong-answer"),
        ("status/404#status=4xx", "good"),
        ("status/204#status=200+204", "good"),
        ("status/205#status=200+204", "wrong-answer"),
        ("#text=hello", "good"),
        ("#text=goodbye", "wrong-answer"),
        ("trickle", "good"),
        ("flood", "wrong-answer"),
        ("close", "good"),
        ("cut", "reset"),
        ("noise", "wrong-answer"),
        ("echo#text=GET%20/echo", "good"),
        ("echo#body=a%20b,text=a%20b", "good"),
        ("echo#body=x,text=POST", "good"),
        ("echo#header=X-Who:%20me,text=X-Who:%20me", "good"),
        ("echo#method=PUT,text=PUT%20/echo", "good"),
        ("#connection=fresh", "good"),
    ],
)
def test_http_answers(service: Service, path: str, expected: str) -> None:
    assert outcome(service.url("http", path)) == expected


def test_an_answer_that_never_ends_is_given_up(service: Service) -> None:
    assert outcome(service.url("http", "endless"), within_s=0.3) == "timed-out"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:{closed}/", "refused"),
        ("tcp://127.0.0.1:{closed}", "refused"),
        ("ws://127.0.0.1:{closed}/", "refused"),
        ("dns://127.0.0.1:{closed}/a.example", "refused"),
        ("http://nowhere.invalid/", "name"),
        ("tcp://127.0.0.1:{echo}", "good"),
        ("tcp://127.0.0.1:{echo}#send=ping", "good"),
        ("tcp://127.0.0.1:{echo}#send=ping,text=ing", "good"),
        ("tcp://127.0.0.1:{echo}#send=ping,connection=fresh", "good"),
        ("tcp://127.0.0.1:{http}#send=GET /cut HTTP/1.1\\r\\n\\r\\n,text=220", "wrong-answer"),
        ("ws://127.0.0.1:{ws}/", "good"),
        ("ws://127.0.0.1:{ws}/#send=hello,text=ell", "good"),
        ("ws://127.0.0.1:{ws}/#send=hello,text=bye", "wrong-answer"),
        ("ws://127.0.0.1:{ws}/#connection=fresh", "good"),
        ("ws://127.0.0.1:{http}/", "wrong-answer"),
        ("dns://127.0.0.1:{dns}/shop.example", "good"),
        ("dns://127.0.0.1:{dns}/shop.example#text=192.0.2.7", "good"),
        ("dns://127.0.0.1:{dns}/shop.example#text=192.0.2.8", "wrong-answer"),
        ("dns://127.0.0.1:{dns}/nothing.example", "wrong-answer"),
        ("exec:true", "good"),
        ("exec:exit 3", "wrong-answer"),
        ("exec:no-such-program-here", "wrong-answer"),
        ("exec:kill -9 $$", "wrong-answer"),
        ("exec:echo hello#text=ell", "good"),
        ("exec:echo hello#text=bye", "wrong-answer"),
        ("exec:yes | head -c 3000000", "good"),
    ],
)
def test_answers(service: Service, url: str, expected: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = unused.getsockname()[1]
        assert outcome(url.format(closed=closed, **service.ports)) == expected


def test_a_wrong_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    authority.create()
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    authority.issue("127.0.0.1", [], certificate, key)
    with running_service("127.0.0.1", str(certificate), str(key)) as service:
        url = service.url("https")
        assert outcome(url) == "tls"
        assert outcome(f"{url}#verify=no") == "good"
        assert outcome(f"{url}#ca={authority.certificate}") == "good"
        # Not the name that it was made for.
        assert outcome(f"https://localhost:{service.ports['https']}/#ca={authority.certificate}") == "tls"


def test_a_program_that_hangs_ends_with_all_that_it_has_started(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    assert outcome(f"exec:sleep 100 & echo $! > {file}; wait", within_s=0.5) == "timed-out"
    state = Path(f"/proc/{file.read_text().strip()}/stat")
    until_s = time.monotonic() + 5
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z" and time.monotonic() < until_s:
        time.sleep(0.01)
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_question_does_not_wait_for_another(service: Service) -> None:
    async def ask(asker: Asker, _: Losses) -> float:
        began_s = time.monotonic()
        await asyncio.gather(*(asker.ask() for _ in range(10)))
        return time.monotonic() - began_s

    assert using(service.url("http", "slow/0.5"), ask) < 4


@pytest.mark.parametrize("url", ["http", "echo", "ws"])
def test_a_connection_is_kept_and_its_loss_told(url: str) -> None:
    with running_service() as service:

        async def ask(asker: Asker, lost: Losses) -> tuple[int, int, str]:
            for _ in range(5):
                await asker.ask()
            before = lost.count
            service.running.kill_all()
            until_s = time.monotonic() + 5
            while not lost.count and time.monotonic() < until_s:
                await asyncio.sleep(0.01)
            after = lost.count
            try:
                await asker.ask()
            except Exception as error:
                return before, after, str(getattr(failure_of(error), "failure", ""))
            return before, after, "good"

        assert using(service.url(url) + ("#send=ping" if url == "echo" else ""), ask) == (0, 1, "refused")


def test_a_tcp_connection_is_held_beside_the_questions() -> None:
    with running_service() as service:

        async def ask(asker: Asker, lost: Losses) -> tuple[int, int]:
            await asker.ask()
            await asker.ask()
            before = lost.count
            service.running.kill_all()
            until_s = time.monotonic() + 5
            while not lost.count and time.monotonic() < until_s:
                await asyncio.sleep(0.01)
            return before, lost.count

        assert using(service.url("echo"), ask) == (0, 1)


def test_a_connection_that_the_server_closes_by_agreement_is_not_lost(service: Service) -> None:
    async def ask(asker: Asker, lost: Losses) -> int:
        for _ in range(5):
            await asker.ask()
        await asyncio.sleep(0.1)
        return lost.count

    assert using(service.url("http", "close"), ask) == 0
    assert using(service.url("http", "#connection=fresh"), ask) == 0


def test_an_answer_says_when_it_was_there_and_who_gave_it(service: Service) -> None:
    async def ask(asker: Asker, _: Losses) -> tuple[int, Answer, int]:
        before_ns = time.monotonic_ns()
        answer = await asker.ask()
        return before_ns, answer, time.monotonic_ns()

    for url in (service.url("http", "slow/0.2"), service.url("ws"), service.url("dns", "a.example")):
        before_ns, answer, after_ns = using(url, ask)
        assert before_ns < answer.answered_ns <= after_ns
        assert answer.address == "127.0.0.1"
        if "slow" in url:
            assert answer.answered_ns - before_ns >= 200e6


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionRefusedError(111, ""), "refused"),
        (ConnectionResetError(104, ""), "reset"),
        (BrokenPipeError(32, ""), "reset"),
        (EOFError(), "reset"),
        (TimeoutError(), "timed-out"),
        (OSError(110, ""), "timed-out"),
        (OSError(113, ""), "unreachable"),
        (OSError(101, ""), "unreachable"),
        (PermissionError(1, ""), "unreachable"),
        (socket.gaierror(-2, "Name or service not known"), "name"),
        (ssl.SSLCertVerificationError("bad"), "tls"),
        (OSError(24, ""), "not-sent"),
        (OSError(99, ""), "not-sent"),
        (ValueError("?"), "other"),
    ],
)
def test_how_an_error_counts(error: Exception, expected: str) -> None:
    assert getattr(failure_of(error), "failure", "not-sent") == expected


def test_over_version_6() -> None:
    with running_service("::1") as service:
        assert [
            outcome(service.url(kind, path)) for kind, path in (("http", ""), ("echo", ""), ("ws", ""), ("dns", "a.example"))
        ] == ["good"] * 4
        assert outcome(service.url("http", f"echo#text=Host:%20[::1]:{service.ports['http']}")) == "good"


class _Moving(Names):
    """A name that leads elsewhere from some moment on."""

    def __init__(self, *found: list[str]) -> None:
        super().__init__()
        self._leads_to = [[Address(socket.AF_INET, text) for text in texts] for texts in found]

    async def addresses(self, host: str) -> list[Address]:
        return self._leads_to.pop(0) if len(self._leads_to) > 1 else self._leads_to[0]


def addresses_of(url: str, names: Names, times: int) -> list[str]:
    async def go() -> list[str]:
        asker = open_check(parse_check(url), Tools(names, lambda: None))
        assert asks(asker)
        try:
            return [(await asker.ask()).address for _ in range(times)]
        finally:
            await asker.close()

    return asyncio.run(go())


def test_a_name_that_leads_elsewhere_is_followed() -> None:
    with running_service("0.0.0.0") as service:
        for url in (
            f"http://moving.example:{service.ports['http']}/#connection=fresh",
            f"tcp://moving.example:{service.ports['echo']}",
            f"ws://moving.example:{service.ports['ws']}/#connection=fresh",
        ):
            found = addresses_of(url, _Moving(["127.0.0.1"], ["127.0.0.1"], ["127.0.0.2"]), 3)
            assert found == ["127.0.0.1", "127.0.0.1", "127.0.0.2"], url


def test_of_several_addresses_the_first_that_answers_is_taken(service: Service) -> None:
    assert addresses_of(service.url("http"), _Moving(["127.0.0.2", "127.0.0.1"]), 1) == ["127.0.0.1"]


def test_a_name_is_looked_up_once_for_many_and_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def go() -> list[list[Address]]:
        loop = asyncio.get_running_loop()

        async def look_up(host: str, port: object, **_: object) -> list[tuple[object, ...]]:
            asked.append(host)
            await asyncio.sleep(0.05)
            return [(socket.AF_INET, 1, 6, "", (f"10.0.0.{len(asked)}", 0))]

        monkeypatch.setattr(loop, "getaddrinfo", look_up)
        names = Names()
        first = await asyncio.gather(*(names.addresses("a.example") for _ in range(50)))
        await asyncio.sleep(1.1)
        return [*first, await names.addresses("a.example"), await names.addresses("192.0.2.1")]

    found = asyncio.run(go())
    assert asked == ["a.example", "a.example"]
    assert {address.text for addresses in found[:50] for address in addresses} == {"10.0.0.1"}
    assert [addresses[0].text for addresses in found[50:]] == ["10.0.0.2", "192.0.2.1"]


def test_the_kernels_ask_for_the_connection_that_is_held(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    changed: list[socket.socket] = []
    real = socket.socket.setsockopt

    def noted(self: socket.socket, *option: Any) -> None:
        changed.append(self)
        real(self, *option)

    monkeypatch.setattr(socket.socket, "setsockopt", noted)

    async def ask(asker: Asker, _: Losses) -> tuple[int, ...]:
        await asker.ask()
        held = changed[-1]
        assert held.getpeername()[1] == service.ports["echo"]
        assert held.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        return tuple(
            held.getsockopt(socket.IPPROTO_TCP, each) for each in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )

    assert using(service.url("echo") + "#timeout=7s", ask) == (1, 1, 7)

"""The process beside us: what it serves to whom, what its end and its death do to us (nothing), and how it ends itself."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.axe import serious
from tests.browser import browser
from tests.collector import Collecting
from tests.prometheus import ask as promql
from tests.prometheus import scraping
from tests.unit.live.test_picture import END, MOVE, OFFSET_NS, S, host, job, told
from tests.unit.live.test_spans import MOVED
from whimbrel.cli.live import observed, wanted
from whimbrel.errors import UsageError
from whimbrel.events import WATCHED, Bus, Published, Sample
from whimbrel.live.beside import Beside
from whimbrel.system.clock import read_pair
from whimbrel.system.deadline import Deadline, wait_until
from whimbrel.system.ledger import folder


@contextmanager
def live(
    live_at: str | None = "127.0.0.1:0", metrics: str | None = None, file: Path | None = None
) -> Iterator[tuple[Beside, Bus]]:
    with Beside(wanted(live_at, metrics, file), "a <i>move</i>") as seen, observed(seen) as bus:
        yield seen, bus


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def ask(url: str, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    """Answered by whatever listens on this machine at the port of ``url``."""

    def connect() -> tuple[http.client.HTTPConnection | None, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port_of(url), timeout=10)
        try:
            connection.connect()
        except OSError as error:
            return None, str(error)
        return connection, ""

    connection = wait_until(connect, "the server", Deadline(20))
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return connection.getresponse()


def message(answer: http.client.HTTPResponse) -> dict[str, dict[str, object]]:
    """The next thing that a page is told."""
    while True:
        line = answer.fp.readline()
        assert line, "the stream has ended"
        if line.startswith(b"data: "):
            found: dict[str, dict[str, object]] = json.loads(line[6:])
            return found


def until(answer: http.client.HTTPResponse, true: Callable[[dict[str, dict[str, object]]], bool]) -> dict[str, dict[str, object]]:
    while not true(found := message(answer)):
        pass
    return found


def test_a_page_is_told_what_happens_as_it_happens_and_one_that_comes_late_all_of_it() -> None:
    with live() as (seen, bus):
        url = seen.urls["live page"]
        early = ask(url, "/events")
        assert early.status == 200
        assert early.headers["Content-Type"].startswith("text/event-stream")
        for news in MOVE:
            bus.publish(news)
        told = until(early, lambda found: "move" in found.get("sections", {}))
        bus.publish(job(13, 5, 7))
        told = until(early, lambda found: "job" in found.get("series", {}))
        assert told["series"]["job"] == {"columns": ["t", "sent_bytes", "left_bytes", "dirty_bytes_per_s"], "anew": True,
                                         "rows": [[pytest.approx(told["sections"]["job"]["t"]), 5, 7, 0]]}  # type: ignore[index]  # fmt: skip
        late = message(ask(url, "/events"))
        assert late["sections"]["about"] == {"title": "a <i>move</i>", "ended": False, "report": False}
        assert late["sections"]["job"] == told["sections"]["job"]


def test_pages_have_a_strict_policy_and_nothing_can_be_changed() -> None:
    with live() as (seen, _):
        url = seen.urls["live page"]
        for path in ("/", "/live.js", "/live.css", "/uplot.js", "/uplot.css", "/events"):
            answer = ask(url, path)
            assert answer.status == 200, path
            assert "'unsafe" not in answer.headers["Content-Security-Policy"]
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            answer.close()
            for method in ("POST", "PUT", "DELETE"):
                assert ask(url, path, method).status == 405
        assert ask(url, "/report").status == 404
        assert ask(url, "/../beside.py").status == 404
        # A page of somebody else's whose name was made to lead here.
        assert ask(url, "/events", Host=f"evil.example:{port_of(url)}").status == 421


def test_whoever_is_not_on_this_machine_needs_the_token() -> None:
    with live("0.0.0.0:0") as (seen, _):
        url = seen.urls["live page"]
        token = urlsplit(url).query.removeprefix("token=")
        assert len(token) >= 32
        for path in ("/", "/events", "/report", "/?token=wrong", "/?token="):
            assert ask(url, path).status == 403, path
        opened = ask(url, f"/?token={token}")
        assert (opened.status, opened.headers["Location"]) == (303, "/")
        cookie = opened.headers["Set-Cookie"]
        assert {"httponly", "samesite=strict"} <= {part.strip().lower() for part in cookie.split(";")}
        assert ask(url, "/", Cookie=cookie.split(";")[0]).status == 200
        assert ask(url, "/", Cookie="whimbrel=wrong").status == 403
        # Everybody on the machine can read what a process was called with.
        assert token not in Path(f"/proc/{seen.pid}/cmdline").read_text()


def test_metrics_are_served_and_written(tmp_path: Path) -> None:
    file = tmp_path / "whimbrel.prom"
    with live(None, "127.0.0.1:0", file) as (seen, bus):
        bus.publish(job(13, 5, 7))

        def look() -> tuple[bytes | None, str]:
            text = ask(seen.urls["metrics"], "/metrics").read()
            return (text if b"\nwhimbrel_migration_data_remaining_bytes 7.0\n" in text else None), text.decode()

        wait_until(look, "the sample", Deadline(20))
    assert "\nwhimbrel_migration_data_remaining_bytes 7.0\n" in file.read_text()
    assert list(tmp_path.iterdir()) == [file]


def test_pages_that_are_open_go_on_to_the_report(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("<p>all of it</p>")
    with live() as (seen, _):
        url = seen.urls["live page"]
        page = ask(url, "/events")
        message(page)
        seen.report = report

        # As a page does, when it is told.
        def follow() -> None:
            until(page, lambda found: bool(found.get("sections", {}).get("about", {}).get("report")))  # type: ignore[attr-defined]
            answers.append((answer := ask(url, "/report"), answer.read()))

        answers: list[tuple[http.client.HTTPResponse, bytes]] = []
        following = threading.Thread(target=follow)
        following.start()
    following.join(10)
    [(answer, text)] = answers
    assert text == b"<p>all of it</p>"
    # It has scripts of its own within it, and no origin.
    assert answer.headers["Content-Security-Policy"].startswith("sandbox allow-scripts")


def test_one_that_nobody_looks_at_ends_at_once(tmp_path: Path) -> None:
    with live() as (seen, _):
        ask(seen.urls["live page"], "/").read()
        seen.report = tmp_path
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 4


def test_the_death_of_the_process_disturbs_nobody_and_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with live() as (seen, bus):
        ask(seen.urls["live page"], "/").read()
        os.kill(seen.pid, signal.SIGKILL)
        # Only when all of its threads have ended is its end of the pipe closed.
        os.waitid(os.P_PID, seen.pid, os.WEXITED | os.WNOWAIT)
        bus.publish(job(13, 5, 7))
    said = capsys.readouterr().err
    assert "the live view missed 1 of 1 events and samples: it failed (BrokenPipeError: its process has ended" in said


def test_one_that_stands_still_is_killed_in_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with live() as (seen, bus):
        ask(seen.urls["live page"], "/").read()
        os.kill(seen.pid, signal.SIGSTOP)
        for number in range(5000):
            bus.publish(job(number, 5, 7))
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 10
    assert "it stood still" in capsys.readouterr().err
    assert not Path(f"/proc/{seen.pid}").exists()


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_page_that_takes_nothing_holds_up_neither_the_others_nor_the_end() -> None:
    with live() as (seen, bus):
        url = seen.urls["live page"]
        other = ask(url, "/events")
        message(other)
        with socket.socket() as stalled:
            # Before it connects, or its window is as large as usual.
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stalled.connect(("127.0.0.1", port_of(url)))
            stalled.sendall(f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{port_of(url)}\r\n\r\n".encode())
            before_bytes = resident_bytes(seen.pid)
            # The last steps are told as a whole each time: 0.8 MB, 30 times, and nothing of it is kept for who does not take it.
            for number in range(30):
                bus.step(f"{number} {'x' * 100_000}")
                until(other, lambda found, mark=f"{number} x": mark in str(found.get("sections", {}).get("steps")))  # type: ignore[misc]
            assert resident_bytes(seen.pid) - before_bytes < 12e6
            began_s = time.monotonic()
            other.close()
            seen.report = Path(__file__)
    # It is waited for no longer than any page is.
    assert time.monotonic() - began_s < 15
    assert bus.complaints == []


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed (./check installs it)")
def test_what_others_call_things_is_shown_as_they_call_it_and_does_nothing(tmp_path: Path) -> None:
    evil = "<img src=x onerror='document.title = 1'><script>document.title = 2</script>"
    with browser(tmp_path / "profile") as tab, live() as (seen, bus):
        tab.open(seen.urls["live page"])
        bus.step(evil)
        bus.tell(WATCHED, source=None, destination=None, traceparent=None)
        bus.publish(told(1, "move called"))
        bus.publish(Sample("checks", time.monotonic_ns(), {"states": {evil: "failed"}, "results": {}, "latencies_s": {}}))
        tab.wait_for("document.querySelectorAll('.strip').length === 1", "the check")
        assert tab.evaluate("document.getElementById('title').textContent") == "a <i>move</i>"
        assert tab.evaluate("document.getElementById('step').textContent") == evil
        assert tab.evaluate("document.querySelector('.strip span').textContent") == evil
        assert tab.evaluate("document.querySelectorAll('main img, main script, h1 i').length") == 0
        assert tab.evaluate("document.title").startswith("a <i>move</i>")
        # Of a command's move it is known that it runs.
        assert tab.evaluate("document.getElementById('way').textContent") == "made by a command"
        assert tab.evaluate("document.querySelector('#phases tbody').innerText").split() == ["command", "0.000", "under", "way"]
        assert tab.complaints == []


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed (./check installs it)")
def test_a_phase_that_is_open_grows_and_large_figures_are_written_out(tmp_path: Path) -> None:
    bar = "document.querySelectorAll('#phases .bar i')[1].style"
    pair = read_pair()
    # As if it had been called a second from now.
    shift_ns = pair.monotonic_ns - 10 * S
    to_wall_ns = shift_ns + pair.realtime_ns - pair.monotonic_ns - OFFSET_NS
    with browser(tmp_path / "profile") as tab, live() as (seen, bus):
        tab.open(seen.urls["live page"])
        for each in MOVE:
            stamp_ns = None if each.realtime_ns is None else each.realtime_ns + to_wall_ns
            bus.publish(each.model_copy(update={"seen_ns": each.seen_ns + shift_ns, "realtime_ns": stamp_ns}))
        tab.wait_for("document.querySelectorAll('#phases .bar i').length === 2", "the phases")
        # Called at 11 s; memory is sent since 11.6 s.
        for t_s, sent, share in ((17, 1020 << 20, 90), (23, 1 << 30, 95)):
            bus.publish(Sample("job", t_s * S + shift_ns, {**job(t_s, sent, 1023 << 30).values, "t_ns": t_s * S + shift_ns}))
            tab.wait_for(f"Math.abs(parseFloat({bar}.width) - {share}) < 0.5", "the bar", 20)
            assert tab.evaluate(f"parseFloat({bar}.left)") == pytest.approx(100 - share, abs=0.5)
            said = tab.evaluate("document.getElementById('numbers').innerText")
            assert ("1020 MiB" if sent < 1 << 30 else "1.00 GiB") in said
            assert "1023 GiB" in said


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed (./check installs it)")
def test_a_browser_that_is_closed_is_waited_for_by_nobody(tmp_path: Path) -> None:
    with live() as (seen, bus):
        with browser(tmp_path / "profile") as tab:
            tab.open(seen.urls["live page"])
            tab.wait_for("typeof sections === 'object' && sections.about !== undefined", "the page")
        bus.publish(job(13, 5, 7))
        seen.report = tmp_path / "report.html"
        seen.report.write_text("<p>all of it</p>")
        # It is known to have gone once it could not be told something.
        time.sleep(1)
        bus.step("something")
        time.sleep(1)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 4
    assert seen.said == []


@pytest.mark.long
def test_a_prometheus_takes_what_is_told(tmp_path: Path) -> None:
    with live(None, "127.0.0.1:0") as (seen, bus), scraping(seen.urls["metrics"], tmp_path) as prometheus:
        for news in (*MOVED, job(13, 5, 7)):
            bus.publish(news)
        found = wait_until(
            lambda: (promql(prometheus, "whimbrel_migration_data_remaining_bytes") or None, "none"), "it", Deadline(20)
        )
        assert [series["value"][1] for series in found] == ["7"]
        [bucket] = promql(prometheus, 'whimbrel_migration_phase_duration_seconds_bucket{phase="stop-and-copy",le="0.3"}')
        assert bucket["value"][1] == "1"
        [up] = promql(prometheus, "up")
        assert up["value"][1] == "1"


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed (./check installs it)")
@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_the_live_page(tmp_path: Path, scheme: str) -> None:
    with browser(tmp_path / "profile") as tab, live() as (seen, bus):
        tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        tab.open(seen.urls["live page"])
        told: list[Published] = [*MOVE, job(13, 5, 7), job(14, 6, 6), host(12, "north", 1, 5), host(13, "north", 2, 9), *END]
        for news in told:
            bus.publish(news)
        tab.wait_for("document.querySelectorAll('.chart canvas').length >= 4", "charts")
        assert serious(tab) == []


def test_an_address_that_cannot_be_had_is_said_before_anything_begins() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(UsageError, match=r"--live 127.0.0.1:\d+: Address already in use"),
        Beside(wanted(f"127.0.0.1:{taken.getsockname()[1]}", None, None), ""),
    ):
        pass
    assert list(folder().glob("once-*")) == []


def test_a_command_that_fails_leaves_no_ledger() -> None:
    with pytest.raises(RuntimeError, match="the command failed"), live():
        raise RuntimeError("the command failed")
    assert list(folder().glob("once-*")) == []


def test_spans_reach_a_collector_by_its_protocol() -> None:
    with Collecting() as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{collector.server_address[1]}"
        with Beside(wanted(None, None, None, url), "migrate web") as seen, observed(seen) as bus:
            for news in MOVED:
                bus.publish(news)
        collector.shutdown()
    assert seen.said == []
    assert {path for path, _, _, _ in collector.spans} == {"/v1/traces"}
    assert {name for _, name, _, _ in collector.spans} >= {"whimbrel migrate web", "whimbrel.move", "whimbrel.stop-and-copy"}
    [root] = [(trace, span) for _, name, trace, span in collector.spans if name == "whimbrel migrate web"]
    assert root == (seen.trace_parent.trace_id, seen.trace_parent.span_id)


def test_a_collector_that_is_not_there_is_said_and_holds_up_nobody_for_long() -> None:
    with Beside(wanted(None, None, None, "http://127.0.0.1:1"), "migrate web") as seen, observed(seen) as bus:
        for news in MOVED:
            bus.publish(news)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 15
    assert any("127.0.0.1" in line or "Connection refused" in line or "export" in line for line in seen.said)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed (./check installs it)")
@pytest.mark.long
def test_twenty_pages_hear_of_an_event_within_a_quarter_of_a_second(tmp_path: Path) -> None:
    told: list[float] = []
    with browser(tmp_path / "profile") as tab, live() as (seen, bus):
        url = seen.urls["live page"]
        others = [ask(url, "/events") for _ in range(19)]
        tab.open(url)
        tab.wait_for("typeof sections === 'object' && sections.about !== undefined", "the page")
        # When each step was shown, by the page's own clock, which is that of this machine.
        tab.evaluate("""
            window.seen = {};
            new MutationObserver(() => { const said = document.getElementById("step").textContent;
                                         window.seen[said] ??= performance.timeOrigin + performance.now(); })
                .observe(document.getElementById("step"), {childList: true, characterData: true, subtree: true});
        """)
        for number in range(40):
            told.append(time.time())
            bus.step(f"step {number}")
            time.sleep(0.3)
        tab.wait_for("window.seen['step 39'] !== undefined", "the last step")
        shown = tab.evaluate("window.seen")
        assert tab.complaints == []
        for other in others:
            other.close()
    late_s = sorted(shown[f"step {number}"] / 1000 - told[number] for number in range(40))
    print(f"median {late_s[20] * 1000:.0f} ms, 95th percentile {late_s[37] * 1000:.0f} ms")
    # On a machine with nothing else to do; here it is only shown that nothing waits for the next sample.
    assert late_s[20] < 0.25

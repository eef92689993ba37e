"""``whimbrel watch`` from outside: a real service, a real command."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from markupsafe import escape

from tests.service import Service, running_service

PROJECT = Path(__file__).parents[2]
SHORT = ["--before", "1s", "--after", "1s"]


@pytest.fixture
def service() -> Iterator[Service]:
    with running_service() as running:
        yield running


def watching(*arguments: str, path: Path | None = None, **options: Any) -> subprocess.Popen[str]:
    """``path`` is looked into for programs before all others."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    command = [sys.executable, "-m", "whimbrel", "watch", *arguments]
    env = {**os.environ, "PYTHONPATH": str(PROJECT / "src")}
    if path is not None:
        env["PATH"] = f"{path}:{env['PATH']}"
    return subprocess.Popen(command, text=True, env=env, **streams)


def watch(*arguments: str) -> tuple[int, str, str]:
    process = watching(*arguments)
    stdout, stderr = process.communicate(timeout=60)
    return process.returncode, stdout, stderr


def seen(*arguments: str) -> tuple[int, dict[str, Any], str]:
    code, stdout, stderr = watch("--json", *arguments)
    assert stdout, stderr
    return code, json.loads(stdout), stderr


def test_what_json_says(service: Service) -> None:
    url = service.url("http")
    code, found, stderr = seen("--http", f"{url}#rate=100", *SHORT, "--", "sh", "-c", "echo moving; sleep 0.5; exit 7")
    assert code == 7
    assert "moving" in stderr
    assert found["command"]["exit_code"] == 7
    assert 0.5 <= found["command"]["ended_s"] - found["command"]["started_s"] < 3
    assert found["command"]["started_s"] >= 1
    [check] = found["checks"]
    assert (check["name"], check["kind"], check["url"]) == (url, "http", url)
    assert 200 < check["sent"] <= 100 * found["watched_s"] + 2
    assert (check["failed"], check["failures"], check["connections_lost"]) == (0, {}, 0)
    assert check["longest_gap_s"] >= 0.01
    assert check["gap_resolution_s"] >= 0.01
    assert check["first_good_after_s"] < 1
    assert set(check["latency_s"]) == {"before", "during", "after"}
    for latency in check["latency_s"].values():
        assert set(latency) == {"p50", "p95", "p99", "max"}
        assert 0 < latency["p50"] <= latency["max"]
        assert latency["p99"] is None
    assert found["limits"] == []


def test_a_service_that_stands_still_and_one_that_dies(service: Service) -> None:
    """It is stopped for 300 ms: late answers. Then it is killed: refused, and dark to the end."""
    pid = service.running.pid
    harm = f"kill -STOP {pid}; sleep 0.3; kill -CONT {pid}; sleep 0.5; kill -KILL {pid}"
    checks = [
        "--http", f"{service.url('http')}#web,rate=50", "--tcp", f"{service.url('echo')}#echo,rate=50,send=ping",
        "--ws", f"{service.url('ws')}#ws,rate=50", "--dns", f"{service.url('dns', 'a.example')}#dns,rate=50",
    ]  # fmt: skip
    code, found, _ = seen(*checks, *SHORT, "--", "sh", "-c", harm)
    assert code == 0
    for check in found["checks"]:
        assert check["longest_gap_s"] is None, check
        assert check["longest_gap_at_least_s"] > 0.9
        assert check["first_good_after_s"] is None
        assert check["failures"]["refused"] >= 40, check
        [stalled, dark] = [each for each in check["disturbances"] if each["to_s"] - each["from_s"] > 0.25]
        assert 0.29 <= stalled["to_s"] - stalled["from_s"] <= 0.5
        assert dark["to_s"] == pytest.approx(found["watched_s"], abs=0.1)
        assert check["latency_s"]["during"]["max"] >= 0.25
        assert check["connections_lost"] == (0 if check["name"] == "dns" else 1)
        assert check["gap_stands_out"]


def test_limits_end_with_99(service: Service) -> None:
    url = service.url("http")
    arguments = ["--http", f"{url}#web", "--http", f"{url}#other", *SHORT]
    code, found, _ = seen(*arguments, "--limit", "failed <= 0", "--limit", "web: longest_gap_s < 0.001", "--", "true")
    assert code == 99
    assert [(each["check"], each["limit"], each["kept"]) for each in found["limits"]] == [
        ("web", "failed <= 0", True),
        ("other", "failed <= 0", True),
        ("web", "longest_gap_s < 0.001", False),
    ]
    assert seen(*arguments, "--limit", "failed <= 0", "--", "true")[0] == 0
    # The command's own exit code comes first.
    assert seen(*arguments, "--limit", "web: longest_gap_s < 0.001", "--", "false")[0] == 1


def test_a_url_that_never_answers_is_said_before_the_command_is_started(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        code, stdout, stderr = watch("--http", url, "--", "touch", str(tmp_path / "moved"))
        assert (code, stdout) == (2, "")
        assert "the command was not started" in stderr
        assert f"{url}: refused" in stderr
        assert not (tmp_path / "moved").exists()
        code, found, _ = seen("--http", url, "--anyway", *SHORT, "--", "touch", str(tmp_path / "moved"))
        assert code == 0
        assert (tmp_path / "moved").exists()
        [check] = found["checks"]
        assert check["failures"] == {"refused": check["sent"]}
        assert (check["longest_gap_s"], check["usual_gap_s"]) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--", "true"], "nothing is to be checked"),
        (["--http", "http://127.0.0.1:1/", "--", "no-such-program-here"], "no program 'no-such-program-here'"),
        (["--http", "http://127.0.0.1:1/", "--for", "1s", "--", "true"], "--for"),
        (["--http", "http://127.0.0.1:1/", "--before", "1s"], "--before"),
        (["--http", "http://127.0.0.1:1/", "--for", "5"], "no duration"),
        (["--http", "http://127.0.0.1:1/", "--limit", "gap < 1"], "no figure"),
        (["--http", "http://127.0.0.1:1/", "--limit", "failed"], "is no limit"),
        (["--http", "http://127.0.0.1:1/", "--limit", "x: failed < 1"], "there is no check 'x'"),
        (["--check", "ftp://a.example/"], "no scheme"),
        (["--http", "http://127.0.0.1:1/", "--libvirt", "a=qemu:///system", "--guest", "x", "--", "true"], "one host is named"),
        (["--http", "http://127.0.0.1:1/", "--libvirt", "a=qemu:///system", "--", "true"], "--guest"),
        (["--http", "http://127.0.0.1:1/", "--guest", "x", "--", "true"], "--libvirt"),
        (["--http", "http://127.0.0.1:1/", "--libvirt", "qemu:///system", "--guest", "x", "--", "true"], "is no name of a host"),
        (["--http", "http://127.0.0.1:1/", "--libvirt", "a=", "--guest", "x", "--", "true"], "names no URI"),
        (["--http", "http://127.0.0.1:1/", "--host", "-oProxyCommand=x", "--", "true"], "is no host"),
        (["--http", "http://127.0.0.1:1/", "--container", "-x", "--", "true"], "no name of a container"),
        (["--http", "http://127.0.0.1:1/", "--repeat", "2"], "--repeat"),
        (["--http", "http://127.0.0.1:1/", "--repeat", "0", "--", "true"], "--repeat"),
        (["--http", "http://127.0.0.1:1/", "--back", " ", "--", "true"], "--back"),
        (["--http", "http://127.0.0.1:1/", "--warm-up", "1", "--", "true"], "--warm-up"),
        (["--checks", "/nowhere/checks.yaml"], "cannot be read"),
    ],
)
def test_bad_usage(arguments: list[str], said: str) -> None:
    code, stdout, stderr = watch(*arguments)
    assert (code, stdout) == (2, "")
    assert said in stderr


def test_the_command_keeps_its_output_and_its_options(service: Service) -> None:
    code, stdout, stderr = watch("--http", service.url("http"), *SHORT, "sh", "-c", "echo to stdout; echo to stderr >&2; exit 5")
    assert code == 5
    assert stdout.startswith("to stdout\n")
    assert "to stderr\n" in stderr
    assert "longest gap" in stdout


def test_a_command_that_is_killed(service: Service) -> None:
    code, found, _ = seen("--http", service.url("http"), *SHORT, "--", "sh", "-c", "kill -KILL $$")
    assert (code, found["command"]["exit_code"]) == (137, 137)


def test_a_command_that_forks_away_is_not_waited_for(service: Service, tmp_path: Path) -> None:
    code, found, _ = seen(
        "--http", service.url("http"), *SHORT, "--out", str(tmp_path / "out"), "--", "sh", "-c", "sleep 20 & echo $!"
    )  # fmt: skip
    os.kill(int((tmp_path / "out" / "command.stdout").read_text()), signal.SIGKILL)
    assert code == 0
    assert found["command"]["ended_s"] - found["command"]["started_s"] < 5
    assert any("something it started still runs" in note for note in found["notes"])


def test_ctrl_c_goes_to_the_command_first(service: Service, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = f"trap 'echo told; exit 9' INT; touch {ready}; while :; do sleep 0.05; done"
    process = watching("--json", "--http", service.url("http"), *SHORT, "--", "sh", "-c", script)
    wait_for(ready.exists)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 9
    assert json.loads(stdout)["command"]["exit_code"] == 9
    assert "told" in stderr


def test_a_command_that_will_not_end_is_left_running(service: Service, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = f"trap 'echo $$ >> {tmp_path}/told' INT; touch {ready}; while :; do sleep 0.05; done"
    process = watching("--json", "--http", service.url("http"), *SHORT, "--", "sh", "-c", script)
    wait_for(ready.exists)
    told = tmp_path / "told"
    for times in (1, 2):
        process.send_signal(signal.SIGINT)
        wait_for(lambda times=times: told.exists() and len(told.read_text().splitlines()) == times)
    process.send_signal(signal.SIGINT)
    wait_for(lambda: process.poll() is not None)
    pid = int(told.read_text().splitlines()[0])
    # It has our streams, so they are not at their end before it is.
    os.kill(pid, signal.SIGKILL)
    stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert any(f"process {pid}) still ran" in note for note in json.loads(stdout)["notes"])


def test_ctrl_c_before_the_command_starts_nothing(service: Service, tmp_path: Path) -> None:
    process = watching("--json", "--http", service.url("http"), "--before", "30s", "--", "touch", str(tmp_path / "moved"))
    assert process.stderr is not None
    assert "trying" in process.stderr.readline()
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(stdout)["command"]["exit_code"] is None
    assert not (tmp_path / "moved").exists()


def test_without_a_command_it_finds_disturbances_by_itself(service: Service) -> None:
    process = watching("--json", "--http", f"{service.url('http')}#rate=50", "--for", "6s")
    assert process.stderr is not None
    while "watching for" not in process.stderr.readline():
        pass
    time.sleep(3)
    service.running.signal(signal.SIGSTOP)
    time.sleep(0.5)
    service.running.signal(signal.SIGCONT)
    stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    found = json.loads(stdout)
    assert found["command"] == {"exit_code": None, "started_s": None, "ended_s": None}
    [check] = found["checks"]
    assert 0.49 <= check["longest_gap_s"] <= 0.7
    assert check["gap_stands_out"]
    assert any(each["to_s"] - each["from_s"] >= 0.49 for each in check["disturbances"])
    assert 5.9 < found["watched_s"] < 9


def test_marks_by_line_and_by_signal(service: Service) -> None:
    process = watching("--json", "--http", service.url("http"), "--mark", stdin=subprocess.PIPE)
    assert process.stderr is not None
    assert process.stdin is not None
    while "Ctrl-C" not in process.stderr.readline():
        pass
    time.sleep(0.5)
    process.stdin.write("move begins\n")
    process.stdin.flush()
    time.sleep(0.5)
    process.send_signal(signal.SIGUSR1)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    found = json.loads(stdout)
    assert [mark["text"] for mark in found["marks"]] == ["move begins", "mark 2"]
    assert 0.4 < found["marks"][1]["t_s"] - found["marks"][0]["t_s"] < 1.5
    # The move is what lies between the marks.
    assert found["checks"][0]["answers_per_s"]["before"] == pytest.approx(20, abs=6)


def test_what_is_kept(service: Service, tmp_path: Path) -> None:
    out = tmp_path / "out"
    url = service.url("http")
    command = ["sh", "-c", "echo one; echo two >&2"]
    checks = ["--http", f"{url}#<b>&amp;", "--exec", "echo 1#rate=5"]
    code, stdout, stderr = watch(*checks, *SHORT, "--out", str(out), "--", *command)
    assert code == 0, stderr
    assert stdout.startswith("one\n")
    assert (out / "command.stdout").read_text() == "one\n"
    assert (out / "command.stderr").read_text() == "two\n"
    found = json.loads((out / "watch.json").read_text())
    questions = pl.read_parquet(out / "questions.parquet")
    for position, check in enumerate(found["checks"]):
        assert questions.filter(pl.col("check") == position).height == check["sent"]
    page = (out / "report.html").read_text()
    assert page.index('id="gaps"') < page.index('id="timeline"')
    assert "<b>" not in page
    assert "http://" not in page.replace(url, "").replace("http://www.w3.org", "").split("<script")[0]
    assert str(escape(shlex.join(command))) in page
    code, _, stderr = watch("--http", url, "--out", str(out), "--", "true")
    assert code == 2
    assert "there is something in it" in stderr


def test_checks_in_a_file(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "checks.yaml"
    file.write_text(
        f"checks:\n  - {service.url('http')}#one\n  - url: {service.url('http', 'echo')}\n    name: two\n    rate: 50\n"
        "    timeout: 2s\n    header: ['X-A: 1', 'X-B: 2']\n    text: 'X-B: 2'\n"
    )
    code, found, _ = seen("--checks", str(file), *SHORT, "--", "true")
    assert code == 0
    assert [(check["name"], check["failed"]) for check in found["checks"]] == [("one", 0), ("two", 0)]
    file.write_text(f"checks:\n  - {service.url('http')}\n  - url: {service.url('http')}\n    rates: 50\n")
    code, _, stderr = watch("--checks", str(file), "--", "true")
    assert code == 2
    assert "checks.yaml:3" in stderr
    assert "did you mean 'rate'" in stderr


def test_a_thousand_checks_at_once(service: Service, tmp_path: Path) -> None:
    """All are asked, and what this machine could not do in time is said to be its fault."""
    file = tmp_path / "checks.yaml"
    file.write_text("checks:\n" + "".join(f"  - {service.url('http')}#name=check-{number},rate=1\n" for number in range(1000)))
    code, found, stderr = seen("--checks", str(file), *SHORT, "--", "true")
    assert code == 0, stderr
    assert len(found["checks"]) == 1000
    assert all(check["sent"] + check["not_sent"] >= 1 for check in found["checks"])
    assert sum(check["failed"] for check in found["checks"]) == 0


def test_too_few_descriptors_are_our_own_fault(service: Service) -> None:
    """60 questions a second that take a second each need more connections than 40 descriptors allow."""
    limited = f"ulimit -n 40; exec {shlex.join([sys.executable, '-m', 'whimbrel', 'watch', '--json'])} "
    arguments = shlex.join(
        ["--http", f"{service.url('http', 'slow/1')}#rate=60", "--before", "2s", "--after", "1s", "--", "true"]
    )
    done = subprocess.run(
        ["sh", "-c", limited + arguments], capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [check] = json.loads(done.stdout)["checks"]
    assert check["not_sent"] > 0
    assert check["failed"] == 0
    assert any("this machine's fault: Too many open files" in flag for flag in check["flags"])


def test_neither_av_nor_libvirt_is_needed(service: Service) -> None:
    code = (
        "import sys; sys.argv = ['whimbrel', 'watch', '--json', '--http', sys.argv[1], '--for', '0.5s'];"
        "sys.modules['av'] = sys.modules['libvirt'] = sys.modules['websockets'] = sys.modules['dns'] = None;"
        "from whimbrel.cli import app; app.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, service.url("http")], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "src")}, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["checks"][0]["failed"] == 0


def wait_for(true: Any, within_s: float = 20) -> None:
    until_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < until_s
        time.sleep(0.02)


def test_ctrl_c_in_a_terminal_reaches_the_command_once(service: Service, tmp_path: Path) -> None:
    """The terminal sends it to all of its foreground: to us and to the command. Passed on, it would be there twice."""
    told, ready = tmp_path / "told", tmp_path / "ready"
    script = f"trap 'echo told >> {told}' INT; touch {ready}; while [ ! -s {told} ]; do sleep 0.05; done; sleep 1"
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["PYTHONPATH"] = str(PROJECT / "src")
        options = ["--http", service.url("http"), *SHORT, "--", "sh", "-c", script]
        os.execv(sys.executable, [sys.executable, "-m", "whimbrel", "watch", *options])
    wait_for(ready.exists)
    os.write(terminal, b"\x03")
    said = b""
    with suppress(OSError):
        while data := os.read(terminal, 4096):
            said += data
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130, said
    assert told.read_text() == "told\n"


def test_what_holds_us_up_is_not_blamed_on_the_service(service: Service) -> None:
    process = watching("--json", "--http", f"{service.url('http')}#rate=50", "--for", "5s")
    assert process.stderr is not None
    while "watching for" not in process.stderr.readline():
        pass
    time.sleep(3)
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.7)
    process.send_signal(signal.SIGCONT)
    stdout, _ = process.communicate(timeout=30)
    [check] = json.loads(stdout)["checks"]
    assert check["failed"] == 0
    assert check["longest_gap_s"] >= 0.65
    assert check["gap_resolution_s"] >= 0.65
    assert not check["gap_stands_out"]
    assert check["sent_late_s"]["max"] >= 0.6
    assert any("whimbrel itself stood still" in flag for flag in check["flags"])


def test_a_service_that_is_restarted(tmp_path: Path) -> None:
    """It is ended, and started anew half a second later: refused meanwhile, its kept connection lost, back after that."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    (tmp_path / "server.py").write_text(
        "import http.server, sys\n"
        "http.server.SimpleHTTPRequestHandler.protocol_version = 'HTTP/1.1'\n"
        # Room for all who ask while it starts: with Python's five, the kernel lets some wait until they time out.
        "http.server.ThreadingHTTPServer.request_queue_size = 1024\n"
        "http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()\n"
    )
    serve = f"exec {shlex.quote(sys.executable)} {tmp_path}/server.py {port} </dev/null >/dev/null 2>&1"
    old = subprocess.Popen(["sh", "-c", f"cd {tmp_path}; {serve}"])
    script = f"kill -KILL {old.pid}; sleep 0.5; cd {tmp_path}; ({serve}) & echo $! > {tmp_path}/pid"
    try:
        checks = ["--http", f"127.0.0.1:{port}#kept,rate=50", "--http", f"127.0.0.1:{port}#fresh,rate=50,connection=fresh"]
        code, found, _ = seen(*checks, "--before", "1s", "--", "sh", "-c", script)
    finally:
        old.kill()
        old.wait()
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert code == 0
    for check in found["checks"]:
        assert 0.45 <= check["longest_gap_s"] < 10, check
        assert check["gap_stands_out"]
        assert check["failures"]["refused"] >= 20
        assert set(check["failures"]) <= {"refused", "reset"}
        assert 0 < check["first_good_after_s"] < 10
        # The one that is kept, and the one beside it where a question was on its way while the other was busy.
        assert check["connections_lost"] in ((1, 2) if check["name"] == "kept" else (0,)), check
    # It was watched until all was as before.
    assert found["watched_s"] - found["command"]["ended_s"] >= 2
    assert any("something it started still runs" in note for note in found["notes"])


def test_there_and_back_again(service: Service, tmp_path: Path) -> None:
    """Twice and once to warm up; each way stops the service for its own time, and all of it is told each and all."""
    pid, out = service.running.pid, tmp_path / "out"
    stop = f"kill -STOP {pid}; sleep %s; kill -CONT {pid}; echo %s >> {tmp_path}/made; echo gone %s"
    arguments = ["--http", f"{service.url('http')}#web,rate=100", "--before", "600ms", "--after", "600ms", "--repeat", "2"]
    arguments += ["--warm-up", "1", "--back", stop % (0.5, "back", "back"), "--out", str(out)]
    arguments += ["--limit", "longest_gap_s < 0.4", "--", "sh", "-c", stop % (0.2, "there", "there")]
    code, found, stderr = seen(*arguments)
    assert code == 99, stderr
    assert (tmp_path / "made").read_text().split() == ["there", "back"] * 3
    assert [(each["way"], each["number"], each["counts"]) for each in found["moves"]] == [
        (way, number, number > 1) for number in (1, 2, 3) for way in ("there", "back")
    ]
    there, back = found["all"]
    assert (there["way"], there["moves"], back["way"], back["moves"]) == ("there", 2, "back", 2)
    assert 0.2 <= there["checks"][0]["longest_gap_s"]["median"] < 0.4 <= back["checks"][0]["longest_gap_s"]["median"] < 0.8
    assert 0.2 <= there["took_s"]["median"] < 0.5 <= back["took_s"]["median"]
    # Two do not bear an interval.
    assert there["checks"][0]["longest_gap_s"]["interval"] is None
    began_s = [each["began_s"] for each in found["moves"]]
    assert began_s == sorted(began_s)
    for each in found["moves"]:
        assert each["command"]["exit_code"] == 0
        assert each["checks"][0]["failed"] == 0
        assert each["checks"][0]["usual_gap_s"] < 0.2
    [limit] = found["limits"]
    assert limit["value"] == max(each["checks"][0]["longest_gap_s"] for each in found["moves"] if each["counts"])
    assert (out / "there-1.stdout").read_text() == "gone there\n"
    assert (out / "back-3.stdout").read_text() == "gone back\n"
    questions = pl.read_parquet(out / "questions.parquet")
    assert questions.height == sum(each["checks"][0]["sent"] for each in found["moves"])
    page = (out / "report.html").read_text()
    assert page.index('id="all"') < page.index('id="gaps"') < page.index('id="timeline"')
    assert "there-1 (warm-up)" in page
    assert stderr.index("move 1 of 6, there, to warm up") < stderr.index("move 6 of 6, back")


def test_a_move_that_fails_is_the_last(service: Service, tmp_path: Path) -> None:
    """Nobody knows then where the service is: it is not moved back, and not away again."""
    script = f"echo x >> {tmp_path}/made; test $(wc -l < {tmp_path}/made) -lt 3"
    arguments = ["--http", service.url("http"), "--before", "300ms", "--after", "300ms", "--repeat", "3", "--back", script]
    code, stdout, stderr = watch(*arguments, "--", "sh", "-c", script)
    assert code == 1, stderr
    assert (tmp_path / "made").read_text().split() == ["x"] * 3
    assert "there-2: the command ended with 1: 3 more moves were not begun" in stdout
    assert "1 there" in stdout
    assert "1 back" in stdout


def test_ctrl_c_between_moves_ends_them(service: Service, tmp_path: Path) -> None:
    process = watching(
        "--json", "--http", service.url("http"), "--before", "300ms", "--after", "30s", "--repeat", "5", "--", "touch",
        str(tmp_path / "moved"),
    )  # fmt: skip
    wait_for((tmp_path / "moved").exists)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    found = json.loads(stdout)
    assert [each["command"]["exit_code"] for each in found["moves"]] == [0]
    assert found["moves"][0]["notes"] == ["interrupted: 4 more moves were not begun"]
    assert found["moves"][0]["checks"][0]["failed"] == 0


def an_ssh(folder: Path, does: str) -> Path:
    """A program called ssh that stands for a connection: what it is given last is what a shell over there would run."""
    folder.mkdir()
    program = folder / "ssh"
    program.write_text(f'#!/bin/sh\nfor script; do :; done\necho "$@" >> {folder}/called\n{does}\n')
    program.chmod(0o755)
    return folder


def test_hosts_are_sampled_by_ssh_and_a_silent_one_is_said(service: Service, tmp_path: Path) -> None:
    """Both are this machine. The move keeps one processor busy; b is cut off after three samples, and comes back later."""
    cut = (
        f'case "$*" in *me@b*) if [ ! -e {tmp_path}/1 ]; then : > {tmp_path}/1; timeout 3.5 sh -c "$script"; exit 255; fi; '
        f'if [ ! -e {tmp_path}/2 ]; then : > {tmp_path}/2; sleep 2; exit 255; fi;; esac; exec sh -c "$script"'
    )
    path = an_ssh(tmp_path / "bin", cut)
    busy = f"{shlex.quote(sys.executable)} -c 'import time; until = time.monotonic() + 6\nwhile time.monotonic() < until: pass'"
    hosts = ["--host", "me@a", "--host", "me@b", "--before", "4s", "--after", "3s"]
    process = watching("--json", "--http", f"{service.url('http')}#rate=5", *hosts, "--", "sh", "-c", busy, path=path)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    a, b = json.loads(stdout)["hosts"]
    assert (a["name"], b["name"]) == ("me@a", "me@b")
    assert a["cpu_s"] >= 5
    assert a["cpu_cores"]["during"] >= 0.8
    [total_kib] = re.findall(r"MemTotal: *([0-9]+)", Path("/proc/meminfo").read_text())
    total_bytes = int(total_kib) * 1024
    assert 0.01 * total_bytes < a["memory_bytes"]["during"] < total_bytes
    assert a["holes"] == []
    assert a["sent_bytes"] is not None
    [hole] = b["holes"]
    assert hole["to_s"] - hole["from_s"] > 3
    called = (path / "called").read_text()
    assert "BatchMode=yes" in called
    # It was connected to again.
    assert called.count("me@b") >= 2
    assert called.count("me@a") == 1


def test_libvirt_that_does_not_answer_is_said_before_the_command_is_started(service: Service, tmp_path: Path) -> None:
    libvirt = [
        "--libvirt",
        f"a=qemu+unix:///system?socket={tmp_path}/a",
        "--libvirt",
        f"b=qemu+unix:///system?socket={tmp_path}/b",
    ]
    words = ["--http", service.url("http"), *libvirt, "--guest", "shop", "--host", "me@a", "--", "touch", str(tmp_path / "moved")]
    code, _, stderr = watch(*words)
    assert code != 0
    assert "libvirt could not connect to qemu+unix" in stderr
    assert "Traceback" not in stderr
    assert not (tmp_path / "moved").exists()


def test_a_host_that_does_not_answer_is_said_before_the_command_is_started(service: Service, tmp_path: Path) -> None:
    path = an_ssh(tmp_path / "bin", "echo 'me@gone: Permission denied (publickey).' >&2; exit 255")
    process = watching("--http", service.url("http"), "--host", "me@gone", "--", "touch", str(tmp_path / "moved"), path=path)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "the host me@gone does not answer by ssh" in stderr
    assert "Permission denied (publickey)" in stderr
    assert not (tmp_path / "moved").exists()


def test_it_needs_no_more_than_is_installed_for_it(service: Service, tmp_path: Path) -> None:
    """With a page and statistics too: whatever requirements-watch.txt does not name must not be there."""
    named = set((PROJECT / "requirements-watch.txt").read_text().split())
    locked = {line.partition("==")[0] for line in (PROJECT / "requirements.lock").read_text().splitlines() if "==" in line}
    missing = sorted(name.replace("-", "_") for name in locked - named)
    assert {"pandas", "duckdb", "statsmodels", "pytest"} <= set(missing)
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({missing!r})); from whimbrel.cli import app;"
        "sys.argv = ['whimbrel', 'watch', *sys.argv[1:]]; app.main()"
    )
    arguments = ["--http", service.url("http"), *SHORT, "--repeat", "2", "--out", str(tmp_path / "out"), "--", "true"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "src")}, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "report.html").exists()


# As podman-events(1) prints them, one a line, until it is ended; it tells of what is written to a file.
_PODMAN = """#!/bin/sh
case "$1 $2" in
"container inspect") [ "$3" = shop ] ;;
events*) [ "$3" = container=shop ] && [ "$5" = json ] && exec tail -n 0 -f {told} ;;
esac
"""
_RUNC = """#!/bin/sh
[ "$1 $2" = "state cell" ] && [ -e {told} ] && cat {told}
"""


@pytest.mark.parametrize(("program", "container", "script"), [("podman", "shop", _PODMAN), ("runc", "cell", _RUNC)])
def test_what_happens_to_a_container_is_marked(
    service: Service, tmp_path: Path, program: str, container: str, script: str
) -> None:
    told, folder = tmp_path / "told", tmp_path / "bin"
    folder.mkdir()
    (folder / program).write_text(script.format(told=told))
    (folder / program).chmod(0o755)
    if program == "podman":
        told.touch()
        lines = [json.dumps({"Name": "shop", "Status": word, "Type": "container"}) for word in ("checkpoint", "exec", "restore")]
        moves = "; sleep 0.4; ".join(f"echo {shlex.quote(line)} >> {told}" for line in lines)
        expected = ["shop: checkpoint", "shop: restore"]
    else:
        told.write_text('{"id": "cell", "status": "running"}')
        moves = f'rm {told}; sleep 1; echo \'{{"status": "running"}}\' > {told}.new; mv {told}.new {told}'
        expected = ["cell: absent", "cell: running"]
    process = watching(
        "--json", "--http", service.url("http"), "--container", container, *SHORT, "--", "sh", "-c", moves, path=folder
    )
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    found = json.loads(stdout)
    assert [mark["text"] for mark in found["marks"]] == expected
    first_s, second_s = (mark["t_s"] for mark in found["marks"])
    assert found["command"]["started_s"] <= first_s < second_s
    assert 0.5 <= second_s - first_s < 3


def test_a_container_that_is_nowhere_is_said(service: Service, tmp_path: Path) -> None:
    code, _, stderr = watch("--http", service.url("http"), "--container", "no-such-container", "--", "touch", str(tmp_path / "x"))
    assert code == 2
    assert "there is no container 'no-such-container'" in stderr
    assert not (tmp_path / "x").exists()


def on_terminal(width: int, *arguments: str, **env: str) -> tuple[int, str]:
    """Exit code and all that a terminal of that width was told."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, width))
    command = [sys.executable, "-m", "whimbrel", "watch", *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs,
                          env={**os.environ, "PYTHONPATH": str(PROJECT / "src"), "TERM": "xterm", **env}) as process:  # fmt: skip
        os.close(theirs)
        told = b""
        # A terminal that nobody has open any more ends with EIO.
        with suppress(OSError):
            while data := os.read(ours, 1 << 16):
                told += data
        os.close(ours)
        return process.wait(60), told.decode()


@pytest.mark.parametrize("width", [40, pytest.param(100, marks=pytest.mark.long)])
def test_on_a_terminal_it_can_be_seen_in_place_with_the_command_s_output_above(service: Service, width: int) -> None:
    says = "echo moving; printf '10 %%\\r'; sleep 2.5; printf '100 %%\\r\\n'; echo oops >&2; exit 3"
    code, told = on_terminal(
        width, "--watch", "--http", f"{service.url('http')}#web,rate=50", *SHORT, "--", "sh", "-c", says, NO_COLOR="1"
    )  # fmt: skip
    assert code == 3
    # No colour, and the cursor is there again.
    assert not re.search(r"\x1b\[[0-9;]*\b(3|4|9|10)\d[0-9;]*m", told)
    assert told.rindex("\x1b[?25h") > told.rindex("\x1b[?25l")
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", told).replace("\r", "\n").splitlines()]
    assert [line for line in lines if line in ("moving", "10 %", "100 %", "oops")] == ["moving", "100 %", "oops"]
    assert any(re.fullmatch(r"web +━+", line) for line in lines)
    assert any(re.fullmatch(r" +[12]\.\d s  command", line) for line in lines)
    shown = max(position for position, line in enumerate(lines) if line.startswith("web  ") and "━" in line)
    # The results come after all that, by lines where the table is too wide.
    assert any(re.match(r"check: web" if width < 100 else r"web +\d", line) for line in lines[shown:])
    assert max(map(len, lines[: shown + 1])) <= width


def test_whoever_reads_a_pipe_gets_lines(service: Service) -> None:
    _, stdout, stderr = watch(
        "--watch", "--http", f"{service.url('http')}#web", *SHORT, "--", "sh", "-c", "echo moving; sleep 1.2"
    )
    assert stdout.startswith("moving\n")
    lines = [line.split() for line in stderr.splitlines()]
    assert ["command"] in [line[2:] for line in lines]
    assert "\x1b" not in stdout + stderr

"""``whimbrel watch`` against pauses of known length: of the service, of the way to it, and of a real nginx."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from benchmarks.origin import URL, Origin, native_origin

from tests.calibration.table import say
from tests.lengths import some_long
from tests.service import Service, running_service
from whimbrel.system.certificates import Authority
from whimbrel.system.deadline import Deadline, wait_until
from whimbrel.system.process import run, start

pytestmark = pytest.mark.alone

PAUSES_MS = (30, 300, 3000)
RATE = 100
# What a machine that does other work as well may add, beside the resolution; docs/watch.md says what is usual.
MOST_ERROR_S = 0.06
SOURCE = str(Path(__file__).parents[2] / "src")

# Does something, waits, undoes it; writes when, on the monotonic clock. ``DO`` and ``UNDO`` are shell commands.
_PAUSE = """
import json, os, subprocess, sys, time
do, undo, pause_s, file = sys.argv[1:]
pids = [int(pid) for pid in do.split()[2:]] if do.startswith("kill -STOP") else None
def act(command, signal):
    if pids:
        for pid in pids: os.kill(pid, signal)
    else:
        subprocess.run(command, shell=True, check=True)
time.sleep(0.5)
began_ns = time.monotonic_ns(); act(do, 19); from_ns = time.monotonic_ns()
time.sleep(max(0.0, float(pause_s) - (from_ns - began_ns) / 1e9))
to_ns = time.monotonic_ns(); act(undo, 18); ended_ns = time.monotonic_ns()
time.sleep(0.5)
json.dump({"least_s": (to_ns - from_ns) / 1e9, "most_s": (ended_ns - began_ns) / 1e9}, open(file, "w"))
"""


def watched(
    checks: Sequence[str], do: str, undo: str, pause_ms: float, folder: Path, inside: Sequence[str] = (), wrap: Sequence[str] = ()
) -> tuple[dict[str, dict[str, Any]], float, float]:
    """Checks by name while ``do`` lasts, and how long it did: at least, and at most."""
    truth = folder / f"truth-{pause_ms}.json"
    pausing = [*wrap, sys.executable, "-c", _PAUSE, do, undo, str(pause_ms / 1000), str(truth)]
    options = [word for check in checks for word in ("--check", check)]
    done = run(
        [*inside, sys.executable, "-m", "whimbrel", "watch", "--json", *options, "--", *pausing], env={"PYTHONPATH": SOURCE}
    )  # fmt: skip
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    return found, *json.loads(truth.read_text()).values()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running_service() as running:
        yield running


def kinds(service: Service, rate: int) -> list[str]:
    """A check of every kind that a service of ours answers, and of each way to use connections."""
    lines = [sys.executable, "-u", str(Path(__file__).with_name("lines.py")), service.address, str(service.ports["echo"])]
    return [
        f"{service.url('http')}#http,rate={rate}",
        f"{service.url('http')}#http-fresh,rate={rate},connection=fresh",
        f"{service.url('echo')}#tcp,rate={rate},send=ping",
        f"{service.url('echo')}#tcp-fresh,rate={rate},send=ping,connection=fresh",
        f"{service.url('ws')}#ws,rate={rate}",
        f"{service.url('ws')}#ws-fresh,rate={rate},connection=fresh",
        f"{service.url('dns', 'a.example')}#dns,rate={rate}",
        f"exec:{shlex.join(lines)}#lines",
    ]


@pytest.mark.parametrize("pause_ms", some_long(PAUSES_MS, short=[30]))
def test_a_service_that_is_stopped(service: Service, pause_ms: int, tmp_path: Path) -> None:
    pid = service.running.pid
    # After three seconds of questions the service, one process in Python, has its own time to answer them all.
    checks = kinds(service, 20 if pause_ms > 1000 else RATE)
    checks[-1] += ",lines-of-a-program"
    found, least_s, most_s = watched(checks, f"kill -STOP {pid}", f"kill -CONT {pid}", pause_ms, tmp_path)
    assert len(found) == len(checks)
    for name, check in found.items():
        gap_s, resolution_s = check["longest_gap_s"], check["gap_resolution_s"]
        say(f"gap of {name} at a stopped service", least_s * 1e3, gap_s * 1e3, "ms")
        assert least_s - resolution_s <= gap_s <= most_s + resolution_s + MOST_ERROR_S, (name, check)
        # Late, not lost.
        assert (check["failed"], check["connections_lost"]) == (0, 0), (name, check)
        if check["kind"] != "exec":
            assert check["latency_s"]["during"]["max"] >= least_s - resolution_s - 0.002, (name, check)


@pytest.mark.long
@pytest.mark.parametrize("pause_ms", PAUSES_MS)
def test_a_relay_that_withholds(service: Service, pause_ms: int, tmp_path: Path) -> None:
    """The service itself goes on all the while: what is between it and its users does not."""
    named = ("http", "echo", "ws")
    relay = start(
        [sys.executable, str(Path(__file__).with_name("withholding.py")), *(str(service.ports[name]) for name in named)],
        stdout=True,
    )
    try:
        ports = dict(zip(named, json.loads(relay.stdout.readline()), strict=True))
        rate = 20 if pause_ms > 1000 else RATE
        checks = [
            f"{scheme}://127.0.0.1:{ports[name]}/#{name}{how},rate={rate}{more}"
            for name, scheme, more in (("http", "http", ""), ("echo", "tcp", ",send=ping"), ("ws", "ws", ""))
            for how, more in (("", more), ("-fresh", f"{more},connection=fresh"))
        ]
        checks = [check.replace("/#echo", "#echo") for check in checks]
        found, least_s, most_s = watched(checks, f"kill -STOP {relay.pid}", f"kill -CONT {relay.pid}", pause_ms, tmp_path)
    finally:
        relay.kill_all()
        relay.stop(1, ask=False)
    assert len(found) == len(checks)
    for name, check in found.items():
        gap_s, resolution_s = check["longest_gap_s"], check["gap_resolution_s"]
        say(f"gap of {name} behind a relay that withholds", least_s * 1e3, gap_s * 1e3, "ms")
        assert least_s - resolution_s <= gap_s <= most_s + resolution_s + MOST_ERROR_S, (name, check)
        assert (check["failed"], check["connections_lost"]) == (0, 0), (name, check)


def test_an_open_loop_sees_what_a_closed_one_omits(service: Service, tmp_path: Path) -> None:
    """A stall of 1 s in 2 s: half of all that should have been sent waited for it. A closed loop sends one question into it."""
    pid = service.running.pid
    found, least_s, _ = watched(
        [f"{service.url('http')}#http,rate={RATE}"], f"kill -STOP {pid}", f"kill -CONT {pid}", 1000, tmp_path
    )  # fmt: skip
    open_p50_s = found["http"]["latency_s"]["during"]["p50"]
    connection = http.client.HTTPConnection("127.0.0.1", service.ports["http"])
    child = os.fork()
    if child == 0:
        time.sleep(0.5)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(1)
        os.kill(pid, signal.SIGCONT)
        os._exit(0)
    taken_s = []
    until_s = time.monotonic() + 2
    while time.monotonic() < until_s:
        began_s = time.monotonic()
        connection.request("GET", "/")
        connection.getresponse().read()
        taken_s.append(time.monotonic() - began_s)
        time.sleep(max(0.0, 1 / RATE - taken_s[-1]))
    os.waitpid(child, 0)
    closed_p50_s = sorted(taken_s)[len(taken_s) // 2]
    say("median latency in 2 s with a stall of 1 s, open loop", 0, open_p50_s * 1e3, "ms")
    say("median latency in 2 s with a stall of 1 s, closed loop", 0, closed_p50_s * 1e3, "ms")
    assert sum(each > 0.1 for each in taken_s) <= 3
    # Those that were due in its first 0.9 s waited for 0.1 s and more: of some 200, 90.
    questions = found["http"]
    assert questions["latency_s"]["during"]["p95"] >= least_s - 0.25
    assert closed_p50_s < 0.1


# Two namespaces of ours and nothing else: a service in one, checks in the other.
_A, _B = "10.99.77.1", "10.99.77.2"


@contextmanager
def namespace() -> Iterator[list[str]]:
    """A network namespace of ours, for as long as it is entered: what to put before a command to run it there."""
    holding = start(["unshare", "--net", "sleep", "infinity"])
    mine, its = (Path(f"/proc/{pid}/ns/net") for pid in ("self", holding.pid))
    try:
        wait_until(lambda: (its.readlink() != mine.readlink() or None, "still in ours"), "a namespace", Deadline(20))
        yield ["nsenter", f"--net={its}"]
    finally:
        holding.stop()


@pytest.fixture(scope="module")
def across() -> Iterator[tuple[list[str], list[str], Service]]:
    """What to put before a command to run it on either side, and the service on the other one."""
    with namespace() as here, namespace() as there:
        run([*here, "ip", "link", "add", "name", "near", "type", "veth", "peer", "name", "far", "netns", there[1].split("/")[2]])
        for side, link, address in ((here, "near", _A), (there, "far", _B)):
            run([*side, "ip", "address", "add", f"{address}/24", "dev", link])
            run([*side, "ip", "link", "set", link, "up"])
        # Else the kernel would leave out most of what it has to say about packets that it rejects.
        run([*there, "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0"])
        with running_service(_B, inside=there) as service:
            yield here, there, service


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def across_checks(service: Service) -> list[str]:
    return [
        f"icmp:{_B}#icmp,rate={RATE}",
        f"{service.url('dns', 'a.example')}#dns,rate={RATE}",
        f"{service.url('http')}#http,rate={RATE}",
        f"{service.url('http')}#http-fresh,rate={RATE},connection=fresh",
        f"{service.url('echo')}#tcp,rate={RATE}",
    ]


@pytest.mark.parametrize("pause_ms", some_long(PAUSES_MS, short=[300]))
def test_a_way_that_swallows(across: tuple[list[str], list[str], Service], pause_ms: int, tmp_path: Path) -> None:
    """What is sent into it never arrives: packets are lost, and TCP sends them again in its own time."""
    here, there, service = across
    back = " ".join(there)
    found, least_s, most_s = watched(
        [f"{check},timeout=2s" for check in across_checks(service)], f"{back} ip route add blackhole {_A}/32",
        f"{back} ip route del blackhole {_A}/32", pause_ms, tmp_path, here,
    )  # fmt: skip
    for name, check in found.items():
        gap_s, resolution_s = check["longest_gap_s"], check["gap_resolution_s"]
        say(f"gap of {name} over a way that swallows", least_s * 1e3, gap_s * 1e3, "ms")
        assert least_s - resolution_s <= gap_s <= most_s + resolution_s + MOST_ERROR_S, (name, check)
        assert set(check["failures"]) <= {"timed-out"}
    for name in ("icmp", "dns"):
        lost = found[name]["failures"].get("timed-out", 0)
        assert abs(lost - least_s * RATE) <= RATE * (most_s - least_s + 0.03), (name, lost, least_s)


@pytest.mark.parametrize("pause_ms", some_long(PAUSES_MS, short=[300]))
def test_a_way_that_is_gone(across: tuple[list[str], list[str], Service], pause_ms: int, tmp_path: Path) -> None:
    here, _, service = across
    found, least_s, most_s = watched(
        across_checks(service), f"{' '.join(here)} ip route add unreachable {_B}/32",
        f"{' '.join(here)} ip route del unreachable {_B}/32", pause_ms, tmp_path, here,
    )  # fmt: skip
    for name, check in found.items():
        say(f"gap of {name} without a way", least_s * 1e3, check["longest_gap_s"] * 1e3, "ms")
        assert (
            least_s - check["gap_resolution_s"] <= check["longest_gap_s"] <= most_s + check["gap_resolution_s"] + MOST_ERROR_S
        ), (name, check)
        if name != "http":
            # A question on a connection that is there waits; all others are told at once.
            assert set(check["failures"]) == {"unreachable"}, (name, check)
            assert abs(check["failed"] - least_s * RATE) <= RATE * (most_s - least_s + 0.03)


def test_a_firewall_that_rejects(across: tuple[list[str], list[str], Service], tmp_path: Path) -> None:
    here, there, service = across
    back = " ".join(there)
    rules = "table ip whimbrel { chain c { type filter hook input priority 0; ip protocol tcp reject with tcp reset; reject; }; }"
    found, least_s, most_s = watched(
        across_checks(service), f"{back} nft '{rules}'", f"{back} nft delete table ip whimbrel", 300, tmp_path, here
    )  # fmt: skip
    for name, check in found.items():
        say(f"gap of {name} behind a firewall that rejects", least_s * 1e3, check["longest_gap_s"] * 1e3, "ms")
        assert (
            least_s - check["gap_resolution_s"] <= check["longest_gap_s"] <= most_s + check["gap_resolution_s"] + MOST_ERROR_S
        ), (name, check)
        assert check["failed"] > 0
        assert set(check["failures"]) <= {"refused", "reset", "unreachable"}, (name, check)
        # What held a connection lost it.
        if name != "tcp":
            assert check["connections_lost"] == (1 if name == "http" else 0), (name, check)


@pytest.mark.parametrize("pause_ms", some_long(PAUSES_MS, short=[300]))
def test_a_stream_of_a_real_nginx_that_is_stopped(pause_ms: int, tmp_path: Path) -> None:
    with native_origin(tmp_path, 125e3, 60.0) as origin:
        workers = " ".join(map(str, nginx_workers(origin)))
        found, least_s, most_s = watched(
            [f"{URL}#rtmp"], f"kill -STOP {workers}", f"kill -CONT {workers}", pause_ms, tmp_path, list(origin.inside([]))
        )  # fmt: skip
    check = found["rtmp"]
    say("gap of rtmp at a stopped nginx", least_s * 1e3, check["longest_gap_s"] * 1e3, "ms")
    # The stream is silent for a moment between any two packets, before and after the pause too.
    assert least_s - check["gap_resolution_s"] <= check["longest_gap_s"] <= most_s + 2 * check["usual_gap_s"] + MOST_ERROR_S, (
        check
    )
    assert (check["failed"], check["connections_lost"]) == (0, 0)
    # nginx sends a second ahead, and the player holds what it is sent: it shows what is left of the pause.
    stream = check["stream"]
    say("stall of a player of that stream, buffer 1 s", max(0.0, least_s - 1) * 1e3, (stream["stalled_s"] or 0) * 1e3, "ms")
    assert stream["stalled_s"] == pytest.approx(max(0.0, pause_ms / 1e3 - 1.1), abs=0.25), stream
    assert (stream["stalls"], stream["stalling_mos"] == 5) == ((1, False) if pause_ms > 1000 else (0, True)), stream


def test_a_stream_of_a_real_nginx_over_tls(tmp_path: Path) -> None:
    """rtmps: TLS ends in front of nginx, as in life; who is not vouched for is not spoken to."""
    authority = Authority(tmp_path / "ca")
    authority.create()
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    authority.issue("127.0.0.1", [], certificate, key)
    url = URL.replace("rtmp://", "rtmps://").replace(":1935", ":4443")
    with native_origin(tmp_path, 125e3, 60.0) as origin:
        relay = [sys.executable, str(Path(__file__).parents[1] / "tls_relay.py"), "4443", "1935", str(certificate), str(key)]
        relaying = start(origin.inside(relay))
        try:
            checks = ["--rtmp", f"{url}#good,ca={authority.certificate}", "--rtmp", f"{url}#unknown", "--rtmp", f"{URL}#plain"]
            watching = [sys.executable, "-m", "whimbrel", "watch", "--json", "--anyway", *checks, "--for", "6s"]
            done = run(origin.inside(watching), env={"PYTHONPATH": SOURCE})
        finally:
            relaying.stop()
    good, unknown, plain = json.loads(done.stdout)["checks"]
    assert (good["failed"], good["connections_lost"], good["stream"]["stalls"]) == (0, 0, 0), good
    assert good["stream"]["startup_s"] == pytest.approx(plain["stream"]["startup_s"], abs=0.5)
    assert good["answers_per_s"]["during"] == pytest.approx(plain["answers_per_s"]["during"], rel=0.2)
    assert set(unknown["failures"]) == {"tls"}
    assert unknown["stream"]["startup_s"] is None


def nginx_workers(origin: Origin) -> list[int]:
    [master] = children(origin.process.pid)
    return children(master)


def test_a_real_nginx_that_is_restarted(tmp_path: Path) -> None:
    """Its workers are replaced, and the old ones ended: who holds a connection loses it, who comes anew hardly notices."""
    with native_origin(tmp_path, 125e3, 60.0) as origin:
        [master] = children(origin.process.pid)
        old = nginx_workers(origin)
        checks = [
            "--rtmp", f"{URL}#rtmp", "--tcp", "127.0.0.1:1935#tcp", "--http", f"127.0.0.1/#http,rate={RATE},status=100-599",
            "--http", f"127.0.0.1/#fresh,rate={RATE},status=100-599,connection=fresh",
        ]  # fmt: skip
        restart = f"kill -HUP {master}; sleep 0.5; kill -KILL {' '.join(map(str, old))} 2>/dev/null; exit 0"
        watching = [sys.executable, "-m", "whimbrel", "watch", "--json", *checks, "--", "sh", "-c", restart]
        done = run(origin.inside(watching), env={"PYTHONPATH": SOURCE})
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert json.loads(done.stdout)["command"]["exit_code"] == 0
    for name, least in (("rtmp", 1), ("http", 1), ("tcp", 1), ("fresh", 0)):
        assert found[name]["connections_lost"] >= least, found[name]
        assert found[name]["longest_gap_s"] < 5, found[name]
        assert found[name]["first_good_after_s"] is not None
    assert found["fresh"]["failed"] <= 2, found["fresh"]
    assert found["rtmp"]["sent"] == 2

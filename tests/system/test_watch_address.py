"""``whimbrel watch`` beside a script that moves an address from one machine to another, as a failover does.

Three namespaces of ours: a client with a bridge, and two machines behind it, each with a copy of the service.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.calibration.test_watch import namespace
from tests.service import Service, running_service
from whimbrel.system.process import run

SOURCE = str(Path(__file__).parents[2] / "src")
CLIENT, MOVING = "10.99.78.1", "10.99.78.10"
OWN = ("10.99.78.2", "10.99.78.3")
PORT = 20_000
DARK_S = 0.4
# Both machines' links have one address, so that only the bridge has to learn where it is now.
_MAC = "02:00:00:00:78:10"


@contextmanager
def machines() -> Iterator[tuple[list[str], list[list[str]], Service]]:
    """What to put before a command to run it at the client, and on each machine; the service has the moving address."""
    with ExitStack() as stack:
        client, *others = [stack.enter_context(namespace()) for _ in range(3)]
        run([*client, "ip", "link", "set", "lo", "up"])
        run([*client, "ip", "link", "add", "name", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0"])
        run([*client, "ip", "address", "add", f"{CLIENT}/24", "dev", "br0"])
        run([*client, "ip", "link", "set", "br0", "up"])
        for number, (inside, own) in enumerate(zip(others, OWN, strict=True)):
            pid, port = inside[1].split("/")[2], f"port{number}"
            run([*client, "ip", "link", "add", "name", port, "type", "veth", "peer", "name", "eth0", "netns", pid])
            run([*client, "ip", "link", "set", port, "master", "br0", "up"])
            # What one says by itself over IPv6 tells the bridge that the address of both is with it.
            run([*inside, "sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1"], check=False)
            run([*inside, "ip", "link", "set", "eth0", "address", _MAC, "up"])
            run([*inside, "ip", "address", "add", f"{own}/24", "dev", "eth0"])
            # It serves an address that may come later.
            run([*inside, "sysctl", "-qw", "net.ipv4.ip_nonlocal_bind=1"])
        run([*others[0], "ip", "address", "add", f"{MOVING}/24", "dev", "eth0"])
        services = [stack.enter_context(running_service(MOVING, inside=inside, first_port=PORT)) for inside in others]
        yield client, others, services[0]


def move(source: list[str], destination: list[str]) -> str:
    """Takes the address from one, and gives it to the other a little later, which says so to the bridge."""
    tell = f"{shlex.quote(sys.executable)} -c \"import socket; socket.socket(2, 2).sendto(b'here', ('{CLIENT}', 9))\""
    return "; ".join([
        f"{shlex.join(source)} ip address del {MOVING}/24 dev eth0", f"sleep {DARK_S}",
        f"{shlex.join(destination)} ip address add {MOVING}/24 dev eth0", f"{shlex.join(destination)} {tell}",
    ])  # fmt: skip


@pytest.mark.alone
def test_a_script_that_moves_an_address_there_and_back() -> None:
    with machines() as (client, (one, other), service):
        checks = [
            f"icmp:{MOVING}#icmp,rate=100", f"{service.url('http')}#http,rate=100",
            f"{service.url('echo')}#tcp,rate=100,send=ping",
            f"{service.url('http')}#http-fresh,rate=100,connection=fresh", f"{service.url('ws')}#ws,rate=100",
            f"{service.url('dns', 'a.example')}#dns,rate=100",
        ]  # fmt: skip
        words = [word for check in checks for word in ("--check", f"{check},timeout=3s")]
        watching = [sys.executable, "-m", "whimbrel", "watch", "--json", *words, "--repeat", "1", "--back", move(other, one)]
        done = run([*client, *watching, "--", "sh", "-c", move(one, other)], env={"PYTHONPATH": SOURCE}, check=False)
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert [each["way"] for each in found["moves"]] == ["there", "back"]
    for each in found["moves"]:
        for check in each["checks"]:
            gap_s = check["longest_gap_s"]
            assert gap_s is not None, check
            assert gap_s >= DARK_S - check["gap_resolution_s"], check
            # The kernel sends a question that TCP has lost again after 0.2 s, then 0.4 s, ...; a connection after a second.
            assert gap_s < (2.5 if check["kind"] in ("http", "tcp", "ws") else 1.0), check
            assert check["gap_stands_out"], check
        by_name = {check["name"]: check for check in each["checks"]}
        # The other machine knows nothing of the connections of this one.
        for name in ("http", "tcp", "ws"):
            assert by_name[name]["connections_lost"] >= 1, by_name[name]
        for name in ("icmp", "dns", "http-fresh"):
            assert by_name[name]["connections_lost"] == 0, by_name[name]
        for name in ("icmp", "dns"):
            # Questions into the dark are lost, or refused on a machine that no longer has the address; no others are.
            found_here = by_name[name]
            assert 20 <= found_here["failed"] <= 100 * found_here["longest_gap_s"] + 5, found_here

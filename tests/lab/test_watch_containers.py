"""``whimbrel watch`` while podman, or runc with CRIU, stops a container and lets it go on: in a VM, which has both."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lab.test_containers import Carriers, carriers, states
from whimbrel.guests.carrier import CONTAINER, HOME, VmCarrier
from whimbrel.system.process import run

__all__ = ["carriers", "states"]

pytestmark = [pytest.mark.long, pytest.mark.alone]

PROJECT = Path(__file__).parents[2]
PODMAN = f"""podman run --detach --name plain --network host --volume /srv/film:/srv/film:ro --rootfs {HOME}/lower:O \
nginx -g 'daemon off;'"""
# Who connects just then is to try again; else CRIU refuses to dump a server that others keep connecting to.
PODMAN_STOPS_AND_GOES_ON = """set -e
mkdir -p /etc/criu && echo skip-in-flight >/etc/criu/default.conf
podman container checkpoint --tcp-established plain
sleep 1
podman container restore --tcp-established plain"""
RUNC_STOPS_AND_GOES_ON = f"""set -e
mkdir -p /run/move /run/image && echo skip-in-flight >/run/move/rpc.conf
. {HOME}/place
runc checkpoint --tcp-established --image-path /run/image {CONTAINER}
sleep 1
runc restore --detach --tcp-established --image-path /run/image --bundle {HOME}/bundle {CONTAINER} </dev/null >/dev/null 2>&1"""


def watched(carriers: Carriers, carrier: VmCarrier, address: str, script: str) -> dict[str, Any]:
    """What every kind of check that fits says of a script in the carrier."""
    checks = [
        f"icmp:{address}#icmp,rate=50", f"tcp://{address}:80#tcp,rate=20", f"http://{address}/hls/film.m3u8#http,rate=50",
        f"http://{address}/hls/film.m3u8#fresh,rate=20,connection=fresh", f"rtmp://{address}/film/film.flv#rtmp",
        f"hls:http://{address}/hls/film.m3u8#hls",
    ]  # fmt: skip
    words = [word for check in checks for word in ("--check", check)]
    command = [sys.executable, "-m", "tests.in_guest", carrier.host.libvirt_uri, carrier.vm.uuid, script]
    done = run(
        carriers.lab.network.vantage.command([sys.executable, "-m", "whimbrel", "watch", "--json", *words, "--", *command]),
        env={"PYTHONPATH": f"{PROJECT / 'src'}:{PROJECT}"},
        check=False,
    )
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def check_what_was_seen(found: dict[str, Any]) -> None:
    """The service stood still for the second between, and as long as dump and restore took; nobody lost a connection."""
    took_s = found["command"]["ended_s"] - found["command"]["started_s"]
    by_name = {check["name"]: check for check in found["checks"]}
    for name in ("http", "fresh", "rtmp"):
        check = by_name[name]
        assert check["longest_gap_s"] is not None, (name, check)
        assert 1 <= check["longest_gap_s"] <= took_s + 2, (name, took_s, check)
        assert check["gap_stands_out"], (name, check)
    for name in ("http", "rtmp"):
        assert by_name[name]["connections_lost"] == 0, by_name[name]
    # Under emulation dump and restore take longer than a question waits for its answer.
    assert set(by_name["http"]["failures"]) <= {"timed-out"}, by_name["http"]
    # What a player has ahead bridges it, or does not; either way that is known.
    assert by_name["hls"]["stream"]["stalls"] is not None


def test_podman_stops_a_container_and_lets_it_go_on(carriers: Carriers) -> None:
    waiting = carriers.b
    waiting.inside.shell(PODMAN, timeout_s=180)
    found = watched(carriers, waiting, waiting.address, PODMAN_STOPS_AND_GOES_ON)
    check_what_was_seen(found)
    # The VM around it went on: its kernel answers all the while.
    icmp = next(check for check in found["checks"] if check["name"] == "icmp")
    assert icmp["longest_gap_s"] < 1, icmp


def test_runc_and_criu_stop_a_container_and_let_it_go_on(carriers: Carriers) -> None:
    check_what_was_seen(watched(carriers, carriers.a, carriers.lab.guest.address, RUNC_STOPS_AND_GOES_ON))

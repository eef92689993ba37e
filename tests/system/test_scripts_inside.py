"""Scripts that run inside carriers and cells, in namespaces of their own: what each leaves, prints, and waits for."""

from __future__ import annotations

import base64
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

PLACE = "ADDRESS=10.9.0.5/24\nMAC=52:54:00:77:00:c8\nPORTS='1935 80'\nexport LD_PRELOAD=/nonexistent.so\n"
# A machine with nothing of ours in /srv and /run, and programs that stand in for those of a carrier.
MACHINE = r"""
set -eu
mount --make-rprivate /
mount -t tmpfs machine /srv
mount -t tmpfs machine /run
mkdir -p /run/netns /run/bin /srv/origin/lower /srv/origin/upper /srv/origin/work /srv/origin/bundle/rootfs
for program in criu runc nc; do printf '#!/bin/sh\necho %s "$@" >>/run/asked\n' "$program" >"/run/bin/$program"; done
chmod +x /run/bin/*
export PATH=/run/bin:$PATH
ip link set lo up
ip link add br0 type bridge
printf %s "$PLACE" >/srv/origin/place
"""


def said(script: str, folder: Path, place: str = PLACE) -> list[str]:
    """What a script prints on such a machine, where ``do NAME ARGUMENT...`` runs one of ours as whimbrel does."""
    ours = files("whimbrel.guests")
    texts = {name: (ours / f"{name}.sh").read_text() for name in ("ready", "container")}
    for each in ours.iterdir():
        if each.name.endswith(".sh"):
            (folder / each.name).write_text(texts["ready"] + texts["container"] + each.read_text())
    (folder / "folder.sh").write_text((files("whimbrel.migrate.container") / "folder.sh").read_text())
    do = f'do_script() {{ local name=$1; shift; bash -c "$(cat "{folder}/$name.sh")" "$name" "$@"; }}\n'
    done = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--kill-child", "--fork", "bash", "-c", MACHINE + do + script],
        capture_output=True, text=True, timeout=60, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PLACE": place},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_container_gets_its_network_and_joins_the_bridge_only_when_it_is_started(tmp_path: Path) -> None:
    lines = said(
        r"""
        do_script container_network
        ip -n origin -brief -4 address show eth0 | tr -s ' ' | cut -d ' ' -f 3
        ip -n origin -brief link show eth0 | tr -s ' ' | cut -d ' ' -f 3
        ip -brief link show master br0 | wc -l
        ip netns exec origin python3 -c 'if True:
            import socket, time
            time.sleep(0.5)
            held = [socket.create_server(("127.0.0.1", port)) for port in (1935, 80, 7777)]
            time.sleep(60)' &
        do_script container_start 7777
        ip -brief link show master br0 | cut -d @ -f 1
        mountpoint -q /srv/origin/bundle/rootfs && echo mounted
        do_script container_wait && echo serves
        cat /run/asked
        """,
        tmp_path,
    )
    assert lines == [
        "10.9.0.5/24", "52:54:00:77:00:c8", "0", "veth-origin", "mounted", "serves",
        "criu check", "runc --version", "runc list", "nc -h",
        "runc delete --force origin", "runc run --detach --bundle /srv/origin/bundle origin",
    ]  # fmt: skip


def test_the_link_has_the_name_that_the_side_is_told(tmp_path: Path) -> None:
    script = "do_script container_network; ip -brief link show type veth | cut -d @ -f 1"
    assert said(script, tmp_path, f"{PLACE}LINK=veth-016e\n") == ["veth-016e"]


def test_what_a_container_needs_is_unknown_where_nobody_counts_its_memory(tmp_path: Path) -> None:
    memory, written = said("head -c 1M /dev/zero >/srv/origin/upper/file; do_script container_needs", tmp_path)
    assert memory == "unknown"
    assert 2**20 <= int(written) < 2**20 + 2**14


def test_memory_that_nobody_tells_is_a_failure(tmp_path: Path) -> None:
    assert said("do_script container_memory || echo failed", tmp_path) == ["failed"]


def test_a_port_that_nobody_opens_is_waited_for_and_then_a_failure(tmp_path: Path) -> None:
    script = f". {tmp_path}/ready.sh; until_true 3 takes_connections 9 && echo open || echo closed"
    assert said(script, tmp_path) == ["closed"]


FETCHED = base64.b64encode(b"statistics\n").decode()


@pytest.mark.parametrize(
    ("then", "printed"),
    [
        ("do_script folder begin; stat -c %a /run/move/hook.sh; stat -c %s /run/move/journal", ["755", "0"]),
        ("echo '1.0 listening' >/run/move/journal; do_script folder journal", ["1.0 listening"]),
        ("do_script folder journal", []),
        # Nobody takes orders, whether or not there is a pipe for them: that is waited for by nobody.
        ("do_script folder order leave; mkfifo /run/move/orders; do_script folder order leave; echo told", ["told"]),
        ("mkfifo /run/move/orders; exec 9<>/run/move/orders; do_script folder order leave; head -n 1 <&9", ["leave"]),
        ("mkdir /run/move/work; echo statistics >/run/move/work/a; do_script folder fetch work/a", [FETCHED]),
        ("do_script folder fetch work/a", []),
        (
            "mkdir -p /run/move/work/1; echo '1.0 sent' >/run/move/journal; echo no room >/run/move/depart.err;"
            " echo 'Error 5' >/run/move/work/1/dump.log; do_script folder last-words",
            ["1.0 sent", "no room", "Error 5"],
        ),
        ("do_script folder clear; mountpoint -q /run/move || echo gone", ["gone"]),
        # What an earlier move left goes first.
        ("touch /run/move/left; do_script folder make; ls /run/move", []),
        ("do_script folder bogus || echo $?", ["2"]),
    ],
)  # fmt: skip
def test_the_folder_of_a_move(then: str, printed: list[str], tmp_path: Path) -> None:
    begun = "do_script folder make; touch /run/move/hook.sh\n"
    assert said(begun + then, tmp_path) == printed


def test_nobody_waits_for_a_container_whose_service_has_no_ports(tmp_path: Path) -> None:
    """Which is another thing than one whose side says nothing of ports."""
    script = "do_script container_network\ndo_script container_wait\necho served\n"
    assert said(script, tmp_path, PLACE.replace("'1935 80'", "none")) == ["served"]

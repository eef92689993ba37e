"""While a lab is up with a guest in it, a user of the machine who is not root gets hold of nothing of ours."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.labs import lab_that_is_up, quick
from whimbrel.engines.libvirt import Connection
from whimbrel.guests import guest as the_guest
from whimbrel.guests.states import StateStore
from whimbrel.lab.lab import Lab
from whimbrel.system.cgroups import Cgroup
from whimbrel.system.folders import home
from whimbrel.system.process import run

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")
# Tries each path of a list in every way there is; prints those that it got hold of, with the way.
INTRUDER = """
import json, os, socket, stat, sys

def connect(path):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as one:
            one.settimeout(5)
            try:
                one.connect(path)
                return
            except PermissionError:
                raise
            except OSError as error:
                last = error
    raise last

WAYS = {
    "read": lambda path: os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK)),
    "written": lambda path: os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK)),
    "listed": os.listdir,
    "made in": lambda path: os.mkdir(path + "/intruder"),
    "connected to": connect,
    "followed": os.readlink,
    "looked at": os.lstat,
}
got = []
for path in json.load(sys.stdin):
    for way, attempt in WAYS.items():
        try:
            attempt(path)
        except OSError as error:
            continue
        got.append([path, way])
print(json.dumps(got))
"""
# Where nothing is secret: whether a guest was seen to boot in KVM, for 'doctor'; the installation's number, which stands
# in each of its claims for others to read; and that the store is there at all.
PUBLIC = {
    (str(home() / "installation"), "read"),
    (str(home() / "kvm.json"), "read"),
    (str(home() / "kvm.json"), "looked at"),
    (str(home()), "listed"),
    (str(home()), "read"),
}


def intrude(paths: list[str]) -> set[tuple[str, str]]:
    """What a process without rights gets hold of."""
    python = os.path.realpath(sys.executable)
    said = run([*NOBODY, python, "-I", "-c", INTRUDER], stdin=json.dumps(paths)).stdout
    return {(path, way) for path, way in json.loads(said)}


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def with_guest(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab with a guest on server A."""
    spec = quick("lab.name=private", f"lab.tls={str(request.param).lower()}")
    with lab_that_is_up(spec.lab) as lab, ExitStack() as stack:
        state = StateStore(lab, spec.guest, spec.stream).get("vm", "none", 1)
        connection = stack.enter_context(Connection.open(lab.hosts["a"].libvirt_uri))
        the_guest.restore(lab, connection, lab.guest, state.folder)
        stack.callback(the_guest.take_power_away, lab.hosts["a"], lab.guest)
        yield lab


def everything_in(folder: Path) -> list[str]:
    found = [str(folder)]
    for inner, folders, names in os.walk(folder):
        found += [f"{inner}/{name}" for name in (*folders, *names)]
    return found


def pids_of(lab: Lab) -> list[int]:
    return [process.pid for name in ("server-a", "server-b") for process in Cgroup(f"{lab.spec.name}/{name}").processes()]


def of_our_processes(pids: list[int]) -> list[str]:
    """What /proc shows of them: their roots, their files, their memory, their environments."""
    found = []
    for pid in pids:
        one = Path(f"/proc/{pid}")
        found += [str(one / name) for name in ("root", "cwd", "exe", "environ", "mem", "maps", "ns/net")]
        found += [str(file) for file in (one / "fd").glob("*")]
        found += [f"{one}/root{path}" for path in ("/run/libvirt/libvirt-sock", "/srv/shared", "/srv/images", "/etc/pki")]
    return found


def test_the_intruder_gets_hold_of_what_is_open(tmp_path: Path) -> None:
    """Without this, the test below could pass for an intruder that cannot do anything."""
    folder = Path("/tmp/whimbrel-intruder")
    folder.mkdir()
    try:
        folder.chmod(0o777)
        (folder / "file").write_text("x")
        (folder / "file").chmod(0o666)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(folder / "socket"))
            listening.listen()
            (folder / "socket").chmod(0o777)
            got = intrude([str(folder), str(folder / "file"), str(folder / "socket")])
    finally:
        shutil.rmtree(folder)
    assert {
        (str(folder), "listed"), (str(folder), "made in"), (str(folder / "file"), "read"), (str(folder / "file"), "written"),
        (str(folder / "socket"), "connected to"),
    } <= got  # fmt: skip


def test_who_is_not_root_gets_hold_of_nothing_of_ours(with_guest: Lab) -> None:
    lab = with_guest
    paths = everything_in(home())
    kinds = {
        "libvirt's sockets": lambda path: path.endswith("/run/libvirt-sock"),
        "libvirt's sockets to look": lambda path: path.endswith("/run/libvirt-sock-ro"),
        "QEMU's monitor": lambda path: path.endswith("/monitor.sock"),
        "disks": lambda path: path.endswith(".qcow2"),
        "saved states": lambda path: path.endswith("/memory.save"),
        "images": lambda path: path.endswith("/tree/usr/bin/su"),
        "ledgers": lambda path: path.endswith(".jsonl"),
        "keys": lambda path: path.endswith("key.pem"),
    }
    absent = [kind for kind, fits in kinds.items() if not any(map(fits, paths))]
    assert absent == ([] if lab.spec.tls else ["keys"])
    pids = pids_of(lab)
    assert len(pids) >= 6
    got = intrude(paths + of_our_processes(pids))
    names = {(str(path), "looked at") for path in (home(), *home().iterdir())}
    assert got - PUBLIC - names - looks(pids) == set()


def looks(pids: list[int]) -> set[tuple[str, str]]:
    """That these are there, /proc tells everybody; what they are, it does not."""
    names = ("root", "cwd", "exe", "environ", "mem", "maps", "ns/net")
    return {(f"/proc/{pid}/{name}", "looked at") for pid in pids for name in names}


def test_libvirts_sockets_are_for_root_alone_even_without_the_folders_above(with_guest: Lab) -> None:
    folder = with_guest.hosts["a"].config.folder / "run"
    sockets = [path for path in folder.rglob("*") if path.is_socket()]
    assert {"libvirt-sock", "libvirt-sock-ro", "libvirt-admin-sock", "virtlogd-sock"} <= {path.name for path in sockets}
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in sockets}
    assert {name: mode for name, mode in modes.items() if mode & 0o077 and name.startswith(("libvirt", "virt"))} == {}
    # QEMU's own, to connect to which takes the right to write (unix(7)).
    assert {name: mode for name, mode in modes.items() if mode & 0o002} == {}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder, with_guest.folder)} == {0o700}


def test_nothing_of_a_lab_is_in_the_machines_own_network(with_guest: Lab) -> None:
    lab = with_guest
    links = run(["ip", "-o", "address"]).stdout
    assert lab.spec.address(1).rpartition(".")[0] not in links
    listening = {line.split()[9] for kind in ("tcp", "udp") for line in Path(f"/proc/1/net/{kind}").read_text().splitlines()[1:]}
    abstract = {line.split()[6] for line in Path("/proc/1/net/unix").read_text().splitlines()[1:] if "@" in line}
    ours = [*pids_of(lab), os.getpid()]
    assert len(ours) > 6
    held = set()
    for pid in ours:
        for file in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                held.add(str(file.readlink()).removeprefix("socket:[").removesuffix("]"))
            except OSError:
                continue
    assert held & (listening | abstract) == set()
    # Its namespaces have names that everybody may read, and that nobody but root may enter.
    refused = run([*NOBODY, "nsenter", f"--net=/run/netns/whimbrel-{lab.spec.name}-a", "true"], check=False)
    assert refused.exit_code != 0
    assert "not permitted" in refused.stderr

"""A guest that whimbrel did not deploy, on servers of a lab that are used by URI: an ordinary user moves it there and back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from tests.saboteur import kill, processes
from tests.their_hosts import ENVIRONMENT, TheirHosts
from tests.users import without_root
from whimbrel.engines.libvirt import Connection
from whimbrel.lab.server import Server
from whimbrel.system.deadline import Deadline, wait_until

NOBODY = 65534
UUID = "5a1e7f4c-0000-4000-8000-000000000001"
# As virt-install makes it of '--memory 256 --disk ... --network bridge=br0 --graphics vnc --boot uefi=off', emulated.
SHOP = f"""\
<domain type="qemu">
  <name>shop</name>
  <uuid>{UUID}</uuid>
  <title>The shop &amp; its till</title>
  <metadata>
    <libosinfo:libosinfo xmlns:libosinfo="http://libosinfo.org/xmlns/libvirt/domain/1.0">
      <libosinfo:os id="http://debian.org/debian/13"/>
    </libosinfo:libosinfo>
  </metadata>
  <memory unit="MiB">256</memory>
  <vcpu>1</vcpu>
  <os><type arch="x86_64" machine="q35">hvm</type><boot dev="hd"/></os>
  <features><acpi/><apic/></features>
  <cpu mode="custom" match="exact" check="none"><model>qemu64</model></cpu>
  <clock offset="utc"><timer name="rtc" tickpolicy="catchup"/></clock>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type="file" device="disk">
      <driver name="qemu" type="raw" cache="none"/><source file="/srv/shared/shop.img"/><target dev="vda" bus="virtio"/>
    </disk>
    <controller type="usb" model="qemu-xhci" ports="15"/>
    <interface type="bridge"><source bridge="br0"/><model type="virtio"/><mac address="52:54:00:ab:cd:ef"/></interface>
    <console type="pty"/>
    <channel type="unix"><target type="virtio" name="org.qemu.guest_agent.0"/></channel>
    <input type="tablet" bus="usb"/>
    <graphics type="vnc" port="-1" listen="127.0.0.1"/>
    <video><model type="vga"/></video>
    <watchdog model="itco" action="reset"/>
    <memballoon model="virtio"/>
    <rng model="virtio"><backend model="random">/dev/urandom</backend></rng>
  </devices>
</domain>"""


@dataclass
class Shop:
    """The guest, and the user who moves it."""

    theirs: TheirHosts
    home: Path

    @property
    def servers(self) -> dict[str, Server]:
        return {name: self.theirs.lab.hosts[name] for name in ("a", "b")}

    def uri(self, name: str) -> str:
        return f"qemu+tls://{self.servers[name].address}/system?pkipath={self.home}/pki"

    def command(self, *words: str) -> list[str]:
        return [*self.theirs.lab.network.vantage.command([*without_root(), sys.executable, "-m", "whimbrel"]), *words]

    @property
    def environment(self) -> dict[str, str]:
        return {**ENVIRONMENT, "HOME": str(self.home), "XDG_STATE_HOME": str(self.home / "state"), "WHIMBREL_HOME": "/nowhere"}

    def whimbrel(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*words), capture_output=True, text=True, timeout=300, env=self.environment)

    def move(self, source: str, destination: str, *more: str) -> dict[str, object]:
        done = self.whimbrel("migrate", "shop", "--from", self.uri(source), "--to", self.uri(destination), "--json", *more)
        assert done.returncode == 0, done.stderr
        assert done.stderr == (
            "whimbrel: not seen: disk-unseen, link-unseen, way-unseen ('whimbrel preflight' says more)\n"
            "whimbrel: moving to host destination\n"
        )
        found: dict[str, object] = json.loads(done.stdout)
        return found

    def virsh(self, name: str, *words: str) -> str:
        return self.servers[name].run(["virsh", *words], check=False).stdout

    @property
    def kept_on(self) -> list[str]:
        return [name for name in self.servers if UUID in self.virsh(name, "list", "--all", "--persistent", "--uuid")]

    @property
    def runs_on(self) -> list[str]:
        return [name for name in self.servers if UUID in self.virsh(name, "list", "--uuid", "--state-running")]

    def kept(self, name: str) -> list[str]:
        """libvirt indents what is in <metadata> further each time that it reads it."""
        return [line.strip() for line in self.virsh(name, "dumpxml", "--inactive", "shop").splitlines() if line.strip()]

    def starts_itself(self, name: str) -> bool:
        return "shop" in self.virsh(name, "list", "--all", "--autostart", "--name")

    @property
    def claimed(self) -> bool:
        return any("urn:whimbrel" in self.virsh(name, "dumpxml", "shop") for name in self.servers)


@pytest.fixture
def shop(theirs: TheirHosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    home = Path("/tmp") / f"whimbrel-own-{os.getpid()}"
    shutil.copytree(theirs.file.parent / "pki", home / "pki")
    for path in [home, *home.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    image = theirs.lab.shared / "shop.img"
    with image.open("wb") as file:
        file.truncate(8 * 2**20)
    found = Shop(theirs, home)
    with Connection.open(found.servers["a"].libvirt_uri) as connection:
        raw = connection.raw.defineXML(SHOP)
        raw.setAutostart(1)
        raw.create()
    try:
        yield found
    finally:
        for name in found.servers:
            with suppress(Exception):
                found.virsh(name, "destroy", "shop")
            with suppress(Exception):
                found.virsh(name, "undefine", "shop")
        image.unlink()
        shutil.rmtree(home)


def test_an_ordinary_user_moves_it_there_and_back_and_all_else_stays(shop: Shop) -> None:
    kept = shop.kept("a")
    for source, destination in (("a", "b"), ("b", "a")):
        found = shop.move(source, destination)
        assert (found["result"], found["runs_on"], found["description_changed"]) == ("moved", ["destination"], [])
        assert (shop.runs_on, shop.kept_on) == ([destination], [destination])
        assert shop.kept(destination) == kept
        assert shop.starts_itself(destination)
        assert not shop.claimed
        for figure in ("total_s", "qemu_downtime_ms", "libvirt_downtime_ms", "blackout_ms", "transferred_bytes"):
            assert isinstance(found[figure], int | float), figure
    assert shop.theirs.guests == {"a": {UUID, "0b5e7f4c-0000-4000-8000-00000000000a"},
                                  "b": {"0b5e7f4c-0000-4000-8000-00000000000b"}}  # fmt: skip
    assert {path.name for path in (shop.home / "state").iterdir()} == {"whimbrel"}


def test_a_move_has_a_page_and_a_campaign_moves_it_there_and_back(shop: Shop) -> None:
    found = shop.move("a", "b", "--out", str(shop.home / "move"), "--check", "off")
    assert found["report"] == str(shop.home / "move" / "report.html")
    assert "move of shop" in (shop.home / "move" / "report.html").read_text()
    file = shop.home / "shop.yaml"
    servers = "".join(f'    {name}: {{libvirt: "{shop.uri(name)}", address: {server.address}}}\n'
                      for name, server in shop.servers.items())  # fmt: skip
    file.write_text(
        f"schema_version: 1\nname: shop\nhosts:\n  servers:\n{servers}guest: {{domain: shop}}\n"
        "scenarios: [{name: shop, title: There and back, factors: {technique: [pre-copy, paused]}}]\n"
    )
    done = shop.whimbrel("run", str(file), "--out", str(shop.home / "results"), "--json")
    assert done.returncode == 0, done.stderr
    arms = json.loads(done.stdout)["arms"]
    assert [(arm["moved"], arm["total_s"]["median"] > 0, arm["blackout_ms"]["median"] > 0) for arm in arms] == [
        (1, True, True)
    ] * 2
    hosts = pl.read_parquet(next((shop.home / "results" / "trials").glob("*/hosts.parquet")))
    assert {"a", "b"} <= set(hosts.get_column("subject"))
    # It was on b when the campaign began.
    assert (shop.runs_on, shop.kept_on, shop.claimed) == (["b"], ["b"], False)


@pytest.mark.long
def test_it_is_predicted_and_moved_by_a_ladder(shop: Shop) -> None:
    """Emulated, and blank: it dirties next to nothing."""
    way = ("--from", shop.uri("a"), "--to", shop.uri("b"), "--link", "1 Gbit/s")
    done = shop.whimbrel("profile", "shop", "--from", shop.uri("a"), "--for", "3s", "--json")
    assert done.returncode == 0, done.stderr
    assert [window["window_s"] for window in json.loads(done.stdout)["windows"]] == [1.0, 2.0]
    done = shop.whimbrel("predict", "shop", *way, "--for", "3s", "--json")
    assert done.returncode == 0, done.stderr
    expected = json.loads(done.stdout)
    assert expected["converges"] is True
    done = shop.whimbrel("migrate", "shop", *way, "--ladder", "zstd,pre-copy", "--deadline", "2 min", "--json")
    assert done.returncode == 0, done.stderr
    assert "1. zstd, at once, for at most" in done.stderr
    found = json.loads(done.stdout)
    assert (found["result"], shop.runs_on) == ("moved", ["b"])
    done = shop.whimbrel("migrate", "shop", "--from", shop.uri("b"), "--to", shop.uri("a"), "--goal", "shortest-gap", "--json")
    assert done.returncode == 0, done.stderr
    assert shop.runs_on == ["a"]


def test_what_is_kept_can_stay_where_it_is(shop: Shop) -> None:
    refused = shop.whimbrel("migrate", "shop", "--from", shop.uri("a"), "--to", shop.uri("b"), "--transient")
    assert refused.returncode == 2
    assert "a second copy of a guest that runs" in refused.stderr
    shop.virsh("a", "autostart", "--disable", "shop")
    kept = shop.kept("a")
    shop.move("a", "b", "--transient")
    assert (shop.runs_on, shop.kept_on) == (["b"], ["a"])
    assert shop.kept("a") == kept


# Adds one to every word from 0x10000 to 0x8ffff, for ever, in 16-bit code.
WRITES = bytes.fromhex("31c0 bb0010 8ec3 31ff 26ff05 83c702 75f8 81c30010 81fb0090 75ea ebe5").ljust(510, b"\0") + b"\x55\xaa"
SLOW = ("--set", "bandwidth='1 MiB/s'", "--set", "max_rounds=1000")


def boot_what_writes(shop: Shop) -> None:
    """Half a MiB that is written all the time takes longer than a pause may last: a slow move of it has no end."""
    with (shop.theirs.lab.shared / "shop.img").open("r+b") as disk:
        disk.write(WRITES)
        disk.flush()
        os.fsync(disk.fileno())
    shop.virsh("a", "reset", "shop")

    def written() -> tuple[bool | None, str]:
        said = shop.virsh("a", "qemu-monitor-command", "--hmp", "shop", "xp /1xw 0x8fffc")
        return (None if said.split()[-1:] in ([], ["0x00000000"]) else True, said)

    wait_until(written, "the guest to write into its memory", Deadline(60))


def moving(shop: Shop) -> subprocess.Popen[str]:
    """A move that lasts, in the middle."""
    boot_what_writes(shop)
    words = ("migrate", "shop", "--from", shop.uri("a"), "--to", shop.uri("b"), *SLOW)
    running = subprocess.Popen(
        shop.command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=shop.environment
    )
    wait_until(
        lambda: ("Data processed" in shop.virsh("a", "domjobinfo", "shop") or None, "no job yet"), "a move", Deadline(60)
    )  # fmt: skip
    return running


def test_it_is_aborted_when_that_is_asked_for(shop: Shop) -> None:
    running = moving(shop)
    assert shop.claimed
    aborted = shop.whimbrel("abort", "shop")
    assert aborted.returncode == 0, aborted.stderr
    running.communicate(timeout=60)
    assert (running.returncode, shop.runs_on, shop.kept_on, shop.claimed) == (1, ["a"], ["a"], False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_aborts_it(shop: Shop, number: signal.Signals) -> None:
    running = moving(shop)
    running.send_signal(number)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130, errors
    assert (shop.runs_on, shop.kept_on, shop.claimed) == (["a"], ["a"], False)


@pytest.mark.long
def test_its_owners_own_virsh_aborts_it(shop: Shop) -> None:
    running = moving(shop)
    shop.virsh("a", "domjobabort", "shop")
    _, errors = running.communicate(timeout=60)
    assert (running.returncode, shop.runs_on, shop.kept_on, shop.claimed) == (1, ["a"], ["a"], False), errors


@pytest.mark.long
def test_its_owners_own_virsh_destroys_it(shop: Shop) -> None:
    running = moving(shop)
    shop.virsh("a", "destroy", "shop")
    _, errors = running.communicate(timeout=120)
    assert running.returncode in (1, 4), errors
    assert "shop" in errors
    assert (shop.runs_on, shop.kept_on) == ([], ["a"])
    assert not shop.claimed
    # Nothing was started anywhere by itself; who starts it again can move it, after a recovery where that is asked for.
    shop.virsh("a", "start", "shop")
    shop.whimbrel("recover", "shop")
    shop.move("a", "b")
    assert shop.runs_on == ["b"]


@pytest.mark.long
def test_the_destinations_libvirtd_ends_meanwhile(shop: Shop) -> None:
    running = moving(shop)
    [libvirtd] = processes(shop.theirs.lab, "b", "libvirtd")
    kill(libvirtd)
    _, errors = running.communicate(timeout=180)
    assert running.returncode in (1, 4), errors
    wait_until(lambda: (shop.virsh("b", "list", "--name") or None, "no libvirtd yet"), "libvirtd of b", Deadline(60))
    if running.returncode == 4:
        recovered = shop.whimbrel("recover", "shop")
        assert recovered.returncode == 0, recovered.stderr
    assert (shop.runs_on, shop.kept_on, shop.claimed) == (["a"], ["a"], False)


@pytest.mark.long
def test_a_second_controller_is_refused_while_it_moves(shop: Shop) -> None:
    running = moving(shop)
    elsewhere = {**shop.environment, "XDG_STATE_HOME": str(shop.home / "another")}
    words = shop.command("migrate", "shop", "--from", shop.uri("a"), "--to", shop.uri("b"), "--check", "off")
    second = subprocess.run(words, capture_output=True, text=True, timeout=120, env=elsewhere)
    assert second.returncode == 2, second.stderr
    assert "shop is claimed by" in second.stderr
    assert "a move of it is under way" in second.stderr
    assert shop.claimed
    shop.whimbrel("abort", "shop")
    running.communicate(timeout=60)
    assert (shop.runs_on, shop.claimed) == (["a"], False)


def test_a_move_whose_driver_was_killed_is_recovered(shop: Shop) -> None:
    running = moving(shop)
    running.kill()
    # libvirt goes on by itself, and would be done soon.
    shop.virsh("a", "domjobabort", "shop")
    running.communicate(timeout=60)
    refused = shop.whimbrel("migrate", "shop", "--from", shop.uri("a"), "--to", shop.uri("b"))
    assert refused.returncode == 2
    assert "an earlier move of shop was interrupted" in refused.stderr
    recovered = shop.whimbrel("recover", "shop")
    assert recovered.returncode == 0, recovered.stderr
    assert recovered.stdout == "shop runs on host source, and nowhere else\n"
    assert (shop.runs_on, shop.kept_on, shop.claimed) == (["a"], ["a"], False)


def test_a_move_that_cannot_be_says_why_and_leaves_all_as_it_was(shop: Shop) -> None:
    kept = shop.kept("a")
    with Connection.open(shop.servers["b"].libvirt_uri) as connection:
        other = connection.raw.defineXML(SHOP.replace(UUID, UUID[:-1] + "9"))
    refused = shop.whimbrel("migrate", "shop", "--from", shop.uri("a"), "--to", shop.uri("b"))
    other.undefine()
    assert refused.returncode == 2
    assert "has another guest called shop" in refused.stderr
    assert (shop.runs_on, shop.kept("a"), shop.claimed) == (["a"], kept, False)


def preflight(shop: Shop, *more: str) -> tuple[int, bool | None, set[tuple[str, str, str]]]:
    done = shop.whimbrel("preflight", "shop", "--from", shop.uri("a"), "--to", shop.uri("b"), "--json", *more)
    assert done.stdout, done.stderr
    said = json.loads(done.stdout)
    return done.returncode, said["possible"], {(each["code"], each["severity"], each["side"]) for each in said["findings"]}


# What nobody can see of a lab's servers: their libvirt has no drivers for links and no pool over the shared folder.
UNSEEN = {
    ("link-unseen", "unseen", "destination"), ("disk-unseen", "unseen", "destination"),
    ("way-unseen", "unseen", "source to destination"),
}  # fmt: skip


def test_a_healthy_guest_is_not_refused_and_what_nobody_sees_is_said(shop: Shop) -> None:
    before = shop.theirs.guests, shop.kept("a"), shop.virsh("a", "dumpxml", "shop")
    assert preflight(shop) == (0, None, UNSEEN)
    assert (shop.theirs.guests, shop.kept("a"), shop.virsh("a", "dumpxml", "shop")) == before


def test_a_disk_that_both_hosts_have_is_seen_by_pools_over_its_folder(shop: Shop) -> None:
    for name in shop.servers:
        shop.virsh(name, "pool-create-as", "images", "dir", "--target", "/srv/shared")
    try:
        assert preflight(shop) == (0, None, UNSEEN - {("disk-unseen", "unseen", "destination")})
        shop.virsh("b", "pool-destroy", "images")
        shop.virsh("b", "pool-create-as", "images", "dir", "--target", "/srv/own")
        assert preflight(shop) == (0, None, UNSEEN)
    finally:
        for name in shop.servers:
            shop.virsh(name, "pool-destroy", "images")


def test_faults_are_named_before_anything_moves(shop: Shop) -> None:
    with Connection.open(shop.servers["b"].libvirt_uri) as connection:
        other = connection.raw.defineXML(SHOP.replace(UUID, UUID[:-1] + "9"))
    try:
        assert preflight(shop) == (3, False, {*UNSEEN, ("guest-name-taken", "blocks", "destination")})
    finally:
        other.undefine()
    shop.virsh("a", "suspend", "shop")
    assert preflight(shop, "--technique", "post-copy") == (
        3, False, {*UNSEEN, ("guest-not-running", "blocks", "source"), ("post-copy-unseen", "unseen", "destination")},
    )  # fmt: skip
    shop.virsh("a", "resume", "shop")


def test_hosts_and_guests_are_listed_by_the_names_that_a_user_gives_them(shop: Shop) -> None:
    file = shop.home / "hosts.yaml"
    file.write_text("".join(["hosts:\n", *(
        f'  {name}: {{libvirt: "{shop.uri(server)}", address: {shop.servers[server].address}}}\n'
        for name, server in (("north", "a"), ("east", "b"))
    )]))  # fmt: skip
    listed = shop.whimbrel("hosts", "--hosts", str(file), "--json")
    assert listed.returncode == 0, listed.stderr
    assert [(each["name"], each["guests_running"]) for each in json.loads(listed.stdout)] == [("north", 2), ("east", 1)]
    listed = shop.whimbrel("guests", "--hosts", str(file), "--to", "east", "--json")
    assert listed.returncode == 0, listed.stderr
    [found] = [each for each in json.loads(listed.stdout) if each["name"] == "shop"]
    assert (found["host"], found["state"], found["memory_bytes"], found["persistent"]) == ("north", "runs", 256 * 2**20, True)
    assert (found["can_move"], found["against"]) == (None, [])

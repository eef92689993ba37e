"""The instruments on real namespaces and groups: what they count is there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import polars as pl
import pytest

from whimbrel.system import links, netns
from whimbrel.system.cgroups import Cgroup, machine_cpus
from whimbrel.system.deadline import Deadline, pause, wait_until
from whimbrel.system.instrument import Instrument
from whimbrel.system.ledger import Ledger
from whimbrel.system.process import run, start

pytestmark = pytest.mark.alone


@pytest.fixture
def pair() -> Iterator[tuple[str, str]]:
    """Two namespaces joined by a link: 10.99.1.1 and 10.99.1.2."""
    names = ("whimbrel-pair-1", "whimbrel-pair-2")
    with Ledger("pair") as ledger:
        try:
            for name in names:
                ledger.add("netns", name)
                netns.create(name)
            links.add_veth(names[0], "eth0", names[1], "eth0")
            for position, name in enumerate(names, 1):
                links.add_address(name, "eth0", f"10.99.1.{position}", 24)
            yield names
        finally:
            ledger.undo_all()


def instrument(tmp_path: Path, module: str, configuration: dict[str, object], netns_name: str) -> Instrument:
    return Instrument(
        module, f"whimbrel.observe.{module}", configuration, output=tmp_path / f"{module}.parquet", log_file=tmp_path / "log",
        wrap=lambda argv: [*netns.inside(netns_name), *argv],
    )  # fmt: skip


def test_the_probe_numbers_every_echo_and_sees_an_outage(tmp_path: Path, pair: tuple[str, str]) -> None:
    with instrument(tmp_path, "probe", {"address": "10.99.1.2", "every_s": 0.005}, pair[0]):
        pause(0.5)
        run(["ip", "-n", pair[1], "link", "set", "eth0", "down"])
        pause(0.3)
        run(["ip", "-n", pair[1], "link", "set", "eth0", "up"])
        pause(0.7)
    echoes = pl.read_parquet(tmp_path / "probe.parquet")
    assert echoes.get_column("sequence").to_list() == list(range(echoes.height))
    assert 150 < echoes.height < 400
    lost = echoes.filter(pl.col("received_ns").is_null())
    assert 0 < lost.height < echoes.height / 2
    answered = echoes.drop_nulls()
    delays_ms = ((answered.get_column("received_ns") - answered.get_column("sent_ns")) / 1e6).to_list()
    assert all(delay >= 0 for delay in delays_ms)


def test_the_sampler_sees_cpu_memory_and_network_of_a_group(tmp_path: Path, pair: tuple[str, str]) -> None:
    with Ledger("sampled") as ledger:
        group = Cgroup("sampled/one")
        ledger.add("cgroup", group.name)
        group.create(cpus=machine_cpus(), memory_bytes=None)
        points = [{"host": "a", "cgroup": group.name, "init_pid": None}]
        try:
            with instrument(tmp_path, "sampler", {"points": points, "every_s": 0.05}, pair[0]) as sampler:
                pause(0.3)
                work = "import socket, time\nb = bytearray(64 << 20)\nfor i in range(0, len(b), 4096): b[i] = 1\n"
                work += "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                work += "for i in range(2000): s.sendto(bytes(1000), ('10.99.1.2', 9))\n"
                work += "end = time.monotonic() + 0.8\nwhile time.monotonic() < end: pass\n"
                busy = start([*netns.inside(pair[0]), sys.executable, "-c", work], cgroup_procs=group.procs_files)
                assert busy.wait(20) == 0
                pause(0.2)
            assert sampler.cost["cpu_s"] is not None
            assert sampler.cost["jitter_p99_ms"] is not None
        finally:
            ledger.undo_all()
    rows = pl.read_parquet(tmp_path / "sampler.parquet").filter(pl.col("subject") == "a").sort("t_ns")
    grown = {
        name: rows.get_column(name).to_list()[-1] - rows.get_column(name).to_list()[0] for name in ("cpu_s", "net_sent_bytes")
    }
    assert grown["cpu_s"] > 0.5
    assert grown["net_sent_bytes"] > 2000 * 1000
    memory = rows.get_column("memory_bytes").to_list()
    assert max(memory) - memory[0] > 60 * 2**20


@pytest.mark.parametrize("rate_bytes_per_s", [5e6, 25e6])
def test_the_link_check_says_what_a_link_gives(tmp_path: Path, pair: tuple[str, str], rate_bytes_per_s: float) -> None:
    for name in pair:
        links.shape(name, "eth0", rate_bytes_per_s)
    with ExitStack() as ends:
        pids = {}
        for name in pair:
            held = start([*netns.inside(name), "sleep", "60"], log_file=tmp_path / "sleep.log")
            ends.callback(held.stop)
            pids[name] = held.pid
        wait_until(
            lambda: (all(Path(f"/proc/{pid}/comm").read_text() == "sleep\n" for pid in pids.values()) or None, "not yet"),
            "processes in both networks", Deadline(10),
        )  # fmt: skip
        asked = {"from_pid": pids[pair[0]], "to_pid": pids[pair[1]], "address": "10.99.1.2", "for_s": 0.4}
        check = Instrument("link check", "whimbrel.observe.link_check", asked, output=tmp_path / "x", log_file=tmp_path / "log")
        with check:
            check.wait_for(lambda said: any(line["say"] == "rate" for line in said), "to try the link", 20)
            check.tell_to_end()
        found = next(line["bytes_per_s"] for line in check.said if line["say"] == "rate")
    # Frames of 1514 bytes carry 1448 of ours.
    assert found == pytest.approx(rate_bytes_per_s * 1448 / 1514, rel=0.06)

"""Labs with links of another kind: encrypted, lossy, delayed where the kernel can, and one of its own for moves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import polars as pl
import pytest

from tests.bad_days import harmed_trial
from tests.labs import quick
from tests.saboteur import Harm
from tests.trials import make_trial
from whimbrel.analysis.figures import figures_of
from whimbrel.errors import CapabilityError
from whimbrel.guests.states import StateStore
from whimbrel.images.store import ImageStore
from whimbrel.lab.lab import Lab, ledger_of
from whimbrel.records.store import StoredTrial
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.system.capabilities import examine
from whimbrel.system.deadline import pause
from whimbrel.system.instrument import Instrument
from whimbrel.system.process import run

pytestmark = pytest.mark.alone

LabMaker = Callable[..., tuple[Lab, CampaignSpec]]


@pytest.fixture
def make_lab() -> Iterator[LabMaker]:
    with ExitStack() as stack:

        def make(*overrides: str) -> tuple[Lab, CampaignSpec]:
            spec = quick("lab.name=links", *overrides)
            ledger = stack.enter_context(ledger_of(spec.lab.name))
            ledger.undo_all()
            lab = Lab(spec.lab, ImageStore(), ledger)
            stack.callback(lab.down)
            lab.up()
            return lab, spec

        yield make


def counter(lab: Lab, server: str, link: str) -> int:
    said = run(["nsenter", f"--net=/run/netns/whimbrel-{lab.spec.name}-{server}", "cat", "/proc/net/dev"]).stdout
    return int(next(line.split(":")[1].split()[8] for line in said.splitlines() if line.strip().startswith(f"{link}:")))


def test_moves_may_have_a_link_of_their_own_and_be_encrypted(make_lab: LabMaker, tmp_path: Path) -> None:
    lab, spec = make_lab(
        "lab.tls=true", "migration.tls=true", "lab.migration_link={network: 10.79.0.0/24, link_rate: 1 Gbit/s}"
    )  # fmt: skip
    states = StateStore(lab, spec.guest, spec.stream)
    stored = make_trial(lab, states, spec, "vm", 1, tmp_path / "results")
    record = stored.record
    assert record.outcome.succeeded, record.outcome.error
    assert record.move is not None
    assert record.move.parameters is not None
    assert record.move.parameters["tls-creds"]
    assert record.move.completed is not None
    sent = record.move.completed["memory_processed"]
    assert counter(lab, "a", "eth1") > sent * 0.9
    assert counter(lab, "a", "eth0") < sent * 0.5
    figures = figures_of(stored)
    # The sampler adds up what both links carry.
    assert figures.link_bytes is not None
    assert figures.link_bytes > sent * 0.9
    # Nobody who speaks in plain text is let in.
    refused = lab.hosts["a"].run(["virsh", "-c", "qemu+tcp://server-b/system", "hostname"], check=False)
    assert refused.exit_code != 0
    assert "refused" in refused.stderr


# Speaks as a QEMU would that sends a guest without TLS; prints how it is answered, and 124 when nobody cuts the line within 15 s.
PLAIN_QEMU = r"""
{ printf 'QEVM\0\0\0\003'; head -c 100000 /dev/zero; sleep 16; } | timeout 15 nc "$1" "$2" | head -c 8
echo " ${PIPESTATUS[1]}"
"""


def listening_ports(lab: Lab) -> list[int]:
    """Where server B's QEMU waits for a guest: its memory first, then its disk (libvirt's ports for moves)."""
    said = lab.hosts["b"].run(["ss", "-H", "-l", "-t", "-n"]).stdout
    return sorted({port for port in (int(line.split()[3].rpartition(":")[2]) for line in said.splitlines()) if port >= 49152})


def moved_beside(make_lab: LabMaker, folder: Path, stranger: Harm) -> StoredTrial:
    """A guest that moves encrypted with its disk, while a stranger comes in plain text: it moves all the same."""
    options = ("lab.tls=true", "migration.tls=true", "migration.storage=full", "migration.bandwidth=100 MiB/s")
    lab, spec = make_lab(*options)
    stored = harmed_trial(lab, StateStore(lab, spec.guest, spec.stream), stranger, "storage", folder, *options)
    assert stored.record.outcome.succeeded, stored.record.outcome.error
    assert stored.record.outcome.runs_on == ["b"]
    return stored


@pytest.mark.long
def test_a_disk_that_moves_encrypted_is_given_to_nobody_else(make_lab: LabMaker, tmp_path: Path) -> None:
    said: list[str] = []

    def ask_for_the_disk(lab: Lab) -> None:
        _, port = listening_ports(lab)
        where = f"driver=nbd,host={lab.hosts['b'].address},port={port},export=vda"
        asked = lab.hosts["a"].run(["qemu-img", "info", "--image-opts", where], check=False)
        assert asked.exit_code != 0
        said.append(asked.stderr)

    stored = moved_beside(make_lab, tmp_path, ask_for_the_disk)
    assert "TLS" in said[0], said
    assert figures_of(stored).disk_bytes


@pytest.mark.long
def test_a_sender_in_plain_text_is_cut_off_and_the_guest_moves_all_the_same(make_lab: LabMaker, tmp_path: Path) -> None:
    answers: list[str] = []

    def send_a_guest(lab: Lab) -> None:
        # While the disk is copied B's QEMU waits for the memory: whoever comes first is taken for the sender.
        port, _ = listening_ports(lab)
        answers.append(lab.hosts["a"].run(["bash", "-c", PLAIN_QEMU, "plain", lab.hosts["b"].address, str(port)]).stdout)

    moved_beside(make_lab, tmp_path, send_a_guest)
    [answer] = answers
    # It was let in to speak, and cut off; the disk's port would have greeted it.
    assert answer.endswith(" 0\n"), answer
    assert "NBDMAGIC" not in answer


def answered(lab: Lab, folder: Path) -> pl.DataFrame:
    """Echoes between the vantage and server A, a hundred a second for eight seconds, from the first that was answered.

    Until then the vantage asks for server A's hardware address, once a second, and questions may be lost, too.
    """
    probe = Instrument(
        "probe", "whimbrel.observe.probe", {"address": lab.hosts["a"].address, "every_s": 0.01},
        output=folder / "probe.parquet", log_file=folder / "log", wrap=lab.network.vantage.command,
    )  # fmt: skip
    with probe:
        pause(8)
    echoes = pl.read_parquet(folder / "probe.parquet")
    first = echoes.get_column("received_ns").is_not_null().arg_max()
    assert first is not None
    return echoes.slice(first)


@pytest.mark.long
def test_frames_are_lost_as_often_as_asked(make_lab: LabMaker, tmp_path: Path) -> None:
    lab, _ = make_lab("lab.link_loss=0.2")
    echoes = answered(lab, tmp_path)
    assert echoes.height > 100
    # One in five is lost on the way there, and one in five of the rest on the way back.
    assert 0.5 < echoes.get_column("received_ns").drop_nulls().len() / echoes.height < 0.76


def test_delay_is_refused_where_the_kernel_cannot(make_lab: LabMaker, tmp_path: Path) -> None:
    netem = next(finding for finding in examine() if finding.name.startswith("delay"))
    if not netem.works:
        with pytest.raises(CapabilityError, match="no netem"):
            make_lab("lab.link_delay=20 ms")
        return
    lab, _ = make_lab("lab.link_delay=20 ms")
    echoes = answered(lab, tmp_path).drop_nulls()
    assert (echoes.get_column("received_ns") - echoes.get_column("sent_ns")).to_numpy().min() > 35e6


def test_a_server_keeps_its_address_whoever_joins_and_leaves_its_bridge(lab: Lab) -> None:
    # A bridge left to itself takes the lowest address of its ports; peers would go on sending to it when that port has left.
    inside = ["ip", "-n", f"whimbrel-{lab.spec.name}-a"]
    before = run([*inside, "-json", "link", "show", "br0"]).stdout
    run([*inside, "link", "add", "low", "address", "00:00:5e:00:53:01", "type", "veth", "peer", "name", "low-end"])
    try:
        run([*inside, "link", "set", "low", "master", "br0"])
        after = run([*inside, "-json", "link", "show", "br0"]).stdout
    finally:
        run([*inside, "link", "delete", "low"])
    assert json.loads(after)[0]["address"] == json.loads(before)[0]["address"]

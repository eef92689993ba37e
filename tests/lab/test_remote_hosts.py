"""Hosts that are only a URI: a lab's servers, used through TLS and their addresses alone, as if another team ran them."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.calibration.table import say
from tests.lab.test_command_line import ENVIRONMENT, wait_for_word
from tests.snapshot import snapshot
from tests.their_hosts import THEIR_UUIDS, TheirHosts
from whimbrel.analysis.figures import figures_of
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import EngineError
from whimbrel.records.store import CampaignFolder
from whimbrel.system.certificates import Authority, equip_client

pytestmark = pytest.mark.alone

# Another controller: it takes the hosts over, and goes again.
TAKE_OVER = """
import sys
from pathlib import Path
from whimbrel.images.store import ImageStore
from whimbrel.spec.load import load_campaign
from whimbrel.moves.site import ledger_for, site_for
spec = load_campaign(Path(sys.argv[1]))
with ledger_for(spec) as ledger:
    site = site_for(spec, ImageStore(), ledger, take_over=True)
    site.up()
    print(site.guest.uuid)
    site.down()
"""


def test_doctor_tries_them_and_says_what_cannot_be_seen(theirs: TheirHosts) -> None:
    done = theirs.whimbrel("doctor", theirs.file, "--json")
    assert done.returncode == 0, done.stderr
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)["tried"]}
    for name in ("libvirt of host a", "libvirt of host b", "room on host b", "shared storage", "use by others"):
        assert findings[name]["works"], findings[name]
    assert "not that of the host" in findings["network of host a"]["seen"]
    assert theirs.storage == set()


def test_run_moves_and_measures_and_leaves_nothing(theirs: TheirHosts, tmp_path: Path) -> None:
    before = snapshot()
    done = theirs.whimbrel("run", theirs.file, "--out", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    [stored] = CampaignFolder.open(tmp_path / "results").trials()
    record, figures = stored.record, figures_of(stored)
    assert record.outcome.succeeded
    assert record.outcome.same_identity
    assert figures.total_s is not None
    assert figures.blackout_ms is not None
    assert figures.reachability_gap_ms is not None
    assert figures.viewers[0].service_gap_ms is not None
    # It is one kernel, though nobody told whimbrel: so the offset it measured must hold 0.
    for host in ("a", "b"):
        clock = record.host_clocks[host]
        say(f"wall clock of host {host}", 0, clock.offset_ns / 1e6, "ms")
        assert abs(clock.offset_ns) <= clock.offset_error_ns
    assert figures.blackout_error_ms >= 0.001
    hosts = stored.series("hosts")
    assert hosts is not None
    assert {"a", "b", "qemu@a", "qemu@b"} <= set(hosts.get_column("subject").unique())
    assert hosts.get_column("net_sent_bytes").null_count() == hosts.height
    assert "network of host a" in record.unmeasured
    assert theirs.storage == set()
    assert theirs.only_their_own
    for server in (theirs.lab.hosts["a"], theirs.lab.hosts["b"]):
        assert server.run(["virsh", "pool-list", "--all", "--name"]).stdout.strip() == ""
    assert snapshot() == before


@pytest.mark.long
def test_gc_clears_hosts_after_a_kill(theirs: TheirHosts, tmp_path: Path) -> None:
    before = snapshot()
    running = subprocess.Popen(
        theirs.command("run", theirs.file, "--out", tmp_path / "results"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    wait_for_word(running, "moving")
    running.kill()
    running.communicate(timeout=60)
    assert theirs.storage
    refused = theirs.whimbrel("run", theirs.file, "--out", tmp_path / "again")
    assert refused.returncode == 2
    assert "whimbrel gc" in refused.stderr
    collected = theirs.whimbrel("gc")
    assert collected.returncode == 0, collected.stderr
    assert theirs.storage == set()
    assert theirs.only_their_own
    assert snapshot() == before


@pytest.mark.long
def test_another_controller_is_told_who_is_there_and_touches_nothing(theirs: TheirHosts, tmp_path: Path) -> None:
    deployed = theirs.whimbrel("deploy", theirs.file, "--name", "kept")
    assert deployed.returncode == 0, deployed.stderr
    try:
        here, there = theirs.storage, theirs.guests
        [ours] = there["a"] - {THEIR_UUIDS["a"]}
        second = tmp_path / "second"
        refused = theirs.whimbrel("run", theirs.file, "--out", tmp_path / "results", home=second)
        assert refused.returncode == 2, refused.stderr
        assert re.search(rf"host a is in use by \w+ on {platform.node()} since 20\d\d-\d\d-\d\d [\d:]{{8}} UTC", refused.stderr)
        by_force = theirs.whimbrel("deploy", theirs.file, "--take-over", home=second)
        assert by_force.returncode == 2
        assert "not taken over as long as its guest is there" in by_force.stderr
        looked = theirs.whimbrel("doctor", theirs.file, home=second)
        assert looked.returncode == 3
        assert "MISSING use by others: host a is in use by" in looked.stdout
        assert theirs.whimbrel("gc", "--all", home=second).returncode == 0
        assert (theirs.storage, theirs.guests) == (here, there)
        moved = theirs.whimbrel("migrate", "kept", "--to", "b")
        assert moved.returncode == 0, moved.stderr
        recovered = theirs.whimbrel("recover", "kept")
        assert recovered.returncode == 0, recovered.stderr
        assert theirs.guests == {"a": {THEIR_UUIDS["a"]}, "b": {THEIR_UUIDS["b"], ours}}
        # As after a power cut: the guest is gone, the claim is left, and only who asks for it takes the hosts.
        assert theirs.lab.hosts["b"].run(["virsh", "destroy", ours]).exit_code == 0
        taken = theirs.started([*theirs.lab.network.vantage.command([sys.executable, "-c", TAKE_OVER, str(theirs.file)])], second)
        assert taken.returncode == 0, taken.stderr
        assert taken.stdout.strip() != ours
        assert theirs.storage == {name for name in here if "claim" not in name}
    finally:
        undeployed = theirs.whimbrel("undeploy", "kept")
    assert undeployed.returncode == 0, undeployed.stderr
    assert theirs.storage == set()
    assert theirs.only_their_own


def test_without_a_certificate_of_theirs_nobody_is_let_in(theirs: TheirHosts, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "ca")
    stranger.create()
    equip_client(stranger, "stranger", tmp_path / "pki")
    ask = "import sys, libvirt; libvirt.open(sys.argv[1])"
    address = theirs.lab.hosts["a"].address
    for uri, said in (
        (f"qemu+tls://{address}/system?pkipath={tmp_path}/pki", "ertificate"),
        (f"qemu+tcp://{address}/system", "refused"),
    ):
        asked = subprocess.run(
            theirs.lab.network.vantage.command([sys.executable, "-c", ask, uri]), capture_output=True, text=True, timeout=60
        )  # fmt: skip
        assert asked.returncode != 0
        assert said in asked.stderr, asked.stderr


def test_a_host_that_is_not_there_is_said(theirs: TheirHosts, tmp_path: Path) -> None:
    file = tmp_path / "nobody.yaml"
    file.write_text(theirs.file.read_text().replace(f"//{theirs.lab.hosts['b'].address}/", "//10.78.0.77/"))
    done = theirs.whimbrel("doctor", file)
    assert done.returncode == 3
    assert "MISSING libvirt of host b" in done.stdout
    with pytest.raises(EngineError, match="could not connect"):
        Connection.open("qemu+unix:///system?socket=/nowhere")

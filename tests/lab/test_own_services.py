"""Services of the user's own move in the lab: Debian packages, an OCI archive and a cloud image, by their checks alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cloud import cloud_image
from tests.labs import OVERRIDES, PROJECT, make_what_is_missing
from tests.lengths import some_long
from tests.oci import write_archive
from whimbrel.analysis.figures import TrialFigures, figures_of
from whimbrel.analysis.watched import CheckFigure
from whimbrel.campaign import Campaign, plan_trials
from whimbrel.events import Bus
from whimbrel.lab.lab import Lab
from whimbrel.moves.notes import Invocation
from whimbrel.records.store import CampaignFolder
from whimbrel.services.service import Installed
from whimbrel.spec.load import load_campaign
from whimbrel.system.process import run

pytestmark = pytest.mark.alone

REDIS = PROJECT / "scenarios" / "redis.yaml"
POSTGRESQL = PROJECT / "scenarios" / "postgresql.yaml"
OCI = """\
schema_version: 1
name: oci
guest: {memory: 512 MiB}
service:
  image: {oci: redis.tar}
  checks:
    - {url: "tcp://{address}:6379", name: ping, send: "PING\\r\\n", text: +PONG, rate: 50}
    - {url: "exec:%s redis {address}", name: counter, lines: true}
scenarios:
  - {name: vm, title: In the VM, form: vm, arms: [{}]}
  - {name: nested, title: In Docker, form: nested, arms: [{}]}
  - name: moved
    title: From VM to VM
    form: nested
    arms: [{set: {migration.moves: container, migration.technique: checkpoint}}]
"""
CLOUD = """\
schema_version: 1
name: cloud
guest: {memory: 768 MiB}
observe: {witness: true}
service:
  image: {disk: cloud.raw, user_data: user-data.yaml}
  checks: [{url: "http://{address}/hello", name: hello, text: from cloud-init, rate: 50}]
scenarios:
  - {name: cloud, title: A cloud image, form: vm, factors: {technique: [pre-copy, cold]}}
"""
USER_DATA = """\
#cloud-config
resize_rootfs: false
write_files: [{path: /var/www/html/hello, content: from cloud-init}]
runcmd: [[systemctl, enable, --now, nginx]]
"""


def made(lab: Lab, file: Path, folder: Path, *only: str) -> dict[str, TrialFigures]:
    """The figures of a trial of each arm of these scenarios, by the arm's name."""
    spec = load_campaign(file, [*OVERRIDES, "observe.probe_every=10 ms"])
    make_what_is_missing(lab, spec, *only)
    plans = plan_trials(spec, frozenset(only), 1)
    campaign = CampaignFolder.create(folder, spec, "test", plans)
    stored = Campaign(spec, plans, lab, campaign, Invocation("test", None), Bus()).run()
    for trial in stored:
        outcome = trial.record.outcome
        assert (outcome.result, outcome.measured) == ("moved", True), (trial.record.plan.arm, outcome.error)
    return {trial.record.plan.arm: figures_of(trial) for trial in stored}


def nothing_was_lost(checks: Sequence[CheckFigure], kept: Sequence[str] = ()) -> None:
    """Of any check; of those in ``kept`` no connection either."""
    for check in checks:
        assert check.failed == 0, check
        assert check.longest_gap_ms is not None, check
        assert check.sent > 20 or check.kind == "exec", check
        if check.name in kept:
            assert check.connections_lost == 0, check


@pytest.mark.parametrize("scenario", some_long(["vm", "nested", "moved", "container"], short=["container"]))
def test_redis_from_packages(lab: Lab, tmp_path: Path, scenario: str) -> None:
    found = made(lab, REDIS, tmp_path / "results", scenario)
    for arm, figures in found.items():
        assert [check.name for check in figures.checks] == ["ping", "counter"]
        # What has to boot again forgets what was in memory, and Redis here keeps nothing on its disk.
        live = "cold" not in arm
        if live:
            nothing_was_lost(figures.checks, ["ping", "counter"])
        gaps_ms = [check.longest_gap_ms for check in figures.checks]
        assert figures.service_gap_ms is not None
        assert figures.service_gap_ms == max(gap_ms for gap_ms in gaps_ms if gap_ms is not None)
        if figures.blackout_ms is not None:
            # Nobody is answered while no copy executes.
            assert figures.service_gap_ms > figures.blackout_ms - 50, arm


@pytest.mark.long
def test_postgresql_misses_no_commit(lab: Lab, tmp_path: Path) -> None:
    found = made(lab, POSTGRESQL, tmp_path / "results")
    assert {arm.rpartition("vm-")[2] for arm in found} >= {"pre-copy", "post-copy", "cold"}
    for arm, figures in found.items():
        commits, connection = figures.checks
        assert commits.name == "commits"
        if "cold" not in arm:
            nothing_was_lost(figures.checks, ["commits", "connection"])
        # A commit is kept whatever happens, also over a boot: else the client ends, which is a wrong answer.
        assert "wrong-answer" not in commits.failures, (arm, commits)
        assert connection.longest_gap_ms is not None


@pytest.mark.long
def test_an_oci_archive_in_every_form(lab: Lab, tmp_path: Path) -> None:
    tree = lab.files.store.container_tree(Installed(("redis-server",), {}, launcher="/usr/local/bin/begin"))
    layer = tmp_path / "layer.tar"
    run(["tar", "--numeric-owner", "-C", tree, "-cf", layer, "--exclude=./usr/local/bin", "."])
    server = ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", "--dir", "/tmp"]
    write_archive(tmp_path / "redis.tar", [layer.read_bytes()], {"Entrypoint": server, "User": "redis", "WorkingDir": "/tmp"})
    layer.unlink()
    file = tmp_path / "oci.yaml"
    file.write_text(OCI % (PROJECT / "scenarios" / "count.py"))
    for arm, figures in made(lab, file, tmp_path / "results").items():
        nothing_was_lost(figures.checks, ["ping", "counter"])
        assert figures.service_gap_ms is not None, arm


@pytest.mark.long
def test_a_cloud_image_does_what_its_user_data_says(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "cloud.raw").symlink_to(cloud_image(lab.files.store))
    (tmp_path / "user-data.yaml").write_text(USER_DATA)
    file = tmp_path / "cloud.yaml"
    file.write_text(CLOUD)
    found = made(lab, file, tmp_path / "results")
    nothing_was_lost(found["cloud-pre-copy"].checks, ["hello"])
    # It comes back from its disk, and answers as before.
    assert found["cloud-cold"].service_gap_ms is not None
    assert found["cloud-cold"].service_gap_ms > 1_000

"""A service of the user's own: what a file says of it becomes what runs, and what is asked."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.oci import layer, write_archive
from whimbrel.campaign import plan_trials
from whimbrel.errors import SpecError, UsageError
from whimbrel.guests.carrier import process_of as runs_in_container
from whimbrel.images.recipes import container_tree, recipe_id
from whimbrel.moves.needs import need_checks
from whimbrel.services.archive import Process, process_of
from whimbrel.services.client import counted, watched_by
from whimbrel.services.own import own_service
from whimbrel.services.registry import service_of
from whimbrel.services.service import Archive, CloudDisk, Installed, made_of
from whimbrel.spec.checks import CheckedServiceSpec
from whimbrel.spec.load import load_campaign

FILE = """\
schema_version: 1
name: own
service: %s
scenarios: [{name: own, title: Mine, form: vm, arms: [{name: live}, {name: cold, set: {migration.technique: cold}}]}]
"""
REDIS = '{image: {packages: [redis-server]}, start: redis-server --port 6379, checks: ["tcp://{address}:6379#redis,send=PING"]}'


def load(tmp_path: Path, service: str, *overrides: str) -> Any:
    (tmp_path / "own.yaml").write_text(FILE % service)
    return load_campaign(tmp_path / "own.yaml", overrides)


def archive(tmp_path: Path, **config: object) -> Path:
    return write_archive(tmp_path / "app.tar", [layer(("bin/app", b""))], config)


def test_packages_and_a_line_that_starts_one(tmp_path: Path) -> None:
    spec = load(tmp_path, REDIS)
    assert (spec.watched, spec.scenarios[0].service) == (False, "own")
    service = service_of(spec, "live")
    assert service.image == Installed(("redis-server",), {}, launcher="/usr/local/bin/begin")
    assert (service.ports, service.http_port, service.versions) == ((6379,), None, {})
    words = shlex.split(service.command)
    assert words[0] == "/usr/local/bin/begin"
    assert words[words.index("--") + 1 :] == ["/bin/sh", "-c", "redis-server --port 6379"]
    # In a VM as a unit of its own, in the file system that was made for it.
    unit, _, rest = service.start.partition(" -- ")
    assert {"--property=RootDirectory=/srv/origin/lower", "--expand-environment=no"} <= set(shlex.split(unit))
    assert shlex.split(rest) == words
    # In a container the witness starts beside it, and no shell is needed for that.
    assert runs_in_container(service)[:3] == ["/usr/local/bin/begin", "-b", "/usr/local/bin/witness 7777 256 /srv/witness"]
    plan = plan_trials(spec)[0]
    assert [counted(*each) for each in watched_by(plan)] == ["1 check"]
    tree = container_tree(service.image)
    assert set(tree.programs) == {"begin", "witness", "dirtier"}


def test_an_archive_says_what_it_runs(tmp_path: Path) -> None:
    file = archive(
        tmp_path, Entrypoint=["/app", "--port"], Cmd=["80"], Env=["A=b c"], WorkingDir="/data", User="app:app",
        StopSignal="SIGINT",
    )  # fmt: skip
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert process_of(file, "1") == Process(("/app", "--port", "80"), (path, "A=b c"), "/data", "app:app", "SIGINT")
    checks = 'checks: ["http://{address}/health", "http://{address}:8080/", "icmp:{address}"]'
    spec = load(tmp_path, f"{{image: {{oci: app.tar}}, {checks}}}")
    # It lies beside the file that names it.
    assert spec.own_image.oci == str(file)
    service = service_of(spec, "live")
    assert (service.ports, service.http_port) == ((80, 8080), 80)
    assert "--property=KillSignal=SIGINT" in shlex.split(service.start)
    words = shlex.split(service.command)
    assert words[:5] == ["/.whimbrel/begin", "-d", "/data", "-u", "app:app"]
    assert words[-5:] == ["A=b c", "--", "/app", "--port", "80"]
    other = load(tmp_path, '{image: {oci: app.tar}, start: /app --debug, ports: [9], checks: ["icmp:{address}"]}')
    service = service_of(other, "live")
    assert (shlex.split(service.command)[-3:], service.ports) == (["/bin/sh", "-c", "/app --debug"], (9,))


def test_what_is_made_of_another_archive_is_another(tmp_path: Path) -> None:
    archive(tmp_path, Cmd=["a"])
    spec = load(tmp_path, '{image: {oci: app.tar}, checks: ["icmp:{address}"]}')
    before = service_of(spec, "live")
    assert isinstance(before.image, Archive)
    moved = Archive(tmp_path / "elsewhere.tar", before.image.digest)
    assert recipe_id(container_tree(before.image)) == recipe_id(container_tree(moved))
    write_archive(tmp_path / "app.tar", [layer(("bin/app", b"newer"))], {"Cmd": ["a"]})
    after = service_of(spec, "live")
    assert isinstance(after.image, Archive)
    assert recipe_id(container_tree(before.image)) != recipe_id(container_tree(after.image))
    assert made_of(before) != made_of(after)


def test_an_archive_that_is_none_or_runs_nothing_is_said(tmp_path: Path) -> None:
    service = CheckedServiceSpec.model_validate({"image": {"oci": str(archive(tmp_path))}, "checks": ["icmp:{address}"]})
    assert service.image is not None
    with pytest.raises(UsageError, match="says nothing that is to be run"):
        own_service(service, service.image)
    (tmp_path / "app.tar").write_bytes(b"no tar at all")
    with pytest.raises(UsageError, match=r"app\.tar is no OCI image"):
        own_service(service, service.image)
    (tmp_path / "app.tar").write_bytes(layer(("index.json", b"{}")))
    with pytest.raises(UsageError, match=r"app\.tar is no OCI image"):
        own_service(service, service.image)


def test_a_disk_boots_by_itself(tmp_path: Path) -> None:
    (tmp_path / "debian.qcow2").write_bytes(b"QFI\xfb")
    (tmp_path / "cloud.yaml").write_text("#cloud-config\nruncmd: [true]\n")
    checks = 'checks: ["http://{address}/"]'
    spec = load(tmp_path, f"{{image: {{disk: debian.qcow2, user_data: cloud.yaml}}, {checks}}}")
    service = service_of(spec, "live")
    assert isinstance(service.image, CloudDisk)
    assert (service.image.user_data, service.start, service.command) == ("#cloud-config\nruncmd: [true]\n", "", "")


@pytest.mark.parametrize(
    ("service", "words"),
    [
        ('{image: {packages: [redis]}, checks: ["icmp:{address}"]}', "what is to run of these packages"),
        ('{image: {}, checks: ["icmp:{address}"]}', "it has none of them"),
        ('{image: {oci: a.tar, packages: [bash]}, start: c, checks: ["icmp:{address}"]}', "it has oci and packages"),
        ('{image: {oci: a.tar, user_data: b}, checks: ["icmp:{address}"]}', "is for the cloud-init of a 'disk'"),
        ('{image: {oci: missing.tar}, checks: ["icmp:{address}"]}', "needs a file that is not there"),
        ('{image: {packages: ["a b"]}, start: c, checks: ["icmp:{address}"]}', "no name of a Debian package"),
        ('{start: c, checks: ["icmp:192.0.2.1"]}', "hosts: none"),
        ('{image: {packages: [redis]}, start: c, before: 3 s, checks: ["icmp:{address}"]}', "'observe.before'"),
        ("{image: {packages: [redis]}, start: c}", "checks"),
    ],
)
def test_what_cannot_be_is_said_with_its_place(tmp_path: Path, service: str, words: str) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        load(tmp_path, service)
    assert caught.value.line is not None


def test_a_service_of_ours_beside_ones_own_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text((FILE % REDIS).replace("form: vm", "form: vm, service: stream"))
    with pytest.raises(SpecError, match="leave it out"):
        load_campaign(tmp_path / "own.yaml")
    (tmp_path / "own.yaml").write_text((FILE % "null").replace("form: vm", "form: vm, service: own"))
    with pytest.raises(SpecError, match="say what your own is made of"):
        load_campaign(tmp_path / "own.yaml")


def test_a_disk_is_no_container(tmp_path: Path) -> None:
    (tmp_path / "debian.qcow2").write_bytes(b"QFI\xfb")
    text = FILE % '{image: {disk: debian.qcow2}, checks: ["http://{address}/"]}'
    (tmp_path / "own.yaml").write_text(text.replace("form: vm", "form: nested"))
    with pytest.raises(SpecError, match="a disk is a VM"):
        load_campaign(tmp_path / "own.yaml")


def test_a_check_that_cannot_be_is_said_before_anything_is_made(tmp_path: Path) -> None:
    need_checks(load(tmp_path, REDIS))
    with pytest.raises(UsageError, match="did you mean 'send'"):
        need_checks(load(tmp_path, REDIS.replace("send=", "sand=")))


def test_arms_may_be_made_of_different_things(tmp_path: Path) -> None:
    archive(tmp_path, Cmd=["a"])
    write_archive(tmp_path / "new.tar", [layer(("bin/app", b"new"))], {"Cmd": ["b"]})
    text = FILE % '{image: {oci: app.tar}, checks: ["icmp:{address}"]}'
    (tmp_path / "own.yaml").write_text(text.replace("migration.technique: cold", "service.image.oci: new.tar"))
    spec = load_campaign(tmp_path / "own.yaml")
    commands = [service_of(spec.in_arm(spec.find_arm(arm)[1]), arm).command for arm in ("live", "cold")]
    assert [command.split()[-1] for command in commands] == ["a", "b"]


@pytest.mark.parametrize("name", ["redis", "postgresql"])
def test_the_scenarios_that_are_shipped_run_services_of_ones_own(name: str) -> None:
    spec = load_campaign(Path(__file__).parents[3] / "scenarios" / f"{name}.yaml")
    need_checks(spec)
    assert spec.own_image is not None
    for plan in plan_trials(spec):
        service = service_of(spec.in_arm(spec.find_arm(plan.arm)[1]), plan.arm)
        assert service.name == "own"
        # The client that counts is one of its checks.
        assert plan.checks == 2

"""What is deployed: one arm of a file, kept in a folder, found again by name."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from uuid import UUID

import pytest

from tests.fakes import FakeCell, FakeHost
from whimbrel.api.service import undeploy
from whimbrel.deployment.bringing_up import bring_up, guest_of, refuse_name, take_down, vms_of
from whimbrel.deployment.deployed import Deployment, deployed, find, one_arm_of, plan_of
from whimbrel.deployment.moving import move
from whimbrel.deployment.recovering import bring_back
from whimbrel.deployment.standing import places_of, subject_of, where_it_runs
from whimbrel.errors import CleanUpError, EngineError, UnsafeStateError, UsageError
from whimbrel.events import Bus
from whimbrel.hosts.identity import GuestIdentity, Owner, identity_in_lab
from whimbrel.lab.lab import Lab
from whimbrel.migrate import verify
from whimbrel.moves.notes import Invocation
from whimbrel.moves.site import ledger_for
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.load import load_campaign
from whimbrel.spec.migration import MigrationSpec
from whimbrel.system import ledger as ledgers
from whimbrel.system.folders import home

SCENARIOS = Path(__file__).parents[3] / "scenarios"


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path))


def one(arm: str, file: str = "referee") -> CampaignSpec:
    return one_arm_of(load_campaign(SCENARIOS / f"{file}.yaml"), arm)


def deploy(name: str, spec: CampaignSpec) -> Deployment:
    found = Deployment(
        name=name, spec=spec, on="a", id="state", accelerator="tcg", versions={}, description="<domain/>", made_lab=True
    )
    found.folder.mkdir(parents=True)
    found.write()
    return found


def test_one_arm_is_left_of_a_file_with_its_settings_and_nobody_watches() -> None:
    spec = one("vm-1-idle-docker")
    assert [arm.name for scenario in spec.scenarios for arm in scenario.every_arm] == ["vm-1-idle-docker"]
    arm = spec.scenarios[0].every_arm[0]
    assert (arm.engine, arm.viewers, arm.form) == ("docker", 0, "vm")
    assert spec.evidence is None


def test_an_arm_s_own_settings_become_the_file_s() -> None:
    spec = load_campaign(SCENARIOS / "containers.yaml")
    for scenario in spec.scenarios:
        for arm in scenario.every_arm:
            assert one_arm_of(spec, arm.name).migration == spec.in_arm(arm).migration


def test_an_unclear_arm_is_refused_and_those_there_are_named() -> None:
    with pytest.raises(UsageError, match=r"several arms[^$]*vm-10"):
        one_arm_of(load_campaign(SCENARIOS / "referee.yaml"), None)
    with pytest.raises(UsageError, match="no arm 'vm-2'"):
        one("vm-2")
    # A control that stays where it is cannot be moved.
    with pytest.raises(UsageError, match="no arm 'vm-1-stays' that moves"):
        one("vm-1-stays")


def test_a_container_on_the_servers_is_deployed_as_any_other_form() -> None:
    kept = deploy("web", one("checkpoint", "servers"))
    assert (kept.form, kept.moves_container, kept.spec.migration.technique) == ("container", True, "checkpoint")
    assert (deploy("vm", one("vm-1")).form, deploy("inner", one("checkpoint", "containers")).form) == ("vm", "nested")


def test_it_is_found_again_by_its_name() -> None:
    kept = deploy("web", one("vm-1"))
    assert find("web") == kept
    assert [deployment.name for deployment in deployed()] == ["web"]
    with pytest.raises(UsageError, match=r"'mail'[^$]*deployed: web"):
        find("mail")


def test_a_damaged_one_is_named() -> None:
    kept = deploy("web", one("vm-1"))
    (kept.folder / "deployment.json").write_text('{"name": "web"}')
    with pytest.raises(UsageError, match=r"deployment\.json: spec"):
        find("web")


@pytest.mark.parametrize("name", ["../trials/x", "..", "", "/etc", "Web", "web/", "web\n"])
def test_what_is_no_name_is_no_path_either(name: str) -> None:
    deploy("web", one("vm-1"))
    elsewhere = home() / "trials/x"
    elsewhere.mkdir(parents=True)
    (elsewhere / "deployment.json").write_text((home() / "deployments/web/deployment.json").read_text())
    with pytest.raises(UsageError, match="nothing is deployed under the name"):
        find(name)


def test_a_move_of_it_is_planned_from_where_it_is() -> None:
    kept = deploy("web", one("nested-1"))
    plan = plan_of(kept.spec, "b", "a")
    assert (plan.form, plan.source, plan.destination, plan.viewers) == ("nested", "b", "a", 0)
    assert kept.with_migration(MigrationSpec(technique="paused")).migration.technique == "paused"


def lab(*hosts: FakeHost, cells: dict[str, FakeCell] | None = None, **more: object) -> Lab:
    """What is asked of one here."""
    more["hosts"] = {host.name: host for host in hosts or (FakeHost("a"), FakeHost("b"))}
    vms = {
        side: identity_in_lab(f"carrier-{side}", position, f"10.0.0.{position}") for side, position in (("a", 101), ("b", 102))
    }
    found = SimpleNamespace(find=lambda host: (cells or {}).get(host.name))
    guest = identity_in_lab("guest", 100, "10.0.0.100")
    return cast("Lab", SimpleNamespace(guest=guest, network=SimpleNamespace(carriers=vms), cells=found, **more))


def test_one_that_an_older_whimbrel_deployed_is_found_by_the_names_of_then() -> None:
    # Then every VM was the same one by its name and its UUID, also two carriers.
    name, number = "guest", "e0419eae-a0ff-52bc-b9e8-d3f68b1ddfae"
    inner, whole = deploy("inner", one("checkpoint", "containers")), deploy("web", one("vm-1"))
    for kept in (inner, whole):
        assert kept.vms is None
        at_a, at_b = vms_of(kept, lab()).values()
        assert (at_a.name, at_a.uuid, at_b.name, at_b.uuid) == (name, number, name, number)
    assert guest_of(whole, lab()).uuid == number
    assert guest_of(inner, lab()).name == "origin"
    assert [vm.address for vm in vms_of(inner, lab()).values()] == ["10.0.0.101", "10.0.0.102"]


def test_its_vms_are_kept_with_it_and_asked_for() -> None:
    kept = deploy("web", one("vm-1"))
    vm = Owner(UUID(int=7), "web").identity("guest", "192.0.2.7")
    kept.model_copy(update={"vms": {"a": vm, "b": vm}}).write()
    found = find("web")
    assert found.vms == {"a": vm, "b": vm}
    assert guest_of(found, lab()) == vm


def test_vms_that_were_kept_before_hosts_had_names_are_those_of_a_and_b() -> None:
    kept = deploy("web", one("vm-1"))
    ours = [asdict(Owner(UUID(int=7), "web").identity(role, "192.0.2.7")) for role in ("carrier-a", "carrier-b")]
    content = json.loads((kept.folder / "deployment.json").read_text())
    (kept.folder / "deployment.json").write_text(json.dumps(content | {"vms": ours}))
    vms = find("web").vms
    assert vms is not None
    assert {host: vm.name.rpartition("-c")[2] for host, vm in vms.items()} == {"a": "arrier-a", "b": "arrier-b"}


@pytest.mark.parametrize(
    ("option", "said"),
    [({"tls": True}, "--set tls: needs certificates"),
     ({"technique": "post-copy", "connections": 2}, "--set connections: QEMU before 10.1")],
)  # fmt: skip
def test_a_move_that_its_lab_cannot_make_is_refused_by_its_option(option: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        deploy("web", one("vm-1")).with_migration(MigrationSpec.model_validate(option))


def test_a_disk_is_moved_from_where_it_was_deployed_to() -> None:
    deployment = deploy("one", one("vm-1-idle-docker"))
    hosts = FakeHost("a"), FakeHost("b")
    site = lab(*hosts)
    assert subject_of(deployment, site, MigrationSpec(), ("a", "b"), site.hosts).request.disks is None
    with pytest.raises(UsageError, match="lies where both hosts see it"):
        subject_of(deployment, site, MigrationSpec(storage="full"), ("a", "b"), site.hosts)


def test_an_undeploying_that_failed_can_be_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = deploy("web", one("vm-1"))
    silent = ["on b"]

    def end(name: str) -> None:
        if name in silent:
            raise EngineError("host b does not answer")

    monkeypatch.setitem(ledgers.undo_elsewhere, "domain", end)
    monkeypatch.setattr("whimbrel.api.service.need_root", lambda what: None)
    with ledger_for(deployment.spec) as ledger:
        ledger.add("record", str(deployment.folder))
        ledger.add("domain", "on b")
        ledger.keep("", elsewhere=True)
    with pytest.raises(CleanUpError, match="host b does not answer"):
        undeploy("web")
    assert find("web") == deployment
    silent.clear()
    undeploy("web")
    assert list(deployed()) == []
    assert not ledger.entries


def test_what_may_still_run_stays_known_and_every_host_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = deploy("web", one("vm-1"))
    told: list[str] = []

    def take(host: FakeHost, guest: GuestIdentity) -> None:
        assert guest == site.guest
        told.append(host.name)
        if host.silent:
            raise EngineError(f"host {host.name} does not answer")

    monkeypatch.setattr("whimbrel.guests.guest.take_power_away", take)
    hosts = FakeHost("a"), FakeHost("b")
    with ledger_for(deployment.spec) as ledger:
        ledger.add("record", str(deployment.folder))
        site = lab(*hosts, ledger=ledger)
        hosts[0].silent = True
        with pytest.raises(CleanUpError, match="web may still run\nhost a: host a does not answer"):
            take_down(site, deployment)
        assert told == ["a", "b"]
        assert find("web") == deployment
        hosts[0].silent = False
        take_down(site, deployment)
        assert not deployment.folder.exists()
        assert ledger.entries == []


def container_on(*hosts: FakeHost, **cells: FakeCell) -> tuple[Deployment, Lab]:
    """A container that was deployed, where these hosts have these cells."""
    kept = deploy("web", one("checkpoint", "servers")).model_copy(update={"vms": {}, "accelerator": "none"})
    return kept, lab(*hosts, cells=cells)


RUNS, NOTHING = "populated 1\nfrozen 0\n", "populated 0\n"


def test_a_container_runs_where_its_cell_says_so_and_a_host_without_one_has_none() -> None:
    deployment, site = container_on(
        FakeHost("north"), FakeHost("east"), FakeHost("west"), north=FakeCell(NOTHING), east=FakeCell(RUNS)
    )
    with ExitStack() as holding:
        places = places_of(deployment, site, holding)
        assert list(places) == ["north", "east", "west"]
        assert where_it_runs(deployment, site, places) == "east"
        assert places["west"].state_of(guest_of(deployment, site)) == "absent"
        subject = subject_of(deployment, site, deployment.spec.migration, ("east", "north"), places)
    request = subject.request
    assert (request.what.name, subject.vms) == ("origin", None)
    assert [place.name for place in request.carriers or ()] == ["east", "north"]


def test_a_cell_that_does_not_answer_is_not_taken_for_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "PATIENCE_S", 0.5)
    silent = FakeCell(RUNS)
    silent.silent = True
    deployment, site = container_on(FakeHost("a"), FakeHost("b"), a=silent, b=FakeCell(RUNS))
    with ExitStack() as holding, pytest.raises(UnsafeStateError):
        where_it_runs(deployment, site, places_of(deployment, site, holding))


def test_undeploying_a_container_ends_its_cells_and_those_of_dead_hosts_went_with_them() -> None:
    north, east = FakeCell(NOTHING), FakeCell(RUNS)
    dead = FakeHost("west")
    dead.dead = True
    deployment, site = container_on(FakeHost("north"), FakeHost("east"), dead, north=north, east=east)
    with ledger_for(deployment.spec) as ledger:
        ledger.add("record", str(deployment.folder))
        vars(site)["ledger"] = ledger
        take_down(site, deployment)
        assert (north.gone, east.gone) == (True, True)
        assert not deployment.folder.exists()


def test_a_container_that_was_left_where_one_is_to_be_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    first = FakeCell(RUNS)
    deployment, site = container_on(FakeHost("a"), FakeHost("b"), b=first)
    monkeypatch.setattr("whimbrel.guests.guest.refuse_another", lambda site: None)
    with pytest.raises(UsageError, match="host b already has a container"):
        bring_up(site, deployment.spec, "second", "a", made_lab=False, number=2)
    assert not first.gone


def test_a_damaged_one_is_not_written_over() -> None:
    kept = deploy("web", one("vm-1"))
    (kept.folder / "deployment.json").write_text("")
    with pytest.raises(UsageError, match="'web' is deployed already"):
        refuse_name("web")


def test_nothing_is_moved_between_one_host_and_itself(tmp_path: Path) -> None:
    deployment = deploy("web", one("vm-1"))
    a, b = FakeHost("a"), FakeHost("b")
    b.machine = a.machine
    site = lab(a, b)
    a.guests[guest_of(deployment, site).uuid] = b.guests[guest_of(deployment, site).uuid] = "runs"
    with pytest.raises(UsageError, match="hosts a and b are one host, server-a"):
        move(deployment, site, "b", MigrationSpec(), tmp_path / "out", Invocation("", None), Bus())
    assert not deployment.journal_file.exists()


def test_a_damaged_journal_only_lets_it_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = deploy("web", one("vm-1"))
    deployment.journal_file.write_text("nonsense\n")
    a, b = FakeHost("a"), FakeHost("b")
    site = lab(a, b)
    monkeypatch.setattr("whimbrel.migrate.verify.PATIENCE_S", 0.0)
    guest = guest_of(deployment, site).uuid
    # Whether the other one had run since, only the journal could have said.
    a.guests[guest] = "stands still"
    with pytest.raises(UnsafeStateError, match=r"web is left as it is: the journal[^$]*move\.jsonl"):
        bring_back(deployment, site, False, lambda decision: None)
    assert (a.guests, deployment.journal_file.exists()) == ({guest: "stands still"}, True)
    a.guests[guest] = "runs"
    assert bring_back(deployment, site, False, lambda decision: None) == "a"
    assert [path.name for path in deployment.folder.glob("move*")] == ["move.jsonl.damaged"]

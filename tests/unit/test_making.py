"""What trials need is named once, what takes longest first; a second lab is made only where it takes nothing from the first."""

from __future__ import annotations

from pathlib import Path

import pytest

from whimbrel.campaign import plan_trials
from whimbrel.images.jobs import missing
from whimbrel.images.store import ImageStore
from whimbrel.lab.lab import Lab, ledger_of
from whimbrel.moves.making import lab_beside
from whimbrel.moves.needs import image_jobs, wanted_of
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.load import load_campaign

SCENARIOS = Path(__file__).parents[2] / "scenarios"
GUEST_BYTES = 64 * 2**20


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path))
    monkeypatch.setattr(ImageStore, "server_tree", lambda self, suite: self.folder / "server-0" / "tree")


def lab_of(*overrides: str) -> Lab:
    spec = load_campaign(SCENARIOS / "quick.yaml", list(overrides))
    return Lab(spec.lab, ImageStore(), ledger_of(spec.lab.name))


def paper() -> CampaignSpec:
    return load_campaign(SCENARIOS / "paper.yaml")


def test_the_second_lab_has_the_cpus_of_the_server_that_idles() -> None:
    lab = lab_of("lab.servers.a.cpus=[0, 2]", "lab.servers.b.cpus=[1, 3]", "lab.tls=true", "lab.link_delay=1 s")
    beside = lab_beside(lab, GUEST_BYTES)
    assert beside is not None
    assert beside.name == "quick-beside"
    assert beside.servers["a"].cpus == (1, 3)
    assert beside.servers["a"].memory_bytes == lab.spec.servers["a"].memory_bytes
    # Of all that a saved state depends on, nothing differs.
    assert (beside.network, beside.suite) == (lab.spec.network, lab.spec.suite)
    assert (beside.tls, beside.link_delay_s, beside.link_loss, beside.migration_link) == (False, 0, 0, None)
    assert Lab(beside, lab.files.store, ledger_of(beside.name)).guest == lab.guest


def test_there_is_none_where_two_guests_would_share_a_cpu_or_have_no_memory() -> None:
    assert lab_beside(lab_of("lab.servers.a.cpus=[0, 1]", "lab.servers.b.cpus=[1]"), GUEST_BYTES) is None
    assert lab_beside(lab_of("lab.servers.a.cpus=[0]", "lab.servers.b.cpus=[1]"), 2**49) is None


def test_trials_that_need_the_same_are_named_once() -> None:
    spec = paper()
    plans = plan_trials(spec)
    wanted = wanted_of(spec, plans)
    assert {(plan.arm, plan.source, plan.state_boot) for _, plan in wanted} == {
        (plan.arm, plan.source, plan.state_boot) for plan in plans
    }
    assert wanted_of(spec, [*plans, *plans]) == wanted


@pytest.mark.parametrize(
    ("only", "kinds"),
    [
        ("baseline", ["disk", "server", "film"]),
        ("nested", ["disk", "server", "payload", "film"]),
    ],
)
def test_images_are_named_with_what_takes_longest_first(only: str, kinds: list[str]) -> None:
    spec = paper()
    store = ImageStore()
    jobs = missing(image_jobs(wanted_of(spec, plan_trials(spec, frozenset({only}))), store), store)
    assert [job.name.partition("-")[0] for job in jobs] == kinds


def test_containers_on_servers_need_no_guest() -> None:
    spec = load_campaign(SCENARIOS / "servers.yaml")
    store = ImageStore()
    names = {job.name.partition("-")[0] for job in image_jobs(wanted_of(spec, plan_trials(spec)), store)}
    assert names == {"server", "container", "library", "film"}

"""From what trials start: which saved states are asked for, and what is found out but once for a whole campaign."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.fakes import FakeCell
from whimbrel.campaign import plan_trials
from whimbrel.guests.in_cells import FreshContainer
from whimbrel.hosts.host import Host
from whimbrel.hosts.inside import Cell
from whimbrel.images.store import ImageStore
from whimbrel.lab import accelerator
from whimbrel.lab.lab import Lab, ledger_of
from whimbrel.moves.needs import Wanted, state_jobs, wanted_of
from whimbrel.moves.starts import Starts
from whimbrel.services.service import Archive, Image
from whimbrel.spec.load import load_campaign

SCENARIOS = Path(__file__).parents[3] / "scenarios"


class Store(ImageStore):
    """One that has all images already, and counts what it is asked for: to make one takes a minute, and the network."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def _there(self, name: str) -> Path:
        self.asked[name] += 1
        return self.folder / name

    def server_tree(self, suite: str = "") -> Path:
        return self._there("server") / "tree"

    def guest_disk(self, size_bytes: int) -> Path:
        return self._there(f"disk-{size_bytes}")

    def film(self, bitrate_bytes_per_s: float, length_s: float) -> Path:
        return self._there(f"film-{length_s:.0f}")

    def container_tree(self, image: Image | Archive) -> Path:
        return self._there("container") / "tree"

    def container_payload(self, image: Image | Archive) -> Path:
        return self._there("payload")

    def criu_aid(self) -> Path:
        return self._there("aid") / "criu-aid.so"


class Cells:
    """Cells in which programs say their versions; implements ``hosts.site.Cells``."""

    def __init__(self) -> None:
        self.opened: list[FakeCell] = []

    def open(self, host: Host) -> Cell:
        self.opened.append(FakeCell("Version: 4.1.1\n"))
        return self.opened[-1]

    def find(self, host: Host) -> Cell | None:
        return None


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Lab:
    monkeypatch.setattr(accelerator, "DEVICE", tmp_path / "no-kvm")
    spec = load_campaign(SCENARIOS / "quick.yaml", ["lab.name=starts"]).lab
    return Lab(spec, Store(), ledger_of("starts"))


def wanted(file: str, *changes: str) -> list[Wanted]:
    spec = load_campaign(SCENARIOS / file, ["lab.name=starts", *changes])
    return wanted_of(spec, plan_trials(spec, frozenset()))


def test_each_form_service_and_boot_has_a_saved_state_of_its_own_and_what_takes_longest_comes_first(lab: Lab) -> None:
    jobs = state_jobs(wanted("paper.yaml"), Starts(lab))
    kinds = [job.name.rpartition("-")[0] for job in jobs]
    boots = load_campaign(SCENARIOS / "paper.yaml").guest.saved_states
    whats = ("vm-stream", "vm-none", "nested-stream")
    assert set(kinds) == {f"state-{what}-{boot}" for what in whats for boot in range(1, boots + 1)}
    nested = [kind.startswith("state-nested-") for kind in kinds]
    assert nested == sorted(nested, reverse=True)
    # The same for one who comes later; the store is asked once for each of two services, by each of two who ask.
    assert [job.name for job in state_jobs(wanted("paper.yaml"), Starts(lab))] == [job.name for job in jobs]
    store = lab.files.store
    assert isinstance(store, Store)
    film = next(name for name in store.asked if name.startswith("film-"))
    assert (store.asked[film], store.asked[f"disk-{3 * 2**30}"]) == (4, 4)


def test_a_guest_of_another_size_starts_from_another_state(lab: Lab) -> None:
    starts = Starts(lab)
    small, large = (
        {job.name for job in state_jobs(wanted("quick.yaml", f"guest.memory={size}"), starts)} for size in ("512 MiB", "1 GiB")
    )
    assert small and not small & large  # noqa: PT018


def test_a_container_between_vms_starts_from_a_pair_of_them(lab: Lab) -> None:
    [spec, plan] = next(each for each in wanted("containers.yaml") if each[0].migration.moves == "container")
    serving, waiting = Starts(lab).jobs(spec, plan)
    assert (plan.source, plan.destination) == ("a", "b")
    assert (serving.what, waiting.what) == (
        f"saved state {plan.state_boot} of carrier-a, serving", f"saved state {plan.state_boot} of carrier-b, waiting",
    )  # fmt: skip
    # Back again it is the other one that serves.
    back = plan.model_copy(update={"source": "b", "destination": "a"})
    assert [job.what.split()[-2:] for job in Starts(lab).jobs(spec, back)] == [
        ["carrier-b,", "serving"],
        ["carrier-a,", "waiting"],
    ]


def test_a_second_container_of_a_lab_has_states_of_its_own_as_they_hold_its_mac(lab: Lab) -> None:
    [spec, plan] = next(each for each in wanted("containers.yaml") if each[0].migration.moves == "container")
    second = Lab(lab.spec, lab.files.store, lab.ledger, number=2)
    names = {job.name for site in (lab, second) for job in Starts(site).jobs(spec, plan)}
    assert len(names) == 4
    assert {name.rpartition("-")[0] for name in names} >= {"state-carrier-a-2-serving-1", "state-carrier-a-serving-1"}


def test_a_container_on_the_servers_starts_anew_from_what_was_found_out_once(lab: Lab) -> None:
    cells = Cells()
    vars(lab)["cells"] = cells
    starts = Starts(lab)
    trials = [each for each in wanted("servers.yaml") if each[1].form == "container"]
    assert [job for spec, plan in trials for job in starts.jobs(spec, plan)] == []
    found = {id(starts.get(spec, plan)) for spec, plan in trials}
    assert len(trials) > 1
    assert len(found) == 1
    [cell] = cells.opened
    assert cell.gone
    state = starts.get(*trials[0])
    assert isinstance(state, FreshContainer)
    assert (state.id, state.versions["criu"], state.folder) == ("fresh-container", "4.1.1", None)

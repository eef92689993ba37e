"""The one way of a move: its steps, whoever drives it, and what becomes of those that fail."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.fakes import GUEST, FakeCell, FakeHost, FakeVantage
from tests.trials import Telling
from whimbrel.deployment.deployed import one_arm_of, plan_of
from whimbrel.engines.hypervisor import Hypervisor
from whimbrel.errors import MoveError, TrialError, UnsafeStateError, WhimbrelError
from whimbrel.guests.carrier import CellCarrier
from whimbrel.hosts.site import Site
from whimbrel.migrate.carry_out import Ending
from whimbrel.migrate.technique import Journal, MoveRequest
from whimbrel.moves.instrumented import InstrumentedMove
from whimbrel.moves.measured import Asked
from whimbrel.moves.subject import OuterContainer, Setting
from whimbrel.spec.load import load_campaign

SERVERS = Path(__file__).parents[3] / "scenarios" / "servers.yaml"
RUNS = "populated 1\nfrozen 0\n"


class Quiet:
    """A hypervisor that has no guests, and nothing to tell; the part of ``engines.hypervisor.Hypervisor`` that is used here."""

    def __enter__(self) -> Quiet:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def versions(self) -> dict[str, str]:
        return {"libvirt": "11.3.0", "qemu": "10.0.0"}


class Server(FakeHost):
    def hypervisor(self) -> Hypervisor:
        return cast("Hypervisor", Quiet())


@dataclass
class Scene:
    """A container in a cell on host a, about to be moved to host b by somebody who drives as told."""

    drive: Callable[[Scene], Ending]
    folder: Path
    moves: bool = True
    told: list[str] = field(default_factory=list)
    once_moved: int = 0

    def __post_init__(self) -> None:
        self.a, self.b = Server("a"), Server("b")
        self.cells = FakeCell(RUNS), FakeCell()
        spec = one_arm_of(
            load_campaign(SERVERS, ["observe.probe_every=off", "observe.witness=false", "observe.stay=10 ms"]), "restart"
        )
        site = SimpleNamespace(
            hosts={"a": self.a, "b": self.b}, guest=GUEST,
            network=SimpleNamespace(vantage=FakeVantage()), accounting=SimpleNamespace(instruments_procs=()),
        )  # fmt: skip
        plan = plan_of(spec, "a", "b").model_copy(update={"moves": self.moves})
        setting = Setting(cast("Site", site), spec, plan)
        carriers = tuple(
            CellCarrier(host, cell, host.address, cell) for host, cell in zip((self.a, self.b), self.cells, strict=True)
        )
        self.subject = OuterContainer(setting, (carriers[0], carriers[1]))
        asked = Asked(Telling(self.told.append), lambda gone: "look", "web", self._driven)
        self.move = InstrumentedMove(setting, (), self.folder, asked)

    def _driven(self, request: MoveRequest, journal: Journal, phase: Callable[[], str]) -> Ending:
        assert request.carriers == self.subject.places
        journal.mark("move called")
        return self.drive(self)

    def arrive(self) -> Ending:
        self.cells[0].events, self.cells[1].events = "", RUNS
        return Ending("moved", ["b"], None, None)

    def make(self) -> WhimbrelError | None:
        def moved() -> None:
            self.once_moved += 1

        def course(watching: ExitStack) -> None:
            self.move.begin(self.subject)
            self.move.make(watching, 0.01, moved)
            self.move.judge()

        return self.move.attempt(course)


def test_what_moved_is_watched_after_it_and_known_to_run_there(tmp_path: Path) -> None:
    scene = Scene(Scene.arrive, tmp_path)
    assert scene.make() is None
    notes = scene.move.notes
    assert (notes.result, notes.runs_on, notes.failure) == ("moved", ["b"], None)
    assert scene.told == ["moving to host b", "watching after the move"]
    assert scene.once_moved == 1
    assert notes.host_versions == {"libvirt": "11.3.0", "qemu": "10.0.0"}
    assert list(notes.clocks) == ["a", "b"]
    # Who drives writes into the journal that becomes the record.
    assert [event.name for event in notes.events] == ["move called"]
    assert [cost.name for cost in notes.costs] == ["migration events"]
    assert (tmp_path / "job.parquet").exists()


def test_a_move_that_failed_is_watched_as_well_and_is_what_is_said(tmp_path: Path) -> None:
    error = MoveError("the move failed in the phase pre-copy; the guest runs on host a")
    scene = Scene(lambda _: Ending("failed", ["a"], None, error, "no-room"), tmp_path)
    assert scene.make() is error
    assert scene.told == ["moving to host b", "watching after the move"]
    assert scene.once_moved == 0
    assert (scene.move.notes.result, scene.move.notes.known_failure) == ("failed", "no-room")
    assert scene.move.notes.failure == str(error)


def test_after_a_move_with_an_unknown_end_nobody_waits(tmp_path: Path) -> None:
    error = UnsafeStateError("nobody knows where it runs")
    scene = Scene(lambda _: Ending("unsafe", [], None, error), tmp_path)
    assert scene.make() is error
    assert scene.told == ["moving to host b"]
    assert [event.name for event in scene.move.notes.events] == ["move called"]


def test_a_host_that_dies_after_the_move_is_said_with_where_the_service_runs(tmp_path: Path) -> None:
    def arrive_and_die(scene: Scene) -> Ending:
        scene.a.dead = True
        return scene.arrive()

    scene = Scene(arrive_and_die, tmp_path)
    said = scene.make()
    assert isinstance(said, TrialError)
    assert said.brief == "web had moved and runs on host b, but host a died while it was watched"
    assert scene.move.notes.result == "moved"


def test_a_control_stays_where_it_is_and_nobody_drives(tmp_path: Path) -> None:
    scene = Scene(lambda _: pytest.fail("it is not to move"), tmp_path, moves=False)
    assert scene.make() is None
    assert (scene.move.notes.result, scene.move.notes.runs_on) == ("stayed", ["a"])
    assert scene.told == ["watching a guest that stays", "watching after the move"]


def test_ctrl_c_is_no_failure(tmp_path: Path) -> None:
    def interrupted(scene: Scene) -> Ending:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Scene(interrupted, tmp_path).make()

"""What both sides of a container's move are found to say, and what the move itself makes of it; on carriers that only talk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from tests.fakes import ORIGIN, FakeHost, FakeJournal
from whimbrel.errors import GuestError, UnsafeStateError
from whimbrel.guests import carrier
from whimbrel.guests.carrier import VmCarrier
from whimbrel.hosts.host import GuestState
from whimbrel.hosts.identity import identity_in_lab
from whimbrel.migrate import verify
from whimbrel.migrate.container import move
from whimbrel.migrate.container.move import ContainerMove
from whimbrel.migrate.container.side import Side
from whimbrel.migrate.container.sides import ContainerSides
from whimbrel.migrate.recovery import Intention, decide
from whimbrel.migrate.technique import MoveReport, MoveRequest
from whimbrel.spec.migration import MigrationSpec


@dataclass
class Talker:
    """The inside of a carrier; implements ``hosts.inside.Inside``. ``journal`` None: it does not answer."""

    journal: list[str] | None
    state: GuestState = "absent"
    running: bool = False
    done: list[str] = field(default_factory=list)
    # So many questions find no answer, though it runs.
    busy: int = 0
    # What comes of the order to leave, and with the end of its script.
    on_leave: Callable[[], None] = lambda: None
    on_end: Callable[[], None] = lambda: None

    def run(self, command: Sequence[str], *, timeout_s: float = 60, check: bool = True) -> str:
        lines = self._answer()
        if "folder.sh" in command:
            verb, *words = command[command.index("folder.sh") + 1 :]
            if (verb, words) == ("order", ["leave"]):
                self.on_leave()
            return lines if verb in ("journal", "last-words") else ""
        if command[0] == "cat":
            return f"populated {int(self.state != 'absent')}\nfrozen {int(self.state == 'stands still')}\n"
        if "container_needs" in command:
            return "unknown\n4096\n"
        self.done.append(command[-1].rpartition("; ")[2])
        return ""

    def shell(self, script: str, *, timeout_s: float = 60, check: bool = True) -> str:
        return self.run(["/bin/sh", "-c", script])

    def read(self, path: str) -> bytes:
        return self._answer().encode()

    def write(self, path: str, text: str) -> None:
        self._answer()

    def start_job(self, name: str, command: Sequence[str], errors: str) -> None:
        self._answer()

    def job_runs(self, name: str) -> bool:
        self._answer()
        if not self.running:
            self.on_end()
        return self.running

    def end_job(self, name: str) -> None:
        self._answer()

    def _answer(self) -> str:
        self.busy -= 1
        if self.journal is None or self.busy >= 0:
            raise GuestError("the agent does not answer")
        return "".join(f"1795416319.958156 {words}\n" for words in self.journal)


def request(source: Talker, destination: Talker) -> MoveRequest:
    """Between two carriers; one that does not answer has ended."""
    hosts = FakeHost("a"), FakeHost("b")
    vms = identity_in_lab("carrier-a", 101, "10.0.0.1"), identity_in_lab("carrier-b", 102, "10.0.0.2")
    for host, talker, vm in zip(hosts, (source, destination), vms, strict=True):
        if talker.journal is not None:
            host.guests[vm.uuid] = "runs"
    carriers = VmCarrier(hosts[0], source, "10.0.0.1", vms[0]), VmCarrier(hosts[1], destination, "10.0.0.2", vms[1])
    return MoveRequest(ORIGIN, *hosts, 0, 0, MigrationSpec(), carriers=carriers)


def step(source: Talker, destination: Talker, boot_anew: bool = False) -> str:
    return decide(ContainerSides(request(source, destination)).look(), Intention(boot_anew=boot_anew)).step


SENT = ["connected", "frozen", "dumped", "sent"]


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        # The destination remembers the move, and never said that it had restored it.
        (Talker(SENT, "stands still"), Talker(["listening"]), "source goes on"),
        (Talker(SENT, "stands still"), Talker(["listening", "images taken", "failed: no"]), "source goes on"),
        # It has run there, whether it says so, or the source was told, or nobody can be asked any more.
        (Talker(SENT, "stands still"), Talker(["listening", "restored", "lost: pages"]), "cannot"),
        (Talker([*SENT, "commit"], "stands still"), Talker(["listening"]), "cannot"),
        (Talker([*SENT, "commit"], "stands still"), Talker(None), "cannot"),
        (Talker(SENT, "stands still"), Talker(None), "cannot"),
        (Talker(SENT, "stands still"), Talker([]), "cannot"),
        # Not everything had been sent when it died.
        (Talker(["connected", "frozen"], "stands still"), Talker(None), "source goes on"),
        (Talker([*SENT, "commit"], "stands still"), Talker(["listening", "restored", "complete"], "runs"), "end source"),
        # Half of it is there, and nobody sends the other half.
        (Talker([*SENT, "commit"], "stands still"), Talker(["listening", "restored"], "runs"), "cannot"),
        (Talker([*SENT, "commit"], "stands still", running=True), Talker(["listening", "restored"], "runs"), "wait"),
        (Talker(None), Talker(["listening", "restored", "complete"], "runs"), "done"),
    ],
)
def test_a_source_goes_on_only_when_the_destination_cannot_have(source: Talker, destination: Talker, expected: str) -> None:
    assert step(source, destination) == expected


@pytest.mark.parametrize("deaf", ["source", "destination"])
def test_a_carrier_that_does_not_answer_though_it_runs_decides_nothing(deaf: str) -> None:
    # It may have said that everything was sent, or that the container went on.
    source, destination = Talker(SENT, "stands still"), Talker(["listening", "restored"])
    sides = ContainerSides(request(source, destination))
    (source if deaf == "source" else destination).busy = 10
    assert decide(sides.look(), Intention(boot_anew=True)).step == "cannot"


def test_one_that_did_not_answer_for_a_moment_has_not_said_enough() -> None:
    source, destination = Talker([*SENT, "commit"], "stands still"), Talker(None)
    sides = ContainerSides(request(source, destination))
    source.busy = 2
    assert sides.look().source == "silent"
    assert sides.look().source == "stands still"


def test_what_is_left_at_a_source_is_started_anew_though_the_other_carrier_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr(carrier, "start", started.append)
    source = Talker([*SENT, "commit"], "stands still")
    assert step(source, Talker(None)) == "cannot"
    assert step(source, Talker(None), boot_anew=True) == "boot"
    ContainerSides(request(source, Talker(None))).take("boot")
    assert started == [source]


def test_nothing_is_started_anew_in_a_carrier_that_is_gone() -> None:
    with pytest.raises(UnsafeStateError, match="its carrier on host a is gone"):
        ContainerSides(request(Talker(None), Talker(["listening"]))).take("boot")


def test_a_half_copy_is_ended_before_the_container_is_started_anew() -> None:
    source, half = Talker([*SENT, "commit"], "stands still"), Talker(["listening", "restored"], "runs")
    assert step(source, half, boot_anew=True) == "boot"
    ContainerSides(request(source, half)).take("boot")
    assert half.done == ["end_container"]


READY = ["listening", "connected", "files ahead"]


def move_of(source: Talker, destination: Talker, journal: FakeJournal | None = None) -> MoveReport:
    return ContainerMove("post-copy").move(request(source, destination), journal or FakeJournal())


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(move, "LOOK_WHILE_LEAVING_S", 0.0)


def test_a_source_that_has_died_is_not_waited_for() -> None:
    source, destination = Talker(READY, "runs"), Talker(["listening", "restored"], "runs")
    asked = request(source, destination)

    def die() -> None:
        source.journal = None
        assert isinstance(asked.source, FakeHost)
        asked.source.guests.clear()

    source.on_leave = die
    report = ContainerMove("post-copy").move(asked, FakeJournal())
    assert (report.result, str(report.error).splitlines()[0]) == ("failed", "the source's side ended in the middle")


def test_a_script_that_was_killed_without_a_word_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(move, "QUIET_S", 0.0)
    report = move_of(Talker([*READY, *SENT], "stands still"), Talker(["listening"]))
    assert (report.result, str(report.error).splitlines()[0]) == ("failed", "the source's side ended in the middle")


def test_the_last_word_counts_though_it_came_with_the_end() -> None:
    source, journal = Talker(READY, "runs"), FakeJournal()

    def leave() -> None:
        # The first look fails, the script ends, and then it can be read what it said last.
        source.journal, source.state, source.busy = [*READY, *SENT, "commit"], "absent", 1
        source.on_end = lambda: source.journal.append("gone") if source.journal is not None else None

    source.on_leave = leave
    report = move_of(source, Talker(["listening", "restored", "complete"], "runs"), journal)
    assert report.result == "moved", report.error
    assert "gone" in journal.names


def test_a_copy_that_stands_still_keeps_what_was_said_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cleared: list[str] = []
    monkeypatch.setattr(Side, "clear", lambda self: cleared.append(self.role))

    def fail(left: GuestState) -> Talker:
        source = Talker([*READY, *SENT, "commit", "lost: "], left)
        report = move_of(source, Talker(["listening", "restored", "lost: "]))
        assert (report.result, str(report.error).splitlines()[0]) == ("failed", "lost: ")
        return source

    assert (fail("stands still").done, cleared) == ([], [])
    fail("absent")
    assert cleared == ["source", "destination"]


def test_advice_on_a_container_names_what_knows_of_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "PATIENCE_S", 0.0)
    said = []
    for source, destination in (
        (Talker([], "runs"), Talker([], "stands still")),
        (Talker([], "stands still"), Talker([])),
    ):
        found = request(source, destination)
        with pytest.raises(UnsafeStateError) as caught:
            verify.exactly_one(ORIGIN, found.places)
        said.append(str(caught.value))
    assert "'runc delete --force origin' in the carrier on b" in said[0]
    assert "'whimbrel recover' lets it go on" in said[1]
    assert "virsh" not in "".join(said)

"""Containers move between carriers with their viewers connected, and what left is what arrived."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.fakes import ORIGIN, FakeJournal
from tests.labs import make_what_is_missing, quick
from tests.lengths import some_long
from tests.spectators import spectators
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import ReservationError
from whimbrel.guests import guest as the_guest
from whimbrel.guests.carrier import CONTAINER, HOME, VmCarrier, announce
from whimbrel.guests.carrier_states import CarrierStates
from whimbrel.hosts.inside import Inside
from whimbrel.lab.lab import Lab
from whimbrel.migrate.container.move import ContainerMove
from whimbrel.migrate.container.sides import ContainerSides
from whimbrel.migrate.recovery import Intention, decide
from whimbrel.migrate.technique import MoveReport, MoveRequest
from whimbrel.services.nginx import STREAM
from whimbrel.spec.migration import ContainerTechniqueName, MigrationSpec
from whimbrel.system.process import start

pytestmark = pytest.mark.alone


@dataclass
class Carriers:
    """Two carriers; the container runs on the first."""

    lab: Lab
    a: VmCarrier
    b: VmCarrier

    @property
    def request(self) -> MoveRequest:
        return MoveRequest(
            what=ORIGIN, source=self.lab.hosts["a"], destination=self.lab.hosts["b"], memory_bytes=0, disk_bytes=0,
            spec=MigrationSpec.model_validate({"timeout": "120 s"}), carriers=(self.a, self.b),
        )  # fmt: skip

    def move(
        self, technique: ContainerTechniqueName, journal: FakeJournal, told_to_abort: Callable[[], bool] = lambda: False
    ) -> MoveReport:
        return ContainerMove(technique).move(replace(self.request, told_to_abort=told_to_abort), journal)

    @property
    def states(self) -> list[str]:
        return [carrier.state_of(ORIGIN) for carrier in (self.a, self.b)]


@pytest.fixture(scope="module")
def states(lab: Lab) -> CarrierStates:
    spec = quick("scenarios.nested.arms=[{viewers: 1, set: {migration.moves: container}}]")
    make_what_is_missing(lab, spec, "nested")
    return CarrierStates(lab, spec.guest, spec.stream, STREAM)


@pytest.fixture
def carriers(lab: Lab, states: CarrierStates) -> Iterator[Carriers]:
    with ExitStack() as stack:
        found = {}
        for host, state in ((lab.hosts["a"], states.get("a", "serving", 1)), (lab.hosts["b"], states.get("b", "waiting", 1))):
            connection = stack.enter_context(Connection.open(host.libvirt_uri))
            agent, _ = the_guest.restore(lab, connection, state.vm, state.folder)
            stack.callback(the_guest.take_power_away, host, state.vm)
            found[host.name] = VmCarrier(host, agent, state.vm.address, state.vm)
        announce(found["a"].inside, ORIGIN)
        yield Carriers(lab, found["a"], found["b"])


class Saboteur(FakeJournal):
    """Does harm, once, when a side has said something."""

    def __init__(self, word: str, harm: Callable[[], object]) -> None:
        super().__init__()
        self._word = word
        self._harm: Callable[[], object] | None = harm

    def quote(self, host: str, name: str, realtime_ns: int) -> None:
        super().quote(host, name, realtime_ns)
        if name == self._word and self._harm is not None:
            harm, self._harm = self._harm, None
            harm()


# As soon as there is one.
KILL_PAGE_SERVER = """nohup bash -c 'while sleep 0.02; do
    for process in /proc/[0-9]*; do
        read -r name <"$process/comm" && [ "$name" = criu ] && kill -KILL "${process#/proc/}" && exit
    done
done' >/dev/null 2>&1 &"""
# A transfer of files that does something to what it carries: of the small images (7002), or of what was written before (7003).
TAMPERING = """#!/bin/sh
if [ "$2" = %d ]; then /usr/bin/nc "$@" | %s; else exec /usr/bin/nc "$@"; fi
"""
HARM_TO_IMAGES = {"images tampered": (7002, "tr e f"), "images cut off": (7002, "head -c 2000")}
HARM_TO_FILES = {"tampered": (7003, "tr e f"), "cut off": (7003, "head -c 2000")}
KILL_CRIU = """for process in /proc/[0-9]*; do
    read -r name <"$process/comm" && [ "$name" = criu ] && kill -KILL "${process#/proc/}"
done 2>/dev/null; true"""
RESTORES_AND_FAILS = """#!/bin/sh
case " $* " in *" restore "*) /usr/sbin/runc "$@"; exit 1 ;; esac
exec /usr/sbin/runc "$@"
"""
END_CONTAINER = f"echo 1 >/sys/fs/cgroup/whimbrel/{CONTAINER}/cgroup.kill"
# So that memory which follows the container takes its time.
SLOW_LINK = "tc qdisc add dev eth0 root tbf rate 3mbit burst 32k latency 400ms"


def tamper(destination: Inside, harm: tuple[int, str]) -> None:
    destination.write("/usr/local/bin/nc", TAMPERING % harm)
    destination.shell("chmod +x /usr/local/bin/nc")


@pytest.mark.long
@pytest.mark.parametrize("harm", HARM_TO_FILES)
def test_files_that_do_not_come_whole_are_refused_while_the_container_runs(carriers: Carriers, harm: str, tmp_path: Path) -> None:
    tamper(carriers.b.inside, HARM_TO_FILES[harm])
    journal = FakeJournal()
    with spectators(carriers.lab, tmp_path, viewers=0) as seen:
        report = carriers.move("checkpoint", journal)
        assert report.result == "failed", report
        assert report.error is not None
        assert "not those that were sent" in str(report.error)
        assert "frozen" not in journal.names
        assert carriers.states == ["runs", "absent"]
    seen.assert_it_went_on()


# Asks again and again for every port of a move, on both carriers, and says where it was let in; first of all that it has begun.
STRANGER = """
import itertools, socket, sys, time
print("asking", flush=True)
for _ in itertools.count():
    for place in itertools.product(sys.argv[1:], range(7000, 7004)):
        asking = socket.socket()
        asking.setblocking(False)
        asking.connect_ex(place)
        time.sleep(0.01)
        if asking.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
            try:
                asking.getpeername()
                print("let in", *place, flush=True)
            except OSError:
                pass
        asking.close()
"""


@contextmanager
def stranger(carriers: Carriers) -> Iterator[list[str]]:
    """Somebody in the clients' network who is always first to connect, and where he was let in."""
    let_in: list[str] = []
    words = [sys.executable, "-c", STRANGER, carriers.a.address, carriers.b.address]
    asking = start(carriers.lab.network.vantage.command(words), stdout=True)
    assert asking.stdout.readline() == b"asking\n"
    try:
        yield let_in
        asking.signal(signal.SIGTERM)
        let_in += asking.stdout.read().decode().splitlines()
    finally:
        asking.stop(ask=False)


@pytest.mark.parametrize(
    "technique", ["pre-copy", "post-copy", *(pytest.param(each, marks=pytest.mark.long) for each in ("checkpoint", "restart"))]
)
@pytest.mark.long
def test_a_stranger_who_comes_first_is_not_let_in(carriers: Carriers, technique: ContainerTechniqueName) -> None:
    with stranger(carriers) as let_in:
        report = carriers.move(technique, FakeJournal())
    assert let_in == []
    assert report.result == "moved", report.error
    assert carriers.states == ["absent", "runs"]
    # Once it is over nothing of ours is left that keeps anybody out.
    assert "whimbrel" not in carriers.a.inside.shell("nft list tables") + carriers.b.inside.shell("nft list tables")


WRITTEN = """cd /srv && head -c 32M /dev/urandom >great && echo kept >kept && echo gone >gone && mkdir -p folder/inner &&
echo deep >folder/inner/deep"""
CHANGED = "cd /srv && echo more >>kept && rm gone && echo new >new && mv folder/inner moved"
# Everything but the file of the witness, which goes on writing.
SUMS = f"cd {HOME}/upper/srv && find . -type f -not -name 'witness*' -exec sha256sum {{}} + | sort"


def in_container(carrier: VmCarrier, what: str) -> None:
    carrier.inside.shell(f"runc exec {CONTAINER} sh -c {shlex.quote(what)}", timeout_s=60)


@pytest.mark.parametrize(
    "technique", ["pre-copy", *(pytest.param(each, marks=pytest.mark.long) for each in ("checkpoint", "post-copy", "restart"))]
)
@pytest.mark.long
def test_what_was_written_goes_ahead_and_what_changed_since_follows(
    carriers: Carriers, technique: ContainerTechniqueName, tmp_path: Path
) -> None:
    in_container(carriers.a, WRITTEN)
    sums: list[str] = []

    def change() -> None:
        in_container(carriers.a, CHANGED)
        sums.append(carriers.a.inside.shell(SUMS))

    journal = Saboteur("files ahead", change)
    with spectators(carriers.lab, tmp_path, viewers=0) as seen:
        report = carriers.move(technique, journal)
        assert report.result == "moved", report.error
        assert carriers.states == ["absent", "runs"]
    if technique != "restart":
        seen.assert_it_went_on()
    assert len(sums[0].splitlines()) == 4
    assert [carriers.b.inside.shell(SUMS)] == sums
    sizes = {words[0]: int(words[1]) for words in map(str.split, journal.names) if words[0] in ("ahead:", "files:")}
    assert sizes["ahead:"] > 32 * 2**20
    assert sizes["files:"] < 2 * 2**20


@pytest.mark.long
@pytest.mark.parametrize(
    ("technique", "harm"), [("pre-copy", "page server killed"), ("checkpoint", "images tampered"), ("pre-copy", "images cut off"),
                            ("post-copy", "carrier ended"), ("checkpoint", "carrier ended"), ("pre-copy", "carrier ended"),
                            ("restart", "carrier ended"), ("checkpoint", "link cut in the dump"),
                            ("pre-copy", "link cut in the dump"), ("checkpoint", "link cut"), ("pre-copy", "link cut"),
                            ("post-copy", "link cut"), ("restart", "link cut"), ("restart", "images cut off")]
)  # fmt: skip
def test_after_harm_the_container_goes_on_where_it_was(
    carriers: Carriers, technique: ContainerTechniqueName, harm: str, tmp_path: Path
) -> None:
    lab, destination = carriers.lab, carriers.b.inside
    harms: dict[str, tuple[str, Callable[[], object]]] = {
        "page server killed": ("connected", lambda: destination.shell(KILL_PAGE_SERVER)),
        "images tampered": ("", lambda: None),
        "images cut off": ("", lambda: None),
        "carrier ended": ("frozen", lambda: the_guest.take_power_away(lab.hosts["b"], carriers.b.vm)),
        "link cut": ("frozen", lambda: destination.shell("ip link set eth0 nomaster")),
    }
    harms["link cut in the dump"] = harms["link cut"]
    if harm in HARM_TO_IMAGES:
        tamper(destination, HARM_TO_IMAGES[harm])
    if harm == "link cut in the dump":
        # So that it is still under way.
        carriers.a.inside.shell(SLOW_LINK)
    with spectators(lab, tmp_path, viewers=0) as seen:
        report = carriers.move(technique, Saboteur(*harms[harm]))
        assert report.result == "failed", report
        print(harm, report.error)
        assert report.error is not None
        assert carriers.states == ["runs", "absent"]
    if technique == "restart":
        seen.assert_it_started_again()
    else:
        seen.assert_it_went_on()


@pytest.mark.long
@pytest.mark.parametrize("technique", ["checkpoint", "pre-copy", "post-copy", "restart"])
def test_a_link_that_is_cut_for_three_seconds_only_delays_it(
    carriers: Carriers, technique: ContainerTechniqueName, tmp_path: Path
) -> None:
    cut = "nohup sh -c 'ip link set eth0 nomaster; sleep 3; ip link set eth0 master br0' >/dev/null 2>&1 &"
    with spectators(carriers.lab, tmp_path, viewers=0) as seen:
        report = carriers.move(technique, Saboteur("frozen", lambda: carriers.b.inside.shell(cut)))
        assert report.result == "moved", report.error
        assert carriers.states == ["absent", "runs"]
    if technique != "restart":
        seen.assert_it_went_on()


@pytest.mark.long
@pytest.mark.parametrize(
    ("technique", "word", "result"),
    [
        ("checkpoint", "connected", "aborted"), ("pre-copy", "connected", "aborted"), ("pre-copy", "round 1 ended", "aborted"),
        ("post-copy", "connected", "aborted"), ("restart", "connected", "aborted"),
        # Once it was frozen both sides settle it between them.
        ("checkpoint", "frozen", "moved"), ("post-copy", "frozen", "moved"),
    ],
)  # fmt: skip
def test_an_abort_is_heeded_until_the_freeze(
    carriers: Carriers, technique: ContainerTechniqueName, word: str, result: str, tmp_path: Path
) -> None:
    journal = FakeJournal()
    with spectators(carriers.lab, tmp_path, viewers=0) as seen:
        report = carriers.move(technique, journal, lambda: word in journal.names)
        assert report.result == result, report.error
        assert carriers.states == (["runs", "absent"] if result == "aborted" else ["absent", "runs"])
    seen.assert_it_went_on()


@pytest.mark.long
@pytest.mark.parametrize("victim", ["lazy pages", "page source", "destination"])
def test_a_container_whose_memory_is_lost_ends_and_its_old_copy_does_not_go_on_by_itself(carriers: Carriers, victim: str) -> None:
    carriers.a.inside.shell(SLOW_LINK)
    harms: dict[str, Callable[[], object]] = {
        "lazy pages": lambda: carriers.b.inside.shell(KILL_CRIU),
        "page source": lambda: carriers.a.inside.shell(KILL_CRIU),
        "destination": lambda: the_guest.take_power_away(carriers.lab.hosts["b"], carriers.b.vm),
    }
    report = carriers.move("post-copy", Saboteur("restored", harms[victim]))
    assert report.result == "failed", report
    assert report.error is not None
    assert "lost" in str(report.error)
    # It has run there: what stands still here is from before that, and only its owner may say that it will do.
    assert carriers.states == ["stands still", "absent"]
    assert_only_its_owner_can_start_it(carriers)


def assert_only_its_owner_can_start_it(carriers: Carriers) -> None:
    """What is left is not to go on by itself, and can be started anew at the source."""
    sides = ContainerSides(carriers.request)
    assert decide(sides.look(), Intention()).step == "cannot"
    assert decide(sides.look(), Intention(boot_anew=True)).step == "boot"
    sides.take("boot")
    assert carriers.states == ["runs", "absent"]


@pytest.mark.long
def test_a_copy_that_ran_and_was_given_up_is_not_followed_by_its_older_one(carriers: Carriers) -> None:
    # The container goes on there; then runc says that it could not be restored.
    carriers.b.inside.write("/usr/local/sbin/runc", RESTORES_AND_FAILS)
    carriers.b.inside.shell("chmod +x /usr/local/sbin/runc")
    report = carriers.move("checkpoint", FakeJournal())
    assert report.result == "failed", report
    assert report.error is not None
    assert "after it had run there" in str(report.error)
    assert carriers.states == ["stands still", "absent"]
    assert_only_its_owner_can_start_it(carriers)


@pytest.mark.long
@pytest.mark.parametrize("technique", ["checkpoint", "pre-copy", "restart"])
def test_a_carrier_that_dies_with_a_container_that_ran_there_takes_it_along(
    carriers: Carriers, technique: ContainerTechniqueName
) -> None:
    report = carriers.move(
        technique, Saboteur("restored", lambda: the_guest.take_power_away(carriers.lab.hosts["b"], carriers.b.vm))
    )
    print(technique, report.result, report.error, carriers.states)
    # Those who talked to it there would find it gone back.
    assert "runs" not in carriers.states
    assert_only_its_owner_can_start_it(carriers)


@pytest.mark.long
@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_side_that_is_killed_leaves_one_copy_that_runs(carriers: Carriers, side: str, tmp_path: Path) -> None:
    inside, job = (carriers.a.inside, "depart") if side == "source" else (carriers.b.inside, "arrive")
    kill = Saboteur("sent", lambda: inside.shell(f"systemctl kill --signal=KILL whimbrel-{job}"))
    with spectators(carriers.lab, tmp_path, viewers=0) as seen:
        report = carriers.move("checkpoint", kill)
        print(side, report.result, report.error, carriers.states)
        assert sorted(carriers.states) == ["absent", "runs"]
    seen.assert_it_went_on()


@pytest.mark.long
@pytest.mark.parametrize("technique", ["checkpoint", "pre-copy", "post-copy"])
def test_a_container_that_ends_by_itself_meanwhile_is_not_said_to_run(
    carriers: Carriers, technique: ContainerTechniqueName
) -> None:
    end = Saboteur("files ahead", lambda: carriers.a.inside.shell(END_CONTAINER))
    report = carriers.move(technique, end)
    assert report.result == "failed", report
    assert carriers.states == ["absent", "absent"]
    assert_only_its_owner_can_start_it(carriers)


@pytest.mark.long
def test_a_container_that_has_ended_before_it_was_stopped_is_started_there(carriers: Carriers) -> None:
    # To start it there is what a restart is for, and its files are all that was to be kept.
    report = carriers.move("restart", Saboteur("files ahead", lambda: carriers.a.inside.shell(END_CONTAINER)))
    assert report.result == "moved", report.error
    assert carriers.states == ["absent", "runs"]


@pytest.mark.long
def test_a_source_that_dies_while_memory_follows_leaves_no_half_copy(carriers: Carriers) -> None:
    carriers.a.inside.shell(SLOW_LINK)
    report = carriers.move(
        "post-copy", Saboteur("restored", lambda: the_guest.take_power_away(carriers.lab.hosts["a"], carriers.a.vm))
    )
    assert report.result == "failed", report
    assert carriers.states == ["absent", "absent"]


@pytest.mark.long
def test_ctrl_c_while_memory_follows_lets_all_of_it_come(carriers: Carriers, tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    carriers.a.inside.shell(SLOW_LINK)
    with spectators(carriers.lab, tmp_path, viewers=0) as seen:
        with pytest.raises(KeyboardInterrupt):
            carriers.move("post-copy", Saboteur("restored", interrupt))
        assert carriers.states == ["absent", "runs"]
    seen.assert_it_went_on()


@pytest.mark.parametrize(
    "technique", ["checkpoint", *(pytest.param(each, marks=pytest.mark.long) for each in ("pre-copy", "post-copy", "restart"))]
)
def test_a_carrier_without_room_refuses_and_nothing_moves(carriers: Carriers, technique: ContainerTechniqueName) -> None:
    # What it has written counts as well, and goes into memory there.
    carriers.a.inside.shell(f"fallocate -l 900M {HOME}/upper/large")
    with pytest.raises(ReservationError, match="has no room for origin"):
        carriers.move(technique, FakeJournal())
    assert carriers.states == ["runs", "absent"]


@pytest.mark.parametrize("technique", some_long(["checkpoint", "pre-copy", "post-copy", "restart"], short=["pre-copy"]))
def test_a_container_moves_with_its_viewers(carriers: Carriers, technique: ContainerTechniqueName, tmp_path: Path) -> None:
    with spectators(carriers.lab, tmp_path) as seen:
        journal = FakeJournal()
        report = carriers.move(technique, journal)
        assert report.result == "moved", report.error
        assert carriers.states == ["absent", "runs"]
    # The witness changes all of its pages within a third of a second: there is always something for a second round.
    assert ("round 2 ended" in journal.names) == (technique == "pre-copy")
    # What runc and CRIU need at the destination was there before anything stood still.
    assert "rehearsed" in journal.names
    if technique == "restart":
        seen.assert_it_started_again()
    else:
        seen.assert_it_went_on()

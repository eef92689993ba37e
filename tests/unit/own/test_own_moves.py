"""A guest that whimbrel did not deploy: moved, claimed meanwhile, kept on one side only, mended."""

from __future__ import annotations

import os
import signal
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeJournal
from tests.own_hosts import DEFINITION, FROM, TO, UUID, FakeHypervisor, OwnedGuest, OwnHosts, asked
from whimbrel.cli.own import keeping, own_move
from whimbrel.engines.hypervisor import Progress
from whimbrel.errors import CapabilityError, RefusedError, UnsafeStateError, UsageError
from whimbrel.events import Bus, Published, Sample
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.preflight.finding import finding
from whimbrel.live.metrics import Metrics
from whimbrel.live.picture import Picture
from whimbrel.migrate.journal import WrittenJournal
from whimbrel.own import claim as claims
from whimbrel.own.claim import NAMESPACE
from whimbrel.own.guest import difference, first_mac
from whimbrel.own.moving import OwnMoved, move_own
from whimbrel.own.recovering import bring_back_own
from whimbrel.own.sides import sides_of
from whimbrel.own.standing import OwnMove, find_move
from whimbrel.records.trial import Event
from whimbrel.spec.migration import MigrationSpec

THEIRS = '<claim user="eve" machine="elsewhere" since="today" token="theirs"/>'


def test_one_that_is_kept_goes_over_and_is_kept_there_alone_as_it_was(hosts: OwnHosts) -> None:
    hosts.guest.starts_itself = True
    seen: list[str] = []
    hosts.guest.meanwhile = lambda: seen.extend(hosts.notes)
    moved = move_own(asked())
    assert (moved.ending.result, moved.ending.runs_on) == ("moved", ["two"])
    assert (hosts.runs_on, hosts.kept_on) == (["two"], ["two"])
    assert hosts.two.guests[UUID].definition == DEFINITION
    assert hosts.two.guests[UUID].autostart
    assert moved.changed == []
    # While it moved others saw whose it was, and nobody does now.
    [note] = seen
    assert ET.fromstring(note).get("token") == moved.move.token
    assert hosts.notes == []
    assert moved.figures.libvirt_downtime_ms == 130
    assert moved.figures.blackout_ms is not None


def text_of(news: Published) -> str | None:
    return news.data.get("text") if isinstance(news, Event) else None


def test_what_blocks_a_move_is_said_before_anything_is_claimed_and_force_goes_on(hosts: OwnHosts) -> None:
    hosts.against = [
        finding("snapshots", "one", "2 of them"),
        finding("older-qemu", "two", "9.0.0; host one has 10.0.0", newer="one"),
        finding("link-unseen", "two", "libvirt does not list links", link="br0"),
        finding("way-unseen", "one to two", "not tried", uri=TO, to="two", address="two.example"),
    ]
    said: list[str] = []
    with Bus() as bus:
        bus.subscribe("test", lambda news: said.extend(words for each in news if (words := text_of(each)) is not None))
        with pytest.raises(CapabilityError, match="shop cannot be moved: snapshots") as caught:
            move_own(asked(bus=bus))
        assert "libvirt refuses to move the guest; delete them" in caught.value.details
        assert "with --force" in caught.value.resolution
        assert (hosts.runs_on, hosts.notes, find_move("shop")) == (["one"], [], None)
        moved = move_own(asked(bus=bus, force=True))
    assert (moved.ending.result, hosts.runs_on) == ("moved", ["two"])
    assert moved.found == hosts.against
    assert said == [
        "blocks: snapshots (one): 2 of them",
        "warns: older-qemu (two): 9.0.0; host one has 10.0.0",
        "not seen: link-unseen, way-unseen ('whimbrel preflight' says more)",
        "moving to host two",
    ]


@pytest.mark.parametrize("code", ["disk-is-another", "guest-already-there", "one-host"])
def test_force_does_not_go_where_two_copies_could_run_or_data_be_lost(hosts: OwnHosts, code: str) -> None:
    hosts.against = [finding(code, "two", "seen", path="/srv/shop.img"), finding("snapshots", "one", "2 of them")]
    with pytest.raises(CapabilityError, match=f"shop cannot be moved: {code}, snapshots") as caught:
        move_own(asked(force=True))
    assert f"--force does not go past {code}:" in caught.value.resolution
    assert (hosts.runs_on, hosts.notes) == (["one"], [])


def test_a_claim_that_is_taken_over_blocks_nothing(hosts: OwnHosts) -> None:
    hosts.against = [finding("guest-claimed", "one", "claimed by eve on elsewhere since today")]
    hosts.guest.notes[NAMESPACE] = THEIRS
    with pytest.raises(UsageError, match="shop is claimed by eve"):
        move_own(asked())
    assert move_own(asked(take_over=True)).ending.result == "moved"


def test_one_that_nobody_keeps_is_kept_nowhere(hosts: OwnHosts) -> None:
    hosts.guest.kept = None
    assert move_own(asked()).ending.result == "moved"
    assert (hosts.runs_on, hosts.kept_on) == (["two"], [])


def test_who_asks_for_it_leaves_what_is_kept_where_it_was(hosts: OwnHosts) -> None:
    assert move_own(asked(persistent=False)).changed == []
    assert (hosts.runs_on, hosts.kept_on) == (["two"], ["one"])


def test_one_that_starts_with_its_host_is_not_left_behind_to_be_started_there(hosts: OwnHosts) -> None:
    hosts.guest.starts_itself = True
    with pytest.raises(UsageError, match="host one would keep shop and start it with itself: a second copy"):
        move_own(asked(persistent=False))
    assert (hosts.runs_on, hosts.notes) == (["one"], [])


def test_ctrl_c_while_it_is_claimed_leaves_no_claim(hosts: OwnHosts, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(claims, "pause", interrupt)
    with pytest.raises(KeyboardInterrupt):
        move_own(asked())
    assert (hosts.runs_on, hosts.notes) == (["one"], [])


def test_a_move_that_could_not_be_watched_to_its_end_is_seen_to_all_the_same(
    hosts: OwnHosts, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ValueError("a fault of the watch")

    hosts.guest.on_progress = fail
    hosts.guest.meanwhile = lambda: time.sleep(0.3)
    assert move_own(asked()).ending.result == "moved"
    assert (hosts.runs_on, hosts.kept_on, hosts.notes) == (["two"], ["two"], [])
    assert "the move was not measured to its end" in caplog.text


def test_a_host_whose_clock_cannot_be_read_leaves_the_blackout_unknown_and_nothing_else(
    hosts: OwnHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts.two, "clock_stamps", lambda guest, tries: ([(1, 2)] * tries, []))
    moved = move_own(asked())
    assert (moved.ending.result, moved.ending.error) == ("moved", None)
    assert (moved.figures.blackout_ms, moved.figures.libvirt_downtime_ms) == (None, 130)
    assert (hosts.runs_on, hosts.notes) == (["two"], [])


def test_one_that_nobody_kept_may_be_kept_there(hosts: OwnHosts) -> None:
    hosts.guest.kept = None
    move_own(asked(persistent=True))
    assert (hosts.runs_on, hosts.kept_on) == (["two"], ["two"])


def test_a_description_that_libvirt_has_rewritten_is_shown(hosts: OwnHosts) -> None:
    hosts.guest.meanwhile = lambda: setattr(hosts.guest, "kept", DEFINITION.replace("kvm", "qemu"))
    changed = move_own(asked()).changed
    assert [line[:13] for line in changed if "domain type" in line] == ["-<domain type", "+<domain type"]
    assert difference("<a>\n  <b/>\n</a>\n", "<a>\n\n      <b/>\n</a>") == []
    assert difference("<a/>", "<b/>")[-2:] == ["-<a/>", "+<b/>"]


def test_a_move_that_fails_leaves_all_as_it_was(hosts: OwnHosts) -> None:
    hosts.guest.trouble = RefusedError("libvirt could not move it", details="internal error: the moon is full", number=1)
    moved = move_own(asked())
    assert (moved.ending.result, hosts.runs_on, hosts.kept_on, hosts.notes) == ("failed", ["one"], ["one"], [])
    assert "the moon is full" in str(moved.ending.error)
    found = find_move("shop")
    assert found is not None
    assert found.history is not None
    assert found.history.ended == "failed"
    # And it can be moved the next time.
    hosts.guest.trouble = None
    assert move_own(asked()).ending.result == "moved"


def test_one_that_somebody_else_moves_is_left_to_them(hosts: OwnHosts) -> None:
    hosts.guest.notes[NAMESPACE] = THEIRS
    with pytest.raises(UsageError, match="shop is claimed by eve on elsewhere since today"):
        move_own(asked())
    assert (hosts.runs_on, hosts.notes) == (["one"], [THEIRS])
    hosts.guest.job = Progress(transferred_bytes=1)
    with pytest.raises(UsageError, match="claimed by eve") as caught:
        move_own(asked(take_over=True))
    assert "a move of it is under way" in caught.value.details
    hosts.guest.job = None
    assert move_own(asked(take_over=True)).ending.result == "moved"


def test_who_moves_it_is_said_and_not_that_it_is_on_both_hosts_meanwhile(hosts: OwnHosts) -> None:
    hosts.guest.notes[NAMESPACE] = THEIRS
    hosts.two.guests[UUID] = OwnedGuest(host=hosts.two)
    with pytest.raises(UsageError, match="shop is claimed by eve"):
        move_own(asked())


def test_of_two_that_claim_it_at_once_the_later_one_has_it(hosts: OwnHosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "pause", lambda _: hosts.guest.notes.__setitem__(NAMESPACE, THEIRS))
    with pytest.raises(UsageError, match="has just been claimed by eve"):
        move_own(asked())
    assert (hosts.runs_on, hosts.notes) == (["one"], [THEIRS])


def off_here_and_on_there(hosts: OwnHosts) -> None:
    """Nobody must hear that it could be started here."""
    hosts.guest.runs = False
    hosts.two.guests[UUID] = OwnedGuest(host=hosts.two)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("till", lambda hosts: None, "there is no guest 'till'"),
        ("shop", lambda hosts: setattr(hosts.guest, "runs", False), "'shop' is off"),
        ("shop", lambda hosts: hosts.two.guests.update({UUID: OwnedGuest(host=hosts.two)}), "shop is on host two already"),
        (
            "shop",
            lambda hosts: hosts.two.guests.update({"other": OwnedGuest(host=hosts.two, uuid="other", runs=False)}),
            "host two has another guest called shop",
        ),
        (
            "shop",
            lambda hosts: hosts.two.guests.update({UUID: hosts.one.guests.pop(UUID)}),
            "shop is on host two already",
        ),
        ("shop", off_here_and_on_there, "shop is on host two already"),
        ("shop", lambda hosts: setattr(hosts.two, "number", 1), "hosts one and two are one host"),
    ],
)
def test_what_cannot_be_moved_is_refused_and_left_alone(hosts: OwnHosts, name: str, change: object, said: str) -> None:
    change(hosts)  # type: ignore[operator]
    before = hosts.runs_on
    with pytest.raises(UsageError, match=said):
        move_own(asked(name=name))
    assert (hosts.runs_on, hosts.notes) == (before, [])


@pytest.mark.parametrize("change", [{"technique": "cold"}, {"storage": "full"}, {"after": "set-clock"}])
def test_ways_that_are_not_for_guests_of_others_are_refused(hosts: OwnHosts, change: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        move_own(asked(spec=MigrationSpec.model_validate(change)))


def interrupted(hosts: OwnHosts, guest: OwnedGuest, at: FakeHypervisor, uuid: str = UUID) -> OwnMove:
    """A move whose driver was killed in the middle; the copy that runs is on ``at``, under the claim."""
    source, destination = sides_of(FROM, TO)
    move = OwnMove(
        guest=GuestIdentity("shop", uuid, "52:54:00:01:02:03", ""), source=source, destination=destination, memory_bytes=2**30,
        persistent=True, keep_there=True, autostart=True, description=DEFINITION, definition=DEFINITION, spec=MigrationSpec(),
        token="ours",
    )  # fmt: skip
    move.write()
    journal = WrittenJournal(move.journal_file, FakeJournal())
    journal.begin("one", "two", move.spec)
    text = move.journal_file.read_text()
    # Whoever drove it is no more.
    move.journal_file.write_text(text.replace('"start_ticks":', '"start_ticks":1').replace('"pid":', '"pid":9'))
    guest.notes[NAMESPACE] = '<claim user="us" machine="here" since="today" token="ours"/>'
    return move


def test_an_interrupted_move_that_has_come_over_is_seen_to_the_end(hosts: OwnHosts) -> None:
    # libvirt went on by itself, and the source was not told to forget it.
    hosts.guest.runs = False
    hosts.two.guests[UUID] = OwnedGuest(host=hosts.two)
    move = interrupted(hosts, hosts.two.guests[UUID], hosts.two)
    with pytest.raises(UsageError, match="an earlier move of shop was interrupted"):
        move_own(asked())
    assert own_move("shop") == move
    where, changed = bring_back_own(move, boot_anew=False, told=lambda _: None)
    assert (where, changed) == ("two", [])
    assert (hosts.runs_on, hosts.kept_on, hosts.notes) == (["two"], ["two"], [])
    assert hosts.two.guests[UUID].autostart
    assert move.history is not None
    assert move.history.ended == "moved"


def test_an_interrupted_move_that_stayed_is_given_back(hosts: OwnHosts) -> None:
    move = interrupted(hosts, hosts.guest, hosts.one)
    with pytest.raises(UsageError, match="an earlier move of shop was interrupted"):
        move_own(asked())
    assert bring_back_own(move, boot_anew=False, told=lambda _: None)[0] == "one"
    assert (hosts.runs_on, hosts.kept_on, hosts.notes) == (["one"], ["one"], [])


def test_an_interrupted_move_of_a_namesake_elsewhere_stands_in_no_way(hosts: OwnHosts) -> None:
    interrupted(hosts, hosts.guest, hosts.one, uuid=UUID.replace("5a", "5b"))
    hosts.guest.notes.clear()
    assert move_own(asked()).ending.result == "moved"


def test_the_claim_of_somebody_else_is_not_given_back(hosts: OwnHosts) -> None:
    move = interrupted(hosts, hosts.guest, hosts.one)
    hosts.guest.notes[NAMESPACE] = THEIRS
    bring_back_own(move, boot_anew=False, told=lambda _: None)
    assert hosts.notes == [THEIRS]


def test_a_recovery_is_of_use_also_after_a_move_that_has_ended(hosts: OwnHosts) -> None:
    move_own(asked())
    move = own_move("shop")
    assert move is not None
    assert bring_back_own(move, boot_anew=False, told=lambda _: None) == ("two", [])


def test_a_guest_that_is_nowhere_is_not_called_moved(hosts: OwnHosts, monkeypatch: pytest.MonkeyPatch) -> None:
    from whimbrel.migrate import carry_out, verify

    monkeypatch.setattr(verify, "PATIENCE_S", 0.1)
    monkeypatch.setattr(carry_out, "GOING_S", 0.1)
    hosts.guest.meanwhile = lambda: setattr(hosts.guest, "runs", False)
    hosts.guest.trouble = RefusedError("libvirt could not move it", details="gone", number=1)
    moved = move_own(asked())
    assert moved.ending.result == "unsafe"
    assert isinstance(moved.ending.error, UnsafeStateError)
    assert own_move("shop") is not None


def test_nothing_is_written_but_what_is_the_users(hosts: OwnHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whimbrel.system.folders.os.geteuid", lambda: 1000)
    move_own(asked())
    assert not (tmp_path / "home").exists()
    files = {str(path.relative_to(tmp_path / "state")) for path in (tmp_path / "state").rglob("*") if path.is_file()}
    assert {f"whimbrel/moves/{UUID}/move.json", f"whimbrel/moves/{UUID}/move.jsonl"} < files
    assert all(name.startswith(("whimbrel/moves/", "whimbrel/bookings/")) for name in files)
    assert (tmp_path / "state" / "whimbrel" / "moves").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("persistent", "undefine", "kept"),
    [(None, None, None), (True, None, True), (None, True, True), (False, None, False), (None, False, False), (True, True, True)],
)
def test_a_description_is_on_one_side_only(persistent: bool | None, undefine: bool | None, kept: bool | None) -> None:
    assert keeping(persistent, undefine) == kept


@pytest.mark.parametrize(("persistent", "undefine"), [(True, False), (False, True)])
def test_a_description_on_both_sides_or_none_is_refused(persistent: bool, undefine: bool) -> None:
    with pytest.raises(UsageError, match="its description on"):
        keeping(persistent, undefine)


@pytest.mark.parametrize(
    ("source", "destination", "peer", "names", "address"),
    [
        (FROM, TO, None, ("one", "two"), "two.example"),
        ("qemu:///system", TO, None, ("here", "two"), "two.example"),
        ("qemu+tls://10.0.0.1/system", "qemu+tls://10.0.0.2/system", None, ("source", "destination"), "10.0.0.2"),
        (FROM, "qemu:///system", "qemu+ssh://me.example/system", ("one", "me"), "me.example"),
        ("qemu+ssh://x.a.example/system", "qemu+ssh://x.b.example/system", None, ("source", "destination"), "x.b.example"),
    ],
)
def test_hosts_by_their_uris(source: str, destination: str, peer: str | None, names: tuple[str, str], address: str) -> None:
    here, there = sides_of(source, destination, peer)
    assert (here.name, there.name) == names
    assert there.address == address
    assert there.host.peering.move_uri == f"tcp://{address}"
    assert (here.host.libvirt_uri, there.host.libvirt_uri) == (source, destination)


@pytest.mark.parametrize(
    ("source", "destination", "more", "said"),
    [
        (FROM, "qemu:///system", {}, "--to qemu:///system means the machine that opens it"),
        (FROM, TO, {"peer": "qemu:///system"}, "--peer qemu:///system means"),
        (FROM, TO, {"address": "127.0.1.1"}, "--address 127.0.1.1 means"),
        ("xen://two/system", TO, {}, "--from: 'xen://two/system' is no libvirt URI"),
    ],
)
def test_hosts_that_cannot_be_reached_so_are_refused(source: str, destination: str, more: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        sides_of(source, destination, **more)


def test_a_guest_without_a_network_has_no_address() -> None:
    assert first_mac(DEFINITION) == "52:54:00:01:02:03"
    assert first_mac("<domain><devices/></domain>") == ""


def heard_of(wanted: Callable[[Bus], object]) -> list[Published]:
    """What is published while it is done."""
    told: list[Published] = []
    with Bus() as bus:
        bus.subscribe("test", told.extend)
        wanted(bus)
    return told


def metrics_of(told: list[Published]) -> Metrics:
    picture = Picture("", 0, 0)
    metrics = Metrics(picture, 0)
    for news in told:
        picture.take(news)
        metrics.take(news)
    return metrics


def test_page_and_metrics_have_its_progress_its_hosts_and_its_figures(hosts: OwnHosts) -> None:
    hosts.guest.meanwhile = lambda: time.sleep(1.2)
    moved: list[OwnMoved] = []
    metrics = metrics_of(heard_of(lambda bus: moved.append(move_own(asked(bus=bus)))))
    value = metrics.registry.get_sample_value
    # As the hypervisor said of its job.
    assert value("whimbrel_migration_data_processed_bytes") == 5
    assert value("whimbrel_migration_succeeded_total") == 1
    blackout_ms = moved[0].figures.blackout_ms
    assert blackout_ms is not None
    assert value("whimbrel_migration_blackout_seconds") == pytest.approx(blackout_ms / 1000)


def test_both_hosts_are_seen_while_it_moves_if_somebody_looks(hosts: OwnHosts) -> None:
    hosts.guest.meanwhile = lambda: time.sleep(1.2)
    told = heard_of(lambda bus: move_own(asked(bus=bus)))
    rows = [news.values for news in told if isinstance(news, Sample) and news.source == "sampler"]
    assert {(row["subject"], row["cpu_s"], row["memory_bytes"]) for row in rows} == {("one", 1.0, 10), ("two", 2.0, 20)}


def test_one_that_fails_or_is_interrupted_is_counted_as_that(hosts: OwnHosts) -> None:
    hosts.guest.trouble = RefusedError("libvirt could not move it", details="internal error: the moon is full", number=1)
    failed = metrics_of(heard_of(lambda bus: move_own(asked(bus=bus)))).registry.get_sample_value
    assert failed("whimbrel_migration_failed_total", {"result": "failed"}) == 1
    assert failed("whimbrel_migration_succeeded_total") == 0
    assert failed("whimbrel_migration_blackout_seconds") is None

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)

    def move(bus: Bus) -> None:
        with pytest.raises(KeyboardInterrupt):
            move_own(asked(bus=bus))

    hosts.guest.meanwhile = interrupt
    aborted = metrics_of(heard_of(move)).registry.get_sample_value
    assert aborted("whimbrel_migration_failed_total", {"result": "aborted"}) == 1

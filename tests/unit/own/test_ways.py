"""A guest of the user's own is profiled and predicted by URI, and moved by a goal or by one way after the other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.own_hosts import FROM, TO, UUID, OwnedGuest, OwnHosts, asked
from whimbrel.cli.own_ways import Way, move_by, way_of
from whimbrel.errors import MoveError, RefusedError, UsageError
from whimbrel.migrate import carry_out, verify
from whimbrel.own.climbing import climb, in_words
from whimbrel.own.moving import move_own
from whimbrel.own.predicting import foresee, profile_own
from whimbrel.own.sides import side_of, sides_of
from whimbrel.own.standing import Side, folder_of
from whimbrel.predict.ladder import Plan, Rung, RungName, Step, options_of
from whimbrel.records.store import CampaignFolder
from whimbrel.spec.inventory import Inventory
from whimbrel.spec.migration import MigrationSpec

MIB = 2**20


def at(rate_bytes_per_s: float) -> tuple[Side, Side]:
    source, destination = sides_of(FROM, TO)
    return source.model_copy(update={"link_rate_bytes_per_s": rate_bytes_per_s}), destination


def put_back(hosts: OwnHosts) -> None:
    hosts.one.guests, hosts.two.guests = {UUID: OwnedGuest(host=hosts.one)}, {}


@pytest.mark.parametrize(
    ("in_kvm", "has", "asks"),
    [
        (True, {"bitmap": 8, "sampling": 4}, [("bitmap", 1), ("bitmap", 2)]),
        (True, {"sampling": 4}, [("bitmap", 1), ("sampling", 1), ("sampling", 2)]),
        (True, {"ring": 4}, [("bitmap", 1), ("sampling", 1), ("ring", 1), ("ring", 2)]),
        # Without KVM the bitmap counts nothing.
        (False, {"bitmap": 0, "sampling": 4}, [("sampling", 1), ("sampling", 2)]),
    ],
)
def test_it_is_profiled_in_the_first_way_that_its_host_has(
    hosts: OwnHosts, in_kvm: bool, has: dict[str, int], asks: list[tuple[str, int]]
) -> None:
    hosts.guest.in_kvm, hosts.guest.dirty_rates = in_kvm, has
    told: list[float] = []
    found = profile_own("shop", side_of(FROM), 4.0, told.append)
    assert hosts.guest.asked_by == asks
    assert (found.host, found.link_bytes_per_s, told) == ("one", None, [1.0, 3.0])
    rate = (8 if "bitmap" in has and in_kvm else 4) + 0.5
    assert [window.dirty_pages for window in found.profile.windows] == pytest.approx([rate * MIB / 4096, 2 * rate * MIB / 4096])
    # Half of the guest was never touched.
    assert found.profile.pages_zero == pytest.approx(2**30 / 4096 / 2)


def test_a_host_that_tells_no_rate_is_said(hosts: OwnHosts) -> None:
    hosts.guest.dirty_rates = {}
    with pytest.raises(RefusedError, match="mode ring is not available"):
        profile_own("shop", side_of(FROM), 4.0, lambda over_s: None)


def test_what_a_move_takes_follows_from_the_link(hosts: OwnHosts) -> None:
    found = {}
    for rate in (1e8, 1e9):
        expected = foresee("shop", *at(rate), MigrationSpec(), (), 4.0, lambda over_s: None).expect(MigrationSpec())
        assert expected is not None
        assert expected.total_s is not None
        found[rate] = expected.total_s.middle
    # Half a GiB of content.
    assert found[1e8] == pytest.approx(2**29 / 1e8, rel=0.3)
    assert found[1e9] == pytest.approx(2**29 / 1e9 + 0.5, rel=0.5)


def test_a_goal_is_met_or_nothing_moves(hosts: OwnHosts, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = replace(asked(), source=at(1e8)[0])
    moved = move_by(wanted, way_of("finish-within 60s", None, None, None, [], False))
    assert moved is not None
    assert (moved.ending.result, hosts.runs_on) == ("moved", ["two"])
    put_back(hosts)
    with pytest.raises(MoveError, match="nothing meets the goal"):
        move_by(wanted, way_of("finish-within 2s", None, None, None, [], False))
    assert move_by(wanted, way_of("shortest-gap", None, None, None, [], True)) is None
    assert "is expected to have the shortest service gap" in capsys.readouterr().out
    assert hosts.runs_on == ["one"]


def test_a_ladder_is_said_beforehand_and_climbed_until_one_way_moves_it(
    hosts: OwnHosts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[str] = []

    def refuse_at_first() -> None:
        tried.append("try")
        if len(tried) == 1:
            assert "1. pre-copy, at once, for at most" in capsys.readouterr().err
        hosts.guest.trouble = RefusedError("libvirt could not move it", details="no luck", number=1) if len(tried) < 3 else None

    hosts.guest.meanwhile = refuse_at_first
    way = way_of(None, "pre-copy,zstd,post-copy", "5 min", None, [], False)
    moved = move_by(replace(asked(out=tmp_path / "moves"), source=at(1e9)[0]), way)
    assert moved is not None
    assert (moved.ending.result, moved.move.spec.technique, hosts.runs_on) == ("moved", "post-copy", ["two"])
    assert (len(tried), moved.folder) == (3, tmp_path / "moves" / "3-post-copy")
    [kept] = CampaignFolder.open(tmp_path / "moves" / "2-zstd").trials()
    assert (kept.record.outcome.result, kept.record.spec.migration.compression) == ("failed", "zstd")


def plan(*names: RungName) -> Plan:
    return Plan(tuple(Step(Rung(name, options_of(name, None)), 0.0, 60.0) for name in names))


def test_a_guest_that_does_not_run_where_it_ran_is_not_tried_again(hosts: OwnHosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "PATIENCE_S", 0.1)
    monkeypatch.setattr(carry_out, "GOING_S", 0.1)
    tried: list[str] = []

    def die() -> None:
        tried.append("try")
        hosts.guest.runs = False

    hosts.guest.meanwhile = die
    hosts.guest.trouble = RefusedError("libvirt could not move it", details="gone", number=1)
    assert climb(asked(), plan("pre-copy", "post-copy"), None).ending.result == "unsafe"
    assert len(tried) == 1


def test_who_aborts_one_way_aborts_the_ladder(hosts: OwnHosts) -> None:
    tried: list[str] = []

    def abort() -> None:
        tried.append("try")
        (folder_of(UUID) / "abort").touch()

    hosts.guest.meanwhile = abort
    hosts.guest.trouble = RefusedError("libvirt could not move it", details="operation aborted", number=1)
    assert climb(asked(), plan("pre-copy", "post-copy"), None).ending.result != "moved"
    assert (len(tried), hosts.runs_on) == (1, ["one"])


def test_no_way_within_the_limits_is_refused_with_what_was_left_out(hosts: OwnHosts) -> None:
    empty = Plan((), {"paused": "its service gap may last 9 s"})
    with pytest.raises(MoveError, match="no way keeps within the limits") as caught:
        climb(asked(), empty, None)
    assert caught.value.details == "not tried: paused: its service gap may last 9 s"
    assert in_words(plan("paused")) == ["1. paused, at once, for at most 1 min: what it takes is not predicted"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("shortest-gap", "paused", None, None, [], False), "--goal chooses one way, and --ladder tries several"),
        ((None, None, "60 s", None, [], False), "--deadline goes with --ladder"),
        ((None, None, None, "1 s", [], False), "go with --goal or --ladder"),
        ((None, "pre-copy,cold", None, None, [], False), "'cold' is no way to move a guest of your own"),
        ((None, "paused,paused", None, None, [], False), "paused is named twice"),
        ((None, " , ", None, None, [], False), "names no way"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: tuple[object, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        way_of(*options)  # type: ignore[arg-type]


def test_without_goal_or_ladder_it_is_moved_as_it_was_asked_for(hosts: OwnHosts) -> None:
    moved = move_by(asked(), Way(None, (), None, None, (), False))
    assert moved is not None
    assert hosts.guest.asked_by == []


def test_the_limits_of_hosts_are_kept(hosts: OwnHosts) -> None:
    written = {
        name: {"libvirt": uri, "address": f"{name}.example", "most_bandwidth": limit, "link_rate": "10 Gbit/s"}
        for name, uri, limit in (("one", FROM, "100 MiB/s"), ("two", TO, "50 MiB/s"))
    }
    inventory = Inventory.model_validate({"hosts": written})
    source, destination = sides_of("one", "two", inventory=inventory)
    assert source.link_rate_bytes_per_s == 1.25e9
    moved = move_own(replace(asked(), source=source, destination=destination))
    assert moved.move.spec.bandwidth_bytes_per_s == 50 * MIB
    assert json.loads((moved.move.folder / "move.json").read_text())["spec"]["bandwidth_bytes_per_s"] == 50 * MIB
    put_back(hosts)
    slower = MigrationSpec.model_validate({"bandwidth": "10 MiB/s"})
    moved = move_own(replace(asked(spec=slower), source=source, destination=destination))
    assert moved.move.spec.bandwidth_bytes_per_s == 10 * MIB

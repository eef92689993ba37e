"""Each fault of two hosts by URI is named with its code, severity and side before anything moves; a healthy pair has none."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.labs import PROJECT
from tests.raw_libvirt import RawDomain, RawPair, error
from whimbrel.engines.binding import libvirt
from whimbrel.engines.failures import FAILURES
from whimbrel.errors import CleanUpError, EngineError
from whimbrel.hosts.preflight import ways
from whimbrel.hosts.preflight.examine import examine_all, nothing_examined
from whimbrel.hosts.preflight.failures import Way, of_move, of_start
from whimbrel.hosts.preflight.finding import Finding, kinds, possible
from whimbrel.hosts.preflight.guests import held_guests, probe_ledger
from whimbrel.hosts.preflight.wanted import Wanted, wanted_by
from whimbrel.hosts.remote import RemoteHost, hosts_ledger
from whimbrel.spec.campaign import CampaignSpec

pytestmark = pytest.mark.skipif(libvirt is None, reason="libvirt-python is not installed")

CLAIM = {"token": "ours", "folder": "/srv/shared", "name": "x", "pool": "whimbrel"}
THEIRS = "0b5e7f4c-0000-4000-8000-00000000000a"


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RawPair:
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(ways, "CONNECT_S", 0.05)
    found = RawPair()
    found.install(monkeypatch)
    for host in (found.a, found.b):
        host.createXML(f"<domain><name>guest</name><uuid>{THEIRS}</uuid><os><type machine='pc'/></os></domain>",
                       libvirt.VIR_DOMAIN_START_PAUSED)  # fmt: skip
    return found


def nothing_stays(pair: RawPair) -> None:
    assert [list(host.domains) for host in (pair.a, pair.b)] == [[THEIRS], [THEIRS]]
    assert pair.folder == {}
    assert probe_ledger(pair.spec).entries == []


def examine(pair: RawPair, wanted: Wanted | None = None) -> list[Finding]:
    found = examine_all(pair.spec, wanted or Wanted("tcg", "br0"), probe_ledger(pair.spec))
    nothing_stays(pair)
    return found


def said(findings: list[Finding]) -> set[tuple[str, str, str]]:
    return {(each.code, each.severity, each.side) for each in findings}


@pytest.mark.parametrize("wanted", [Wanted("tcg", "br0"), Wanted("kvm", "br0", tls=True, post_copy=True)], ids=["tcg", "all"])
def test_a_healthy_pair_has_nothing_against_it(pair: RawPair, wanted: Wanted) -> None:
    assert examine(pair, wanted) == []
    assert possible([]) is True
    # Both were tried by guests of our own, each of which was there.
    for host in (pair.a, pair.b):
        assert [name for name in host.seen if "probe" in name] != []


def at(side: str, files: dict[str, str | None] | None = None, **attributes: object) -> Callable[[RawPair], None]:
    """A fault of one host: what it is, and what its kernel shows (None: no such file)."""

    def sow(pair: RawPair) -> None:
        host = getattr(pair, side)
        for name, value in attributes.items():
            setattr(host, name, value)
        host.files = {path: text for path, text in {**host.files, **(files or {})}.items() if text is not None}

    return sow


MTU, BRIDGE, FAULTS = "/sys/class/net/br0/mtu", "/sys/class/net/br0/bridge/bridge_id", "/proc/sys/vm/unprivileged_userfaultfd"
ALL_PORTS = set(range(49152, 49216))
PEER = "unable to connect to server at 'two.example:16514': Connection refused"
SOWN: dict[str, tuple[Callable[[RawPair], None], Wanted, set[tuple[str, str, str]]]] = {
    "no KVM at b": (
        at("b", kvm=False), Wanted("kvm", "br0"),
        {("no-accelerator", "blocks", "b"), ("bridge-unseen", "unseen", "b"),
         ("post-copy-unseen", "unseen", "b"), ("way-unseen", "unseen", "a to b"),
         ("way-unseen", "unseen", "b to a")},
    ),
    "QEMU elsewhere at b": (
        at("b", emulator="/usr/libexec/qemu-kvm"), Wanted("tcg", "br0"),
        {("emulator-missing", "blocks", "b"), ("way-unseen", "unseen", "a to b"), ("way-unseen", "unseen", "b to a")},
    ),
    "older QEMU at b without a's machine": (
        at("b", qemu_version=9_002_000, machines=["pc-i440fx-9.2"]),
        Wanted("tcg", "br0"),
        {("older-qemu", "warns", "b"), ("machine-type-missing", "blocks", "b"), ("way-unseen", "unseen", "a to b"),
         ("way-unseen", "unseen", "b to a")},
    ),
    "older QEMU at a, whose machine b knows": (
        at("a", qemu_version=9_002_000, machines=["pc-i440fx-9.2"]),
        Wanted("tcg", "br0"), {("older-qemu", "warns", "a")},
    ),
    "older libvirt at b": (
        at("b", libvirt_version=9_000_000), Wanted("tcg", "br0"), {("older-libvirt", "warns", "b")},
    ),
    "fewer features at b": (
        at("b", features={"aes"}), Wanted("kvm", "br0"),
        {("cpu-lacks-features", "blocks", "b"), ("way-unseen", "unseen", "a to b"), ("way-unseen", "unseen", "b to a")},
    ),
    "other microcode in KVM": (
        at("b", microcode="2"), Wanted("kvm", "br0"), {("cpu-differs", "warns", "a and b")},
    ),
    "a processor by a name that b cannot give": (
        at("b", lacks_models=frozenset({"EPYC-Rome"})), Wanted("kvm", "br0", cpu_model="EPYC-Rome"),
        {("cpu-model-missing", "blocks", "b"), ("way-unseen", "unseen", "a to b"), ("way-unseen", "unseen", "b to a")},
    ),
    "a processor by its name, and other microcode": (
        at("b", microcode="2", features={"aes"}), Wanted("kvm", "br0", cpu_model="EPYC-Rome"), set(),
    ),
    "other microcode, emulated": (at("b", microcode="2"), Wanted("tcg", "br0"), set()),
    "no CPU model at a": (
        at("a", names_cpu_model=False), Wanted("tcg", "br0"), {("cpu-unseen", "unseen", "a")},
    ),
    "no bridge at b": (
        at("b", {MTU: None, BRIDGE: None}), Wanted("tcg", "br0"), {("bridge-missing", "blocks", "b")},
    ),
    "a link that is no bridge at a": (
        at("a", {BRIDGE: None}), Wanted("tcg", "br0"),
        {("bridge-missing", "blocks", "a")},
    ),
    "another MTU at a": (
        at("a", {MTU: "1400\n"}), Wanted("tcg", "br0"),
        {("mtu-differs", "warns", "a")},
    ),
    "files that libvirt may not read at b": (
        at("b", files_refused=True), Wanted("tcg", "br0"), {("bridge-unseen", "unseen", "b")},
    ),
    "userfaultfd off at b": (
        at("b", tracks_writes=False), Wanted("tcg", "br0"), {("userfaultfd-off", "warns", "b")},
    ),
    "userfaultfd off at b, and post-copy wanted": (
        at("b", tracks_writes=False), Wanted("tcg", "br0", post_copy=True),
        {("userfaultfd-off", "blocks", "b")},
    ),
    "no write tracking at b, which post-copy does not want": (
        at("b", {FAULTS: "1\n"}, tracks_writes=False),
        Wanted("tcg", "br0", post_copy=True), set(),
    ),
    "no write tracking at b, and no setting to read": (
        at("b", {FAULTS: None}, tracks_writes=False),
        Wanted("tcg", "br0"), {("post-copy-unseen", "unseen", "b")},
    ),
    "ports closed at b": (
        at("b", closed_ports=ALL_PORTS), Wanted("tcg", "br0"),
        {("ports-closed", "blocks", "a to b"), ("way-unseen", "unseen", "a to b")},
    ),
    "the last ports closed at a": (
        at("a", closed_ports=set(range(49170, 49216))), Wanted("tcg", "br0"),
        {("ports-partly-closed", "warns", "b to a")},
    ),
    "the first ports taken at b, and the next closed": (
        at("b", ports_in_use=set(range(49152, 49160)), closed_ports={49160}), Wanted("tcg", "br0"),
        {("ports-closed", "blocks", "a to b"), ("way-unseen", "unseen", "a to b")},
    ),
    "the first ports taken at b": (
        at("b", ports_in_use=set(range(49152, 49160))), Wanted("tcg", "br0"), set(),
    ),
    "all ports taken at b": (
        at("b", ports_in_use=ALL_PORTS), Wanted("tcg", "br0"),
        {("ports-taken", "blocks", "b"), ("way-unseen", "unseen", "a to b")},
    ),
    "b's libvirt out of a's reach": (
        at("a", peer_trouble=(38, PEER)), Wanted("tcg", "br0"), {("peer-unreachable", "blocks", "a to b")},
    ),
    "a's libvirt does not let b in": (
        at("b", peer_trouble=(45, "authentication failed: Failed to verify peer's certificate")),
        Wanted("tcg", "br0"), {("peer-refused", "blocks", "b to a")},
    ),
    "a certificate with other names at b": (
        at("b", certificate_names={"moves.example"}), Wanted("tcg", "br0", tls=True),
        {("certificate-name", "blocks", "b")},
    ),
    "a certificate with other names at b, and nothing encrypted": (
        at("b", certificate_names={"moves.example"}), Wanted("tcg", "br0"), set(),
    ),
    "a move that fails in some other way": (
        at("a", move_trouble=(1, "internal error: something new")), Wanted("tcg", "br0"),
        {("move-refused", "blocks", "a to b")},
    ),
    "a guest that does not start at b": (
        at("b", start_trouble=(1, "internal error: no memory")), Wanted("tcg", "br0"),
        {("guest-refused", "blocks", "b"), ("post-copy-unseen", "unseen", "b"), ("way-unseen", "unseen", "a to b"),
         ("way-unseen", "unseen", "b to a")},
    ),
    "QEMU before 9.2, with seconds only": (at("a", knows_milliseconds=False), Wanted("tcg", "br0"), set()),
}  # fmt: skip


@pytest.mark.parametrize("fault", SOWN)
def test_a_single_fault_is_named_and_nothing_else(pair: RawPair, fault: str) -> None:
    sow, wanted, expected = SOWN[fault]
    sow(pair)
    found = examine(pair, wanted)
    assert said(found) == expected
    severities = {severity for _, severity, _ in expected}
    assert possible(found) is (False if "blocks" in severities else None if "unseen" in severities else True)


def test_effect_and_cure_name_what_they_are_about(pair: RawPair) -> None:
    pair.b.closed_ports.update(range(49152, 49216))
    pair.a.files["/sys/class/net/br0/mtu"] = "9000\n"
    ports, mtu = (next(each for each in examine(pair) if each.code == code) for code in ("ports-closed", "mtu-differs"))
    assert ports.seen == "QEMU on host a could not connect to 10.0.0.2 at 49152, 49153, 49154, 49215 within 0 s"
    assert "memory is sent to 10.0.0.2" in ports.effect
    assert (mtu.side, mtu.seen) == ("b", "1500 bytes on host b, 9000 on host a")
    assert "over 1500 bytes" in mtu.effect
    assert "'ip link set br0 mtu 9000'" in mtu.cure


@pytest.mark.parametrize("code", kinds())
def test_every_kind_can_be_said_and_is_in_the_documents(code: str) -> None:
    kind = kinds()[code]
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
    assert kind.severity in ("blocks", "warns", "unseen")
    assert f"| `{code}` | {kind.severity} |" in (PROJECT / "docs" / "preflight.md").read_text()


def test_hosts_in_use_by_others_are_read_and_not_tried(pair: RawPair) -> None:
    claim = {"user": "eve", "machine": "elsewhere", "since": "today", "guests": {}, "token": "theirs"}
    name = f"whimbrel-claim-{pair.b.number}"
    pair.folder[name] = json.dumps(claim).encode()
    pair.b.qemu_version = 9_000_000
    found = examine_all(pair.spec, Wanted("tcg", "br0"), probe_ledger(pair.spec))
    assert said(found) == {
        ("older-qemu", "warns", "b"), ("bridge-unseen", "unseen", "a"), ("bridge-unseen", "unseen", "b"),
        ("post-copy-unseen", "unseen", "a"), ("post-copy-unseen", "unseen", "b"),
        ("way-unseen", "unseen", "a to b"), ("way-unseen", "unseen", "b to a"),
    }  # fmt: skip
    assert "host b is in use by eve on elsewhere since today" in next(each.seen for each in found if each.code == "way-unseen")
    assert [host.seen for host in (pair.a, pair.b)] == [["guest"], ["guest"]]
    assert list(pair.folder) == [name]


def test_what_is_deployed_there_by_us_is_left_alone(pair: RawPair) -> None:
    with hosts_ledger(pair.spec.name) as ledger:
        ledger.add("claim", json.dumps({**CLAIM, "uri": pair.spec.servers["a"].libvirt}))
        ledger.add("domain", json.dumps({"uri": pair.spec.servers["a"].libvirt, "name": "guest", "uuid": THEIRS}))
        ledger.keep("")
    assert examine(pair) == []
    assert [entry.kind for entry in hosts_ledger(pair.spec.name).entries] == ["claim", "domain"]


def test_hosts_that_were_taken_over_from_us_are_not_tried(pair: RawPair) -> None:
    claim = {"user": "eve", "machine": "elsewhere", "since": "today", "guests": {}, "token": "theirs"}
    pair.folder["x"] = json.dumps(claim).encode()
    with hosts_ledger(pair.spec.name) as ledger:
        ledger.add("claim", json.dumps({**CLAIM, "uri": pair.spec.servers["a"].libvirt}))
        ledger.keep("")
    found = examine_all(pair.spec, Wanted("tcg", "br0"), probe_ledger(pair.spec))
    assert "taken over by eve" in next(each.seen for each in found if each.code == "way-unseen")
    assert [host.seen for host in (pair.a, pair.b)] == [["guest"], ["guest"]]


def test_a_campaign_of_ours_that_runs_is_not_disturbed(pair: RawPair) -> None:
    with hosts_ledger(pair.spec.name):
        found = examine_all(pair.spec, Wanted("tcg", "br0"), probe_ledger(pair.spec))
    assert {each.code for each in found} == {"bridge-unseen", "post-copy-unseen", "way-unseen"}
    assert "in use by another whimbrel" in found[0].seen
    nothing_stays(pair)


@pytest.mark.parametrize("moment", ["createXML", "defineXML", "compareHypervisorCPU"])
def test_an_interruption_leaves_nothing(pair: RawPair, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pair.b, moment, interrupt)
    with pytest.raises(KeyboardInterrupt):
        examine_all(pair.spec, Wanted("tcg", "br0"), probe_ledger(pair.spec))
    nothing_stays(pair)


def test_what_a_kill_has_left_goes_with_the_next_time(pair: RawPair) -> None:
    held = held_guests(pair.spec, ("a", "b"), probe_ledger(pair.spec))
    guests = held.__enter__()
    for host in (pair.a, pair.b):
        host.defineXML(f"<domain><name>{guests['a']}</name><uuid>{guests['a'].uuid}</uuid></domain>")
        host.createXML(f"<domain><name>{guests['b']}</name><uuid>{guests['b'].uuid}</uuid><os><type machine='pc'/></os></domain>",
                       libvirt.VIR_DOMAIN_START_PAUSED)  # fmt: skip
    left, folder = probe_ledger(pair.spec), dict(pair.folder)
    assert len(left.entries) == 6
    # The locks end with the process; the lists stay.
    held.gen.gi_frame.f_locals["ledger"].release()  # type: ignore[attr-defined]
    held.gen.gi_frame.f_locals["site"].release()  # type: ignore[attr-defined]
    assert len(folder) == 2
    assert examine(pair) == []


def test_one_of_ours_that_no_ledger_knows_is_not_ended(pair: RawPair) -> None:
    with held_guests(pair.spec, ("a", "b"), probe_ledger(pair.spec)) as guests:
        number = guests["a"].uuid
    pair.b.defineXML(f"<domain><name>x</name><uuid>{number}</uuid></domain>")
    found = examine_all(pair.spec, Wanted("tcg", "br0"), probe_ledger(pair.spec))
    assert "in no ledger" in next(each.seen for each in found if each.code == "way-unseen")
    assert list(pair.b.domains) == [THEIRS, number]


def test_what_cannot_be_removed_is_said(pair: RawPair, monkeypatch: pytest.MonkeyPatch) -> None:
    destroy = RawDomain.destroy

    def refuse(domain: object) -> None:
        raise error(68, "Timed out during operation: cannot acquire state change lock")

    monkeypatch.setattr(RawDomain, "destroy", refuse)
    with pytest.raises(CleanUpError, match="are left on the machine"):
        examine_all(pair.spec, Wanted("tcg", "br0"), probe_ledger(pair.spec))
    monkeypatch.setattr(RawDomain, "destroy", destroy)
    probe = probe_ledger(pair.spec)
    with probe:
        probe.undo_all()
    nothing_stays(pair)


def test_hosts_that_do_not_answer_are_not_seen(pair: RawPair) -> None:
    found = nothing_examined(pair.spec, "libvirt of host b did not answer")
    assert {each.severity for each in found} == {"unseen"}
    assert possible(found) is None


def test_a_file_wants_what_any_of_its_arms_wants() -> None:
    def campaign(**more: object) -> CampaignSpec:
        return CampaignSpec.model_validate({
            "schema_version": 1, "name": "x", "hosts": RawPair.spec_with(bridge="br7").model_dump(exclude_defaults=True),
            "scenarios": [{"name": "vm", "title": "t", "form": "vm", "service": "none", "arms": [
                {"name": "one"}, {"name": "two", "set": {"migration.technique": "post-copy"}}]}], **more,
        })  # fmt: skip

    assert wanted_by(campaign()) == Wanted("tcg", "br7", tls=False, post_copy=True)
    assert wanted_by(campaign(migration={"tls": True})).tls


def way(source: str = "a") -> Way:
    spec = RawPair.spec_with()
    name = "b" if source == "a" else "a"
    there = spec.servers[name]
    return Way(source, name, RemoteHost(name, there, "/srv", "whimbrel"))


# By the provocation with which each was recorded (tests/recorded/failures.json), as libvirt 11.3 and QEMU 10.0 said it.
OF_MOVES = {
    "nobody_has_the_peers_address": "peer-unreachable", "the_peer_does_not_answer": "peer-unreachable",
    "the_peers_name_is_unknown": "peer-unreachable", "ssh_does_not_know_the_name": "peer-unreachable",
    "nobody_listens_for_ssh": "peer-unreachable", "nobody_has_the_address_for_memory": "ports-closed",
    "nobody_listens_for_memory": "ports-closed", "nobody_answers_for_memory": "ports-closed",
    "every_port_is_taken": "ports-taken", "the_certificate_has_another_name": "peer-refused",
    "the_ca_is_unknown": "peer-refused", "our_own_certificate_is_from_another_ca": "peer-refused",
    "our_own_certificate_has_expired": "peer-refused", "the_peer_does_not_accept_our_certificate": "peer-refused",
    "there_is_no_certificate": "peer-refused", "qemu_has_no_certificate": "peer-refused",
    "ssh_does_not_know_the_key": "peer-refused", "the_host_has_another_key": "peer-refused",
    "ssh_is_not_let_in": "peer-refused", "there_is_no_netcat": "peer-refused", "polkit_asks": "peer-refused",
    "polkit_refuses": "peer-refused", "libssh_is_not_let_in": "peer-refused", "the_port_is_taken": "move-refused",
    "there_is_no_memory": "move-refused", "another_job_is_under_way": "move-refused",
    "the_destinations_libvirt_is_killed": "move-refused",
}  # fmt: skip
HEARD = {each["provocation"]: each for each in json.loads((PROJECT / "tests" / "recorded" / "failures.json").read_text())}


def heard(provocation: str) -> EngineError:
    told = HEARD[provocation]
    return EngineError("libvirt could not", details=told["words"], number=told["number"], part=told["origin"],
                       errno=told["errno"])  # fmt: skip


@pytest.mark.parametrize("provocation", OF_MOVES)
def test_what_libvirt_says_of_a_move_is_one_finding(provocation: str) -> None:
    code = OF_MOVES[provocation]
    found = of_move(way(), False, heard(provocation))
    assert (found.code, found.seen) == (code, HEARD[provocation]["words"])
    assert found.side == ("b" if code == "ports-taken" else "a to b")


def test_what_libvirt_says_of_a_start_is_one_finding() -> None:
    assert of_start("b", "brother", heard("the_bridge_is_missing")).code == "bridge-missing"
    assert of_start("b", "br0", heard("there_is_no_memory")).code == "guest-refused"


def test_a_call_that_does_not_return_is_not_waited_for(pair: RawPair, monkeypatch: pytest.MonkeyPatch) -> None:
    returns = threading.Event()
    monkeypatch.setattr(ways, "MOVE_S", 0.05)
    monkeypatch.setattr(RawDomain, "migrateToURI3", lambda *_: returns.wait(30))
    found = examine(pair)
    returns.set()
    assert said(found) == {("peer-unreachable", "blocks", "a to b"), ("peer-unreachable", "blocks", "b to a")}


def test_a_call_that_breaks_is_no_success(pair: RawPair, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(*_: object) -> None:
        raise AttributeError("absent")

    monkeypatch.setattr(RawDomain, "migrateToURI3", break_off)
    assert said(examine(pair)) == {("move-refused", "blocks", "a to b"), ("move-refused", "blocks", "b to a")}


def test_encryption_alone_that_fails_is_told_from_the_way(pair: RawPair, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "internal error: unable to execute QEMU command 'object-add': Unable to access credentials /etc/pki/qemu/ca-cert.pem"
    calls: list[int] = []

    def count(domain: object, uri: str, parameters: dict[str, object], flags: int) -> None:
        calls.append(flags)
        if flags & libvirt.VIR_MIGRATE_TLS:
            raise error(1, words)
        original(domain, uri, parameters, flags)

    original: Callable[..., None] = RawDomain.migrateToURI3
    monkeypatch.setattr(RawDomain, "migrateToURI3", count)
    found = examine(pair, Wanted("tcg", "br0", tls=True))
    assert said(found) == {("tls-refused", "blocks", "a to b"), ("tls-refused", "blocks", "b to a")}
    assert {each.seen for each in found} == {words}
    assert len(calls) == 4


def test_what_a_code_means_is_said_in_one_place() -> None:
    """``explain`` finds it among findings, or among known failures of moves."""
    assert not {failure.name for failure in FAILURES} & (set(kinds()) - {"bridge-missing", "certificate-name"})

"""Every way a scenario file can be wrong gives one error that names file, line and key."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from whimbrel.errors import SpecError, UsageError
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.document import LARGEST_FILE_BYTES
from whimbrel.spec.fields import RECORD
from whimbrel.spec.load import load_campaign, schema_text

SCENARIOS = Path(__file__).parents[3] / "scenarios"
GOOD = """\
schema_version: 1
name: small
scenarios:
  - name: baseline
    title: Nothing
    form: vm
    service: none
    arms: [{viewers: 0, trials: 1}]
"""


def refused(tmp_path: Path, content: str | bytes) -> SpecError:
    file = tmp_path / "wrong.yaml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SpecError) as caught:
        load_campaign(file)
    assert str(file) in str(caught.value)
    assert caught.value.exit_code == 2
    return caught.value


@pytest.mark.parametrize("file", sorted(set(SCENARIOS.glob("*.yaml")) - {SCENARIOS / "density.yaml"}), ids=lambda file: file.name)
def test_every_scenario_of_the_project_loads(file: Path) -> None:
    spec = load_campaign(file)
    # What was read is what a record keeps, and is read from it as the same.
    assert CampaignSpec.model_validate_json(spec.model_dump_json(), context=RECORD) == spec
    assert [scenario.name for scenario in spec.scenarios] == re.findall(r"^  - name: (\S+)", file.read_text(), re.MULTILINE)


def test_paper_is_the_papers_experiment() -> None:
    spec = load_campaign(SCENARIOS / "paper.yaml")
    arms = {(scenario.name, arm.viewers): arm.trials for scenario in spec.scenarios for arm in scenario.arms}
    assert arms == {("baseline", 0): 3} | {
        (form, viewers): 3 if viewers == 1 else 2 for form in ("vm", "nested") for viewers in (1, 2, 5, 10)
    }
    assert [scenario.published_total_s for scenario in spec.scenarios] == [350, 420, 390]
    assert spec.lab.link_rate_bytes_per_s == 25e6


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("- 1\n", "is not a mapping"),
        ("just text", "is not a mapping"),
        ("a: [1", "expected"),
        ("a: b: c", "mapping values"),
        ("\tname: x", "cannot start any token"),
        ("name: &x 1\ny: *x", "anchors and aliases"),
        ("{" * 100, "nested too deeply"),
        ("--- 1\n--- 2\n", "expected a single document"),
    ],
)
def test_malformed_yaml(tmp_path: Path, content: str, words: str) -> None:
    assert words in str(refused(tmp_path, content))


def test_binary_huge_and_missing_files(tmp_path: Path) -> None:
    assert "line" not in str(refused(tmp_path, b"\x00\x01\x02"))
    error = refused(tmp_path, b"name: x\ntitle: \xff\xfe")
    assert "not UTF-8" in str(error)
    assert error.line == 2
    assert "larger than" in str(refused(tmp_path, b"#" * (LARGEST_FILE_BYTES + 1)))
    with pytest.raises(SpecError, match="No such file"):
        load_campaign(tmp_path / "absent.yaml")
    with pytest.raises(SpecError, match="directory"):
        load_campaign(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("name: small", "nam: small", 2, "did you mean 'name'?"),
        ("name: small", "name: small\nname: other", 3, "duplicate key"),
        ("name: small", "name: ../etc", 2, "is no name"),
        ("name: small", "name: a b", 2, "is no name"),
        ("name: small", "name: 'a;b'", 2, "is no name"),
        ("name: small", 'name: "a\\nb"', 2, "is no name"),
        ("name: small", f"name: {'a' * 300}", 2, "is no name"),
        ("name: small", 'name: small\ntitle: "a\\e]0;mine\\a"', 3, "a terminal would act on"),
        ("name: small", "name: small\nguest: {memory: 1024}", 3, "has no unit"),
        ("name: small", "name: small\nguest: {memory: 1 GiB/s}", 3, "is no size"),
        ("name: small", "name: small\nguest: {memory: -1 GiB}", 3, "is no size"),
        ("name: small", "name: small\nguest: {memory: 0 B}", 3, "greater than"),
        ("name: small", "name: small\nguest: {memory: 900 GiB}", 3, "more than a server"),
        ("name: small", "name: small\nguest: {vcpus: no}", 3, "not a whole number"),
        ("name: small", "name: small\nguest: {vcpus: 1e3}", 3, "not a whole number"),
        ("name: small", "name: small\nguest: {vcpus: 0x10}", 3, "in decimal digits: 16"),
        ("name: small", "name: small\nguest: {vcpus: 0o17}", 3, "in decimal digits: 15"),
        ("name: small", "name: small\nguest: {memory: .nan}", 3, "has no unit"),
        ("name: small", "name: small\nguest: {memory: nan GiB}", 3, "is no size"),
        ("name: small", "name: small\nguest: {memory: '1,5 GiB'}", 3, "is no size"),
        ("name: small", "name: small\nmigration: {tls: true}", 3, "set 'lab.tls' too"),
        ("name: small", "name: small\nmigration: {technique: post-copy, connections: 2}", 3, "'lab.suite: trixie-backports' has"),
        ("name: small", "name: small\nmigration: {connections: 2, on_timeout: post-copy}", 3, "QEMU before 10.1 refuses"),
        ("name: small", "name: small\nmigration: {storage: some}", 3, "'incremental'"),
        ("name: small", "name: small\nmigration: {moves: container, technique: restart, storage: full}", 3, "along always"),
        ("name: small", "name: small\nlab: {link_loss: 1.5}", 3, "less than or equal to 0.5"),
        ("name: small", "name: small\nlab: {link_loss: .nan}", 3, "finite"),
        ("name: small", "name: small\nlab: {migration_link: {network: 10.77.0.0/25}}", 3, "overlaps"),
        ("name: small", "name: small\nguest: {vcpus: 1.5}", 3, "not a whole number"),
        ("name: small", "name: small\nguest: {vcpus: true}", 3, "not a whole number"),
        ("name: small", "name: small\nguest: {vcpus: .nan}", 3, "not a whole number"),
        ("name: small", "name: small\nmigration: {timeout: .inf}", 3, "has no unit"),
        ("name: small", "name: small\nlab: {network: 8.8.8.0/24}", 3, "private IPv4"),
        ("name: small", "name: small\nlab: {network: 10.0.0.0/30}", 3, "126 addresses"),
        ("name: small", "name: small\nlab: {name: a-name-that-is-too-long}", 3, "is no name"),
        ("viewers: 0", "viewers: 5", 8, "need a stream"),
        ("viewers: 0", "viewers: 100000", 8, "less than or equal to 500"),
        ("form: vm", "form: nested", 6, "needs a service"),
        ("form: vm", "form: pod", 6, "'vm', 'nested', 'container' or 'elsewhere'"),
        ("schema_version: 1", "schema_version: 2", 1, "should be 1"),
    ],
)
def test_wrong_values_name_their_line(tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
    error = refused(tmp_path, GOOD.replace(old, new))
    assert words in str(error)
    assert error.line == line


def test_a_technique_that_is_none_is_one_problem_under_its_own_key(tmp_path: Path) -> None:
    error = refused(tmp_path, GOOD.replace("name: small", "name: small\nmigration: {technique: teleport}"))
    assert ": migration.technique: Input should be 'cold', 'paused', 'pre-copy'," in str(error)
    assert "'restart', not 'teleport'" in str(error)
    assert not error.resolution
    assert error.line == 3


WATCHED = """\
schema_version: 1
name: small
stream: {length: 5 s, read_ahead: 3 s, hls_buffer: 6 s}
observe: {before: 30 s, after: 6 s, stay: 10 s}
scenarios:
  - name: vm
    title: Film
    form: vm
    service: stream
    arms: [{viewers: 1}]
"""


@pytest.mark.parametrize(
    ("arm", "watched", "needed"),
    [
        ("{viewers: 1}", "30 s (observe.before), 6 s (observe.after) and as long as the move takes, and 4 s of it come ahead"
         " (stream.read_ahead)", "40 s and the time of a move"),
        ("{viewers: 1, moves: false}", "30 s (observe.before), 6 s (observe.after), 10 s (observe.stay), and 4 s of it come ahead"
         " (stream.read_ahead)", "50 s"),
        ("{hls_viewers: 1}", "30 s (observe.before), 6 s (observe.after) and as long as the move takes, and 6 s of it come ahead"
         " (stream.hls_buffer)", "42 s and the time of a move"),
        ("{viewers: 1, set: {observe.after: 10 s}}", "10 s (observe.after)", "44 s and the time of a move"),
    ],
)  # fmt: skip
def test_a_film_too_short_to_be_watched_is_refused(tmp_path: Path, arm: str, watched: str, needed: str) -> None:
    error = refused(tmp_path, WATCHED.replace("{viewers: 1}", arm))
    assert error.key == "stream.length"
    assert error.line == 3
    assert "the film of 5 s is over before a trial" in error.problem
    assert watched in error.problem
    assert error.resolution == f"give it more than {needed}"


def test_a_film_too_short_by_an_override_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "right.yaml"
    file.write_text(WATCHED.replace("stream: {length: 5 s, read_ahead: 3 s, hls_buffer: 6 s}\n", ""))
    assert load_campaign(file)
    with pytest.raises(SpecError, match="the film of 5 s is over before a trial of arm 'vm-1' can be"):
        load_campaign(file, ["stream.length=5 s"])


def test_a_film_that_nobody_watches_or_that_lasts_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "right.yaml"
    for old, new in (("{viewers: 1}", "{viewers: 0}"), ("length: 5 s", "length: 41 s")):
        file.write_text(WATCHED.replace(old, new))
        assert load_campaign(file).stream.length_s > 0


def test_overrides_reach_any_key(tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    spec = load_campaign(file, ["guest.memory=2 GiB", "scenarios.baseline.title=Other", "observe.probe_every=off"])
    assert spec.guest.memory_bytes == 2 * 2**30
    assert spec.scenarios[0].title == "Other"
    assert spec.observe.probe_every_s is None


@pytest.mark.parametrize(
    "override", ["guest.memory", "=1", ".x=1", "scenarios.absent.title=x", "name.deeper=1", "guest.memory=[1"]
)
def test_a_wrong_override_is_a_usage_error(tmp_path: Path, override: str) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    with pytest.raises(UsageError, match=r"--set|good\.yaml"):
        load_campaign(file, [override])


def test_a_spec_survives_its_record() -> None:
    spec = load_campaign(SCENARIOS / "paper.yaml")
    assert CampaignSpec.model_validate(json.loads(spec.model_dump_json()), context=RECORD) == spec


def test_schema_names_what_a_file_may_say() -> None:
    schema = json.loads(schema_text())
    assert {"schema_version", "name", "lab", "guest", "stream", "migration", "observe", "scenarios"} <= set(schema["properties"])


HOSTS = """\
hosts:
  a: {libvirt: "qemu+tls://one/system", address: 10.0.0.1}
  b: {libvirt: "qemu+tls://two/system", address: 10.0.0.2}
  storage: /srv/shared
  guest_address: 10.0.0.100/24
"""


def test_hosts_instead_of_a_lab(tmp_path: Path) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_text(GOOD + HOSTS)
    spec = load_campaign(file)
    assert spec.hosts is not None
    assert spec.hosts.servers["b"].libvirt == "qemu+tls://two/system"
    record = CampaignSpec.model_validate(json.loads(spec.model_dump_json()), context=RECORD)
    assert record == spec


NORTH_EAST_WEST = """hosts:
  servers:
    north: {libvirt: "qemu+tls://one/system", address: 10.0.0.1}
    east: {libvirt: "qemu+tls://two/system", address: 10.0.0.2}
    west: {libvirt: "qemu+tls://three/system", address: 10.0.0.3}
  storage: /srv/shared
  guest_address: 10.0.0.100/24
"""


def test_hosts_have_names_that_the_user_chose(tmp_path: Path) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_text(GOOD + NORTH_EAST_WEST)
    assert load_campaign(file).host_names == ["north", "east", "west"]
    file.write_text(GOOD + "lab: {servers: {north: {memory: 2 GiB}, east: {}, west: {}}}\n")
    spec = load_campaign(file)
    assert spec.host_names == ["north", "east", "west"]
    assert [server.memory_bytes for server in spec.lab.servers.values()] == [2 * 2**30, 6 * 2**30, 6 * 2**30]
    record = CampaignSpec.model_validate(json.loads(spec.model_dump_json()), context=RECORD)
    assert (record, record.host_names) == (spec, spec.host_names)


def test_who_names_one_of_the_usual_servers_gets_the_other(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(GOOD)
    for override, memory in (("lab.servers.b.memory=3 GiB", [6, 3]), ("lab.servers.a.memory=2 GiB", [2, 6])):
        servers = load_campaign(file, [override]).lab.servers
        assert {name: server.memory_bytes // 2**30 for name, server in servers.items()} == dict(zip("ab", memory, strict=True))


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("west:", "vantage:", 13, "something else is called that"),
        ("west:", "far-far-away:", 13, "at most 11"),
        ("west:", "West:", 13, "is no name of a host"),
        ("//three/", "//one/", 13, "same as that of host north"),
        ("10.0.0.3", "10.0.0.2", 13, "same as that of host east"),
        ("10.0.0.100/24", "10.0.0.3/24", 15, "is that of a host"),
        ("address: 10.0.0.3", "adress: 10.0.0.3", 13, "did you mean 'address'?"),
    ],
)
def test_wrong_hosts_of_other_names_name_their_line(tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
    error = refused(tmp_path, (GOOD + NORTH_EAST_WEST).replace(old, new))
    assert words in str(error)
    assert error.line == line


@pytest.mark.parametrize("servers", ["{north: {}}", "{a: {}, b: {}, c: {}, d: {}, e: {}, f: {}, g: {}, h: {}, i: {}}"])
def test_a_lab_has_two_to_eight_servers(tmp_path: Path, servers: str) -> None:
    error = refused(tmp_path, f"{GOOD}lab: {{servers: {servers}}}\n")
    assert error.key == "lab.servers"


def test_hosts_may_have_names_and_ipv6_addresses(tmp_path: Path) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_text(
        (GOOD + HOSTS).replace("10.0.0.1}", "one.example}").replace("10.0.0.2", "'fd00::2'").replace("/24", "/255.255.255.0")
    )
    hosts = load_campaign(file).hosts
    assert hosts is not None
    assert (hosts.servers["a"].address, hosts.servers["b"].address, hosts.guest_address) == (
        "one.example",
        "fd00::2",
        "10.0.0.100/24",
    )


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("qemu+tls://two/system", "qemu+tls://one/system", 11, "where it is"),
        ("address: 10.0.0.2", "address: 10.0.0.1", 11, "same as that of host a"),
        ("10.0.0.100/24", "10.0.0.2/24", 13, "is that of a host"),
        ("10.0.0.100/24", "10.0.0.100", 13, "has no network"),
        ("10.0.0.100/24", "10.0.0.256/24", 13, "256"),
        ("address: 10.0.0.2", "address: -two", 11, "no name or address"),
        ("address: 10.0.0.2", "address: 10.0.0.1.", 11, "is no address"),
        ("address: 10.0.0.2", "address: 127.0.0.1", 11, "whichever machine uses it"),
        ("address: 10.0.0.2", "address: 127.0.1.1", 11, "whichever machine uses it"),
        ("address: 10.0.0.2", "address: '::1'", 11, "whichever machine uses it"),
        ("address: 10.0.0.2", "address: 0.0.0.0", 11, "whichever machine uses it"),
        ("address: 10.0.0.2", "address: localhost", 11, "whichever machine uses it"),
        ("10.0.0.100/24", "10.0.0.0/24", 13, "the first or the last of its network"),
        ("10.0.0.100/24", "10.0.0.255/24", 13, "the first or the last of its network"),
        ("10.0.0.100/24", "127.0.0.5/24", 13, "no address that a guest can have"),
        ("10.0.0.100/24", "fd00::1/64", 13, "no IPv4 address with its network"),
        ("10.0.0.100/24", "one.example", 13, "no IPv4 address with its network"),
        ("qemu+tls://two/system", "qemu:///system", 11, "say how the other host reaches"),
        ("qemu+tls://two/system", "qemu+tcp://127.0.0.1/system", 11, "say how the other host reaches"),
        ('system", address: 10.0.0.2', 'system", peer_libvirt: "qemu:///system", address: 10.0.0.2', 11, "name this host"),
        ('system", address: 10.0.0.2', 'system", peer_libvirt: "qemu+ext:///system?command=/x", address: 10.0.0.2', 11, "'ext'"),
        ("qemu+tls://two/system", "qemu+ext:///system?command=/tmp/x", 11, "the transport 'ext'"),
        ("qemu+tls://two/system", "qemu+ssh://two/system?command=/tmp/x", 11, "the parameter 'command'"),
        ("/srv/shared", "/", 12, "the top folder"),
        ("qemu+tls://two/system", "xen://two", 11, "no libvirt URI"),
        ("/srv/shared", "../shared", 12, "no absolute path"),
        ("/srv/shared", "/srv/../etc", 12, "no absolute path"),
        ("guest_address", "bridge: a-name-beyond-fifteen\n  guest_address", 13, "no name of a network link"),
        ("hosts:", "lab: {name: both}\nhosts:", 10, "either in a lab or on"),
        ("hosts:", "migration: {storage: full}\nhosts:", 9, "one that both share"),
    ],
)
def test_wrong_hosts_name_their_line(tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
    error = refused(tmp_path, (GOOD + HOSTS).replace(old, new))
    assert words in str(error)
    assert error.line == line

"""Processors of two hosts compared as libvirt does it; and what a move, a guest's description and a saved state make of it."""

from __future__ import annotations

import platform
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.fakes import GUEST, FakeHost, FakeJournal
from tests.unit.guests.test_domain_xml import PLAN
from whimbrel.engines.binding import libvirt
from whimbrel.engines.cpus import Comparison, HostCpu, compare, cpu_of, models_of, needed_by
from whimbrel.engines.domain import Domain
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import ReservationError, UsageError
from whimbrel.guests.domain_xml import domain_xml
from whimbrel.guests.processors import processor_of
from whimbrel.hosts.processors import need_processors
from whimbrel.migrate import processors
from whimbrel.migrate.live import LiveMove
from whimbrel.migrate.technique import MoveRequest
from whimbrel.spec.hosts import HostsSpec
from whimbrel.spec.migration import MigrationSpec

# 'check --fast' works where nothing may be installed.
pytestmark = pytest.mark.skipif(libvirt is None, reason="libvirt-python is not installed")

RECORDED = Path(__file__).parents[2] / "recorded"
# What each model implies, of this many features.
MODELS = {"EPYC": {"sse2", "avx2"}, "EPYC-Genoa": {"sse2", "avx2", "avx512f", "vaes"}, "Skylake": {"sse2", "avx2", "pcid"}}


def features_of(description: str, model_too: bool = True) -> set[str]:
    cpu = ET.fromstring(description)
    named = {each.get("name") or "" for each in cpu.findall("feature") if each.get("policy") == "require"}
    without = {each.get("name") or "" for each in cpu.findall("feature") if each.get("policy") == "disable"}
    model = cpu.findtext("model")
    return (named | (MODELS[model] if model and model_too else set())) - without


def refusal(message: str) -> Exception:
    found: Exception = libvirt.libvirtError(message)
    found.err = (libvirt.VIR_ERR_CPU_INCOMPATIBLE, 10, message, 2, "", "", "", -1, -1)  # type: ignore[attr-defined]
    return found


@dataclass
class RawHost:
    """libvirt's connection to a host whose processor is a model with and without some features."""

    model: str
    more: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    microcode: str | None = "0xa101148"
    kvm: bool = True

    @property
    def features(self) -> set[str]:
        return (MODELS[self.model] | set(self.more)) - set(self.without)

    def isAlive(self) -> int:  # noqa: N802
        return 1

    def getCapabilities(self) -> str:  # noqa: N802
        said = f'<microcode version="{self.microcode}"/>' if self.microcode else ""
        return f"<capabilities><host><cpu><arch>x86_64</arch>{said}</cpu></host></capabilities>"

    def getDomainCapabilities(self, *asked: Any) -> str:  # noqa: N802
        assert asked == (None, "x86_64", "pc", "kvm", 0)
        if not self.kvm:
            raise refusal("invalid argument: KVM is not supported by '/usr/bin/qemu-system-x86_64' on this host")
        features = "".join(f'<feature policy="require" name="{name}"/>' for name in self.more)
        features += "".join(f'<feature policy="disable" name="{name}"/>' for name in self.without)
        models = "".join(
            f'<model usable="{"yes" if needs <= self.features else "no"}" vendor="AMD">{name}</model>'
            for name, needs in MODELS.items()
        )
        return f"""<domainCapabilities><domain>kvm</domain><cpu>
            <mode name="host-passthrough" supported="yes"/>
            <mode name="host-model" supported="yes">
            <model fallback="forbid">{self.model}</model><vendor>AMD</vendor>{features}</mode>
            <mode name="custom" supported="yes">{models}</mode></cpu></domainCapabilities>"""

    def baselineHypervisorCPU(self, *asked: Any) -> str:  # noqa: N802
        *host, [description], flags = asked
        assert (host, flags) == ([None, "x86_64", "pc", "kvm"], libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES)
        cpu = ET.fromstring(description)
        every = sorted(features_of(description))
        said = "".join(f'<feature policy="require" name="{name}"/>' for name in every)
        said += "".join(f'<feature policy="disable" name="{name}"/>' for name in self.without)
        return f'<cpu mode="custom" match="exact"><model fallback="forbid">{cpu.findtext("model")}</model>{said}</cpu>'

    def compareHypervisorCPU(self, *asked: Any) -> int:  # noqa: N802
        *host, description, flags = asked
        assert host == [None, "x86_64", "pc", "kvm"]
        wanted = features_of(description)
        if not wanted <= self.features:
            if flags & libvirt.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE:
                raise refusal(f"the CPU is incompatible with host CPU: missing {sorted(wanted - self.features)}")
            return int(libvirt.VIR_CPU_COMPARE_INCOMPATIBLE)
        same = wanted == self.features
        return int(libvirt.VIR_CPU_COMPARE_IDENTICAL if same else libvirt.VIR_CPU_COMPARE_SUPERSET)


@dataclass
class RawGuest:
    """libvirt's domain."""

    host: RawHost
    xml: str

    def name(self) -> str:
        return "guest"

    def connect(self) -> RawHost:
        return self.host

    def XMLDesc(self, _flags: int) -> str:  # noqa: N802
        return self.xml


def opened(raw: RawHost) -> Connection:
    return Connection("qemu+tls://far.example/system", raw)


class Recorded(RawHost):
    """A real libvirt's answers (tests/recorded/README.md)."""

    def getCapabilities(self) -> str:  # noqa: N802
        return (RECORDED / "libvirt-capabilities-cpu.xml").read_text()

    def getDomainCapabilities(self, *asked: Any) -> str:  # noqa: N802
        return (RECORDED / "libvirt-domain-capabilities-kvm.xml").read_text()

    def baselineHypervisorCPU(self, *asked: Any) -> str:  # noqa: N802
        # What may be migrated does not have it.
        assert "invtsc" not in asked[4][0]
        return "\n".join(
            line for line in (RECORDED / "libvirt-baseline-kvm.xml").read_text().splitlines() if "invtsc" not in line
        )


class Unable(RawHost):
    """A libvirt that refuses to compare, with this number."""

    code = 1

    def compareHypervisorCPU(self, *asked: Any) -> int:  # noqa: N802
        message = "internal error: Unknown CPU feature nonsense"
        found: Exception = libvirt.libvirtError(message)
        found.err = (self.code, 10, message, 2, "", "", "", -1, -1)  # type: ignore[attr-defined]
        raise found


GENOA = RawHost("EPYC-Genoa", more=("pku",))
GENOA_WITHOUT_VAES = RawHost("EPYC-Genoa", without=("vaes",))
OLDER = RawHost("EPYC")
OTHER = RawHost("Skylake")


def test_a_processor_with_all_its_features() -> None:
    found = cpu_of(opened(GENOA_WITHOUT_VAES))
    assert found is not None
    assert (found.model, found.vendor, found.microcode) == ("EPYC-Genoa", "AMD", "0xa101148")
    assert found.features == {"sse2", "avx2", "avx512f"}


def test_a_host_without_kvm_has_none_to_give() -> None:
    assert cpu_of(opened(RawHost("EPYC", kvm=False))) is None
    assert models_of(opened(RawHost("EPYC", kvm=False))) == []


def test_models_that_a_host_can_give() -> None:
    assert models_of(opened(GENOA)) == ["EPYC", "EPYC-Genoa"]
    assert models_of(opened(GENOA_WITHOUT_VAES)) == ["EPYC"]


def test_what_a_real_libvirt_says() -> None:
    found = cpu_of(opened(Recorded("EPYC")))
    assert found is not None
    assert (found.model, found.vendor, found.microcode) == ("kvm64", "AMD", "16777317")
    assert {"x2apic", "sse2", "gfni"} <= found.features
    assert not {"pni", "invtsc"} & found.features
    assert len(found.features) == 59
    assert models_of(opened(Recorded("EPYC"))) == ["486", "pentium", "pentium2", "pentium3"]


def test_a_feature_that_is_newer_than_a_libvirt_is_one_that_lacks_and_one_that_cannot_compare_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert compare(cpu(GENOA).description, opened(Unable("EPYC"))) == Comparison(
        "less", said="internal error: Unknown CPU feature nonsense"
    )
    for code in (libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_ACCESS_DENIED):
        monkeypatch.setattr(Unable, "code", code)
        assert compare(cpu(GENOA).description, opened(Unable("EPYC"))).result == "unknown"


def cpu(raw: RawHost) -> HostCpu:
    found = cpu_of(opened(raw))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("source", "destination", "result", "lacking"),
    [
        (GENOA, GENOA, "enough", ()),
        (OLDER, GENOA, "enough", ()),
        # Those that the model implies, and those beside it.
        (GENOA, OLDER, "less", ("avx512f", "pku", "vaes")),
        (GENOA, GENOA_WITHOUT_VAES, "less", ("pku", "vaes")),
        (GENOA, OTHER, "less", ("avx512f", "pku", "vaes")),
        (OTHER, GENOA, "less", ("pcid",)),
    ],
)
def test_what_one_lacks_of_the_other(source: RawHost, destination: RawHost, result: str, lacking: tuple[str, ...]) -> None:
    found = compare(cpu(source).description, opened(destination))
    assert (found.result, found.lacking) == (result, lacking)
    assert bool(found.said) == (result == "less")


PASSTHROUGH = domain_xml(PLAN.__class__(**{**PLAN.__dict__, "accelerator": "kvm"}))
NAMED = domain_xml(PLAN.__class__(**{**PLAN.__dict__, "accelerator": "kvm", "cpu_model": "EPYC"}))


def guest(raw: RawHost, xml: str) -> Domain:
    return Domain(RawGuest(raw, xml))


def test_what_a_guest_needs_is_what_it_was_given() -> None:
    # Emulated, it needs nothing of any host.
    assert needed_by(guest(GENOA, domain_xml(PLAN)), opened(GENOA)) is None
    assert needed_by(guest(GENOA, PASSTHROUGH), opened(GENOA)) == cpu(GENOA).description
    named = needed_by(guest(GENOA, NAMED), opened(GENOA))
    assert named is not None
    assert compare(named, opened(OLDER)) == Comparison("enough")


def test_a_named_processor_is_what_the_description_says() -> None:
    found = ET.fromstring(NAMED).find("cpu")
    assert found is not None
    assert (found.attrib, found.findtext("model")) == ({"mode": "custom", "match": "exact", "check": "partial"}, "EPYC")


class AwayHost(FakeHost):
    shares_our_clock = False


@pytest.fixture
def asked() -> list[str]:
    """The URIs of libvirtds that were connected to."""
    return []


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, asked: list[str]) -> Callable[[str, RawHost, RawHost], MoveRequest]:
    def made(xml: str, source: RawHost, destination: RawHost) -> MoveRequest:
        a, b = AwayHost("a"), AwayHost("b")
        there = {a.libvirt_uri: source, b.libvirt_uri: destination}

        class Opened(Connection):
            def find(self, uuid: str) -> Domain | None:
                return guest(source, xml) if uuid == GUEST.uuid else None

        @contextmanager
        def open_(uri: str) -> Iterator[Connection]:
            asked.append(uri)
            yield Opened(uri, there[uri])

        monkeypatch.setattr(Connection, "open", open_)
        return MoveRequest(GUEST, a, b, 2**30, 2**30, MigrationSpec())

    return made


@pytest.mark.parametrize(
    ("xml", "source", "destination", "looked_on"),
    [
        (PASSTHROUGH, GENOA, GENOA, "ab"),
        (PASSTHROUGH, OLDER, GENOA, "ab"),
        (NAMED, GENOA, OLDER, "ab"),
        # An emulated processor is not the host's.
        (domain_xml(PLAN), GENOA, OLDER, "a"),
    ],
)
def test_a_guest_goes_where_all_that_it_has_is(
    site: Any, asked: list[str], xml: str, source: RawHost, destination: RawHost, looked_on: str
) -> None:
    request = site(xml, source, destination)
    processors.refuse_lesser_processor(request)
    assert set(asked) == {host.libvirt_uri for host in (request.source, request.destination) if host.name in looked_on}


def test_a_move_to_a_lesser_processor_is_refused_before_anything_is_done(site: Any) -> None:
    journal = FakeJournal()
    with pytest.raises(ReservationError, match="the processor of host b lacks what guest was given on a") as caught:
        LiveMove("pre-copy").move(site(PASSTHROUGH, GENOA, OLDER), journal)
    assert caught.value.details == "features that it lacks: avx512f, pku, vaes"
    assert caught.value.resolution is not None
    assert caught.value.resolution.endswith("as 'hosts.cpu', and make them anew: EPYC")
    assert not journal.names


def test_servers_of_a_lab_have_one_processor_and_are_not_asked(site: Any, asked: list[str]) -> None:
    request = site(PASSTHROUGH, GENOA, OLDER)
    processors.refuse_lesser_processor(MoveRequest(GUEST, FakeHost("a"), FakeHost("b"), 1, 1, request.spec))
    assert asked == []


HOSTS = {
    "a": {"libvirt": "qemu+tls://a.example/system", "address": "192.0.2.1"},
    "b": {"libvirt": "qemu+tls://b.example/system", "address": "192.0.2.2"},
    "storage": "/srv/whimbrel",
    "guest_address": "192.0.2.100/24",
}


def test_a_file_may_name_a_processor_for_guests_in_kvm() -> None:
    assert HostsSpec.model_validate({**HOSTS, "cpu": "EPYC-Rome"}).cpu == "EPYC-Rome"
    for wrong in ({"cpu": "EPYC-Rome", "accelerator": "tcg"}, {"cpu": "EPYC Rome"}, {"cpu": "<model/>"}):
        with pytest.raises(ValidationError, match=r"guests in KVM|String should match"):
            HostsSpec.model_validate({**HOSTS, **wrong})


@dataclass
class StatesSite:
    hosts: dict[str, FakeHost]


@pytest.mark.parametrize(
    ("host", "kernel"), [(FakeHost("a"), platform.release()), (AwayHost("a"), None)], ids=["this machine", "another"]
)
def test_a_state_in_kvm_is_named_by_the_processor_it_was_made_on(
    monkeypatch: pytest.MonkeyPatch, host: FakeHost, kernel: str | None
) -> None:
    def key(raw: RawHost) -> dict[str, Any]:
        monkeypatch.setattr(Connection, "open", lambda uri: opened(raw))
        monkeypatch.setattr(Connection, "close", lambda _: None)
        site: Any = StatesSite({"a": host})
        return processor_of(site, "kvm")

    assert key(GENOA) == {
        "processor": {
            "model": "EPYC-Genoa", "vendor": "AMD", "microcode": "0xa101148", "kernel": kernel,
            "features": ["avx2", "avx512f", "pku", "sse2", "vaes"],
        }
    }  # fmt: skip
    others = [OLDER, GENOA_WITHOUT_VAES, RawHost("EPYC-Genoa", more=("pku",), microcode="0xa101150")]
    assert all(key(other) != key(GENOA) for other in others)


def test_an_emulated_state_is_not() -> None:
    site: Any = StatesSite({"a": FakeHost("a")})
    assert processor_of(site, "tcg") == {}


@pytest.mark.parametrize(
    ("a", "b", "more", "error", "warning"),
    [
        (GENOA, GENOA, {}, None, None),
        # Guests of B may not come back.
        (OLDER, GENOA, {}, None, "the processor of host a has not all that guests are given on b"),
        (GENOA, OLDER, {}, "the processor of host b has not all that guests are given on a", None),
        (GENOA, OLDER, {"cpu": "EPYC"}, None, None),
        (GENOA, OLDER, {"cpu": "EPYC-Genoa"}, "the processor of host b has not all of EPYC-Genoa", None),
        (OLDER, GENOA, {"cpu": "EPYC-Genoa"}, "the processor of host a has not all of EPYC-Genoa", None),
        (GENOA, OLDER, {"accelerator": "tcg"}, None, None),
        (GENOA, RawHost("EPYC", kvm=False), {}, None, None),
    ],
)
def test_hosts_are_compared_before_anything_is_put_on_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, a: RawHost, b: RawHost, more: dict[str, str],
    error: str | None, warning: str | None,
) -> None:  # fmt: skip
    spec = HostsSpec.model_validate({**HOSTS, **more})
    there = {spec.servers["a"].libvirt: a, spec.servers["b"].libvirt: b}
    monkeypatch.setattr(Connection, "open", lambda uri: opened(there[uri]))
    monkeypatch.setattr(Connection, "close", lambda _: None)
    if error is not None:
        with pytest.raises(UsageError, match=error) as caught:
            need_processors(spec)
        assert "avx512f" in caught.value.details
        assert caught.value.resolution == "name one that both have, as 'hosts.cpu': EPYC"
    else:
        need_processors(spec)
    assert [line.partition(" (")[0] for line in caplog.messages] == ([warning] if warning else [])

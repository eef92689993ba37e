"""Two hosts by URI, tried before anything moves: every subject in turn, and what cannot be tried is said."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

from whimbrel.engines.capabilities import machine_of
from whimbrel.engines.domain import Domain
from whimbrel.engines.host_files import HostFiles, host_files
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import CleanUpError, RefusedError, WhimbrelError
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.preflight.failures import Way, of_start
from whimbrel.hosts.preflight.finding import Finding, finding
from whimbrel.hosts.preflight.guests import guest_xml, held_guests
from whimbrel.hosts.preflight.machine import HostName, Sight, examine_machine
from whimbrel.hosts.preflight.network import Bridge, bridge_files, examine_bridges, read_bridge, unread_bridge
from whimbrel.hosts.preflight.state import USERFAULTFD_FILE, examine_post_copy
from whimbrel.hosts.preflight.wanted import Wanted
from whimbrel.hosts.preflight.ways import try_move, try_ports
from whimbrel.hosts.remote import RemoteHost, owner_of
from whimbrel.spec.hosts import HostsSpec
from whimbrel.system.ledger import Ledger

_NAMES: tuple[HostName, ...] = get_args(HostName)


def examine_pair(spec: HostsSpec, wanted: Wanted, ledger: Ledger) -> list[Finding]:
    """All that stands against a move between the hosts, both of which must answer; nothing of ours is left on them.

    ``ledger`` is their ``probe_ledger``. CleanUpError when something is left.
    """
    with Connection.open(spec.a.libvirt) as at_a, Connection.open(spec.b.libvirt) as at_b:
        sights: dict[HostName, Sight] = {"a": Sight("a", at_a), "b": Sight("b", at_b)}
        findings = examine_machine(sights["a"], sights["b"], wanted.accelerator)
        try:
            with held_guests(spec, ledger) as guests:
                findings += _Pair(spec, wanted, sights, guests).run(findings)
        except CleanUpError:
            raise
        except WhimbrelError as error:
            findings += _nothing_tried(spec, str(error).splitlines()[0])
    return findings


def nothing_examined(spec: HostsSpec, why: str) -> list[Finding]:
    """What there is to say of hosts that nobody can look at."""
    return [*(finding("cpu-unseen", host, why) for host in _NAMES), *_nothing_tried(spec, why)]


def _nothing_tried(spec: HostsSpec, why: str) -> list[Finding]:
    """All that takes a guest of ours to be seen."""
    return [
        *examine_bridges(unread_bridge("a", spec.bridge, why), unread_bridge("b", spec.bridge, why)),
        *(finding("post-copy-unseen", host, why) for host in _NAMES),
        *(way.finding("way-unseen", why) for way in _ways(spec)),
    ]


def _ways(spec: HostsSpec) -> list[Way]:
    label = owner_of(spec).label
    a, b = RemoteHost("a", spec.a, spec.storage, label), RemoteHost("b", spec.b, spec.storage, label)
    return [Way("a", "b", b), Way("b", "a", a)]


@dataclass
class _Pair:
    """Both hosts, while guests of ours may be there."""

    spec: HostsSpec
    wanted: Wanted
    sights: dict[HostName, Sight]
    guests: dict[HostName, GuestIdentity]
    started: dict[HostName, Domain] = field(default_factory=dict)

    def run(self, known: list[Finding]) -> list[Finding]:
        """What there is to be found beside what is known."""
        bridges: dict[HostName, Bridge] = {}
        settings: dict[HostName, str | None] = {}
        for host in _NAMES:
            bridges[host], settings[host] = self._read(host)
        findings = examine_bridges(bridges["a"], bridges["b"])
        fit = not any(each.severity == "blocks" for each in known)
        # All else can be tried without a bridge.
        on_bridge = not any(each.code == "bridge-missing" for each in findings)
        for host in _NAMES:
            if not any(each.code == "no-accelerator" and each.side == host for each in known):
                findings += self._start(host, fit, on_bridge)
        for host, domain in self.started.items():
            findings += examine_post_copy(host, domain, settings[host], self.wanted.post_copy)
        absent = [host for host in _NAMES if host not in self.started]
        findings += [finding("post-copy-unseen", host, f"no guest starts on host {host}") for host in absent]
        if absent:
            why = f"no guest starts on host {' and '.join(absent)}"
            return findings + [way.finding("way-unseen", why) for way in _ways(self.spec)]
        return findings + self._try_ways(fit)

    def _read(self, host: HostName) -> tuple[Bridge, str | None]:
        """Its bridge, and the setting of its kernel that post-copy wants."""
        guest, bridge = self.guests[host], self.wanted.bridge
        try:
            paths = [*bridge_files(bridge), USERFAULTFD_FILE]
            with host_files(self.sights[host].connection, self.wanted.accelerator, guest.name, guest.uuid, paths) as files:
                return read_bridge(host, bridge, files), _setting(files)
        except RefusedError as error:
            return unread_bridge(host, bridge, error.details or error.brief), None

    def _start(self, host: HostName, fit: bool, on_bridge: bool) -> list[Finding]:
        """Starts a guest there: such as host A's are, where host B can have them."""
        connection = self.sights[host].connection
        machine = machine_of(self.sights["a" if fit else host].connection, self.wanted.accelerator)
        try:
            xml = guest_xml(self.guests[host], self.wanted, machine, on_bridge)
            self.started[host] = connection.create(xml, paused=True)
        except RefusedError as error:
            return [of_start(host, self.wanted.bridge, error.details or error.brief)]
        return []

    def _try_ways(self, fit: bool) -> list[Finding]:
        """There, and back with the guest that has arrived; with the other one where none has."""
        findings: list[Finding] = []
        at: dict[HostName, GuestIdentity] = dict(self.guests)
        open_ways = []
        for way in _ways(self.spec):
            ports = try_ports(way, self.started[way.source], self.started[way.destination])
            findings += ports
            if any(each.severity == "blocks" for each in ports):
                findings.append(
                    way.finding("way-unseen", "no port of it is open: libvirtd to libvirtd and certificates were not tried")
                )
            elif not ports or ports[0].severity == "warns":
                open_ways.append(way)
        for way in open_ways:
            if not fit:
                findings.append(way.finding("way-unseen", "no guest of one host can be on the other: only its ports were tried"))
                continue
            arrived, found = try_move(way, self.sights[way.source].connection.uri, at[way.source], self.wanted.tls)
            findings += found
            if arrived:
                at[way.destination] = at[way.source]
        return findings


def _setting(files: HostFiles) -> str | None:
    try:
        return files.read(USERFAULTFD_FILE)
    except RefusedError:
        return None

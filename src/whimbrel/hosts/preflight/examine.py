"""Hosts by URI, tried before anything moves: any two of them, every subject in turn, and what cannot be tried is said."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from dataclasses import dataclass, field

from whimbrel.engines.capabilities import machine_of
from whimbrel.engines.door import hypervisor_at
from whimbrel.engines.host_files import HostFiles, host_files
from whimbrel.engines.hypervisor import Guest
from whimbrel.errors import CleanUpError, RefusedError, WhimbrelError
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.preflight.failures import Way, of_start
from whimbrel.hosts.preflight.finding import Finding, finding
from whimbrel.hosts.preflight.guests import Pair, guest_xml, held_guests
from whimbrel.hosts.preflight.machine import Sight, examine_machine
from whimbrel.hosts.preflight.network import Bridge, bridge_files, examine_bridges, read_bridge, unread_bridge
from whimbrel.hosts.preflight.state import USERFAULTFD_FILE, examine_post_copy
from whimbrel.hosts.preflight.wanted import Wanted
from whimbrel.hosts.preflight.ways import try_move, try_ports
from whimbrel.hosts.remote import RemoteHost, owner_of
from whimbrel.spec.fields import HostName
from whimbrel.spec.hosts import HostsSpec
from whimbrel.system.ledger import Ledger


def examine_all(spec: HostsSpec, wanted: Wanted, ledger: Ledger) -> list[Finding]:
    """All that stands against a move between any two of the hosts, which must all answer; nothing of ours is left on them.

    ``ledger`` is their ``probe_ledger``. CleanUpError when something is left.
    """
    found = [finding for pair in itertools.combinations(spec.servers, 2) for finding in _examine_pair(spec, pair, wanted, ledger)]
    # What is amiss with one host is seen with each of the others.
    return list(dict.fromkeys(found))


def _examine_pair(spec: HostsSpec, pair: Pair, wanted: Wanted, ledger: Ledger) -> list[Finding]:
    with ExitStack() as held:
        sights = {name: Sight(name, held.enter_context(hypervisor_at(spec.servers[name].libvirt))) for name in pair}
        findings = examine_machine(sights[pair[0]], sights[pair[1]], wanted)
        try:
            with held_guests(spec, pair, ledger) as guests:
                findings += _Tried(spec, pair, wanted, sights, guests).run(findings)
        except CleanUpError:
            raise
        except WhimbrelError as error:
            findings += _nothing_tried(spec, pair, str(error).splitlines()[0])
    return findings


def nothing_examined(spec: HostsSpec, why: str) -> list[Finding]:
    """What there is to say of hosts that nobody can look at."""
    tried = [found for pair in itertools.combinations(spec.servers, 2) for found in _nothing_tried(spec, pair, why)]
    return [*(finding("cpu-unseen", host, why) for host in spec.servers), *dict.fromkeys(tried)]


def _nothing_tried(spec: HostsSpec, pair: Pair, why: str) -> list[Finding]:
    """All that takes a guest of ours to be seen."""
    one, other = (unread_bridge(host, spec.bridge, why) for host in pair)
    return [
        *examine_bridges(one, other),
        *(finding("post-copy-unseen", host, why) for host in pair),
        *(way.finding("way-unseen", why) for way in _ways(spec, pair)),
    ]


def _ways(spec: HostsSpec, pair: Pair) -> list[Way]:
    label = owner_of(spec).label
    there, back = pair, (pair[1], pair[0])
    return [Way(source, to, RemoteHost(to, spec.servers[to], spec.storage, label)) for source, to in (there, back)]


@dataclass
class _Tried:
    """Two hosts, while guests of ours may be there."""

    spec: HostsSpec
    pair: Pair
    wanted: Wanted
    sights: dict[HostName, Sight]
    guests: dict[HostName, GuestIdentity]
    started: dict[HostName, Guest] = field(default_factory=dict)

    def run(self, known: list[Finding]) -> list[Finding]:
        """What there is to be found beside what is known."""
        bridges: dict[HostName, Bridge] = {}
        settings: dict[HostName, str | None] = {}
        for host in self.pair:
            bridges[host], settings[host] = self._read(host)
        findings = examine_bridges(bridges[self.pair[0]], bridges[self.pair[1]])
        fit = not any(each.severity == "blocks" for each in known)
        # All else can be tried without a bridge.
        on_bridge = not any(each.code == "bridge-missing" for each in findings)
        for host in self.pair:
            if not any(each.code == "no-accelerator" and each.side == host for each in known):
                findings += self._start(host, fit, on_bridge)
        for host, guest in self.started.items():
            findings += examine_post_copy(host, guest, settings[host], self.wanted.post_copy)
        absent = [host for host in self.pair if host not in self.started]
        findings += [finding("post-copy-unseen", host, f"no guest starts on host {host}") for host in absent]
        if absent:
            why = f"no guest starts on host {' and '.join(absent)}"
            return findings + [way.finding("way-unseen", why) for way in _ways(self.spec, self.pair)]
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
        """Starts a guest there: such as the first host's are, where the second can have them."""
        connection = self.sights[host].connection
        machine = machine_of(self.sights[self.pair[0] if fit else host].connection, self.wanted.accelerator)
        try:
            xml = guest_xml(self.guests[host], self.wanted, machine, on_bridge)
            self.started[host] = connection.create(xml, paused=True)
        except RefusedError as error:
            return [of_start(host, self.wanted.bridge, error)]
        return []

    def _try_ways(self, fit: bool) -> list[Finding]:
        """There, and back with the guest that has arrived; with the other one where none has."""
        findings: list[Finding] = []
        at: dict[HostName, GuestIdentity] = dict(self.guests)
        open_ways = []
        for way in _ways(self.spec, self.pair):
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

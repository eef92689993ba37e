"""Fills one server with guests, one after the other, until a limit of the file is crossed, and measures it with each of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl

from whimbrel import __version__
from whimbrel.analysis.phases import Moment, find
from whimbrel.analysis.viewers import playback_of
from whimbrel.engines.hypervisor import Hypervisor
from whimbrel.errors import WhimbrelError, interrupted
from whimbrel.events import Told
from whimbrel.guests import guest as the_guest
from whimbrel.guests.ends import noticed
from whimbrel.guests.forms import FORMS, wait_for_service
from whimbrel.guests.in_cells import open_files
from whimbrel.guests.packed import PackedContainers
from whimbrel.guests.states import StateStore
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.images.store import ImageStore
from whimbrel.lab.lab import Lab
from whimbrel.moves.instruments import said_by
from whimbrel.moves.notes import now
from whimbrel.moves.working_folder import working_folder
from whimbrel.records.caller import make_folder
from whimbrel.records.density import DensityRecord, DensityStep, Filling, write_density
from whimbrel.services.client import CLIENTS
from whimbrel.services.nginx import STREAM
from whimbrel.spec.density import DensitySpec
from whimbrel.spec.service import FormName
from whimbrel.system.cgroups import Cgroup
from whimbrel.system.deadline import pause
from whimbrel.system.instrument import Instrument
from whimbrel.system.ledger import Ledger
from whimbrel.system.provenance import commit, machine
from whimbrel.units import format_bytes

_VIEWER = CLIENTS["viewers"]


class Guests(Protocol):
    """Guests of one form on the server."""

    def start(self, identity: GuestIdentity, number: int) -> None:
        """One more, until it serves; WhimbrelError when it does not."""

    def gone(self, identities: Sequence[GuestIdentity]) -> list[str]:
        """The names of those that run no more: a server without memory kills the guests that it had before."""


@dataclass(frozen=True)
class Vms:
    """Guests that are VMs, with their service in them or in a container in them. Implements ``Guests``."""

    site: Lab
    spec: DensitySpec
    form: FormName
    states: StateStore
    connection: Hypervisor
    ledger: Ledger

    def start(self, identity: GuestIdentity, number: int) -> None:
        """Boots it over an empty disk of its own: nothing of it is shared with others, as between tenants."""
        site = Lab(self.spec.lab, self.site.files.store, self.ledger, number)
        below = self.states.disk_of(self.form, STREAM)
        site.files.of(identity).new_disk(below, below.suffix.removeprefix("."))
        plan = self.states.plan_for(site, identity)
        with noticed({identity.name}, [site.hosts[self.spec.server]]):
            _, agent = the_guest.boot(self.connection, plan)
            FORMS[self.form].start_service(agent, STREAM)
            wait_for_service(agent, STREAM)

    def gone(self, identities: Sequence[GuestIdentity]) -> list[str]:
        """Those that libvirt does not know, or knows to be off."""
        found = {each.name: self.connection.find(each.uuid) for each in identities}
        return [name for name, guest in found.items() if guest is None or not guest.active]


@dataclass(frozen=True)
class Containers:
    """Guests that are containers on the server itself. Implements ``Guests``."""

    packed: PackedContainers

    def start(self, identity: GuestIdentity, number: int) -> None:
        """Starts it beside the others, in a network of its own."""
        self.packed.start(identity)

    def gone(self, identities: Sequence[GuestIdentity]) -> list[str]:
        """Those that runc does not call running."""
        running = self.packed.running()
        return [each.name for each in identities if each.name not in running]


class DensityRun:
    """Fills the server of a lab that is up; what is known is written after each guest."""

    def __init__(self, spec: DensitySpec, site: Lab, ledger: Ledger, folder: Path, command: str, told: Told) -> None:
        self._spec = spec
        self._site = site
        self._ledger = ledger
        self._folder = folder
        self._told = told
        self._host = site.hosts[spec.server]
        self._states = StateStore(site, spec.guest, spec.stream)
        self._group = Cgroup(self._host.access.sample_points().cgroup)
        here = machine()
        with self._host.hypervisor() as connection:
            versions = connection.versions()
        self._record = DensityRecord(
            spec=spec, command=command, whimbrel=__version__, commit=commit(), machine_cpu=here.cpu, machine_cpus=here.cpus,
            machine_kernel=here.kernel, accelerator=self._states.accelerator,
            server_cpus=site.accounting.cpu_placement[spec.server], started_at=now(), versions=versions, fillings=[],
        )  # fmt: skip

    def run(self) -> DensityRecord:
        """Fills it with every form, idle and watched, as the file says."""
        make_folder(self._folder)
        for form in self._spec.forms:
            for viewers in self._spec.viewers:
                self._fill(form, viewers)
        return self._record

    def _fill(self, form: FormName, viewers: int) -> None:
        watched = "a viewer each" if viewers else "idle"
        self._told(f"{form}, {watched}: measuring the empty server")
        filling = Filling(form=form, viewers=viewers, before=self._measured(0, None, []), steps=[])
        with self._guests(form) as guests:
            identities: list[GuestIdentity] = []
            while len(identities) < self._spec.most and filling.crossed is None:
                identities.append(self._identity(len(identities) + 1))
                step = self._add(guests, identities, viewers)
                filling.steps.append(step)
                self._keep(filling)
                self._told(f"{form}, {watched}: {said_of(step)}")

    def _keep(self, filling: Filling) -> None:
        fillings = [each for each in self._record.fillings if (each.form, each.viewers) != (filling.form, filling.viewers)]
        self._record = self._record.model_copy(update={"fillings": [*fillings, filling]})
        write_density(self._folder, self._record)

    def _identity(self, number: int) -> GuestIdentity:
        return Lab(self._spec.lab, self._site.files.store, self._ledger, number).guest

    @contextmanager
    def _guests(self, form: FormName) -> Iterator[Guests]:
        """What starts guests of a form; with it they end, all of them."""
        with ExitStack() as holding:
            if form == "container":
                cell = self._site.cells.open(self._host)
                holding.callback(cell.close)
                store, files = self._site.files.store, self._site.files.of(self._site.guest)
                film = store.film(self._spec.stream.bitrate_bytes_per_s, self._spec.stream.length_s)
                packed = PackedContainers(
                    cell, STREAM, files.image(store.container_tree(STREAM.image)), files.image(film),
                    self._site.network.prefix_length, open_files(),
                )  # fmt: skip
                packed.prepare()
                yield Containers(packed)
                return
            # What is made once must not count as the first one's start.
            self._states.disk_of(form, STREAM)
            connection = holding.enter_context(self._host.hypervisor())
            holding.callback(self._end_vms)
            yield Vms(self._site, self._spec, form, self._states, connection, self._ledger)

    def _end_vms(self) -> None:
        for number in range(1, self._spec.most + 1):
            the_guest.take_power_away(self._host, self._identity(number))

    def _add(self, guests: Guests, identities: list[GuestIdentity], viewers: int) -> DensityStep:
        """One more guest, and the server with it; a guest that cannot be brought up was one too many."""
        number, began_s = len(identities), time.monotonic()
        try:
            guests.start(identities[-1], number)
        except (WhimbrelError, OSError) as error:
            if interrupted(error):
                raise KeyboardInterrupt from error
            brief = error.brief if isinstance(error, WhimbrelError) else str(error)
            return DensityStep(guests=number, crossed=f"guest {number} could not be brought up: {brief}")
        step = self._measured(number, time.monotonic() - began_s, identities if viewers else [])
        gone = guests.gone(identities)
        beyond = f"ended by themselves: {', '.join(gone)}" if gone else crossed(self._spec, step, watched=bool(viewers))
        return step.model_copy(update={"crossed": beyond})

    def _measured(self, number: int, started_in_s: float | None, watched: list[GuestIdentity]) -> DensityStep:
        """The server with so many guests, once it was left alone, while these are watched."""
        pause(self._spec.settle_s)
        with working_folder(self._ledger, number) as folder:
            player = self._player(watched, folder) if watched else None
            with player or ExitStack():
                cpu_s, began_s = self._group.usage().cpu_s, time.monotonic()
                pause(self._spec.watch_s)
                usage, took_s = self._group.usage(), time.monotonic() - began_s
            startup_s, stalls = self._seen(player, len(watched)) if player is not None else (None, None)
        cores = (usage.cpu_s - cpu_s) / took_s if usage.cpu_s is not None and cpu_s is not None else None
        return DensityStep(guests=number, started_in_s=started_in_s, memory_bytes=usage.memory_bytes, cpu_cores=cores,
                           startup_s=startup_s, stalls=stalls)  # fmt: skip

    def _player(self, watched: list[GuestIdentity], folder: Path) -> Instrument:
        stream, vantage = self._spec.stream, self._site.network.vantage
        configuration = {"urls": [f"rtmp://{guest.address}/film/film.flv" for guest in watched],
                         "read_ahead_s": stream.read_ahead_s, "length_s": stream.length_s}  # fmt: skip
        return Instrument(
            _VIEWER.instrument, _VIEWER.module, configuration, output=folder / "packets.parquet", log_file=folder / "player.log",
            procs_files=vantage.procs_files, wrap=vantage.command,
        )  # fmt: skip

    def _seen(self, player: Instrument, viewers: int) -> tuple[float | None, int]:
        """The slowest start-up of all viewers (None when one never started), and all their stalls."""
        moments = [Moment(event, event.seen_ns) for event in said_by([player])]
        packets = pl.read_parquet(player.output)
        end_ns = find(moments, _VIEWER.instrument, None, "stopped") or time.monotonic_ns()
        startups_s: list[float | None] = []
        stalls = 0
        for number in range(1, viewers + 1):
            asked_ns = find(moments, _VIEWER.instrument, None, "connecting", viewer=number)
            rows = packets.filter(pl.col("viewer") == number).sort("arrived_ns")
            if asked_ns is None or rows.is_empty():
                startups_s.append(None)
                continue
            playback = playback_of(rows, asked_ns, self._spec.buffer_s, end_ns)
            startups_s.append(playback.startup_s)
            stalls += len(playback.stalls)
        known = [each for each in startups_s if each is not None]
        return (max(known) if len(known) == viewers else None), stalls


def crossed(spec: DensitySpec, step: DensityStep, watched: bool) -> str | None:
    """Which limit the server is beyond with these guests, in words; None when it is within all of them."""
    limits, most_bytes = spec.limits, spec.lab.servers[spec.server].memory_bytes
    if step.memory_bytes is not None and step.memory_bytes > limits.memory * most_bytes:
        share = step.memory_bytes / most_bytes
        return f"memory: {share:.0%} of {format_bytes(most_bytes)} in use, more than {limits.memory:.0%}"
    if watched and limits.startup_s is not None:
        if step.startup_s is None:
            return f"start-up: a viewer did not start within {spec.watch_s:g} s"
        if step.startup_s > limits.startup_s:
            return f"start-up: {step.startup_s:.1f} s for the slowest viewer, more than {limits.startup_s:g} s"
    if watched and limits.stalls is not None and step.stalls is not None and step.stalls > limits.stalls:
        return f"stalls: {step.stalls} of all viewers, more than {limits.stalls}"
    return None


def said_of(step: DensityStep) -> str:
    """A step in words, as it is told while the server is filled."""
    memory = format_bytes(step.memory_bytes) if step.memory_bytes is not None else "unknown"
    cores = f"{step.cpu_cores:.2f} cores" if step.cpu_cores is not None else "an unknown number of cores"
    taken = "" if step.started_in_s is None else f", started in {step.started_in_s:.1f} s, server at {memory} and {cores}"
    return f"guest {step.guests}{taken}" + (f"; {step.crossed}" if step.crossed else "")


def make_images(spec: DensitySpec, store: ImageStore) -> None:
    """Makes what is missing before the lab is up."""
    store.server_tree(spec.lab.suite)
    store.film(spec.stream.bitrate_bytes_per_s, spec.stream.length_s)
    if set(spec.forms) - {"container"}:
        store.guest_disk(spec.guest.disk_bytes)
    if "container" in spec.forms:
        store.container_tree(STREAM.image)

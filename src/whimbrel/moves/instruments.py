"""The instruments of a trial, each set up for its site and its arm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from whimbrel.errors import InstrumentError, TrialError
from whimbrel.events import Bus
from whimbrel.guests.guest import WITNESS_PORT
from whimbrel.hosts.host import Host
from whimbrel.hosts.site import Site
from whimbrel.records.trial import Event, Plan
from whimbrel.services.client import CLIENTS, Client, watched_by
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.system.deadline import Deadline, pause
from whimbrel.system.instrument import Instrument, Line, event_of

_TRYING_S = 20.0
PLAYING_S = 60.0
_WATCH_EVERY_S = 0.25


class Instruments:
    """Makes each instrument when it is wanted; its series goes into ``folder``, and what it sees onto ``bus`` as it sees it.

    ``hosts`` are the source and the destination.
    """

    def __init__(
        self, site: Site, spec: CampaignSpec, plan: Plan, hosts: Sequence[Host], folder: Path, bus: Bus | None = None
    ) -> None:
        self._site = site
        self._bus = bus
        self._counted_apart = site.accounting.instruments_procs
        self._with_viewers = site.network.vantage.procs_files
        self._spec = spec
        self._plan = plan
        self._hosts = hosts
        self._folder = folder
        self._loaded: dict[str, Instrument] = {}

    def load(self, holding: ExitStack) -> None:
        """Lets the programs of this trial start, all at once; each waits until it is wanted."""
        wanted = [self.sampler()]
        if self._spec.observe.probe_every_s is not None:
            wanted.append(self.probe(self._spec.observe.probe_every_s))
        wanted += [self.client(client) for client, _ in watched_by(self._plan)]
        for instrument in wanted:
            instrument.load(holding)
        self._loaded = {instrument.name: instrument for instrument in wanted}

    def wait_until_loaded(self) -> None:
        """Waits until all have started: from here on those that are not wanted yet take no CPU."""
        for instrument in self._loaded.values():
            instrument.wait_until_loaded()

    def sampler(self) -> Instrument:
        """Samples the hosts. Runs in the vantage's network, which it so sees as its own."""
        # Also those that have no part in the move: what they take is not the machine's other work.
        points = [
            *(host.access.sample_points() for host in self._site.hosts.values()),
            self._site.network.vantage.sample_points(),
        ]
        configuration = {
            "points": [{"host": point.host, "cgroup": point.cgroup, "init_pid": point.init_pid} for point in points if point],
            "libvirt": {host.name: host.libvirt_uri for host in self._hosts if host.access.sample_points() is None},
            "every_s": self._spec.observe.sample_every_s,
        }
        return self._instrument("sampler", "whimbrel.observe.sampler", configuration, "hosts", self._counted_apart)

    def probe(self, every_s: float) -> Instrument:
        """Asks the guest's address every ``every_s`` seconds."""
        configuration = {"address": self._site.guest.address, "every_s": every_s}
        return self._instrument("probe", "whimbrel.observe.probe", configuration, "probe", self._counted_apart)

    def client(self, client: Client) -> Instrument:
        """Plays as many clients of this kind as the plan says."""
        configuration = {**client.settings(self._spec, self._site.guest.address), "viewers": client.number_in(self._plan)}
        return self._instrument(client.instrument, client.module, configuration, client.series, self._with_viewers)

    def witness(self) -> Instrument:
        """Keeps a connection to the witness in the guest."""
        configuration = {"address": self._site.guest.address, "port": WITNESS_PORT}
        return self._instrument("witness", "whimbrel.observe.witness", configuration, "witness", self._with_viewers)

    def _instrument(
        self,
        name: str,
        module: str,
        configuration: dict[str, Any],
        series: str,
        procs_files: Sequence[Path],
        here: bool = False,
    ) -> Instrument:
        if name in self._loaded:
            return self._loaded.pop(name)
        return Instrument(
            name,
            module,
            configuration,
            output=self._folder / f"{series}.parquet",
            log_file=self._folder / f"{name}.log",
            procs_files=procs_files,
            wrap=list if here else self._site.network.vantage.command,
            bus=self._bus,
        )

    def try_link(self, meanwhile: ExitStack) -> Callable[[], float | None]:
        """Starts a short transfer between the hosts; its result is the rate, None where their networks are not ours to enter."""
        points = [host.access.sample_points() for host in self._hosts]
        for_s = self._spec.observe.link_for_s
        source, destination = (point.init_pid if point else None for point in points)
        if source is None or destination is None or for_s is None:
            return lambda: None
        address = urlsplit(self._hosts[1].peering.move_uri).hostname
        asked = {"from_pid": source, "to_pid": destination, "address": address, "for_s": for_s}
        check = meanwhile.enter_context(
            self._instrument("link check", "whimbrel.observe.link_check", asked, "link", self._counted_apart, here=True)
        )

        def rate() -> float | None:
            check.wait_for(lambda said: any(line["say"] == "rate" for line in said), "to try the link", _TRYING_S + for_s)
            check.tell_to_end()
            found: float | None = next(line["bytes_per_s"] for line in check.said if line["say"] == "rate")
            return found

        return rate


def play(player: Instrument, viewers: int, holding: ExitStack) -> Instrument:
    """Starts a player, and waits until so many of its viewers play; InstrumentError says what became of each that does not."""
    holding.enter_context(player)
    wanted = set(range(1, viewers + 1))
    try:
        player.wait_for(lambda said: _playing(said) >= wanted, "to play with all viewers", PLAYING_S)
    except InstrumentError as error:
        error.details = "\n".join([*refusals(player.said, viewers), error.details])
        raise
    return player


def refusals(said: Sequence[Line], viewers: int) -> list[str]:
    """Of the viewers that never played, what they met with last, with how many of them did."""
    last = {line["viewer"]: str(line["reason"]) for line in said if line["say"] in ("failed", "lost") and line.get("reason")}
    idle = [last.get(number, "no answer yet") for number in range(1, viewers + 1) if number not in _playing(said)]
    return [f"{count} of {viewers} viewers never played: {reason}" for reason, count in Counter(idle).most_common()]


def _playing(said: Sequence[Line]) -> set[int]:
    return {line["viewer"] for line in said if line["say"] == "playing"}


def said_by(running: Sequence[Instrument]) -> list[Event]:
    """What the clients of each kind told of themselves, as events; other instruments have nothing to tell of any."""
    said = [event_of(client.instrument, line) for client, player in _clients_among(running) for line in player.said]
    return [event for event in said if event is not None]


def _clients_among(running: Sequence[Instrument]) -> Iterator[tuple[Client, Instrument]]:
    for instrument in running:
        for client in CLIENTS.values():
            if client.instrument == instrument.name:
                yield client, instrument


def watch(seconds: float, running: Sequence[Instrument], hosts: Sequence[Host] = ()) -> None:
    """Lets time pass; InstrumentError when an instrument ends meanwhile, TrialError when a host dies."""
    deadline = Deadline(seconds)
    while not deadline.passed:
        pause(min(_WATCH_EVERY_S, deadline.left_s))
        for instrument in running:
            instrument.check()
        for host in hosts:
            if host.gone:
                raise TrialError(f"host {host.name} died while it was watched", resolution="its logs are beside the record")

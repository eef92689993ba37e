"""A container moved by us against the plain way: ``podman container checkpoint``, copy the archive, ``podman container restore``.

Both between the same two carriers, over the same link, with two viewers connected throughout; the same root file system,
the same programs in the container. What is compared is the service gap: the longest silence on a viewer's stream.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.pairs import Ratio, ratio, take_turns
from whimbrel.analysis.gaps import longest_silence
from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.engines.libvirt import Connection
from whimbrel.guests import carrier
from whimbrel.guests import guest as the_guest
from whimbrel.guests.carrier import CONTAINER, HOME, VmCarrier, container_of
from whimbrel.guests.carrier_states import CarrierRole, CarrierState, CarrierStates
from whimbrel.guests.saving import make_state
from whimbrel.hosts.identity import FIRST_CONTAINER_MAC
from whimbrel.images.recipes import content_hash
from whimbrel.images.store import ImageStore
from whimbrel.lab.lab import Lab, ledger_of
from whimbrel.migrate.container.move import ContainerMove
from whimbrel.migrate.technique import MoveRequest
from whimbrel.moves.instruments import Instruments
from whimbrel.observe.migration_events import MigrationEvents
from whimbrel.records.trial import Plan
from whimbrel.services.client import CLIENTS
from whimbrel.services.nginx import STREAM
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.fields import HostName
from whimbrel.spec.load import load_campaign
from whimbrel.spec.migration import ContainerTechniqueName, MigrationSpec
from whimbrel.system.clock import read_pair
from whimbrel.system.deadline import pause

SCENARIO = Path(__file__).parents[1] / "scenarios" / "containers.yaml"
VIEWERS = 2
PLAN = Plan(scenario="nested", arm="checkpoint", form="nested", viewers=VIEWERS, block=1, order=1, state_boot=1)
_BEFORE_S = 3.0
_AFTER_S = 8.0
_ARCHIVE = "/root/plain.tar"
_PORT = 7002
# OCI image specification, config.md; docker-archive(5).
_CONFIG = '{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["%s"]}}'
_MANIFEST = f'[{{"Config":"config.json","RepoTags":["localhost/{CONTAINER}:latest"],"Layers":["layer.tar"]}}]'


Pair = tuple[CarrierState, CarrierState]
_KEEPING: tuple[ContainerTechniqueName, ...] = ("checkpoint", "pre-copy", "post-copy")


@dataclass
class Bench:
    """A lab, and the saved states of carriers in which our container runs, and of some in which Podman's does."""

    lab: Lab
    spec: CampaignSpec
    ours: CarrierStates

    def service_gap_s(self, states: Pair, move: Callable[[VmCarrier, VmCarrier], None]) -> float:
        """The longest silence at any viewer, in s, that touches a move from carrier A to carrier B."""
        hosts = [self.lab.hosts["a"], self.lab.hosts["b"]]
        with tempfile.TemporaryDirectory() as folder, self._carriers(states) as (serving, waiting):
            with Instruments(self.lab, self.spec, PLAN, hosts, Path(folder)).client(CLIENTS["viewers"]) as player:
                player.wait_for(lambda said: sum(line["say"] == "playing" for line in said) == VIEWERS, "to play", 60)
                pause(_BEFORE_S)
                from_ns = read_pair().monotonic_ns
                move(serving, waiting)
                to_ns = read_pair().monotonic_ns
                pause(_AFTER_S)
                player.tell_to_end()
            return worst_gap_s(pl.read_parquet(Path(folder) / "packets.parquet"), from_ns, to_ns)

    @contextmanager
    def _carriers(self, states: Pair) -> Iterator[tuple[VmCarrier, VmCarrier]]:
        """Both carriers, restored; the one that waits first."""
        with ExitStack() as stack:
            found = []
            for host, state in ((self.lab.hosts["b"], states[1]), (self.lab.hosts["a"], states[0])):
                connection = stack.enter_context(Connection.open(host.libvirt_uri))
                agent, _ = the_guest.restore(self.lab, connection, state.vm, state.folder)
                stack.callback(the_guest.take_power_away, host, state.vm)
                found.append(VmCarrier(host, agent, state.vm.address, state.vm))
            yield found[1], found[0]

    def by_us(self, technique: ContainerTechniqueName) -> float:
        """The service gap of our own move, in s."""

        def move(serving: VmCarrier, waiting: VmCarrier) -> None:
            spec = MigrationSpec.model_validate({"moves": "container", "technique": technique, "timeout": "120 s"})
            request = MoveRequest(
                container_of(self.lab.guest),
                self.lab.hosts["a"],
                self.lab.hosts["b"],
                0,
                0,
                spec,
                carriers=(serving, waiting),
            )
            with MigrationEvents((serving.vm, waiting.vm), self.lab.hosts["a"], self.lab.hosts["b"]) as events:
                report = ContainerMove(technique).move(request, events)
            assert report.result == "moved", report.error

        return self.service_gap_s((self.ours.get("a", "serving", 1), self.ours.get("b", "waiting", 1)), move)

    def the_plain_way(self) -> float:
        """The service gap of Podman's, in s."""
        return self.service_gap_s((self.podmans("a", "serving"), self.podmans("b", "waiting")), move_plainly)

    def podmans(self, side: HostName, role: CarrierRole) -> CarrierState:
        """A carrier that has Podman and the container's image; in the one that serves the container runs."""
        like = self.ours.get(side, role, 1)
        content = {"like": like.id, "by": "podman", "version": 2}
        name = f"state-podman-{side}-{role}-{content_hash(content)}"
        plan, below = self.ours.plan(side)

        def prepare(agent: GuestAgent) -> dict[str, Any]:
            agent.set_clock()
            have_image(agent, self.lab.spec.network)
            if role == "serving":
                run_plainly(agent, self.lab.guest.address)
            return {"versions": {"podman": agent.shell("podman --version").split()[-1]}}

        folder = self.lab.files.store.ensure_named(
            name, content, f"a saved state of carrier {side} with Podman, {role}",
            lambda out, _: make_state(self.lab, like.vm, plan, below, out, prepare),
        )  # fmt: skip
        return replace(like, id=name, folder=folder)


def have_image(agent: GuestAgent, network: str) -> None:
    """Podman's image of the container's root file system, and a network on the carrier's own link.

    Restoring asks for the very image by its digest, so both carriers must come to the same: ``podman import`` would put the
    time into it. What is loaded is an archive with one layer.
    """
    agent.shell(
        f"""set -e
        mkdir /var/tmp/image && cd /var/tmp/image
        tar -C {HOME}/lower --sort=name -cf layer.tar .
        layer=sha256:$(sha256sum layer.tar | cut -d ' ' -f 1)
        printf '{_CONFIG}' $layer >config.json
        echo '{_MANIFEST}' >manifest.json
        tar -c manifest.json config.json layer.tar | podman load --quiet
        rm -r /var/tmp/image
        podman network create --driver macvlan --opt parent=eth0 --subnet {network} plain""",
        timeout_s=600,
    )


def run_plainly(agent: GuestAgent, address: str) -> None:
    """The container as an operator runs it, with an address of its own."""
    agent.shell(
        f"podman run --detach --name {CONTAINER} --network plain --ip {address} --mac-address {FIRST_CONTAINER_MAC}"
        f" --volume /srv/film:/srv/film:ro {CONTAINER} {shlex.join(carrier.process_of(STREAM))}",
        timeout_s=180,
    )


def move_plainly(serving: VmCarrier, waiting: VmCarrier) -> None:
    """As the manuals have it (podman-container-checkpoint(1)); the archive is copied as fast as the link goes."""
    waiting.inside.shell(f"systemd-run --quiet --unit=plain-copy sh -c 'nc -l {_PORT} >{_ARCHIVE}'")
    serving.inside.shell(f"podman container checkpoint --tcp-established --export {_ARCHIVE} {CONTAINER}", timeout_s=180)
    serving.inside.shell(f"nc -N {waiting.address} {_PORT} <{_ARCHIVE}", timeout_s=180)
    waiting.inside.shell(
        f"while systemctl is-active --quiet plain-copy; do sleep 0.05; done;"
        f" podman container restore --tcp-established --import {_ARCHIVE}",
        timeout_s=180,
    )


def worst_gap_s(packets: pl.DataFrame, from_ns: int, to_ns: int) -> float:
    """The longest silence of any viewer that touches the interval; AssertionError for one whose stream never came back."""
    gaps = []
    for number in range(1, VIEWERS + 1):
        arrived = packets.filter(pl.col("viewer") == number).get_column("arrived_ns").to_numpy()
        silence = longest_silence(arrived, from_ns, to_ns)
        assert silence is not None, f"viewer {number} heard nothing after the move"
        gaps.append(silence.length_ms / 1e3)
    return max(gaps)


@contextmanager
def bench(note: Callable[[str], None]) -> Iterator[Bench]:
    """A lab of its own, up for the benchmark."""
    spec = load_campaign(SCENARIO, ["lab.name=benchmark"])
    with ledger_of(spec.lab.name) as ledger:
        ledger.undo_all()
        lab = Lab(spec.lab, ImageStore(note), ledger)
        lab.up()
        try:
            yield Bench(lab, spec, CarrierStates(lab, spec.guest, spec.stream, STREAM))
        finally:
            lab.down()


def compare(here: Bench, rounds: int, note: Callable[[str], None]) -> dict[str, Ratio]:
    """Each of our techniques that keeps connections, over the plain way."""
    ways: dict[str, Callable[[], float]] = {"plain": here.the_plain_way}
    for technique in _KEEPING:
        ways[technique] = partial(here.by_us, technique)
    found = take_turns(ways, rounds, note)
    return {name: ratio(found[name], found["plain"]) for name in ways if name != "plain"}

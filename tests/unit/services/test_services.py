"""What services answer is what images, forms and scenario files make of it; one of a reader's own needs nothing else."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes import ORIGIN, FakeCell
from whimbrel.errors import GuestError, SpecError
from whimbrel.guests.carrier import process_of, settings_of
from whimbrel.guests.forms import FORMS, wait_for_service
from whimbrel.images.recipes import container_tree, guest_tree, recipe_id
from whimbrel.services.client import CLIENTS, Client, Heard, counted, watched_by
from whimbrel.services.nginx import HLS, STREAM
from whimbrel.services.nothing import NOTHING
from whimbrel.services.registry import SERVICES
from whimbrel.services.service import Installed, Service
from whimbrel.spec.load import load_campaign
from whimbrel.spec.service import EVERY_WATCHER, WATCHED_BY, ServiceName
from whimbrel.system.deadline import pause

FILE = """
schema_version: 1
name: web
scenarios:
  - name: web
    title: Film
    form: vm
    service: %s
    arms: [%s]
"""


FROM_SHOP = Installed(("shop",), {})


@dataclass(frozen=True)
class Shop:
    """A service as a reader of the documentation might add it."""

    name: ServiceName = "stream"
    image: Installed = FROM_SHOP
    start: str = "systemctl start shop.service"
    command: str = "shopd --foreground"
    before_as_root: str = ""
    ports: tuple[int, ...] = (8443, 8080)
    http_port: int | None = 8080
    clients: tuple[Client, ...] = ()

    @property
    def versions(self) -> Mapping[str, str]:
        return {"shop": "shopd --version | cut -d ' ' -f 2"}


SHOP: Service = Shop()


class Here(FakeCell):
    """This machine as the inside, with programs that stand in for some of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._environment = {**os.environ, "LOG": str(folder / "log")}

    def programs(self, **scripts: str) -> None:
        for name, script in scripts.items():
            (self._folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (self._folder / name).chmod(0o755)
        self._environment["PATH"] = f"{self._folder}:{os.environ['PATH']}"

    @property
    def log(self) -> list[str]:
        return (self._folder / "log").read_text().splitlines()

    def run(self, command: Sequence[str], *, timeout_s: float = 60, check: bool = True) -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=self._environment)
        if check and done.returncode != 0:
            raise GuestError(f"{command[0]} failed with exit code {done.returncode}", details=done.stderr)
        return done.stdout


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


def test_every_kind_of_client_belongs_to_a_service() -> None:
    assert {*SERVICES, "own"} == set(WATCHED_BY) == {"none", "stream", "hls", "own"}
    assert {*EVERY_WATCHER, "checks"} == set(CLIENTS)
    for name, service in SERVICES.items():
        assert tuple(client.key for client in service.clients) == WATCHED_BY[name]
    assert (NOTHING.ports, NOTHING.start, NOTHING.clients) == ((), "", ())


def test_a_guest_has_what_every_service_needs_and_leaves_it_off() -> None:
    tree = guest_tree()
    for service in SERVICES.values():
        if isinstance(service.image, Installed):
            assert set(service.image.packages) <= set(tree.packages)
            assert set(service.image.files) <= set(tree.texts)
            assert set(service.image.units) <= set(tree.disabled_units)
    # nginx is in it once, though two services are made of it.
    assert tree.packages.count("nginx-light") == 1


def test_a_container_has_its_own_service_alone() -> None:
    shop = container_tree(Shop().image)
    assert (shop.packages, list(shop.texts)) == (("shop",), ["srv/film/.keep"])
    assert recipe_id(container_tree(STREAM.image)) == recipe_id(container_tree(HLS.image)) != recipe_id(shop)


def test_a_vm_starts_a_service_as_it_says() -> None:
    guest = FakeCell("1.7\n")
    FORMS["vm"].start_service(guest, SHOP)
    FORMS["vm"].start_service(guest, NOTHING)
    assert guest.asked == [["/bin/sh", "-c", "systemctl start shop.service"]]
    assert FORMS["vm"].versions(guest, SHOP) == {"shop": "1.7"}
    assert FORMS["vm"].versions(guest, NOTHING) == {}


def test_a_container_in_a_vm_publishes_the_ports_of_its_service(here: Here) -> None:
    here.programs(docker='echo "$@" >>"$LOG"; [ "$1" != start ]', systemctl=":")
    FORMS["nested"].start_service(here, STREAM)
    assert here.log == [
        "start origin",
        "run --detach --name origin --publish 1935:1935 --publish 80:80 --volume /srv/film:/srv/film:ro origin"
        " nginx -g daemon off;",
    ]


def test_a_container_in_a_vm_that_is_there_is_only_started(here: Here) -> None:
    here.programs(docker='echo "$@" >>"$LOG"', systemctl=":")
    FORMS["nested"].start_service(here, SHOP)
    assert here.log == ["start origin"]


def test_a_container_in_a_vm_is_asked_for_its_versions() -> None:
    guest = FakeCell("1.7\n")
    assert FORMS["nested"].versions(guest, SHOP)["shop"] == "1.7"
    assert guest.asked[0] == ["docker", "exec", "origin", "sh", "-c", "shopd --version | cut -d ' ' -f 2"]


def test_a_container_between_carriers_runs_the_service_and_knows_its_ports() -> None:
    assert process_of(SHOP, "true; ") == ["/bin/sh", "-c", "true; witness 7777 256 /srv/witness & exec shopd --foreground"]
    assert "PORTS='8443 8080'\n" in settings_of(SHOP, ORIGIN, 24, "/aid.so")
    assert "PORTS='none'\n" in settings_of(NOTHING, ORIGIN, 24, "/aid.so")


def test_nobody_waits_for_a_guest_without_a_service() -> None:
    guest = FakeCell("")
    wait_for_service(guest, NOTHING)
    assert guest.asked == []


def listening(address: str = "127.0.0.1") -> socket.socket:
    found = socket.socket()
    found.bind((address, 0))
    return found


def test_waiting_ends_when_the_last_port_takes_connections(here: Here) -> None:
    with listening() as one, listening() as other:
        one.listen()
        ended = threading.Event()

        def wait() -> None:
            wait_for_service(here, Shop(ports=(one.getsockname()[1], other.getsockname()[1])))
            ended.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        pause(0.5)
        assert not ended.is_set()
        other.listen()
        waiting.join(10)
        assert ended.is_set()


def load(folder: Path, service: str, arm: str) -> str | None:
    file = folder / "web.yaml"
    file.write_text(FILE % (service, arm))
    return load_campaign(file).scenarios[0].every_arm[0].name


def test_hls_alone_is_a_service_of_its_own(tmp_path: Path) -> None:
    assert load(tmp_path, "hls", "{hls_viewers: 2}") == "web-2-hls"
    assert load(tmp_path, "stream", "{hls_viewers: 2}") == "web-0-2-hls"
    with pytest.raises(SpecError, match="the service 'hls' has none for them"):
        load(tmp_path, "hls", "{viewers: 1, hls_viewers: 2}")
    with pytest.raises(SpecError, match="or 'hls_viewers: 0'"):
        load(tmp_path, "none", "{hls_viewers: 1}")


def test_clients_are_counted_in_words() -> None:
    @dataclass(frozen=True)
    class Planned:
        viewers: int = 0
        hls_viewers: int = 0
        vlc_viewers: int = 0

    assert watched_by(Planned()) == []
    assert [counted(*each) for each in watched_by(Planned(1, 2, 1))] == ["1 viewer", "2 HLS viewers", "1 VLC viewer"]
    assert CLIENTS["viewers"].heard == Heard("packets", "arrived_ns")


def test_what_is_waited_for_in_vain_is_named_with_its_last_words(here: Here) -> None:
    here.programs(journalctl="echo no such config file", sleep=":")
    with listening() as closed:
        own = Shop(name="own", ports=(closed.getsockname()[1],))
        with pytest.raises(GuestError, match=f"takes no connections on {own.ports[0]}") as caught:
            wait_for_service(here, own)
    assert "no such config file" in caught.value.details

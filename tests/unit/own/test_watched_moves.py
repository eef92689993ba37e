"""What is seen of the move of a guest of the user's own: by its users, of its hosts, and on a page."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.own_hosts import OwnHosts, asked
from whimbrel.analysis.figures import figures_of
from whimbrel.api.running import write_report
from whimbrel.errors import UsageError
from whimbrel.own import moving
from whimbrel.own.moving import move_own
from whimbrel.own.watching import Checks
from whimbrel.records.store import CampaignFolder
from whimbrel.system.process import children


class Service:
    """Echoes, but for a while in which it is silent."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"
        self._serving = threading.Event()
        self._serving.set()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while said := connection.recv(100):
                self._serving.wait()
                connection.sendall(said)

    def silent_for(self, seconds: float) -> None:
        self._serving.clear()
        time.sleep(seconds)
        self._serving.set()

    def close(self) -> None:
        with suppress(OSError):
            # Who waits in accept(2) would take one more otherwise.
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@pytest.fixture
def service() -> Iterator[Service]:
    found = Service()
    yield found
    found.close()


def test_what_its_users_lost_is_said_of_a_move(hosts: OwnHosts, service: Service, tmp_path: Path) -> None:
    hosts.guest.meanwhile = lambda: service.silent_for(1.0)
    url = f"{service.url}#shop,rate=50,timeout=3s,send=hello"
    moved = move_own(asked(checks=Checks((url,)), out=tmp_path / "move", command="whimbrel migrate shop"))
    assert moved.ending.result == "moved"
    found = moved.checks["shop"]
    assert found.longest_gap_s is not None
    assert 0.9 < found.longest_gap_s < 2.0
    assert found.usual_gap_s is not None
    assert found.usual_gap_s < 0.5
    assert moved.figures.service_gap_ms == pytest.approx(found.longest_gap_s * 1e3)
    [stored] = CampaignFolder.open(tmp_path / "move").trials()
    assert figures_of(stored) == moved.figures
    assert stored.record.spec.guest.domain == "shop"
    page = tmp_path / "move" / "report.html"
    write_report(CampaignFolder.open(tmp_path / "move"), figures=False)
    assert "move of shop" in page.read_text()


def test_a_service_that_does_not_answer_is_said_and_nothing_moves(hosts: OwnHosts, service: Service, tmp_path: Path) -> None:
    service.close()
    with pytest.raises(UsageError, match="1 of 1 checks have no good answer; nothing was moved") as caught:
        move_own(asked(checks=Checks((f"{service.url}#shop,timeout=200ms",)), out=tmp_path / "move"))
    assert caught.value.details == "shop: refused: Connection refused"
    assert (hosts.runs_on, hosts.notes) == (["one"], [])
    assert not (tmp_path / "move" / "campaign.json").exists()


def test_addresses_that_do_not_answer_are_left_out(hosts: OwnHosts, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "addresses_of", lambda guest: ["127.0.0.1", "127.0.0.2"])
    monkeypatch.setattr(moving, "echo_of", lambda address: f"tcp://{address}:9#timeout=200ms")
    moved = move_own(asked(checks=None))
    assert (moved.ending.result, moved.checks) == ("moved", {})


def test_what_asks_may_fail_and_the_move_goes_on(hosts: OwnHosts, service: Service) -> None:
    def kill() -> None:
        for child in children(Path(sys.executable).name):
            assert child.kill()

    hosts.guest.meanwhile = kill
    moved = move_own(asked(checks=Checks((service.url,))))
    assert (moved.ending.result, hosts.runs_on, hosts.notes) == ("moved", ["two"], [])
    assert moved.checks == {}
    assert moved.figures.service_gap_ms is None
    assert "the checks ended in the middle" in moved.record.unmeasured["what watched the move"]


def test_a_folder_with_results_is_refused_before_anything_moves(hosts: OwnHosts, tmp_path: Path) -> None:
    move_own(asked(out=tmp_path / "move"))
    hosts.one.guests |= hosts.two.guests
    hosts.two.guests.clear()
    with pytest.raises(UsageError, match="already holds results"):
        move_own(asked(out=tmp_path / "move"))
    assert json.loads((tmp_path / "move" / "campaign.json").read_text())["spec"]["guest"]["domain"] == "shop"

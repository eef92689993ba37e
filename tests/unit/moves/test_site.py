"""Where a campaign happens: what a left-up lab is, what is somebody else's, and a working folder that goes with its block."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.shared_hosts import SharedHosts
from whimbrel.errors import UsageError
from whimbrel.hosts.remote import RemoteSite
from whimbrel.images.store import ImageStore
from whimbrel.lab.lab import Lab
from whimbrel.moves.site import is_up, ledger_for, site_for
from whimbrel.moves.working_folder import working_folder
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.load import load_campaign
from whimbrel.system.ledger import Entry

QUICK = Path(__file__).parents[3] / "scenarios" / "quick.yaml"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def spec() -> CampaignSpec:
    return load_campaign(QUICK, ["lab.name=placed"])


@pytest.fixture
def of_others(spec: CampaignSpec) -> CampaignSpec:
    return spec.model_copy(update={"hosts": SharedHosts().spec("theirs")})


def test_a_lab_and_hosts_of_others_have_ledgers_of_their_own(spec: CampaignSpec, of_others: CampaignSpec) -> None:
    assert (ledger_for(spec).name, ledger_for(of_others).name) == ("lab-placed", "hosts-theirs")


class Store(ImageStore):
    """One that has a server tree already: to make one takes a minute, and the network."""

    def server_tree(self, suite: str = "") -> Path:
        return Path("/nowhere/tree")


def test_a_file_with_hosts_is_no_lab(spec: CampaignSpec, of_others: CampaignSpec) -> None:
    here, there = (site_for(each, Store(), ledger_for(each)) for each in (spec, of_others))
    assert isinstance(here, Lab)
    assert isinstance(there, RemoteSite)
    assert (here.spec.name, there.spec.name) == ("placed", "theirs")
    with pytest.raises(UsageError, match="--take-over is for hosts by URI"):
        site_for(spec, Store(), ledger_for(spec), take_over=True)


def test_only_the_very_lab_that_was_left_up_on_purpose_is_up(spec: CampaignSpec, home: Path) -> None:
    with ledger_for(spec) as ledger:
        assert not is_up(spec, ledger)
        ledger.add("folder", str(home / "made"))
        with pytest.raises(UsageError, match="was left behind by a crash"):
            is_up(spec, ledger)
        ledger.keep(spec.lab.model_dump_json())
        assert is_up(spec, ledger)
        other = load_campaign(QUICK, ["lab.name=placed", "lab.link_delay=1 s"])
        with pytest.raises(UsageError, match="a lab 'placed' is up that differs from the file's"):
            is_up(other, ledger)


def test_hosts_of_others_are_never_up_before_us(of_others: CampaignSpec, home: Path) -> None:
    with ledger_for(of_others) as ledger:
        ledger.add("folder", str(home / "made"))
        assert not is_up(of_others, ledger)


def test_a_working_folder_is_listed_closed_empty_and_gone_with_its_block(spec: CampaignSpec, home: Path) -> None:
    with ledger_for(spec) as ledger:
        with working_folder(ledger, 7) as folder:
            assert ledger.entries == [Entry("folder", str(folder))]
            assert folder == home / "trials" / "lab-placed-0007"
            assert folder.stat().st_mode & 0o777 == 0o700
            (folder / "of a crash").touch()
        assert not folder.exists()
        assert ledger.entries == []
        folder.mkdir()
        (folder / "of a crash").touch()
        with working_folder(ledger, 7) as again:
            assert list(again.iterdir()) == []

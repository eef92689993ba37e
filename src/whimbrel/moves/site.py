"""Which site a campaign, or a deployed service, has: a lab on this machine, or hosts that the file names."""

from __future__ import annotations

from whimbrel.errors import UsageError
from whimbrel.hosts.remote import RemoteSite, hosts_ledger, owner_of
from whimbrel.hosts.site import Site
from whimbrel.images.store import ImageStore
from whimbrel.lab.lab import Lab, ledger_of
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.system.ledger import Ledger


def ledger_for(spec: CampaignSpec) -> Ledger:
    """The ledger of the site; UsageError where there is none, as what moves runs already, wherever that is."""
    if spec.watched:
        raise UsageError(
            "the file's service runs where somebody else runs it ('hosts: none'): the file names no hosts to put it on",
            resolution="'whimbrel run FILE' watches it while commands move it",
        )
    if spec.own:
        raise UsageError(
            f"the file moves {spec.guest.domain}, a guest of your own, which runs already",
            resolution="'whimbrel run FILE' moves it there and back; 'whimbrel migrate --from --to' moves it once",
        )
    return hosts_ledger(spec.hosts.name) if spec.hosts is not None else ledger_of(spec.lab.name)


def site_for(spec: CampaignSpec, store: ImageStore, ledger: Ledger, take_over: bool = False, number: int = 1) -> Site:
    """The site; it is not up yet. ``take_over`` lets ``up`` take hosts that somebody else has claimed and left.

    ``number`` says which of a lab's guests is meant; hosts by URI have one.
    """
    if spec.hosts is not None:
        return RemoteSite(spec.hosts, store, ledger, owner_of(spec.hosts), take_over)
    if take_over:
        raise UsageError("--take-over is for hosts by URI: a lab is nobody else's")
    return Lab(spec.lab, store, ledger, number)


def is_up(spec: CampaignSpec, ledger: Ledger) -> bool:
    """Whether a lab of this name was left up on purpose and is the one that is wanted; UsageError for any other one."""
    if not ledger.entries or spec.hosts is not None:
        return False
    if ledger.kept and ledger.note == spec.lab.model_dump_json():
        return True
    name = spec.lab.name
    if ledger.kept:
        raise UsageError(
            f"a lab {name!r} is up that differs from the file's", resolution=f"'whimbrel lab down {name}' removes it"
        )
    raise UsageError(f"a lab {name!r} was left behind by a crash", resolution="'whimbrel gc' removes it")

"""A trial's guest as it is just before its move, put up for nothing but to profile it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from whimbrel.guests import guest as the_guest
from whimbrel.guests.ends import noticed
from whimbrel.hosts.site import Site
from whimbrel.moves.fresh import Start, fresh
from whimbrel.moves.instruments import Instruments, play
from whimbrel.moves.subject import Setting
from whimbrel.observe.dirty_profile import USUAL_SAMPLE, profile_guest
from whimbrel.predict.profile import Profile
from whimbrel.records.trial import Plan
from whimbrel.services.client import watched_by
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.system.deadline import pause
from whimbrel.system.scratch import scratch_folder


def rehearse(site: Site, spec: CampaignSpec, plan: Plan, start: Start, seconds: float, told: Callable[[str], None]) -> Profile:
    """How the guest of this trial dirties its memory while as many viewers watch; it is taken away again.

    ``spec`` as it is in the trial's arm; a trial that moves a VM.
    """
    the_guest.refuse_another(site)
    setting = Setting(site, spec, plan)
    guest = fresh(setting, start)
    with scratch_folder() as folder, ExitStack() as holding:
        holding.callback(guest.discard)
        holding.enter_context(noticed(guest.names, setting.hosts))
        told("restoring the saved state")
        inside = guest.bring_up(holding).inside
        if spec.guest.dirtier is not None:
            the_guest.start_dirtier(inside, spec.guest.dirtier)
        instruments = Instruments(site, spec, plan, setting.hosts, folder)
        told("waiting for viewers to play")
        for client, number in watched_by(plan):
            play(instruments.client(client), number, holding)
        pause(spec.observe.at_rest_s)
        told("profiling")
        return profile_guest(
            setting.source, site.guest, spec.guest.memory_bytes, seconds, USUAL_SAMPLE,
            lambda over_s: told(f"profiling: {over_s:.0f} of {seconds:.0f} s"),
        )  # fmt: skip

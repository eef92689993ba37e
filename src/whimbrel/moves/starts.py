"""From what a trial of a campaign starts: a saved state, made when it is missing, or what a fresh container needs."""

from __future__ import annotations

from whimbrel.guests.carrier_states import CarrierStates
from whimbrel.guests.in_cells import FreshContainer, fresh_container
from whimbrel.guests.states import StateStore
from whimbrel.hosts.site import Site
from whimbrel.images.jobs import Job
from whimbrel.moves.fresh import Start
from whimbrel.records.trial import Plan
from whimbrel.services.registry import service_of
from whimbrel.services.service import made_of
from whimbrel.spec.campaign import CampaignSpec


class Starts:
    """What there is to start from at a site, of every kind of guest that its arms ask for."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._states: dict[str, StateStore] = {}
        self._carriers: dict[str, CarrierStates] = {}
        self._fresh: dict[str, FreshContainer] = {}

    def get(self, spec: CampaignSpec, plan: Plan) -> Start:
        """The start of one trial; ``spec`` as it is in the trial's arm."""
        if plan.form == "container":
            key = _key(spec, plan)
            if key not in self._fresh:
                self._fresh[key] = fresh_container(self._site, service_of(spec, plan.arm), spec.stream)
            return self._fresh[key]
        if spec.migration.moves == "container":
            return self._carriers_of(spec, plan).pair(plan.source, plan.destination, plan.state_boot)
        return self._states_of(spec, plan).get(plan.form, service_of(spec, plan.arm).name, plan.state_boot, plan.engine)

    def jobs(self, spec: CampaignSpec, plan: Plan) -> list[Job]:
        """How the saved states that ``get`` takes are made, for those who share such work."""
        if plan.form == "container":
            return []
        if spec.migration.moves == "container":
            return self._carriers_of(spec, plan).jobs(plan.source, plan.destination, plan.state_boot)
        return [self._states_of(spec, plan).job(plan.form, service_of(spec, plan.arm).name, plan.state_boot, plan.engine)]

    def _carriers_of(self, spec: CampaignSpec, plan: Plan) -> CarrierStates:
        key = _key(spec, plan)
        if key not in self._carriers:
            self._carriers[key] = CarrierStates(self._site, spec.guest, spec.stream, service_of(spec, plan.arm))
        return self._carriers[key]

    def _states_of(self, spec: CampaignSpec, plan: Plan) -> StateStore:
        key = _key(spec, plan)
        if key not in self._states:
            self._states[key] = StateStore(self._site, spec.guest, spec.stream, service_of(spec, plan.arm))
        return self._states[key]


def _key(spec: CampaignSpec, plan: Plan) -> str:
    return str(made_of(service_of(spec, plan.arm))) + spec.guest.model_dump_json() + spec.stream.model_dump_json()

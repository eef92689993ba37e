"""The moves that benchmarks make are trials of their files: nobody runs a benchmark in a check."""

from __future__ import annotations

import pytest
from benchmarks import containers, moves

from whimbrel.services.registry import service_of
from whimbrel.spec.load import load_campaign


@pytest.mark.parametrize("viewers", moves.ALL_VIEWERS)
def test_a_streaming_vm_has_an_arm(viewers: int) -> None:
    spec, plan = moves.bench_spec(), moves.vm_plan(viewers, 1)
    assert (service_of(spec, plan.arm).name, spec.find_arm(plan.arm)[1].viewers) == ("stream", viewers)


def test_a_container_has_an_arm() -> None:
    spec, plan = load_campaign(containers.SCENARIO), containers.PLAN
    assert (service_of(spec, plan.arm).name, plan.viewers) == ("stream", containers.VIEWERS)

"""How a filled server is judged, told and kept, from steps with a known truth; and what a density file may say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest

from whimbrel.cli.reports import report, show
from whimbrel.density import Containers, crossed
from whimbrel.errors import SpecError, UsageError
from whimbrel.guests.packed import PackedContainers
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.records.density import DensityRecord, DensityStep, Filling, read_density, write_density
from whimbrel.report.density import each_further, fillings_table, steps_table, verdict_of
from whimbrel.services.nginx import STREAM
from whimbrel.spec.density import DensitySpec
from whimbrel.spec.load import load_campaign, load_density

FILE = Path(__file__).parents[2] / "scenarios" / "density.yaml"
MIB = 2**20


def spec(*overrides: str) -> DensitySpec:
    return load_density(FILE, overrides)


def step(guests: int, memory_mib: int, startup_s: float | None = None, stalls: int | None = None) -> DensityStep:
    return DensityStep(
        guests=guests, started_in_s=10.0 + guests if guests else None, memory_bytes=memory_mib * MIB,
        cpu_cores=0.1 + guests * 0.05, startup_s=startup_s, stalls=stalls,
    )  # fmt: skip


def record() -> DensityRecord:
    late = step(3, 3900, 0.4, 0).model_copy(update={"crossed": "memory: 95% of 4 GiB in use, more than 90%"})
    steps = [step(1, 1300, 0.2, 0), step(2, 2500, 0.3, 0), late]
    none = DensityStep(guests=2, crossed="guest 2 could not be brought up: no memory")
    return DensityRecord(
        spec=spec(), command="sudo ./whimbrel density <file>", whimbrel="1", commit=None, machine_cpu="one", machine_cpus=2,
        machine_kernel="6", accelerator="tcg", server_cpus=[0], started_at="2026-01-01T00:00:00+00:00", versions={"qemu": "10"},
        fillings=[
            Filling(form="vm", viewers=1, before=step(0, 100), steps=steps),
            Filling(form="nested", viewers=0, before=step(0, 100), steps=[step(1, 500), none]),
            Filling(form="container", viewers=0, before=step(0, 100), steps=[step(1, 110), step(2, 121)]),
        ],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (step(1, 1000), None),
        (step(1, 3700), "memory: 90% of 4 GiB in use, more than 90%"),
        (step(1, 1000, 4.9, 0), None),
        (step(1, 1000, 5.1, 0), "start-up: 5.1 s for the slowest viewer, more than 5 s"),
        (step(1, 1000, None, 0), "start-up: a viewer did not start within 10 s"),
        (step(1, 1000, 0.1, 2), "stalls: 2 of all viewers, more than 0"),
    ],
)
def test_a_limit_is_crossed_where_the_file_says(found: DensityStep, said: str | None) -> None:
    assert crossed(spec(), found, watched=found.stalls is not None) == said


def test_limits_of_viewers_that_the_file_does_not_name_are_not_crossed() -> None:
    without = spec("limits={memory: 90 %}")
    assert crossed(without, step(1, 1000, 60.0, 9), watched=True) is None
    # Nobody watches an idle guest, so nobody waits for it.
    assert crossed(spec(), step(1, 1000), watched=False) is None


def test_what_fits_is_what_was_there_before_the_limit() -> None:
    vm, nested, container = record().fillings
    assert [each.fit for each in (vm, nested, container)] == [2, 1, 2]
    assert verdict_of(vm) == "2 guests of the form vm, each with a viewer, fit; memory: 95% of 4 GiB in use, more than 90%"
    assert verdict_of(nested) == "1 guest of the form nested, idle, fit; guest 2 could not be brought up: no memory"
    assert verdict_of(container) == "at least 2 guests of the form container, idle, fit; no limit was crossed"


def test_each_further_guest_is_what_it_added() -> None:
    vm, nested, _ = record().fillings
    memory = each_further(vm, lambda each: each.memory_bytes)
    assert (memory.known, memory.least, memory.median, memory.greatest) == (3, 1200 * MIB, 1200 * MIB, 1400 * MIB)
    # Of one that could not be brought up nothing is known, and that is not 0.
    assert each_further(nested, lambda each: each.memory_bytes).known == 1
    assert each_further(vm, lambda each: each.cpu_cores).median == pytest.approx(0.05)


def test_tables_say_what_fits_and_what_each_step_was() -> None:
    found = {line[0]: line for line in fillings_table(record()).lines}
    assert found["vm"][:5] == ["vm", "1", "2", "1200 [1200 to 1400]", "0.050"]
    assert found["container"][2] == "at least 2"
    steps = steps_table(record()).lines
    assert ["vm", "1", "2", "2500", "0.20", "12.0", "0.30", "0", ""] in steps
    assert ["nested", "0", "2", "–", "–", "–", "–", "–", "guest 2 could not be brought up: no memory"] in steps


def test_results_are_kept_shown_and_laid_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_density(tmp_path, record())
    assert read_density(tmp_path) == record()
    show(tmp_path)
    out = capsys.readouterr().out
    assert "2 guests of the form vm, each with a viewer, fit" in out
    report(tmp_path)
    assert capsys.readouterr().out.strip() == str(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<code>sudo ./whimbrel density &lt;file&gt;</code>" in page
    [table] = re.findall(r'<table class="plain" id="fit">(.*?)</table>', page, re.DOTALL)
    assert re.findall(r"<td>(.*?)</td>", table)[:3] == ["vm", "1", "2"]
    assert '"guests": 3' in page


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    write_density(tmp_path, record())
    file = tmp_path / "density.json"
    file.write_text(file.read_text().replace('"fillings"', '"filings"'))
    with pytest.raises(UsageError, match=r"density.json: .*fil.*ings"):
        read_density(tmp_path)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("on=c", "'c' is no server of the lab; there are a, b"),
        ("guest.memory=4 GiB", "not one guest would fit"),
        ("most=17", "less than or equal to 16"),
        ("forms=[vm, vm]", "names one of them twice"),
        ("viewers=[2]", "Input should be 0 or 1"),
        ("stream.length=12 s", "is over before a guest was watched: give it more than 14 s"),
        ("guest.dirtier={rate: 1 MiB/s, working_set: 8 MiB}", "has no part in how many guests fit"),
    ],
)
def test_what_makes_no_sense_is_refused(override: str, said: str) -> None:
    with pytest.raises(SpecError, match=re.escape(said)):
        spec(override)


def test_a_campaign_command_says_which_one_is_meant() -> None:
    with pytest.raises(SpecError, match=r"is a density file.*\n.*whimbrel density"):
        load_campaign(FILE)


@pytest.mark.parametrize(
    ("listed", "running"),
    [
        ("null\n", set()),
        ('[{"id": "g1", "status": "running"}, {"id": "g2", "status": "stopped"}]', {"g1"}),
    ],
)
def test_containers_run_that_runc_calls_running(listed: str, running: set[str]) -> None:
    asked = []

    class Listing:
        def run(self, command: list[str]) -> str:
            asked.append(command)
            return listed

    packed = PackedContainers(cast("Any", Listing()), STREAM, "/root", "/film", 24, 1024)
    assert packed.running() == running
    assert asked == [["runc", "list", "--format", "json"]]
    gone = Containers(packed).gone([GuestIdentity(name, "u", "m", "192.0.2.1") for name in ("g1", "g2")])
    assert gone == [name for name in ("g1", "g2") if name not in running]

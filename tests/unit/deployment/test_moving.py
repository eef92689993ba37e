"""What is said of a deployed move whose end could not be written into its journal."""

from __future__ import annotations

from whimbrel.deployment.moving import not_written
from whimbrel.errors import TrialError, UnsafeStateError
from whimbrel.migrate.carry_out import Ending

FULL = OSError(28, "No space left on device")


def test_an_end_that_was_not_written_down_is_said() -> None:
    said = not_written("web", Ending("moved", ["b"], None, None), FULL)
    assert isinstance(said, TrialError)
    assert said.brief == "web moved and runs on b"
    assert "No space left on device" in said.details
    assert said.resolution == "make room, then 'whimbrel recover web'"


def test_an_unsafe_end_that_was_not_written_down_stays_unsafe() -> None:
    why = UnsafeStateError("no copy is left", details="b died")
    said = not_written("web", Ending("unsafe", [], None, why), FULL)
    assert said is why
    assert said.details.splitlines()[0] == "b died"
    assert "No space left on device" in said.details

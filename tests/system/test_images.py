"""An image is there as a whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from whimbrel.errors import ToolError, TrialError
from whimbrel.images.store import ImageStore
from whimbrel.system.ledger import Ledger


@pytest.mark.parametrize("error", [ToolError("the tool broke"), KeyboardInterrupt()])
def test_a_half_made_image_goes_away_and_the_next_try_works(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path))
    store = ImageStore()

    def break_off(out: Path, ledger: Ledger) -> None:
        (out / "half").write_text("x")
        raise error

    with pytest.raises(type(error)):
        store.ensure_named("thing-1", {}, "a thing", break_off)
    assert [path.name for path in store.folder.iterdir() if not path.name.startswith(".")] == []
    folder = store.ensure_named("thing-1", {}, "a thing", lambda out, _: None)
    assert (folder / "manifest.json").exists()
    assert [image.id for image in store.images()] == ["thing-1"]


def test_a_damaged_image_is_named_and_never_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHIMBREL_HOME", str(tmp_path))
    store = ImageStore()

    def make(out: Path, ledger: Ledger) -> None:
        (out / "disk.raw").write_bytes(bytes(100))

    folder = store.ensure_named("thing-1", {}, "a thing", make)
    for damage in (lambda: (folder / "disk.raw").write_bytes(bytes(99)), (folder / "disk.raw").unlink):
        damage()
        with pytest.raises(TrialError, match="thing-1 is damaged") as caught:
            store.ensure_named("thing-1", {}, "a thing", make)
        assert "disk.raw" in caught.value.details
        assert "whimbrel images remove thing-1" in caught.value.resolution
    (folder / "manifest.json").write_text("{")
    with pytest.raises(TrialError, match="thing-1 is damaged"):
        store.ensure_named("thing-1", {}, "a thing", make)
    store.remove("thing-1")
    store.ensure_named("thing-1", {}, "a thing", make)

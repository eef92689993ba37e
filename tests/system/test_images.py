"""An image is there as a whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from whimbrel.errors import ToolError
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

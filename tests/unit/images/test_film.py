from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from whimbrel.images.film import make_film
from whimbrel.images.recipes import FilmRecipe, recipe_id, server_tree

RECIPE = FilmRecipe(bitrate_bytes_per_s=125_000, length_s=6.0)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("film") / "film.flv"
    make_film(RECIPE, file)
    return file


def test_length_and_bitrate_are_as_asked(film: Path) -> None:
    with av.open(str(film)) as container:
        # Read while the container is open: a packet's stream goes with it.
        packets = [(packet.stream.type, packet.size) for packet in container.demux() if packet.size]
        assert container.duration is not None
        assert container.duration / 1e6 == pytest.approx(RECIPE.length_s, abs=0.2)
    assert {kind for kind, _ in packets} == {"video", "audio"}
    assert sum(size for _, size in packets) / RECIPE.length_s == pytest.approx(RECIPE.bitrate_bytes_per_s, rel=0.1)


def test_every_second_is_as_heavy_as_every_other(film: Path) -> None:
    with av.open(str(film)) as container:
        weights = [0] * int(RECIPE.length_s)
        for packet in container.demux(video=0):
            if packet.pts is not None and packet.time_base is not None:
                weights[min(int(packet.pts * packet.time_base), len(weights) - 1)] += packet.size
    # But the first: the encoder begins with a full second of credit.
    assert max(weights[1:]) < 1.3 * min(weights[1:])


def test_the_counter_changes_with_every_picture(film: Path) -> None:
    with av.open(str(film)) as container:
        labels = [
            frame.to_ndarray(format="gray")[30:90, 30:330] for _, frame in zip(range(3), container.decode(video=0), strict=False)
        ]
    assert np.abs(labels[0].astype(int) - labels[1].astype(int)).max() > 100
    assert labels[0].max() > 150


def test_equal_recipes_have_equal_ids_and_others_have_others() -> None:
    assert recipe_id(RECIPE) == recipe_id(FilmRecipe(bitrate_bytes_per_s=125_000, length_s=6.0))
    assert recipe_id(RECIPE) != recipe_id(FilmRecipe(bitrate_bytes_per_s=125_000, length_s=7.0))
    assert recipe_id(server_tree()).startswith("server-")

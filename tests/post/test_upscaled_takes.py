"""Takes that are rendered smaller than their films: what is encoded of them, and what their commits say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from actors.finish.finishing import commit_record, to_size
from actors.job import JobSpec
from infra.media import UpscalerFailed, of_aspect

ORDER: dict[str, Any] = {
    "spec_key": "a" * 64, "picture_key": "b" * 64, "show": "s", "shot_id": "one", "revision": "0a1b2c3d", "take": 2,
    "seed": 7, "attempt": 1, "width": 96, "height": 54, "frames": 2, "fps": 8.0, "render_width": 32,
    "render_height": 32, "upscaler": "lanczos", "draft": None, "draft_of": "c" * 64, "precision": None,
}  # fmt: skip


def spec(**media: Any) -> JobSpec:
    return JobSpec("job", "file:///nowhere", "/model", {}, 1, {"token": "t"}, media=media)


def rendered() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), np.uint8)


def test_the_film_has_its_own_size_and_the_commit_names_both() -> None:
    cut = of_aspect(rendered(), ORDER["width"], ORDER["height"], ORDER["frames"])
    assert cut.shape == (2, 18, 32, 3), "the proportions of 96x54, as large as there is"
    assert to_size(ORDER, cut, spec()).shape == (2, 54, 96, 3)
    record = commit_record(ORDER, {"gang": 1, "layout": "single", "gpu_s": 1.0}, spec())
    assert record["media"] == {"width": 96, "height": 54, "frames": 2, "fps": 8.0}
    assert record["notes"]["rendered"] == {"width": 32, "height": 32}
    assert record["notes"]["upscaler"] == "lanczos" and record["notes"]["draft_of"] == "c" * 64
    assert "draft" not in record["notes"]


def test_what_is_not_upscaled_is_left_as_it_is() -> None:
    frames = rendered()
    assert to_size({**ORDER, "upscaler": None}, frames, spec()) is frames
    notes = commit_record({**ORDER, "upscaler": None, "draft_of": None}, {}, spec())["notes"]
    assert not {"rendered", "upscaler", "draft_of"} & set(notes)


@pytest.mark.parametrize("planned", ["mine:sharper", "os:system"])
def test_an_upscaler_that_the_settings_here_do_not_name_is_not_run(planned: str) -> None:
    with pytest.raises(UpscalerFailed, match="planned with the upscaler"):
        to_size({**ORDER, "upscaler": planned}, rendered(), spec())

"""Upscaling: the built-in way, somebody's own function, and what is refused of one."""

from __future__ import annotations

import numpy as np
import pytest

from infra.media import BadFrames, UpscalerFailed, of_aspect, upscale


def frames(dtype: type = np.uint8, *, height: int = 16, width: int = 32) -> np.ndarray:
    """Two frames whose left half is dark and whose right half is bright."""
    made = np.zeros((2, height, width, 3), dtype)
    made[:, :, width // 2 :] = np.iinfo(dtype).max
    return made


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lanczos_keeps_what_is_where(dtype: type) -> None:
    made = upscale(frames(dtype), 96, 48)
    assert made.shape == (2, 48, 96, 3) and made.dtype == dtype
    top = np.iinfo(dtype).max
    assert made[:, :, :40].max() < 0.02 * top and made[:, :, -40:].min() > 0.98 * top
    assert (upscale(frames(dtype), 96, 48) == made).all(), "the same frames give the same picture"


@pytest.mark.parametrize(
    ("width", "height", "kept"),
    [(64, 32, (16, 32)), (32, 32, (16, 16)), (96, 32, (11, 32)), (30, 40, (16, 12))],
)
def test_the_largest_part_of_the_films_proportions_is_kept(width: int, height: int, kept: tuple[int, int]) -> None:
    cut = of_aspect(frames(), width, height, 1)
    assert cut.shape == (1, *kept, 3)
    assert cut[:, :, 0].max() == 0 and cut[:, :, -1].min() == 255, "cut around the centre"


def test_frames_that_are_missing_are_not_made_up() -> None:
    with pytest.raises(BadFrames, match="2 frames cannot be cut down to 3"):
        of_aspect(frames(), 32, 16, 3)


def doubled(given: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.repeat(np.repeat(given, height // given.shape[1], 1), width // given.shape[2], 2)


def small(given: np.ndarray, width: int, height: int) -> np.ndarray:
    return given


def floats(given: np.ndarray, width: int, height: int) -> np.ndarray:
    return doubled(given, width, height) / 255


def painting(given: np.ndarray, width: int, height: int) -> np.ndarray:
    given[:] = 0
    return doubled(given, width, height)


def own(function: object) -> str:
    return f"{__name__}:{function.__name__}"


def test_a_function_of_ones_own() -> None:
    made = upscale(frames(), 64, 32, own(doubled))
    assert (made == doubled(frames(), 64, 32)).all()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (own(small), "gave uint8 of"),
        (own(floats), "gave float64 of"),
        (own(painting), "read-only"),
        ("no_such_module:f", "No module named"),
        ("math:pi", "no function"),
        ("math:nothing", "nothing"),
    ],
)
def test_a_function_that_does_not_do_it_is_named(name: str, why: str) -> None:
    with pytest.raises(UpscalerFailed, match=why) as caught:
        upscale(frames(), 64, 32, name)
    assert name in str(caught.value)

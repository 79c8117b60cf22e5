"""Conditions hold what is known and refuse what cannot be meant; images come in upright, flat and of the right size."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from model.condition import Condition
from model.errors import InputError
from model.images import cover, decode_image

GRID = (3, 4, 6)


def latents(frames: int = 1) -> torch.Tensor:
    return torch.randn(1, 16, frames, 4, 6, generator=torch.Generator().manual_seed(0))


def test_first_frame_is_known_and_the_rest_is_not() -> None:
    condition = Condition.first(latents(), GRID)
    assert condition.grid == GRID
    assert torch.equal(condition.latents[:, :, :1], latents())
    assert condition.known[0, 0].amax((1, 2)).tolist() == [1, 0, 0]
    assert condition.keeps_something
    tokens = condition.token_mask((1, 2, 2))
    assert tokens.shape == (1, 3 * 2 * 3)
    assert tokens[0].tolist() == [1.0] * 6 + [0.0] * 12


def test_both_ends_in_the_order_given() -> None:
    ends = latents(2)
    condition = Condition.at_frames(ends, GRID, [2, 0])
    assert torch.equal(condition.latents[:, :, 2], ends[:, :, 0])
    assert torch.equal(condition.latents[:, :, 0], ends[:, :, 1])
    assert condition.known[0, 0, 1].max() == 0


def test_frame_mask_for_channels() -> None:
    assert Condition.first(latents(), GRID).frame_mask(4)[0, :, 0, 0, 0].tolist() == [1, 1, 1, 1]
    mask = torch.zeros(1, 4, *GRID)
    mask[:, 3, 2] = 1.0
    last = Condition(torch.zeros(1, 16, *GRID), mask)
    assert torch.equal(last.frame_mask(4), mask)
    assert not last.known.any(), "one known frame of four does not make the latent known"
    with pytest.raises(InputError, match="stride of 8"):
        last.frame_mask(8)


def test_what_is_known_in_part_is_held_while_the_noise_hides_the_rest() -> None:
    mask = torch.zeros(1, 1, *GRID)
    mask[..., 0, 0, :] = torch.tensor([1.0, 1.0, 0.5, 0.75, 0.25, 0.0])
    mask[..., 0, 1, :2] = 1.0
    condition = Condition(torch.zeros(1, 16, *GRID), mask)
    held = {level: condition.held(level)[0, 0, 0, 0].tolist() for level in (1.0, 0.6, 0.3, 0.0)}
    assert held[1.0] == [1, 1, 1, 1, 1, 0]
    assert held[0.6] == [1, 1, 1, 1, 0, 0]
    assert held[0.3] == [1, 1, 0, 1, 0, 0]
    assert held[0.0] == condition.known[0, 0, 0, 0].tolist() == [1, 1, 0, 0, 0, 0]
    # Tokens of 2 x 2 latents: one known whole, one by 5/16, one by 1/16.
    told = {level: condition.token_mask((1, 2, 2), level)[0, :3].tolist() for level in (1.0, 0.7, 0.0)}
    assert told == {1.0: [1, 1, 1], 0.7: [1, 1, 0], 0.0: [1, 0, 0]}


def test_source_keeps_nothing() -> None:
    condition = Condition.source(latents(3), strength=0.4)
    assert not condition.keeps_something
    assert condition.strength == 0.4


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Condition(torch.zeros(16, 3, 4, 6), torch.zeros(1, 1, *GRID)), r"not \(1, channels"),
        (lambda: Condition(torch.zeros(1, 16, *GRID), torch.zeros(1, 1, 3, 4, 5)), "does not fit"),
        (lambda: Condition(torch.zeros(1, 16, *GRID), torch.full((1, 1, *GRID), 1.5)), "from 0"),
        (lambda: Condition(torch.zeros(1, 16, *GRID), torch.full((1, 1, *GRID), float("nan"))), "from 0"),
        (lambda: Condition(torch.zeros(1, 16, *GRID), torch.zeros((1, 1, *GRID), dtype=torch.bool)), "floating"),
        (lambda: Condition(torch.full((1, 16, *GRID), float("inf")), torch.zeros(1, 1, *GRID)), "infinity"),
        (lambda: Condition.source(latents(3), strength=0.0), "strength"),
        (lambda: Condition.source(latents(3), strength=float("nan")), "strength"),
        (lambda: Condition.first(latents(2), GRID), "1 frames of a grid"),
        (lambda: Condition.at_frames(latents(1), GRID, [3]), "below 3"),
        (lambda: Condition.at_frames(latents(2), GRID, [1, 1]), "distinct"),
        (lambda: Condition.first(latents(), GRID, image_tokens=torch.zeros(17, 8)), "image tokens"),
    ],
)
def test_what_cannot_be_meant_is_an_input_error(make: Callable[[], Condition], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make()


def png(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_cover_keeps_proportions_and_the_centre() -> None:
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, 40:80] = 200
    fitted = cover(wide, 20, 20)
    assert fitted.shape == (20, 20, 3)
    assert fitted[10, 10].tolist() == [200, 200, 200]
    assert np.abs(fitted[:, 2:18].astype(int) - 200).max() <= 1, "only the middle third is seen"
    assert cover(wide, 120, 40) is wide
    assert cover(wide, 7, 311).shape == (311, 7, 3)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (0, 4, 3)])
def test_cover_wants_colour_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="uint8 of shape"):
        cover(np.zeros(shape, np.uint8), 8, 8)
    with pytest.raises(InputError, match="float64"):
        cover(np.zeros((4, 4, 3)), 8, 8)


def test_decode_turns_upright() -> None:
    image = Image.new("RGB", (30, 10), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to show it
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    assert decode_image(buffer.getvalue()).shape == (30, 10, 3)


def test_decode_flattens_transparency_onto_white() -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert decode_image(png(clear)).min() == 255
    half = decode_image(png(Image.new("LA", (4, 4), (0, 128))))
    assert 120 <= half[0, 0, 0] <= 135
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([10, 20, 30] * 256)
    assert decode_image(png(palette, transparency=0)).min() == 255


def test_decode_scales_deep_greys() -> None:
    deep = Image.fromarray(np.full((4, 4), 32768, np.uint16))
    assert decode_image(png(deep))[0, 0].tolist() == [128, 128, 128]


@pytest.mark.parametrize("data", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_what_is_no_image_is_an_input_error(data: bytes) -> None:
    with pytest.raises(InputError, match="not a readable image"):
        decode_image(data)


def test_truncated_and_huge_images_are_input_errors() -> None:
    whole = png(Image.effect_noise((64, 64), 50).convert("RGB"))
    with pytest.raises(InputError, match="not a readable image"):
        decode_image(whole[: len(whole) // 2])
    # A small file that would unpack to 900 megapixels.
    bomb = png(Image.new("1", (30000, 30000)))
    assert len(bomb) < 1_000_000
    with pytest.raises(InputError, match="900000000 pixels"):
        decode_image(bomb)
    with pytest.raises(InputError, match="64x64; the limit is"):
        decode_image(whole, max_pixels=64 * 64 - 1)

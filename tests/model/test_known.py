"""What is kept of clips beside their latents is the world's truth, in the measures of tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from einops import rearrange

from model.training.known import BROKEN, LOOKS, WINDOW, known
from model.training.world import (
    BACKGROUNDS,
    CAMERAS,
    SPEED_PER_SECOND,
    Scene,
    coverage,
    draw,
    on_screen,
    sample_scene,
)
from model.training.world.motion import broken_at, colors
from model.training.world.vocabulary import second_tone

GROUPS = ([0], [1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16])  # the frames of each latent frame


def drawn(family: str, count: int, frames: int = 17) -> list[Scene]:
    rng = np.random.default_rng(1)
    return [sample_scene(rng, 96, 64, frames, shares={family: 1.0}) for _ in range(count)]


def said(words: torch.Tensor) -> set[str]:
    return {word for word, value in zip(LOOKS, words.tolist(), strict=True) if value}


def test_centres_are_those_of_the_frames_that_a_latent_stands_for() -> None:
    given = drawn("two", 8)
    found = (known(given).centre + 1) * torch.tensor([48.0, 32.0])
    for scene, centre in zip(given, found.numpy(), strict=True):
        for side, path in enumerate(on_screen(scene)[0]):  # a pair is kept from left to right
            expected = np.stack([path[group].mean(axis=0) for group in GROUPS])
            assert centre[:, side] == pytest.approx(expected, abs=1e-3)


def test_motion_is_in_top_speeds_and_points_as_the_thing_moves() -> None:
    given = drawn("one", 64)
    found = known(given).motion
    assert bool((found[:, :, 0] == found[:, :, 1]).all()) and not found[..., 2:].any()
    speed = found[..., :2].norm(dim=-1)
    assert speed.max() <= 1.0001 and speed.max() > SPEED_PER_SECOND[0] / SPEED_PER_SECOND[1]
    for scene, motion in zip(given, found, strict=True):
        assert np.sign(motion[0, 0, :2].round(decimals=4)).tolist() == np.sign(scene.things[0].motion.velocity).tolist()
        torch.testing.assert_close(motion, motion[:1].expand_as(motion))


def test_motion_follows_what_gathers_speed_and_what_stops() -> None:
    for scene in drawn("physics", 60):
        pace = known([scene]).motion[0, :, 0, :2].norm(dim=-1)
        if scene.things[0].motion.kind == "accelerating":
            assert bool((pace.diff() > 0).all())
    stopping = [scene for scene in drawn("turning", 60) if scene.events[-1].kind == "stops"]
    assert stopping
    for scene in stopping:
        pace = known([scene]).motion[0, :, 0, :2].norm(dim=-1)
        assert pace[0] > 0.3 and pace[-1] < 1e-6


def test_motion_tells_the_camera_apart_from_the_thing() -> None:
    given = drawn("camera", 40)
    for scene, motion in zip(given, known(given).motion, strict=True):
        dx, dy, grow = CAMERAS[scene.camera]
        assert np.sign(motion[0, 0, 2:]).tolist() == [dx, dy, grow]
        assert bool((motion[:, :, 2:].abs() <= 1.0001).all())
        if not grow:  # what stands in the world goes the other way on the screen
            torch.testing.assert_close(motion[..., :2], -motion[..., 2:4])


def test_the_ground_says_where_the_background_has_gone() -> None:
    for scene, ground in zip(drawn("camera", 40), known(drawn("camera", 40)).ground.numpy(), strict=True):
        dx, dy, grow = CAMERAS[scene.camera]
        for axis, sign in enumerate((dx, dy)):
            turn = np.pi * sign * scene.camera_rate * np.arange(17) / 16  # checks of 96x64 repeat every 32 pixels
            for column, wave in enumerate((np.cos(turn), np.sin(turn)), start=2 * axis):
                assert ground[:, column] == pytest.approx([wave[group].mean() for group in GROUPS], abs=1e-5)
        assert np.sign(ground[1:, 4].round(decimals=6)).tolist() == [grow] * 4
        assert np.abs(ground[:, 4]).max() <= 1


def test_tones_are_the_second_tone_of_the_backgrounds_pixels() -> None:
    plain = [scene for scene in drawn("one", 12) if scene.texture == "plain"]
    assert len(plain) > 5 and not known(plain).tone.any()
    given = [scene for scene in drawn("camera", 12) if scene.style == "flat"]
    for scene, tone in zip(given, known(given).tone.numpy() / 255, strict=True):
        first, second = (np.asarray(rgb) for rgb in (BACKGROUNDS[scene.background], second_tone(scene.background)))
        shares = ((draw(scene) - first) @ (second - first)) / np.sum((second - first) ** 2)
        spots = rearrange(shares, "t (h p y) (w q x) -> t h w p q (y x)", h=4, w=6, y=4, x=4).mean(axis=-1)
        bare = rearrange(coverage(scene), "t (h p y) (w q x) -> t h w p q (y x)", h=4, w=6, y=4, x=4).max(axis=-1) == 0
        seen = bare[1:5].all(axis=0)
        told = rearrange(tone[1], "h w (p q) -> h w p q", p=4)
        assert seen.mean() > 0.5
        assert told[seen] == pytest.approx(spots[1:5].mean(axis=0)[seen], abs=0.01)


def test_looks_are_those_of_the_side_and_the_time() -> None:
    for family in ("one", "two", "count", "turning", "contact", "occlusion"):
        given = drawn(family, 20)
        for scene, looks in zip(given, known(given).looks, strict=True):
            own = [index for index, thing in enumerate(scene.things) if thing.kind != "bar"]
            own.sort(key=lambda index: scene.things[index].motion.start[0])
            for side, index in ((0, own[0]), (1, own[-1])):
                thing, color, broken = scene.things[index], colors(scene, index), broken_at(scene, index)
                for words, group in zip(looks[:, side], GROUPS, strict=True):
                    wanted = {thing.kind, thing.size, *(color[frame] for frame in group)}
                    wanted |= {BROKEN} if broken is not None and group[-1] >= broken else set()
                    assert said(words) == wanted


def test_a_change_within_a_latent_frame_counts_by_its_share() -> None:
    for scene in drawn("turning", 20):
        event, looks = scene.events[0], known([scene]).looks[0, :, 0].float() / 255
        assert event.color is not None
        index = LOOKS.index(event.color)
        shares = [np.mean([colors(scene, 0)[frame] == event.color for frame in group]) for group in GROUPS]
        assert looks[:, index].tolist() == pytest.approx(shares, abs=1 / 255)


def test_a_still_has_one_latent_frame_and_no_motion() -> None:
    found = known(drawn("two", 3, frames=1))
    assert found.looks.shape == (3, 1, 2, len(LOOKS)) and found.outline.shape[1] == 1
    assert not found.motion.any()


def test_outlines_are_the_coverage_of_the_frames_that_a_latent_stands_for() -> None:
    given = drawn("one", 2)
    found = rearrange(known(given).outline, "b t h w c -> b (t h w) c").numpy() / 255
    for scene, outline in zip(given, found, strict=True):
        covered = rearrange(coverage(scene), "t (h p y) (w q x) -> t h w p q (y x)", h=4, w=6, y=2, x=2)
        spots = covered.mean(axis=-1).reshape(17, 24, 64)
        assert outline[:24] == pytest.approx(spots[0], abs=1 / 255)
        assert outline[24:48] == pytest.approx(spots[1:5].mean(axis=0), abs=1 / 255)


def test_a_window_holds_its_thing_whole_wherever_it_stands() -> None:
    rng = np.random.default_rng(3)
    for width, height in ((128, 128), (160, 96), (96, 160)):
        given = [sample_scene(rng, width, height, 1, shares={"one": 1.0}) for _ in range(100)]
        for scene, bounds in zip(given, known(given).window.tolist(), strict=True):
            (x, y), radius = on_screen(scene)[0][0, 0], scene.things[0].radius
            for top, left in bounds:
                assert 0 <= top <= height // 16 - WINDOW and 0 <= left <= width // 16 - WINDOW
                # The corner of the circumscribing disc's box, of which the thing leaves some pixels free.
                assert left * 16 <= x - radius + 1 and x + radius - 1 <= (left + WINDOW) * 16
                assert top * 16 <= y - radius + 1 and y + radius - 1 <= (top + WINDOW) * 16

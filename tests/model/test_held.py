"""Keys of a long clip are frames of a short one; in a slow clip what lies between them starts from the way there."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model import Condition, Pipeline
from model.conditions.given import Given
from model.conditions.spans import Clip
from model.conditions.takes import render
from model.denoising import Denoiser
from model.long import Long, denoise_long, plan_pieces
from model.long.held import held
from model.long.windows import eased
from model.training.world import draw, sample_scene
from tests.model.folders import build_folder


def test_a_held_latent_shows_one_frame_of_its_window() -> None:
    torch.set_num_threads(1)
    pipeline = Pipeline.from_pretrained("default")
    film = draw(sample_scene(np.random.default_rng(4), 128, 128, 9, shares={"physics": 1.0}))
    window = pipeline.encode(film)
    assert window.shape == (1, 16, 3, 16, 16)
    stands = held(pipeline, window, [0, 6])
    before = pipeline.decode(window)
    for place, frame in enumerate((0, 6)):
        picture = pipeline.encode(before[frame : frame + 1].astype(np.uint8))
        shown = pipeline.decode(torch.cat([picture, stands[:, :, [place]]], dim=2))[1:].astype(int)
        distances = [np.abs(shown - other).mean() for other in before.astype(int)]
        assert int(np.argmin(distances)) == frame
        assert np.abs(np.diff(shown, axis=0)).mean() < 0.2 * np.abs(np.diff(before[5:].astype(int), axis=0)).mean()


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Condition | None, Tensor]]:
    """Of every window that is walked: its noise, what is known of it, and what came of it."""
    seen: list[tuple[Tensor, Condition | None, Tensor]] = []
    real = Denoiser.run

    def run(self: Denoiser, noise: Tensor, condition: Condition | None, **options: Any) -> Tensor:
        made = real(self, noise, condition, **options)
        seen.append((noise, condition, made))
        return made

    monkeypatch.setattr(Denoiser, "run", run)
    return seen


def pipeline_of(tmp_path: Path) -> Pipeline:
    return Pipeline.from_pretrained(build_folder(tmp_path, "ti2v"), autoencoder_dtype="float32")


@pytest.mark.parametrize("given", [False, True])
def test_keys_are_held_but_for_what_is_given(tmp_path: Path, walks: Any, given: bool) -> None:
    pipeline = pipeline_of(tmp_path)
    take: dict[str, Any] = {"width": 32, "height": 32, "frames": 45, "seed": 3, "steps": 2}
    if given:
        picture = np.full((32, 32, 3), 90, np.uint8)
        told = pipeline.condition("flf2v", Given(image=picture, last=picture[None]), Clip(32, 32, 45, 45, 4))
        assert told is not None
        take["condition"] = told.condition
    assert denoise_long(pipeline, "a red circle .", Long("hierarchical", 17), **take) is not None
    plan = plan_pieces("hierarchical", 12, 5)
    assert [piece.id for piece in plan.pieces[:4]] == ["keys", "gap-00000", "gap-00003", "gap-00006"]
    assert plan.pieces[0].makes == (0, 3, 6, 8, 11) and plan.pieces[0].pictures == (0, 4, 8, 12, 16)
    (_, _, keys), (_, first, _), *_, (_, last, _) = walks[:5]
    assert torch.equal(first.latents[:, :, -1:], held(pipeline, keys, [4])), "a gap is told of the key as it is held"
    assert torch.equal(first.latents[:, :, 0], keys[:, :, 0]), "the clip's first latent is one frame"
    assert torch.equal(last.latents[:, :, -1:], keys[:, :, -1:] if given else held(pipeline, keys, [16]))


def test_a_clip_can_be_stopped_while_its_keys_are_held(tmp_path: Path) -> None:
    pipeline, told = pipeline_of(tmp_path), list[tuple[int, int]]()
    take: dict[str, Any] = {"width": 32, "height": 32, "frames": 45, "seed": 3, "steps": 2}

    def stop_at(count: int) -> Any:
        def on_step(done: int, steps: int) -> None:
            told.append((done, steps))
            if len(told) == count:
                raise KeyboardInterrupt

        return on_step

    with pytest.raises(KeyboardInterrupt):
        denoise_long(pipeline, "a red circle .", Long("hierarchical", 17), on_step=stop_at(12), **take)
    assert [done for done, _ in told] == [1] + [2] * 11, "two steps, five latents that are decoded, five keys"


def test_a_slow_gap_starts_from_the_way_between_its_keys(tmp_path: Path, walks: Any) -> None:
    pipeline = pipeline_of(tmp_path)
    take: dict[str, Any] = {"width": 32, "height": 32, "frames": 93, "seed": 3, "steps": 8}
    told: list[tuple[int, int]] = []
    take["on_step"] = lambda done, of: told.append((done, of))
    assert denoise_long(pipeline, "a red circle .", Long("hierarchical", 9), **take) is not None
    assert told == sorted(told) and told[-1][0] == told[-1][1], "fewer steps than planned are told as done, too"
    plan = plan_pieces("hierarchical", 24, 3)
    assert plan.pieces[0].strength == 1.0 and plan.pieces[1].strength == 0.5
    (_, alone, keys), *rest = walks
    assert alone is None
    for piece, (noise, condition, _) in zip(plan.pieces[1:], rest, strict=True):
        assert noise.shape[2] == len(piece.positions)
        stands = held(pipeline, keys[:, :, :1], [0]) if piece.positions[0] == 0 else None
        assert int(8 * condition.strength) == round(8 * 0.5 * eased(condition, stands)), "half of the steps, or fewer"
        places = [piece.positions.index(position) for position in piece.known]
        belong = [place - piece.positions[0] for place in piece.places] or places
        for number, (before, after) in enumerate(itertools.pairwise(places)):
            left, right = condition.truth[:, :, before], condition.truth[:, :, after]
            if piece.positions[before] == 0:
                left = held(pipeline, keys[:, :, :1], [0])[:, :, 0]
                assert not torch.equal(left, condition.truth[:, :, 0]), "what is known stays what it is"
            for place in range(before + 1, after):
                start, end = belong[number : number + 2]
                share = min(1.0, max(0.0, (place - start) / (end - start)))
                assert torch.allclose(condition.truth[:, :, place], (1 - share) * left + share * right, atol=1e-5)
        known = condition.mask[0, 0, :, 0, 0]
        assert [place for place, value in enumerate(known.tolist()) if value] == places


@pytest.mark.parametrize(
    ("moved", "share"), [(0.0, 0.6), (0.3, 0.6), (0.7, 0.8), (1.0, 1.0)], ids=["stands", "near", "farther", "far"]
)
def test_the_nearer_its_keys_the_less_a_gap_is_made_anew(moved: float, share: float) -> None:
    """A thing of one latent that goes on to the next one, in part; the ground is of another value in each channel."""
    keys = torch.tensor([0.5, -1.0, 2.0])[None, :, None, None, None].repeat(1, 1, 2, 4, 4)
    keys[:, :, 0, 1, 1] += 3.0
    keys[:, :, 1, 1, 1] += 3.0 * (1 - moved)
    keys[:, :, 1, 1, 2] += 3.0 * moved
    window = Condition.at_frames(keys, (5, 4, 4), [0, 4])
    assert eased(window) == pytest.approx(share, abs=0.01)
    other = Condition.at_frames(keys * 0.1, (5, 4, 4), [0, 4])
    assert eased(other) == pytest.approx(share, abs=0.01), "whatever the contrast"
    assert eased(window, keys[:, :, 1:]) == pytest.approx(0.6), "from what the clip's first picture is, held"


@pytest.mark.parametrize(("moved", "share"), [(0, 0.6), (1, 1.0)], ids=["stands", "far"])
def test_a_faint_thing_counts_beside_a_strong_one_that_stands(moved: int, share: float) -> None:
    keys = torch.zeros(1, 3, 2, 8, 8)
    keys[:, :, :, 1, 1] = 3.0
    keys[:, :, 0, 5, 2] = keys[:, :, 1, 5, 2 + 2 * moved] = 1.2
    keys += 0.02 * torch.randn(keys.shape, generator=torch.Generator().manual_seed(1))
    assert eased(Condition.at_frames(keys, (5, 8, 8), [0, 4])) == pytest.approx(share, abs=0.01)


def test_how_near_keys_are_is_told_of_the_farthest_and_of_nothing_else() -> None:
    keys = torch.zeros(1, 2, 3, 4, 4)
    keys[:, :, :2, 1, 1] = keys[:, :, 2, 3, 3] = 1.0
    assert eased(Condition.at_frames(keys, (7, 4, 4), [0, 3, 6])) == 1.0
    assert eased(Condition.at_frames(keys[:, :, :2], (7, 4, 4), [0, 3])) == pytest.approx(0.6)
    assert eased(Condition.at_frames(torch.ones(1, 2, 2, 4, 4), (7, 4, 4), [0, 3])) == pytest.approx(0.6), "no thing"


@pytest.mark.parametrize("task", ["v2v", "edit", "infill"])
def test_a_source_that_is_changed_is_shown_at_its_own_moments(tmp_path: Path, walks: Any, task: str) -> None:
    film = np.zeros((93, 32, 32, 3), np.uint8)
    given = Given(video=film, mask=film[..., 0] == 0 if task == "edit" else None)
    long = Long("hierarchical", 17)
    render(pipeline_of(tmp_path), task, "clay .", given, width=32, height=32, frames=93, steps=2, long=long)
    plan = plan_pieces("hierarchical", 24, 5, sourced=True)
    made = [piece for piece in plan.pieces if task != "infill" or not set(piece.makes) <= {0, 23}]
    assert [noise.shape[2] for noise, _, _ in walks] == [len(piece.positions) for piece in made]


def test_the_way_leads_through_what_is_given_between_keys(tmp_path: Path, walks: Any) -> None:
    pipeline = pipeline_of(tmp_path)
    given = torch.randn((1, 16, 1, 4, 4), generator=torch.Generator().manual_seed(1))
    take: dict[str, Any] = {"width": 32, "height": 32, "frames": 157, "seed": 3, "steps": 8}
    told = Condition.at_frames(given, (40, 4, 4), [7])
    assert denoise_long(pipeline, "a red circle .", Long("hierarchical", 33), condition=told, **take) is not None
    plan = plan_pieces("hierarchical", 40, 9)
    piece, (_, condition, _) = next(
        (piece, walk) for piece, walk in zip(plan.pieces, walks, strict=True) if piece.id == "gap-00005"
    )
    assert piece.positions == (5, 6, 7, 8, 9, 10) and piece.known == (5, 10) and condition.strength < 1
    truth, (left, right) = condition.truth, piece.places
    assert torch.equal(truth[:, :, [2]], given)
    for index, key, place in ((1, 0, left), (3, 5, right), (4, 5, right)):
        share = (5 + index - place) / (7 - place)
        assert torch.allclose(truth[:, :, [index]], (1 - share) * truth[:, :, [key]] + share * given, atol=1e-5)


def test_a_source_comes_before_the_way_between_keys(tmp_path: Path, walks: Any) -> None:
    pipeline = pipeline_of(tmp_path)
    source = torch.randn((1, 16, 24, 4, 4), generator=torch.Generator().manual_seed(1))
    take: dict[str, Any] = {"width": 32, "height": 32, "frames": 93, "seed": 3, "steps": 8}
    told = Condition.source(source, strength=0.25)
    assert denoise_long(pipeline, "clay .", Long("hierarchical", 9), condition=told, **take) is not None
    plan = plan_pieces("hierarchical", 24, 3)
    for piece, (_, condition, _) in zip(plan.pieces, walks, strict=True):
        assert condition.strength == 0.25
        unknown = [position for position in piece.positions if position not in piece.known]
        places = [piece.positions.index(position) for position in unknown]
        assert torch.equal(condition.truth[:, :, places], source[:, :, unknown]), piece.id

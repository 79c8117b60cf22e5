"""Long clips on tiny random pipelines: the same latents whoever makes which piece, and in which order."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model import Condition, Pipeline
from model.conditions.given import Given
from model.conditions.spans import Clip
from model.conditions.takes import film_of, render, sample
from model.denoising import Denoiser
from model.errors import NonFinite
from model.long import METHODS, Long, denoise_long
from tests.model.folders import Kind, build_folder

PROMPT = "a red circle moves left ."
TAKE: dict[str, Any] = {"width": 32, "height": 32, "frames": 45, "seed": 3, "steps": 6, "guidance_scale": 3.0}
WINDOW = 17


class Kept:
    """A keeper in memory that knows what it was asked."""

    def __init__(self) -> None:
        self.pieces: dict[tuple[str, str], Tensor] = {}
        self.saved: list[str] = []

    def load(self, piece: str, stamp: str) -> Tensor | None:
        return self.pieces.get((piece, stamp))

    def listed(self) -> list[str]:
        return [piece for piece, _ in self.pieces]

    def save(self, piece: str, stamp: str, latents: Tensor) -> None:
        self.pieces[piece, stamp] = latents.clone()
        self.saved.append(piece)

    def lose(self, piece: str) -> None:
        self.pieces = {key: kept for key, kept in self.pieces.items() if key[0] != piece}
        self.saved.clear()


class StoppedError(Exception):
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], Path]:
    made: dict[str, Path] = {}

    def of(kind: Kind) -> Path:
        if kind not in made:
            made[kind] = build_folder(tmp_path_factory.mktemp("long") / kind, kind)
        return made[kind]

    return of


@pytest.fixture(scope="module")
def pipeline(folder: Callable[[Kind], Path]) -> Pipeline:
    return Pipeline.from_pretrained(folder("ti2v"), autoencoder_dtype="float32")


def count_windows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Latents of every window that is denoised from here on."""
    lengths: list[int] = []
    real = Denoiser.run

    def run(self: Denoiser, noise: Tensor, *args: Any, **options: Any) -> Tensor:
        lengths.append(noise.shape[2])
        return real(self, noise, *args, **options)

    monkeypatch.setattr(Denoiser, "run", run)
    return lengths


@pytest.mark.parametrize("method", METHODS)
def test_a_lost_piece_alone_is_made_again_and_the_clip_is_the_same(
    pipeline: Pipeline, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept()
    whole = denoise_long(pipeline, PROMPT, Long(method, WINDOW, kept), **TAKE)
    assert whole is not None and whole.shape == (1, 16, 12, 4, 4)
    alone = denoise_long(pipeline, PROMPT, Long(method, WINDOW), **TAKE)
    assert alone is not None and torch.equal(whole, alone), "keeping changes nothing"
    for lost in (kept.saved[0], kept.saved[-1], kept.saved[len(kept.saved) // 2]):
        kept.lose(lost)
        windows = count_windows(monkeypatch)
        again = denoise_long(pipeline, PROMPT, Long(method, WINDOW, kept), **TAKE)
        monkeypatch.undo()
        assert again is not None and torch.equal(whole, again)
        assert kept.saved == [lost]
        assert len(windows) == (0 if method == "co_denoise" else 1)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_is_stopped_goes_on_from_its_pieces(pipeline: Pipeline, method: str) -> None:
    whole = denoise_long(pipeline, PROMPT, Long(method, WINDOW), **TAKE)
    kept, told = Kept(), []

    def stop_half_way(done: int, of: int) -> None:
        told.append((done, of))
        if 10 * done > 9 * of:
            raise StoppedError

    with pytest.raises(StoppedError):
        denoise_long(pipeline, PROMPT, Long(method, WINDOW, kept), on_step=stop_half_way, **TAKE)
    before, steps = set(kept.saved), told[-1][1]
    assert before
    again: list[tuple[int, int]] = []
    gone_on = denoise_long(
        pipeline, PROMPT, Long(method, WINDOW, kept), on_step=lambda *step: again.append(step), **TAKE
    )
    assert gone_on is not None and whole is not None and torch.equal(whole, gone_on)
    assert len(kept.saved) == len(set(kept.saved)), "no piece was made twice"
    assert again[0][0] > 1, "what was kept counts as done"
    assert again[-1] == (steps, steps)
    assert all(one[0] < other[0] for one, other in itertools.pairwise(again))


def test_a_helper_makes_pieces_that_the_other_then_takes(pipeline: Pipeline) -> None:
    take = {**TAKE, "frames": 69}
    whole = denoise_long(pipeline, PROMPT, Long("hierarchical", 9), **take)
    kept = Kept()

    def stop_after_keys(done: int, of: int) -> None:
        if kept.saved:
            raise StoppedError

    with pytest.raises(StoppedError):
        denoise_long(pipeline, PROMPT, Long("hierarchical", 9, kept), on_step=stop_after_keys, **take)
    kept.saved.clear()
    for number in (1, 2, 1, 2):
        assert denoise_long(pipeline, PROMPT, Long("hierarchical", 9, kept, helper=number), **take) is None
    helped = set(kept.saved)
    assert len(helped) == 4, "one piece a call"
    kept.saved.clear()
    again = denoise_long(pipeline, PROMPT, Long("hierarchical", 9, kept), **take)
    assert again is not None and whole is not None and torch.equal(whole, again)
    assert not helped & set(kept.saved)


def test_kept_latents_that_do_not_fit_are_made_again(pipeline: Pipeline) -> None:
    whole = denoise_long(pipeline, PROMPT, Long("overlap", WINDOW), **TAKE)
    kept = Kept()
    denoise_long(pipeline, PROMPT, Long("overlap", WINDOW, kept), **TAKE)
    first, second, *_ = kept.pieces
    kept.pieces[first] = kept.pieces[first][:, :, :1]
    kept.pieces[second] = torch.full_like(kept.pieces[second], torch.nan)
    kept.saved.clear()
    again = denoise_long(pipeline, PROMPT, Long("overlap", WINDOW, kept), **TAKE)
    assert again is not None and whole is not None and torch.equal(whole, again)
    assert kept.saved == [first[0], second[0]]


def test_another_window_or_method_does_not_take_the_pieces(pipeline: Pipeline) -> None:
    kept = Kept()
    denoise_long(pipeline, PROMPT, Long("overlap", WINDOW, kept), **TAKE)
    kept.saved.clear()
    denoise_long(pipeline, PROMPT, Long("overlap", 13, kept), **TAKE)
    assert "window-00000" in kept.saved


@pytest.mark.parametrize("kind", ["ti2v", "t2v", "i2v"])
@pytest.mark.parametrize("method", METHODS)
def test_what_is_given_stands_in_the_clip_in_every_form(
    folder: Callable[[Kind], Path], kind: Kind, method: str
) -> None:
    pipe = Pipeline.from_pretrained(folder(kind), autoencoder_dtype="float32")
    clip = Clip(32, 32, 45, 45, 4)
    rng = np.random.default_rng(0)
    film = rng.integers(0, 256, (9, 32, 32, 3)).astype(np.uint8)
    told = pipe.condition("connect", Given(video=film, last=film[::-1]), clip)
    assert told is not None
    latents = denoise_long(pipe, PROMPT, Long(method, WINDOW), condition=told.condition, **TAKE)
    assert latents is not None
    known = told.condition.known.expand_as(latents) == 1
    assert 0 < known.float().mean() < 1
    assert torch.allclose(latents[known], told.condition.truth[known], atol=1e-5)
    assert bool(torch.isfinite(latents).all())


def test_a_piece_with_nothing_to_make_costs_nothing(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    latents = torch.randn(1, 16, 12, 4, 4, generator=torch.Generator().manual_seed(1))
    condition = Condition.at_frames(latents[:, :, :9], (12, 4, 4), range(9))
    windows = count_windows(monkeypatch)
    steps: list[tuple[int, int]] = []
    found = denoise_long(
        pipeline, PROMPT, Long("overlap", WINDOW), condition=condition, on_step=lambda *step: steps.append(step), **TAKE
    )
    assert found is not None and torch.equal(found[:, :, :9], latents[:, :, :9])
    assert windows == [5], "of three windows the last alone has something to make"
    assert steps[-1] == (6, 6)


def test_a_source_leads_all_windows(pipeline: Pipeline) -> None:
    source = torch.randn(1, 16, 12, 4, 4, generator=torch.Generator().manual_seed(1))
    distances = {}
    for strength in (0.2, 1.0):
        found = denoise_long(
            pipeline, PROMPT, Long("overlap", WINDOW), condition=Condition.source(source, strength=strength), **TAKE
        )
        assert found is not None
        distances[strength] = float((found - source).abs().mean())
    assert distances[0.2] < distances[1.0]


def test_progress_of_a_long_clip_with_a_source_has_one_end(pipeline: Pipeline) -> None:
    told: list[tuple[str, int, int]] = []
    render(
        pipeline, "v2v", PROMPT, Given(video=np.zeros((13, 32, 32, 3), np.uint8), strength=0.7), width=32, height=32,
        frames=13, steps=3, guidance_scale=1.0, long=Long("overlap", 9), on_stage=lambda *stage: told.append(stage),
    )  # fmt: skip
    assert told == [("denoise", step, 4) for step in range(1, 5)], "two windows of two steps each"


def test_a_clip_that_fits_is_the_same_as_without_windows(pipeline: Pipeline) -> None:
    short = {**TAKE, "frames": 17}
    assert torch.equal(
        denoise_long(pipeline, PROMPT, Long("hierarchical", WINDOW), **short), pipeline.denoise(PROMPT, **short)
    )


def test_a_ring_is_closed(pipeline: Pipeline) -> None:
    latents = denoise_long(pipeline, PROMPT, Long("co_denoise", WINDOW), closed=True, **TAKE)
    assert latents is not None and torch.equal(latents[:, :, 0], latents[:, :, -1])
    frames = pipeline.decode_ring(latents)
    assert frames.shape == (44, 32, 32, 3)
    # Wherever the ring is cut open, the same frames come out: the decoder has seen what was before.
    turned = torch.cat([latents[:, :, 6:], latents[:, :, 1:7]], dim=2)
    other = np.roll(pipeline.decode_ring(turned), 4 * 6, axis=0)
    assert (
        np.abs(frames.astype(int) - other.astype(int)).mean() < 0.1 * np.abs(np.diff(frames.astype(int), axis=0)).mean()
    )


def test_a_long_loop_is_a_ring_of_just_its_frames(pipeline: Pipeline) -> None:
    clip = Clip(32, 32, 45, 43, 4)
    sampled = sample(
        pipeline, "loop", PROMPT, clip, steps=2, draw_first=True, long=Long("co_denoise", WINDOW), seed=3,
        guidance_scale=1.0,
    )  # fmt: skip
    assert sampled.ring and sampled.latents is not None
    film = film_of(pipeline.decode_ring(sampled.latents), "loop", clip, sampled)
    assert film.shape == (43, 32, 32, 3)


def test_nan_ends_a_long_clip_as_it_ends_a_short_one(pipeline: Pipeline) -> None:
    noise = torch.randn(1, 16, 12, 4, 4)
    noise[:, :, 7] = torch.nan
    for method in METHODS:
        with pytest.raises(NonFinite, match="not finite at step 0"):
            denoise_long(pipeline, PROMPT, Long(method, WINDOW), noise=noise, **TAKE)


def test_frames_leave_the_decoder_as_they_come_and_are_diffusers_own(pipeline: Pipeline) -> None:
    latents = torch.randn(1, 16, 7, 4, 4, generator=torch.Generator().manual_seed(1))
    told: list[tuple[int, int]] = []
    found = pipeline.decode(latents, "uint16", on_latent=lambda *done: told.append(done))
    assert told == [(done, 7) for done in range(1, 8)]
    autoencoder = pipeline._autoencoder
    assert autoencoder is not None
    z = latents / (1.0 / autoencoder._std) + autoencoder._mean
    video = autoencoder.model.decode(z, return_dict=False)[0][0]
    theirs = ((video * 0.5 + 0.5).clamp(0, 1) * 65535).round().permute(1, 2, 3, 0).numpy()
    assert np.array_equal(found, theirs.astype(np.uint16))

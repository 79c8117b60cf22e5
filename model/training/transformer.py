"""Trains the default model's transformer and text encoder on latents of the world, by flow matching.

    python -m model.training.transformer --latents runs/latents --out runs/transformer --steps 8000

Per-token time steps as in Wan 2.2's TI2V form: in a part of the batches some tokens are given clean at t = 0, as
`model.training.given` draws them, which teaches every task with the same weights. A clip's first latent frame is the
encoding of its first frame alone, so that it serves as a still. What the blocks are made to know besides is in
`model.training.hints`.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from model.training import captions
from model.training.given import draw_given
from model.training.hints import TOKEN_SIDE, Hints, truth
from model.training.latents import parts, read_part
from model.training.run import Run, ended
from model.training.text import TEXT_WIDTH, build_text_encoder, build_tokenizer
from model.training.world import Scene, on_screen
from model.transformer import Transformer, TransformerConfig

CONFIG = TransformerConfig(
    patch_size=(1, 2, 2),
    num_attention_heads=4,
    attention_head_dim=48,
    in_channels=16,
    out_channels=16,
    text_dim=TEXT_WIDTH,
    freq_dim=256,
    ffn_dim=768,
    num_layers=6,
)
TEXT_LENGTH = 512  # Wan's: pads are zero states and take part in cross-attention
# Share of the batches that are stills, at a run's first step and its last: what a thing looks like is learnt from many
# stills sooner than from few clips, and what moves needs clips (images first, then both, as large models are trained).
STILL_SHARES = (0.9, 0.1)
CUT_SHARE = 0.15  # of the batches: a clip that begins in the midst, as the later windows of a long one do
EMPTY_CAPTION_SHARE = 0.1
DENSE_SHARE = 0.6  # of the captions; the others leave out or reword a part
HINT_WEIGHTS = {"place": 0.2, "velocity": 0.2, "centre": 0.2, "outline": 2.0}
TOKENS = 3200  # of a batch: many short clips or a few long ones
MOST = 128  # clips of a batch
# Half of the batches of stills show a window of the frame around its one thing: outlines are learnt from more pictures,
# and the empty rest of a frame teaches little.
WINDOW_SHARE, WINDOW = 0.5, 5  # its sides in tokens; a large thing has 51 pixels
# How much more the tokens that a thing covers count where its place is settled. Above that noise the weight would tell
# where the thing is, and the model would learn to draw more of it than there is.
THING_WEIGHT, THING_BELOW = 4.0, 0.75


class TextAndTransformer(nn.Module):
    """The two parts that train together, and the read-outs that help them to."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.text_encoder = build_text_encoder(words)
        self.transformer = Transformer(CONFIG)
        self.hints = Hints(self.transformer)


def hidden_matrices(model: nn.Module) -> set[str]:
    """Names of the weights inside blocks that are matrices: those that Muon is for."""
    return {name for name, value in model.named_parameters() if value.ndim == 2 and ".blocks." in f".{name}"}


def encode_text(encoder: Any, tokenizer: Any, prompts: list[str]) -> tuple[Tensor, Tensor]:
    """States (batch, text, width) and multiplicity (batch, text) of the prompts as Wan sees them.

    States past a prompt's end are zero. The zeros up to `TEXT_LENGTH` are alike, so that one of them stands for all.
    """
    tokens = tokenizer(prompts, padding=True, return_tensors="pt").to(encoder.device)
    mask = tokens.attention_mask
    states = encoder(tokens.input_ids, mask).last_hidden_state * mask[..., None]
    states = torch.cat([states, torch.zeros_like(states[:, :1])], dim=1)
    rest = torch.full((len(prompts), 1), float(TEXT_LENGTH - mask.shape[1]), device=mask.device)
    return states, torch.cat([torch.ones_like(mask, dtype=torch.float32), rest], dim=1)


def sample_times(rng: torch.Generator, count: int, shift: float = 3.0) -> Tensor:
    """Noise levels sigma (count,) in 0..1: half uniform, half logit-normal, shifted towards noise.

    Where a thing is gets settled at high noise, which a uniform draw reaches; what outline it has, between 0.6 and 0.9,
    where the logit-normal draw dwells. Draw and shift are those of Stable Diffusion 3 (arXiv 2403.03206, sections 3.1
    and 5.3.2).
    """
    u = torch.rand(count, generator=rng)
    middle = torch.sigmoid(torch.randn(count, generator=rng))
    u = torch.where(torch.arange(count) % 2 == 0, u, middle)
    return shift * u / (1 + (shift - 1) * u)


class Latents:
    """The encoded clips by shape; new part files are picked up as they appear."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen = folder, set[Path]()
        self.clips: dict[tuple[int, ...], tuple[list[Tensor], list[Scene]]] = {}

    def refresh(self) -> int:
        """Reads new parts; returns how many clips there are."""
        for path in parts(self.folder):
            if path not in self.seen:
                latents, scenes = read_part(path)
                held = self.clips.setdefault(tuple(latents.shape[1:]), ([], []))
                held[0].extend(latents.unbind())
                held[1].extend(scenes)
                self.seen.add(path)
        return sum(len(scenes) for _, scenes in self.clips.values())

    def sample(
        self, rng: np.random.Generator, still: bool = False, window: bool = False
    ) -> tuple[Tensor, list[Scene], Tensor | None]:
        """A batch of one shape, shapes in proportion to their clips: (count, channels, frames, height, width).

        still: of one frame; where no stills were encoded, the clips' first frames.
        window: a window around the thing of each, of scenes that have one, where the shape is large enough; its corners
            (count, 2) are the third value, (y, x) in tokens.
        """
        shapes = [shape for shape in self.clips if (shape[1] == 1) == still] or list(self.clips)
        sizes = np.array([len(self.clips[shape][1]) for shape in shapes], float)
        shape = shapes[int(rng.choice(len(shapes), p=sizes / sizes.sum()))]
        latents, scenes = self.clips[shape]
        frames = 1 if still else shape[1]
        window = window and min(shape[2:]) >= 2 * WINDOW
        area = WINDOW**2 if window else shape[2] * shape[3] // 4
        count = max(2, min(MOST, TOKENS // (frames * area)))
        chosen: list[int] = []
        while len(chosen) < count:
            index = int(rng.integers(len(scenes)))
            if not window or len(scenes[index].things) == 1:
                chosen.append(index)
        shown = [scenes[i] for i in chosen]
        if not window:
            return torch.stack([latents[i][:, :frames] for i in chosen]).float(), shown, None
        corners = np.stack([corner(scene, rng) for scene in shown])
        parts = [
            latents[i][:, :frames, 2 * y : 2 * (y + WINDOW), 2 * x : 2 * (x + WINDOW)]
            for i, (y, x) in zip(chosen, corners, strict=True)
        ]
        return torch.stack(parts).float(), shown, torch.from_numpy(corners)


def corner(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Where a window that holds the first thing of a scene's first frame begins, (y, x) in tokens, at random."""
    paths, radii = on_screen(scene)
    middle, radius = paths[0, 0, ::-1], radii[0, 0]
    sides = np.array([scene.height, scene.width]) // TOKEN_SIDE
    low = np.clip(np.ceil((middle + radius) / TOKEN_SIDE) - WINDOW, 0, sides - WINDOW)
    high = np.clip(np.floor((middle - radius) / TOKEN_SIDE), low, sides - WINDOW)
    return rng.integers(low.astype(int), high.astype(int) + 1)


def flow_loss(
    model: TextAndTransformer,
    tokenizer: Any,
    clips: Latents,
    seed: tuple[int, ...],
    *,
    shift: float = 3.0,
    still_share: float = STILL_SHARES[-1],
) -> tuple[Tensor, dict[str, float]]:
    """Mean squared error of the velocity `noise - clean` on the tokens that are not given, plus the hints' errors.

    Returns the sum to go down on, and its parts as figures.
    """
    rng, noise_rng = np.random.default_rng(seed), torch.Generator().manual_seed(hash(seed) & 0x7FFFFFFF)
    still, cut, first = rng.random() < still_share, rng.random() < CUT_SHARE, 0
    clean, scenes, windows = clips.sample(rng, still, still and rng.random() < WINDOW_SHARE)
    batch = len(scenes)
    if cut and clean.shape[2] > 3:
        count = int(rng.integers(3, clean.shape[2]))
        first = int(rng.integers(1, clean.shape[2] - count + 1))
        clean = clean[:, :, first : first + count]
    prompts = [
        "" if rng.random() < EMPTY_CAPTION_SHARE
        else captions.dense(scene, clip=not still) if rng.random() < DENSE_SHARE
        else captions.varied(scene, rng, clip=not still)
        for scene in scenes
    ]  # fmt: skip
    states, multiplicity = encode_text(model.text_encoder, tokenizer, prompts)
    sigma = sample_times(noise_rng, batch, shift)
    noise = torch.randn(clean.shape, generator=noise_rng)  # on the CPU: the same on every device
    grid = (clean.shape[2], clean.shape[3] // 2, clean.shape[4] // 2)
    given = draw_given(rng, grid)
    time, level, weight = sigma * 1000, rearrange(sigma, "b -> b 1 1 1 1"), torch.ones(1, 1, 1, 1, 1)
    if given is not None:  # else one time step serves all tokens of a clip, which is quicker
        unknown = 1 - given
        time = rearrange(time[:, None, None, None] * unknown, "b t h w -> b (t h w)")
        weight = repeat(unknown, "t h w -> 1 1 t (h p) (w q)", p=2, q=2)
        level = level * weight
    noisy = (1 - level) * clean + level * noise
    predicted = model.transformer(
        noisy.to(states.device), time.to(states.device), states, encoder_multiplicity=multiplicity
    ).cpu()
    shown = truth(scenes, grid, first, windows)
    covered = (shown.outline > 0).any(dim=-1) & (sigma < THING_BELOW)[:, None]
    more = rearrange(1 + THING_WEIGHT * covered.float(), "b (t h w) -> b t h w", t=grid[0], h=grid[1])
    weight = weight * repeat(more, "b t h w -> b 1 t (h p) (w q)", p=2, q=2)
    flow = ((predicted - (noise - clean)).square() * weight).sum() / (weight.sum() * clean.shape[1])
    told = torch.tensor([float(bool(prompt) and not still) for prompt in prompts])
    hints = model.hints.losses(told, shown)
    figures = {"flow": flow, **hints}
    return flow + sum(HINT_WEIGHTS[name] * hint for name, hint in hints.items()), {
        name: float(value.detach()) for name, value in figures.items()
    }


def main() -> None:
    """Command line; ends by writing `transformer/`, `text_encoder/` and `tokenizer/` in diffusers' layout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latents", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="a model folder whose transformer and text encoder to go on from")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long; run again to go on")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--shift", type=float, default=3.0, help="of the noise levels; lower ones dwell on detail")
    parser.add_argument(
        "--stills", type=float, nargs=2, default=STILL_SHARES, metavar=("FIRST", "LAST"),
        help="share of the batches that are stills, at the first step and the last",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    model = TextAndTransformer(len(tokenizer))
    if given.start:
        begin_from(model, given.start)
    model.to(given.device)
    run = Run(given.out, model, steps=given.steps, peak=given.rate, matrices=hidden_matrices(model))
    clips = Latents(given.latents)
    if not clips.refresh():
        parser.error(f"no finished part-*.safetensors in {given.latents}; run model.training.latents first")

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        if step % 100 == 0:
            clips.refresh()
        share = float(np.interp(step, (0, given.steps), given.stills))
        return flow_loss(model, tokenizer, clips, (4, step), shift=given.shift, still_share=share)

    for row, count in zip(run.train(loss_of, seconds=given.seconds), itertools.count(), strict=False):
        if count % 2 == 0:
            print(" ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
        if run.step % 500 == 0:
            release(run, model, tokenizer, given.out)
    release(run, model, tokenizer, given.out)
    ended(run)


def begin_from(model: TextAndTransformer, folder: Path) -> None:
    """Puts the weights of a released model in; the averages begin from them too.

    Words that its tokenizer knew keep what they mean, whatever their ids are now.
    """
    from transformers import AutoTokenizer, UMT5EncoderModel

    model.transformer.load_state_dict(Transformer.from_pretrained(folder, dtype=torch.float32).state_dict())
    known = UMT5EncoderModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).state_dict()
    own = model.text_encoder.state_dict()
    before, now = AutoTokenizer.from_pretrained(folder / "tokenizer").get_vocab(), build_tokenizer().get_vocab()
    shared = sorted(set(before) & set(now))
    rows, ids = torch.tensor([before[word] for word in shared]), torch.tensor([now[word] for word in shared])
    for name, value in known.items():
        if value.shape == own[name].shape:
            own[name] = value
        else:
            own[name][ids] = value[rows]
    model.text_encoder.load_state_dict(own)


def release(run: Run, model: TextAndTransformer, tokenizer: Any, out: Path) -> None:
    """Writes the averaged weights, stored as bf16, in diffusers' layout."""
    twin = TextAndTransformer(len(tokenizer))
    twin.load_state_dict({**model.state_dict(), **run.averaged})
    twin.transformer.save_pretrained(out / "transformer", dtype=torch.bfloat16)
    twin.text_encoder.to(torch.bfloat16).save_pretrained(out / "text_encoder")
    tokenizer.save_pretrained(out / "tokenizer")


if __name__ == "__main__":
    main()

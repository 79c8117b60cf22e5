"""Trains the default model's transformer and text encoder on latents of the world, by flow matching.

    python -m model.training.transformer --latents runs/latents --out runs/transformer --steps 8000

Per-token time steps as in Wan 2.2's TI2V form: in a part of the batches the first latent frame is given clean at
t = 0, which teaches image to video with the same weights. A clip's first latent frame is the encoding of its first
frame alone, so that it serves as a still.
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
from model.training.latents import parts, read_part
from model.training.run import Run
from model.training.text import TEXT_WIDTH, build_text_encoder, build_tokenizer
from model.training.world import Scene
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
STILL_SHARE = 0.12
IMAGE_SHARE = 0.25
EMPTY_CAPTION_SHARE = 0.1
BATCH = 32


class TextAndTransformer(nn.Module):
    """The two parts that train together."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.text_encoder = build_text_encoder(words)
        self.transformer = Transformer(CONFIG)


def encode_text(encoder: Any, tokenizer: Any, prompts: list[str]) -> tuple[Tensor, Tensor]:
    """States (batch, text, width) and multiplicity (batch, text) of the prompts as Wan sees them.

    States past a prompt's end are zero. The zeros up to `TEXT_LENGTH` are alike, so that one of them stands for all.
    """
    tokens = tokenizer(prompts, padding=True, return_tensors="pt")
    mask = tokens.attention_mask
    states = encoder(tokens.input_ids, mask).last_hidden_state * mask[..., None]
    states = torch.cat([states, torch.zeros_like(states[:, :1])], dim=1)
    rest = repeat(torch.tensor([float(TEXT_LENGTH - mask.shape[1])]), "1 -> b 1", b=len(prompts))
    return states, torch.cat([torch.ones_like(mask, dtype=torch.float32), rest], dim=1)


def sample_times(rng: torch.Generator, count: int, shift: float = 5.0) -> Tensor:
    """Noise levels sigma (count,) in 0..1: uniform, shifted towards noise.

    Where the shape is in each frame is settled at high noise, so that most of the effort goes there: half of the levels
    lie above shift / (1 + shift). The shift is that of Stable Diffusion 3 (arXiv 2403.03206, section 5.3.2).
    """
    u = torch.rand(count, generator=rng)
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

    def sample(self, rng: np.random.Generator, count: int) -> tuple[Tensor, list[Scene]]:
        """A batch of one shape, shapes in proportion to their clips: (count, channels, frames, height, width)."""
        shapes = list(self.clips)
        sizes = np.array([len(self.clips[shape][1]) for shape in shapes], float)
        latents, scenes = self.clips[shapes[int(rng.choice(len(shapes), p=sizes / sizes.sum()))]]
        chosen = rng.integers(0, len(scenes), count)
        return torch.stack([latents[i] for i in chosen]), [scenes[i] for i in chosen]


def flow_loss(model: TextAndTransformer, tokenizer: Any, clips: Latents, seed: tuple[int, ...]) -> Tensor:
    """Mean squared error of the velocity `noise - clean` on the tokens that are not given."""
    rng, noise_rng = np.random.default_rng(seed), torch.Generator().manual_seed(hash(seed) & 0x7FFFFFFF)
    clean, scenes = clips.sample(rng, BATCH)
    still = rng.random() < STILL_SHARE
    if still:
        clean = clean[:, :, :1]
    prompts = [
        "" if rng.random() < EMPTY_CAPTION_SHARE
        else captions.dense(scene, clip=not still) if rng.random() < 0.4
        else captions.varied(scene, rng, clip=not still)
        for scene in scenes
    ]  # fmt: skip
    states, multiplicity = encode_text(model.text_encoder, tokenizer, prompts)
    sigma = sample_times(noise_rng, BATCH)
    noise = torch.randn(clean.shape, generator=noise_rng)
    unknown = torch.ones(BATCH, clean.shape[2])
    if not still:
        unknown[torch.rand(BATCH, generator=noise_rng) < IMAGE_SHARE, 0] = 0.0
    level = rearrange(sigma[:, None] * unknown, "b t -> b 1 t 1 1")
    height, width = clean.shape[3] // 2, clean.shape[4] // 2
    time = repeat(sigma[:, None] * unknown * 1000, "b t -> b (t h w)", h=height, w=width)
    predicted = model.transformer((1 - level) * clean + level * noise, time, states, encoder_multiplicity=multiplicity)
    weight = rearrange(unknown, "b t -> b 1 t 1 1")
    return ((predicted - (noise - clean)).square() * weight).sum() / (weight.sum() * clean[0, :, 0].numel())


def main() -> None:
    """Command line; ends by writing `transformer/`, `text_encoder/` and `tokenizer/` in diffusers' layout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latents", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long; run again to go on")
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    model = TextAndTransformer(len(tokenizer))
    run = Run(given.out, model, steps=given.steps, peak=given.rate)
    clips = Latents(given.latents)
    if not clips.refresh():
        parser.error(f"no finished part-*.safetensors in {given.latents}; run model.training.latents first")

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        if step % 100 == 0:
            clips.refresh()
        return flow_loss(model, tokenizer, clips, (4, step)), {}

    for row, count in zip(run.train(loss_of, seconds=given.seconds), itertools.count(), strict=False):
        if count % 2 == 0:
            print(" ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
        if run.step % 500 == 0:
            release(run, model, tokenizer, given.out)
    release(run, model, tokenizer, given.out)


def release(run: Run, model: TextAndTransformer, tokenizer: Any, out: Path) -> None:
    """Writes the averaged weights, stored as bf16, in diffusers' layout."""
    twin = TextAndTransformer(len(tokenizer))
    twin.load_state_dict({**model.state_dict(), **run.averaged})
    twin.transformer.save_pretrained(out / "transformer", dtype=torch.bfloat16)
    twin.text_encoder.to(torch.bfloat16).save_pretrained(out / "text_encoder")
    tokenizer.save_pretrained(out / "tokenizer")


if __name__ == "__main__":
    main()

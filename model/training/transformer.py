"""Trains the default model's transformer and text encoder on latents of the world, by flow matching.

    python -m model.training.transformer --latents runs/latents --out runs/transformer --steps 8000

Per-token time steps as in Wan 2.2's TI2V form: in a part of the batches some tokens are given clean at t = 0, as
`model.training.given` draws them, which teaches every task with the same weights. What the blocks are made to know
besides is in `model.training.hints`.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from model.training.caption_reader import CaptionReader, Captions, learn_to_read, reading_loss
from model.training.checkpoint import load_checkpoint
from model.training.clips import Clips
from model.training.given import draw_masks, keys_given
from model.training.graphs import Graphed
from model.training.hints import Hints, Truth
from model.training.run import Run, ended
from model.training.sheet import SHEET, sampled, sheet
from model.training.text import TEXT_WIDTH, build_text_encoder, build_tokenizer
from model.transformer import Transformer, TransformerConfig

CONFIG = TransformerConfig(
    patch_size=(1, 2, 2),
    num_attention_heads=4,
    attention_head_dim=64,
    in_channels=16,
    out_channels=16,
    text_dim=TEXT_WIDTH,
    freq_dim=256,
    ffn_dim=1024,
    num_layers=6,
)
TEXT_LENGTH = 512  # Wan's: pads are zero states and take part in cross-attention
# Share of the batches that are stills, at a run's first step and its last: what a thing looks like is learnt from many
# stills sooner than from few clips, and what moves needs clips (images first, then both, as large models are trained).
STILL_SHARES = (0.9, 0.1)
# Of the batches of clips: slow ones, always with both ends given. Where nothing says how far things come, they move at
# the world's pace.
SLOW_SHARE = 0.2
HINT_WEIGHTS = {
    "place": 0.2, "motion": 0.4, "looks": 1.0, "centre": 0.2, "ground": 0.3, "outline": 2.0, "tone": 1.0,
}  # fmt: skip
FIGURES = ("flow", *HINT_WEIGHTS)
CAPTIONS = 64  # read in each step besides
READING_STEPS, READING_CAPTIONS = 1500, 128  # of captions alone, before the first step
TOKENS = 3200  # of a batch: many short clips or a few long ones
# How much more the tokens that a thing covers count where its place is settled. Above that noise the weight would tell
# where the thing is, and the model would learn to draw more of it than there is.
THING_WEIGHT, THING_BELOW = 4.0, 0.75


class TextAndTransformer(nn.Module):
    """The two parts that train together, and the read-outs that help them to."""

    def __init__(self, tokenizer: Any, device: str = "cpu") -> None:
        super().__init__()
        self.text_encoder = build_text_encoder(len(tokenizer))
        self.transformer = Transformer(CONFIG)
        self.hints = Hints(self.transformer)
        self.reader = CaptionReader(TEXT_WIDTH, tokenizer, device)
        self.to(device)


def hidden_matrices(model: nn.Module) -> set[str]:
    """Names of the weights inside blocks that are matrices: those that Muon is for."""
    return {name for name, value in model.named_parameters() if value.ndim == 2 and ".blocks." in f".{name}"}


def encode_text(encoder: Any, words: Tensor) -> tuple[Tensor, Tensor]:
    """States (batch, text, width) and multiplicity (batch, text) of prompts as Wan sees them.

    words: token ids (batch, length), 0 after a prompt's end. States past it are zero. The zeros up to `TEXT_LENGTH` are
    alike, so that one of them stands for all.
    """
    mask = (words != 0).long()
    states = encoder(words, mask).last_hidden_state * mask[..., None]
    states = torch.cat([states, torch.zeros_like(states[:, :1])], dim=1)
    rest = torch.full((len(words), 1), float(TEXT_LENGTH - words.shape[1]), device=words.device)
    return states, torch.cat([torch.ones_like(mask, dtype=torch.float32), rest], dim=1)


def sample_times(rng: torch.Generator, count: int, shift: float = 3.0) -> Tensor:
    """Noise levels sigma (count,) in 0..1: half uniform, half logit-normal, shifted towards noise.

    Where a thing is gets settled at high noise, which a uniform draw reaches; what outline it has, between 0.6 and 0.9,
    where the logit-normal draw dwells. Draw and shift are those of Stable Diffusion 3 (arXiv 2403.03206, sections 3.1
    and 5.3.2).
    """
    u = torch.rand(count, generator=rng, device=rng.device)
    middle = torch.sigmoid(torch.randn(count, generator=rng, device=rng.device))
    u = torch.where(torch.arange(count, device=rng.device) % 2 == 0, u, middle)
    return shift * u / (1 + (shift - 1) * u)


def mixes(device: torch.device) -> bool:
    """Whether products are taken in bf16: where the device has instructions for them."""
    return device.type != "cpu" or bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def shortened(words: Tensor) -> Tensor:
    """Token ids without the columns in which every caption has ended; a GPU is given one shape for all batches."""
    return words if words.is_cuda else words[:, : int((words != 0).sum(dim=1).max())]


class FlowObjective(nn.Module):
    """Mean squared error of the velocity `noise - clean` on the tokens that are not given, plus the hints' errors."""

    def __init__(self, model: TextAndTransformer) -> None:
        super().__init__()
        self.transformer, self.hints = model.transformer, model.hints

    def forward(
        self, clean: Tensor, noise: Tensor, sigma: Tensor, states: Tensor, multiplicity: Tensor, named: Tensor,
        told: Tensor, place: Tensor, motion: Tensor, looks: Tensor, centre: Tensor, ground: Tensor, outline: Tensor,
        tone: Tensor, known: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Returns the sum to go down on, and its parts in the order of `FIGURES`.

        Args:
            clean, noise: latents (batch, channels, frames, height, width).
            sigma: noise levels (batch,) of the tokens that are not given.
            states, multiplicity: of `encode_text`.
            named, told: of `Batch`. place to tone: of `Truth`.
            known: (batch, frames, height, width) in tokens, 1 where they are given; None: nothing is.
        """
        grid = (clean.shape[2], clean.shape[3] // 2, clean.shape[4] // 2)
        level, weight = rearrange(sigma, "b -> b 1 1 1 1"), torch.ones_like(clean[:, :1])
        if known is not None:
            weight = repeat(1 - known, "b t h w -> b 1 t (h p) (w q)", p=2, q=2)
            level = level * weight
            known = rearrange(known, "b t h w -> b (t h w)")
        noisy = (1 - level) * clean + level * noise
        with torch.autocast(clean.device.type, torch.bfloat16, enabled=mixes(clean.device), cache_enabled=False):
            predicted = self.transformer(noisy, sigma * 1000, states, encoder_multiplicity=multiplicity, known=known)
            shown = Truth(place, motion, looks, centre, ground, outline, tone)
            hints = self.hints.losses(named, told, shown)
        covered = (outline > 0).any(dim=-1) & (sigma < THING_BELOW)[:, None]
        more = rearrange(1 + THING_WEIGHT * covered.float(), "b (t h w) -> b t h w", t=grid[0], h=grid[1])
        weight = weight * repeat(more, "b t h w -> b 1 t (h p) (w q)", p=2, q=2)
        flow = ((predicted.float() - (noise - clean)).square() * weight).sum() / (weight.sum() * clean.shape[1])
        total = flow + sum(share * hints[name] for name, share in HINT_WEIGHTS.items())
        return total, torch.stack([flow, *(hints[name] for name in HINT_WEIGHTS)])


def flow_loss(
    model: TextAndTransformer,
    objective: Callable[..., tuple[Tensor, Tensor]],
    clips: Clips,
    seed: tuple[int, ...],
    *,
    tokens: int = TOKENS,
    shift: float = 3.0,
    still_share: float = STILL_SHARES[-1],
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of one batch, by a `FlowObjective`, and its parts by name. What is random follows from the seed."""
    rng = np.random.default_rng(seed)
    still = bool(rng.random() < still_share)
    slow = bool(clips.slow) and not still and bool(rng.random() < SLOW_SHARE)
    clean, words, named, told, shown = (
        clips.sample_slow(rng, tokens) if slow else clips.sample(rng, tokens, still=still)
    )
    device, batch = clean.device, len(clean)
    noise_rng = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
    sigma = sample_times(noise_rng, batch, shift)
    noise = torch.randn(clean.shape, generator=noise_rng, device=device)
    grid = (clean.shape[2], clean.shape[3] // 2, clean.shape[4] // 2)
    known = keys_given(rng, batch, grid).to(device) if slow else draw_masks(rng, grid, shown.outline)
    given = () if known is None else (known,)
    states, multiplicity = encode_text(model.text_encoder, shortened(words))
    total, figures = objective(clean, noise, sigma, states, multiplicity, named, told, *shown, *given)
    reading = reading_loss(model.text_encoder, model.reader, captions_of(clips, rng, CAPTIONS))
    return total + reading, {**dict(zip(FIGURES, figures.detach().clone(), strict=True)), "reading": reading.detach()}


def captions_of(clips: Clips, rng: np.random.Generator, count: int) -> Captions:
    """Captions without their clips."""
    captions = clips.captions(rng, count)
    return captions._replace(words=shortened(captions.words))


def main() -> None:
    """Command line; ends by writing `transformer/`, `text_encoder/` and `tokenizer/` in diffusers' layout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latents", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="a model folder whose transformer and text encoder to go on from")
    parser.add_argument(
        "--autoencoder", type=Path, help="of the latents: each piece of the run then leaves a sample sheet too"
    )
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long; run again to go on")
    parser.add_argument("--within", type=float, default=float("inf"), help="have the run done in so many seconds")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--shift", type=float, default=3.0, help="of the noise levels; lower ones dwell on detail")
    parser.add_argument(
        "--stills", type=float, nargs=2, default=STILL_SHARES, metavar=("FIRST", "LAST"),
        help="share of the batches that are stills, at the first step and the last",
    )  # fmt: skip
    parser.add_argument(
        "--reading", type=int, default=READING_STEPS, help="steps of captions alone, before the first; 0 for none"
    )
    parser.add_argument("--tokens", type=int, default=TOKENS, help="of a batch; 32768 and more on a GPU")
    parser.add_argument("--eager", action="store_true", help="without CUDA graphs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    ends = time.monotonic() + given.within
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    model = TextAndTransformer(tokenizer, given.device)
    if given.start:
        begin_from(model, given.start)
    clips = Clips(given.latents, build_tokenizer(), given.device)  # its own: padding is a setting that is saved
    if not clips.refresh():
        parser.error(f"no finished parts in {given.latents}; run model.training.latents first")
    if load_checkpoint(given.out) is None and given.reading:
        losses = learn_to_read(
            model.text_encoder, model.reader, steps=given.reading,
            captions_of=lambda step: captions_of(clips, np.random.default_rng((6, step)), READING_CAPTIONS),
        )  # fmt: skip
        print(f"reading: {np.mean(losses[:50]):.4g} at first, {np.mean(losses[-50:]):.4g} at last", flush=True)
    run = Run(given.out, model, steps=given.steps, peak=given.rate, matrices=hidden_matrices(model))
    if run.step == 0:
        run.save()  # what was read is not read again
    objective = Graphed(lambda: FlowObjective(model), given.device, record=not given.eager)

    def loss_of(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        if step % 100 == 0:
            clips.refresh()
        share = float(np.interp(run.done, (0, 1), given.stills))
        return flow_loss(model, objective, clips, (4, step), tokens=given.tokens, shift=given.shift, still_share=share)

    run.within = ends - time.monotonic()
    for row, count in zip(run.train(loss_of, seconds=given.seconds), itertools.count(), strict=False):
        if count % 2 == 0:
            print(" ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
        if run.step % 2000 == 0:
            release(run, model, tokenizer, given.out)
    release(run, model, tokenizer, given.out)
    if given.autoencoder:
        sheet(sampled(given.autoencoder, given.out, given.device)).save(given.out / SHEET)
    ended(run)


def begin_from(model: TextAndTransformer, folder: Path) -> None:
    """Puts the weights of a released model in; the averages begin from them too.

    Words that its tokenizer knew keep what they mean, whatever their ids are now.
    """
    from transformers import AutoTokenizer, UMT5EncoderModel

    begun = Transformer.from_pretrained(folder, dtype=torch.float32)
    if begun.config != CONFIG:
        raise SystemExit(f"{folder}: a transformer of another form, {begun.config}; this trainer makes {CONFIG}")
    model.transformer.load_state_dict(begun.state_dict())
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
    twin = TextAndTransformer(tokenizer)
    twin.load_state_dict({**model.state_dict(), **run.averaged})
    twin.transformer.save_pretrained(out / "transformer", dtype=torch.bfloat16)
    twin.text_encoder.to(torch.bfloat16).save_pretrained(out / "text_encoder")
    tokenizer.save_pretrained(out / "tokenizer")


if __name__ == "__main__":
    main()

"""The encoded clips that the transformer learns from, all of them on its device, and batches of them.

A step on a GPU takes a fiftieth of a second, in which nothing can be read, captioned or told apart: so latents, what is
known of them and tokenised captions lie on the device, and a batch is a few look-ups.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.training.caption_reader import MOMENTS, Captions
from model.training.hints import Truth, truth
from model.training.known import WINDOW, Known, cut_windows
from model.training.latents import CLIP, SLOW, STILL, finished, read_part

CUT_SHARE = 0.15  # of the batches: a clip that begins in the midst, as the later windows of a long one do
CUTS = {5: 3, 9: 5}  # latent frames of a clip -> of such a cut: few shapes, each of which a GPU has to be prepared for
SLOW_WINDOWS = (9, 9, 5, 3)  # latent frames of a slow clip's window, one of them at random
FILM_STARTS = 0.3  # of the batches of slow clips, of which any latent may be the first, that of one frame too
EMPTY_CAPTION_SHARE = 0.1
DENSE_SHARE = 0.6  # of the captions; the others leave out or reword a part
LENGTH = 40  # of a caption in tokens; the longest today has 30
# Of the stills of one thing, most are shown through a window around it: outlines are learnt from more pictures, and the
# empty rest of a frame teaches little.
WINDOW_SHARE = 0.7


class Shelf(NamedTuple):
    """Clips of one shape.

    Attributes:
        latents: (clips, channels, frames, height, width), bf16.
        known: what is known of each.
        words: token ids of each one's captions, (clips, 1 + REWORDINGS, LENGTH), int32, the dense one first; 0 after
            their ends.
        single: indices of those with one thing.
    """

    latents: Tensor
    known: Known
    words: Tensor
    single: Tensor


class Batch(NamedTuple):
    """Attributes:
    clean: latents (batch, channels, frames, height, width), fp32.
    words: token ids (batch, LENGTH), 0 after their ends.
    named: (batch,), 1 where the caption says anything. told: (batch,), 1 where it names the motion.
    truth: what its tokens have to know.
    """

    clean: Tensor
    words: Tensor
    named: Tensor
    told: Tensor
    truth: Truth


class Clips:
    """The finished parts of a folder; new ones are picked up as they appear."""

    def __init__(self, folder: Path, tokenizer: Any, device: str = "cpu") -> None:
        self.folder, self.tokenizer, self.device = folder, tokenizer, device
        self.nothing = tokenizer("", return_tensors="pt").input_ids[0].int().to(device)
        self._seen = set[Path]()
        self.stills: dict[tuple[int, ...], Shelf] = {}
        self.clips: dict[tuple[int, ...], Shelf] = {}
        self.slow: dict[tuple[int, ...], Shelf] = {}

    def refresh(self) -> int:
        """Reads new parts; returns how many clips and stills there are, slow ones among them."""
        for kind, shelves in ((STILL, self.stills), (CLIP, self.clips), (SLOW, self.slow)):
            found: dict[tuple[int, ...], list[Shelf]] = {}
            for path in finished(self.folder, kind):
                if path not in self._seen:
                    part = read_part(path)
                    single = (part.known.things == 1).nonzero()[:, 0]
                    shelf = Shelf(part.latents, part.known, self._words(part.captions, len(part.latents)), single)
                    found.setdefault(tuple(part.latents.shape[1:]), []).append(shelf)
                    self._seen.add(path)
            for shape, new in found.items():
                shelves[shape] = _joined([*([shelves[shape]] if shape in shelves else []), *new], self.device)
        every = (*self.stills.values(), *self.clips.values(), *self.slow.values())
        return sum(len(shelf.latents) for shelf in every)

    def _words(self, texts: list[str], clips: int) -> Tensor:
        ids = self.tokenizer(texts, padding="max_length", max_length=LENGTH, return_tensors="pt").input_ids
        if ids.shape[1] > LENGTH:
            raise ValueError(f"a caption of {ids.shape[1]} tokens in {self.folder}: raise LENGTH, {LENGTH}")
        return ids.int().unflatten(0, (clips, -1))

    def sample(self, rng: np.random.Generator, tokens: int, still: bool = False) -> Batch:
        """Clips of one shape at random, shapes in proportion to their clips.

        Args:
            tokens: how many the batch has, about; of short clips it holds many, of long ones few.
            still: stills, where any were encoded; some batches show windows.
        """
        shelves = (self.stills if still else self.clips) or self.clips or self.stills
        still = shelves is self.stills
        sizes = np.array([len(shelf.latents) for shelf in shelves.values()], float)
        shelf = list(shelves.values())[int(rng.choice(len(sizes), p=sizes / sizes.sum()))]
        _, _, frames, height, width = shelf.latents.shape
        windows = WINDOW_SHARE * len(shelf.single) / len(shelf.latents)
        if still and min(height, width) >= 2 * WINDOW and rng.random() < windows:
            return self._windows_of(rng, shelf, max(2, tokens // WINDOW**2))
        first = 0
        if rng.random() < CUT_SHARE and frames in CUTS:
            left = CUTS[frames]
            first, frames = int(rng.integers(1, frames - left + 1)), left
        count = max(2, tokens // (frames * height * width // 4))
        return self._part_of(rng, shelf, first, frames, count)

    def sample_slow(self, rng: np.random.Generator, tokens: int) -> Batch:
        """Windows of slow clips, few of which begin with a clip's first latent: so are those of a long film."""
        shelf = list(self.slow.values())[int(rng.integers(len(self.slow)))]
        _, _, frames, height, width = shelf.latents.shape
        window = min(int(rng.choice(SLOW_WINDOWS)), frames - 1)
        first = int(rng.integers(0 if rng.random() < FILM_STARTS else 1, frames - window + 1))
        return self._part_of(rng, shelf, first, window, max(2, tokens // (window * height * width // 4)))

    def _part_of(self, rng: np.random.Generator, shelf: Shelf, first: int, frames: int, count: int) -> Batch:
        """Of clips at random, the latent frames from `first` on."""
        _, _, every, height, width = shelf.latents.shape
        index = torch.from_numpy(rng.integers(len(shelf.latents), size=count)).to(self.device)
        clean = shelf.latents[index, :, first : first + frames].float()
        words, named = self._captions(rng, shelf, index)
        shown = truth(_of(shelf.known, index), (frames, height // 2, width // 2), first)
        return Batch(clean, words, named, named * (every > 1), shown)

    def captions(self, rng: np.random.Generator, count: int) -> Captions:
        """Captions at random, half of them of clips and half of stills where there are both."""
        groups = [shelves for shelves in (self.clips, self.stills) if shelves]
        found = []
        for shelves, still in ((group, group is self.stills) for group in groups):
            shelf = list(shelves.values())[int(rng.integers(len(shelves)))]
            index = torch.from_numpy(rng.integers(len(shelf.latents), size=count // len(groups))).to(self.device)
            which = torch.from_numpy(rng.integers(shelf.words.shape[1], size=len(index))).to(self.device)
            moments = torch.linspace(0, shelf.known.looks.shape[1] - 1, MOMENTS).round().long().to(self.device)
            looks, motion = (values[index][:, moments] for values in (shelf.known.looks, shelf.known.motion))
            told = torch.full((len(index),), float(not still), device=self.device)
            found.append(Captions(shelf.words[index, which], told, looks.float() / 255, motion))
        return Captions(*(torch.cat(values) for values in zip(*found, strict=True)))

    def _windows_of(self, rng: np.random.Generator, shelf: Shelf, count: int) -> Batch:
        index = shelf.single[torch.from_numpy(rng.integers(len(shelf.single), size=count)).to(self.device)]
        low, high = shelf.known.window[index].unbind(1)
        corners = low + (torch.from_numpy(rng.random((count, 2))).to(self.device) * (high - low + 1)).long()
        clean = cut_windows(shelf.latents[index].permute(0, 2, 3, 4, 1), 2 * corners, (2 * WINDOW, 2 * WINDOW))
        words, named = self._captions(rng, shelf, index)
        shown = truth(_of(shelf.known, index), (1, WINDOW, WINDOW), windows=corners)
        return Batch(clean.permute(0, 4, 1, 2, 3).float(), words, named, 0 * named, shown)

    def _captions(self, rng: np.random.Generator, shelf: Shelf, index: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids (batch, length), and 1 where they say anything."""
        draw = rng.random((2, len(index)))
        which = np.where(draw[0] < DENSE_SHARE, 0, rng.integers(1, shelf.words.shape[1], size=len(index)))
        words = shelf.words[index, torch.from_numpy(which).to(self.device)].clone()
        named = torch.from_numpy((draw[1] >= EMPTY_CAPTION_SHARE).astype(np.float32)).to(self.device)
        empty = torch.zeros_like(words[0])
        empty[: len(self.nothing)] = self.nothing
        return torch.where(named[:, None] > 0, words, empty), named


def _of(about: Known, index: Tensor) -> Known:
    return Known(*(value[index] for value in about))


def _joined(shelves: list[Shelf], device: str) -> Shelf:
    counts = np.cumsum([0, *(len(shelf.latents) for shelf in shelves)])

    def join(values: Iterable[Tensor]) -> Tensor:
        return torch.cat([value.to(device) for value in values])

    return Shelf(
        join(shelf.latents for shelf in shelves),
        Known(*map(join, zip(*(shelf.known for shelf in shelves), strict=True))),
        join(shelf.words for shelf in shelves),
        join(shelf.single + int(before) for shelf, before in zip(shelves, counts, strict=False)),
    )

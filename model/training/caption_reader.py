"""What a caption says, read off the text encoder's states alone: which attribute is whose, on which side, and when.

A transformer that draws hears of "a red circle on the left and a blue square on the right" only through the states of
the words; whether "red" is the left thing's has to be in the state of "red". From the picture's errors alone a text
encoder does not learn that in the time of a small model's training. A caption costs a thousandth of its clip, so that
many can be read in every step. The reader is thrown away after training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from typing import Any, NamedTuple

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from model.training.known import LOOKS, MOTION
from model.training.world import COLORS, KINDS
from model.training.world.vocabulary import OCCLUDER, SIZE_WORDS

MOMENTS = 3  # at which is asked: at a clip's beginning, in its middle, and at its end


class Captions(NamedTuple):
    """Captions without their clips, and what they say.

    Attributes:
        words: token ids (batch, length), 0 after their ends.
        told: (batch,), 1 where they are of clips, and name the motion.
        looks, motion: (batch, MOMENTS, 2, ...), as in `Known`, looks in 0..1.
    """

    words: Tensor
    told: Tensor
    looks: Tensor
    motion: Tensor


class Role(IntEnum):
    """Of what a word tells. The second thing also stands for those after it, the second change likewise."""

    NEITHER = 0
    FIRST_THING = 1
    SECOND_THING = 2
    FIRST_CHANGE = 3
    SECOND_CHANGE = 4


class Roles:
    """Which role every word of a caption has: attributes stand before their thing's kind, and changes after "turns"."""

    def __init__(self, tokenizer: Any, device: str = "cpu") -> None:
        ids: Mapping[str, int] = tokenizer.get_vocab()

        def flags(words: Iterable[str]) -> Tensor:
            found = torch.zeros(len(tokenizer), dtype=torch.bool)
            found[[ids[word] for word in words]] = True
            return found.to(device)

        kinds = [*KINDS, *(f"{kind}s" for kind in KINDS), OCCLUDER]
        self._kind, self._color, self._change = flags(kinds), flags(COLORS), flags(("turns", "breaks", "stops"))
        self._attribute = self._kind | self._color | flags(word for words in SIZE_WORDS.values() for word in words)
        self._way = flags(("up", "down", "upwards", "downwards"))

    def of(self, words: Tensor) -> Tensor:
        """Role of each of the token ids, (batch, length) as they are."""
        kind = self._kind[words].long()
        things = kind.cumsum(dim=1) - kind  # before this word
        changes = self._change[words].long().cumsum(dim=1)
        role = torch.where(self._attribute[words], Role.FIRST_THING + things.clamp(max=1), Role.NEITHER)
        role = torch.where(self._way[words], Role.FIRST_THING + (things - 1).clamp(0, 1), role)
        told = (changes > 0) & (self._color | self._change)[words]
        return torch.where(told, Role.FIRST_CHANGE - 1 + changes.clamp(max=2), role)


class CaptionReader(nn.Module):
    """Asks the words of a caption, once for each moment and side, what the thing there looks like and how it moves.

    Asks each word for its role besides. That is one step of attention away, the other two: a text encoder finds the
    second within hundreds of steps once it has the first, and not at all without.
    """

    def __init__(self, width: int, tokenizer: Any, device: str = "cpu") -> None:
        super().__init__()
        self.roles = Roles(tokenizer, device)
        self.role = nn.Linear(width, len(Role))
        self.questions = nn.Parameter(torch.randn(MOMENTS * 2, width))
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.answer = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(LOOKS) + MOTION))

    def answers(self, states: Tensor, words: Tensor) -> Tensor:
        """(batch, moments, 2, words of `LOOKS` and `MOTION`), of states and token ids as in `loss`."""
        questions = repeat(self.questions, "q c -> b q c", b=len(states))
        heard, _ = self.attention(questions, states, states, key_padding_mask=words == 0, need_weights=False)
        return rearrange(self.answer(heard), "b (m s) c -> b m s c", m=MOMENTS, s=2)

    def loss(self, states: Tensor, captions: Captions) -> Tensor:
        """Mean squared error of the answers, and half the cross-entropy of the roles.

        states: of the text encoder, (batch, length, width), of the captions' words.
        """
        words, told, looks, motion = captions
        said, moved = self.answers(states, words).split((len(LOOKS), MOTION), dim=-1)
        wrong = (moved - motion).square() * told[:, None, None, None]
        role = cross_entropy(
            rearrange(self.role(states), "b w c -> (b w) c"), self.roles.of(words).flatten(), ignore_index=Role.NEITHER
        )
        return (said - looks).square().mean() + wrong.mean() + 0.5 * role


def reading_loss(encoder: Any, reader: CaptionReader, captions: Captions) -> Tensor:
    """The loss of a text encoder and its reader on captions."""
    states = encoder(captions.words, (captions.words != 0).long()).last_hidden_state
    return reader.loss(states, captions)


def learn_to_read(
    encoder: Any,
    reader: CaptionReader,
    captions_of: Callable[[int], Captions],
    *,
    steps: int,
    rate: float = 1e-3,
) -> list[float]:
    """Trains a text encoder and its reader by themselves, before anything is drawn; the losses of all steps.

    captions_of: the captions of a step.
    """
    parameters = [*encoder.parameters(), *reader.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 50))
    losses = []
    for step in range(steps):
        loss = reading_loss(encoder, reader, captions_of(step))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return losses

"""What a caption says, read off the text encoder's states alone: which attribute is whose, on which side, and when.

A transformer that draws hears of "a red circle on the left and a blue square on the right" only through the states of
the words; whether "red" is the left thing's has to be in the state of "red". From the picture's errors alone a text
encoder learns that late. A caption costs a thousandth of its clip, so that many can be read in every step. The reader
is thrown away after training.
"""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from model.training.known import LOOKS, MOTION

MOMENTS = 3  # at which is asked: at a clip's beginning, in its middle, and at its end


class CaptionReader(nn.Module):
    """Asks the words of a caption, once for each moment and side, what the thing there looks like and how it moves."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.questions = nn.Parameter(torch.randn(MOMENTS * 2, width))
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.answer = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(LOOKS) + MOTION))

    def loss(self, states: Tensor, words: Tensor, told: Tensor, looks: Tensor, motion: Tensor) -> Tensor:
        """Mean squared error of the answers.

        Args:
            states: of the text encoder, (batch, length, width).
            words: token ids (batch, length), 0 after a caption's end.
            told: (batch,), 1 where the caption names the motion.
            looks, motion: (batch, moments, 2, ...), as in `Known`, looks in 0..1.
        """
        questions = repeat(self.questions, "q c -> b q c", b=len(states))
        heard, _ = self.attention(questions, states, states, key_padding_mask=words == 0, need_weights=False)
        answers = rearrange(self.answer(heard), "b (m s) c -> b m s c", m=MOMENTS, s=2)
        said, moved = answers.split((len(LOOKS), MOTION), dim=-1)
        wrong = (moved - motion).square() * told[:, None, None, None]
        return (said - looks).square().mean() + wrong.mean()

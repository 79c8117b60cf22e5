"""From a prompt to the states that the transformer attends to, as diffusers' Wan pipelines make them."""

from __future__ import annotations

import contextlib
import html
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.errors import ModelError

MAX_TOKENS = 512
"""Text tokens that Wan attends to; those beyond a prompt's own are zeros, and take part."""

_KEPT = 64


def clean(text: str) -> str:
    """`text` with mended characters (where ftfy is installed), HTML entities resolved and white space collapsed."""
    try:
        import ftfy
    except ImportError:
        mended = text
    else:
        mended = ftfy.fix_text(text)
    return re.sub(r"\s+", " ", html.unescape(html.unescape(mended))).strip()


def cleaner() -> str:
    """Which cleaning this installation does, for the record of a take: ftfy may change what a prompt says."""
    try:
        return f"ftfy {version('ftfy')}"
    except PackageNotFoundError:
        return "no ftfy"


def pad(states: Sequence[Tensor], length: int = MAX_TOKENS) -> Tensor:
    """Prompts' states (tokens, width) as one batch (batch, length, width), zeros beyond each prompt's own."""
    batch = states[0].new_zeros(len(states), length, states[0].shape[-1])
    for row, own in zip(batch, states, strict=True):
        row[: own.shape[0]] = own
    return batch


def compact(states: Sequence[Tensor], length: int = MAX_TOKENS) -> tuple[Tensor, Tensor]:
    """The same batch as `pad`, but with one zero in place of all the equal ones, and how often each token counts.

    Wan attends to `length` tokens, most of them the same zero. A softmax over n equal keys is the softmax over one of
    them whose weight is n-fold, so cross-attention over (own tokens + 1) keys gives the same numbers for far less work.

    Args:
        states: prompts' states, each (tokens, width).
        length: tokens that the full batch would have.

    Returns:
        states (batch, longest + 1, width) and multiplicity (batch, longest + 1), fp32: 1 for a prompt's own tokens,
        the number of zeros for the one after them, 0 for what only fills the batch.
    """
    longest = max(own.shape[0] for own in states)
    batch = pad(states, longest + 1)
    multiplicity = torch.zeros(len(states), longest + 1, dtype=torch.float32, device=batch.device)
    for row, own in zip(multiplicity, states, strict=True):
        row[: own.shape[0]] = 1.0
        row[own.shape[0]] = length - own.shape[0]
    return batch, multiplicity


@contextlib.contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keeps transformers' bars out of a rank's log while it loads a small model; as it was afterwards."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


class TextEncoder:
    """Tokenizer and UMT5 encoder of a pipeline folder; the last prompts are remembered."""

    def __init__(self, tokenizer: Any, model: Any, *, length: int = MAX_TOKENS) -> None:
        self.tokenizer, self.model, self.length = tokenizer, model, length
        self._remembered: OrderedDict[str, Tensor] = OrderedDict()

    @classmethod
    def from_pretrained(
        cls,
        folder: Path,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        tokenizer_class: str | None = None,
    ) -> TextEncoder:
        """Loads `folder/tokenizer` and `folder/text_encoder` (safetensors only).

        Args:
            folder: a local pipeline folder.
            dtype: of the encoder's weights and states.
            device: where it runs.
            tokenizer_class: class of transformers that the pipeline's index names; found by its own files otherwise.

        Raises:
            ModelError: files are missing or do not fit.
        """
        import transformers

        named = getattr(transformers, tokenizer_class, None) if tokenizer_class else None
        is_tokenizer = isinstance(named, type) and issubclass(named, transformers.PreTrainedTokenizerBase)
        try:
            maker = named if is_tokenizer and named is not None else transformers.AutoTokenizer
            tokenizer = maker.from_pretrained(folder / "tokenizer", local_files_only=True)
            with no_progress_bars():
                model: Any = transformers.UMT5EncoderModel.from_pretrained(
                    folder / "text_encoder", dtype=dtype, use_safetensors=True, local_files_only=True
                )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelError(f"the text encoder of {folder} cannot be loaded: {error}") from error
        return cls(tokenizer, model.to(device).eval().requires_grad_(False))

    @torch.no_grad()
    def encode(self, text: str) -> Tensor:
        """States of the own tokens of `text`: (tokens, width), at most `length`, none for an empty text."""
        cleaned = clean(text)
        if cleaned in self._remembered:
            self._remembered.move_to_end(cleaned)
            return self._remembered[cleaned]
        found = self.tokenizer(
            cleaned, max_length=self.length, truncation=True, add_special_tokens=True, return_tensors="pt"
        )
        # Without padding: an encoder that masks its pads gives the own tokens the same states, many times faster.
        ids = found.input_ids.to(self.model.device).long()
        if ids.shape[1] == 0:
            states = torch.zeros(0, self.model.config.d_model, dtype=self.model.dtype, device=self.model.device)
        else:
            states = self.model(ids, torch.ones_like(ids)).last_hidden_state[0]
        self._remembered[cleaned] = states
        if len(self._remembered) > _KEPT:
            self._remembered.popitem(last=False)
        return states

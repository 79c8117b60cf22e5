"""The default model's tokenizer and text encoder: whole words, and a UMT5 encoder that trains with the transformer."""

from __future__ import annotations

from typing import Any

import torch

from model.training import captions, world

TEXT_WIDTH = 128
# Words beyond today's captions, so that a later model of this family can keep the tokenizer.
_MORE_WORDS = """
    and or the a an one two three four then while with without of in at by from into over under behind before after
    beside above below between near far inside outside across along around it its they them this that these those there
    here is are was be not no first second third last next same other another both each every all
    clip video picture image still frame scene shot plain simple flat clay sketch style textured checkered striped
    dotted
    shape shapes object objects star hexagon ring bar ball box big tiny medium dark light bright pale
    moves moving move goes going travels slides slowly quickly fast slow accelerates bounces falls falling rises orbits
    orbiting
    collides hits touches breaks changes turns becomes color colour stays standing stops starts appears disappears
    returns
    left right up down upwards downwards upward downward top bottom middle centre center side edge corner
    camera pans pan zooms zoom tilts tilt brown teal magenta lime silver gold
    to an little which near on hits circles squares triangles bars accelerating falling bouncing
"""


def vocabulary() -> list[str]:
    """Every word that the tokenizer knows, in the order of its ids after the three special ones."""
    sources = [
        *world.COLORS, *world.BACKGROUNDS, *world.KINDS, *world.SIZES, *world.DIRECTIONS, *world.CAMERAS, _MORE_WORDS,
        *captions.MOVES, *captions.STAYS, *captions.PAPER,
    ]  # fmt: skip
    words = " ".join(sources).replace("{}", " ").lower().split()
    return [*sorted(set(words)), ".", ",", "-", "'"]


def build_tokenizer() -> Any:
    """A `transformers` tokenizer of whole words: lower case, punctuation apart, `</s>` at the end as UMT5 has it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "</s>", "<unk>"]
    ids = {word: index for index, word in enumerate([*special, *vocabulary()])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", ids["</s>"])])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )


# Where each head of the text encoder looks before it is trained: so many words on from a word (below 0: back from it).
VIEWS = ((1, 7), (-7, -1), (1, 3), (-3, -1))
_FAVOUR = 3.0


def build_text_encoder(words: int) -> Any:
    """A UMT5 encoder of two layers, for a vocabulary of `words` ids: random weights, but heads that look at neighbours.

    UMT5's own first weights make it a bag of words: biases of distance so small that every word hears all words alike.
    Large models find out of it; from a few thousand captions this one never did, and "a red circle on the left and a
    blue square on the right" was to it what "a blue circle on the left and a red square on the right" is.
    """
    from transformers import UMT5Config, UMT5EncoderModel

    encoder = UMT5EncoderModel(
        UMT5Config(
            vocab_size=words,
            d_model=TEXT_WIDTH,
            d_kv=32,
            d_ff=256,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            pad_token_id=0,
            eos_token_id=1,
        )
    )
    look_at_neighbours(encoder)
    return encoder


def look_at_neighbours(encoder: Any) -> None:
    """Sets the biases of distance of every layer as `VIEWS` tells, one entry a head."""
    for block in encoder.encoder.block:
        attention = block.layer[0].SelfAttention
        distances = torch.arange(-max(map(max, VIEWS)), max(map(max, VIEWS)) + 1)
        buckets = attention._relative_position_bucket(distances)
        bias = attention.relative_attention_bias.weight.data.zero_()
        for head, (first, last) in enumerate(VIEWS):
            bias[buckets[(distances >= first) & (distances <= last)], head] = _FAVOUR

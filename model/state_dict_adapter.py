"""Foreign key names of the Wan transformer: diffusers' (in both directions), and those of Wan's own release.

Tensors are never reshaped: the three namings differ in names alone. Ours is the naming of `model.transformer`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

Value = TypeVar("Value")

# ours -> diffusers, by the longest dotted prefix; {} is a block's number. A module's .weight and .bias follow it.
_DIFFUSERS = {
    "patch_embedding": "patch_embedding",
    "time_embedding.hidden": "condition_embedder.time_embedder.linear_1",
    "time_embedding.out": "condition_embedder.time_embedder.linear_2",
    "time_embedding.modulations": "condition_embedder.time_proj",
    "text_embedding.hidden": "condition_embedder.text_embedder.linear_1",
    "text_embedding.out": "condition_embedder.text_embedder.linear_2",
    "image_embedding.norm_in": "condition_embedder.image_embedder.norm1",
    "image_embedding.hidden": "condition_embedder.image_embedder.ff.net.0.proj",
    "image_embedding.out": "condition_embedder.image_embedder.ff.net.2",
    "image_embedding.norm_out": "condition_embedder.image_embedder.norm2",
    "image_embedding.positions": "condition_embedder.image_embedder.pos_embed",
    "output_modulation": "scale_shift_table",
    "output": "proj_out",
    "blocks.{}.modulation": "blocks.{}.scale_shift_table",
    "blocks.{}.cross_attention_norm": "blocks.{}.norm2",
    "blocks.{}.feed_forward.hidden": "blocks.{}.ffn.net.0.proj",
    "blocks.{}.feed_forward.out": "blocks.{}.ffn.net.2",
    **{
        f"blocks.{{}}.{ours}.{leaf}": f"blocks.{{}}.{theirs}.{their_leaf}"
        for ours, theirs in (("self_attention", "attn1"), ("cross_attention", "attn2"))
        for leaf, their_leaf in (
            ("to_q", "to_q"),
            ("to_k", "to_k"),
            ("to_v", "to_v"),
            ("to_out", "to_out.0"),
            ("norm_q", "norm_q"),
            ("norm_k", "norm_k"),
        )
    },
    "blocks.{}.cross_attention.image_k": "blocks.{}.attn2.add_k_proj",
    "blocks.{}.cross_attention.image_v": "blocks.{}.attn2.add_v_proj",
    "blocks.{}.cross_attention.image_norm_k": "blocks.{}.attn2.norm_added_k",
}

# ours -> Wan's own release. Its norm3 is the affine norm before cross-attention, which diffusers calls norm2.
_ORIGINAL = {
    "patch_embedding": "patch_embedding",
    "time_embedding.hidden": "time_embedding.0",
    "time_embedding.out": "time_embedding.2",
    "time_embedding.modulations": "time_projection.1",
    "text_embedding.hidden": "text_embedding.0",
    "text_embedding.out": "text_embedding.2",
    "image_embedding.norm_in": "img_emb.proj.0",
    "image_embedding.hidden": "img_emb.proj.1",
    "image_embedding.out": "img_emb.proj.3",
    "image_embedding.norm_out": "img_emb.proj.4",
    "image_embedding.positions": "img_emb.emb_pos",
    "output_modulation": "head.modulation",
    "output": "head.head",
    "blocks.{}.modulation": "blocks.{}.modulation",
    "blocks.{}.cross_attention_norm": "blocks.{}.norm3",
    "blocks.{}.feed_forward.hidden": "blocks.{}.ffn.0",
    "blocks.{}.feed_forward.out": "blocks.{}.ffn.2",
    **{
        f"blocks.{{}}.{ours}.{leaf}": f"blocks.{{}}.{theirs}.{their_leaf}"
        for ours, theirs in (("self_attention", "self_attn"), ("cross_attention", "cross_attn"))
        for leaf, their_leaf in (
            ("to_q", "q"),
            ("to_k", "k"),
            ("to_v", "v"),
            ("to_out", "o"),
            ("norm_q", "norm_q"),
            ("norm_k", "norm_k"),
        )
    },
    "blocks.{}.cross_attention.image_k": "blocks.{}.cross_attn.k_img",
    "blocks.{}.cross_attention.image_v": "blocks.{}.cross_attn.v_img",
    "blocks.{}.cross_attention.image_norm_k": "blocks.{}.cross_attn.norm_k_img",
}

# Wrappers that other tools put before Wan's own names.
_WRAPPERS = ("model.diffusion_model.", "diffusion_model.", "model.")
# Stray keys that the model never had a use for (diffusers ignores them too).
_IGNORED = re.compile(r"(^|\.)norm_added_q\.weight$")
# Parts that diffusers holds in fp32 whatever dtype is asked for, by a whole segment of its key names.
_FP32 = frozenset({"time_embedder", "scale_shift_table", "norm1", "norm2", "norm3"})


def _rename(key: str, names: Mapping[str, str]) -> str | None:
    """`key` under another naming, or None when the naming does not know it."""
    number = ""
    found = re.match(r"blocks\.(\d+)\.", key)
    if found:
        number = found[1]
        key = f"blocks.{{}}.{key[found.end() :]}"
    module, dot, leaf = key.rpartition(".")
    if leaf in ("weight", "bias"):
        new = names.get(module)
        suffix = dot + leaf
    else:
        new, suffix = names.get(key), ""
    return None if new is None else new.replace("{}", number) + suffix


_TO_OURS = {
    "diffusers": {theirs: ours for ours, theirs in _DIFFUSERS.items()},
    "original": {theirs: ours for ours, theirs in _ORIGINAL.items()},
}


def naming_of(keys: Iterable[str]) -> str:
    """ "diffusers" or "original", by which of the two knows more of the keys."""
    bare = [_unwrap(key) for key in keys]
    counts = {name: sum(_rename(key, table) is not None for key in bare) for name, table in _TO_OURS.items()}
    return "original" if counts["original"] > counts["diffusers"] else "diffusers"


def _unwrap(key: str) -> str:
    for wrapper in _WRAPPERS:
        if key.startswith(wrapper):
            return key[len(wrapper) :]
    return key


def to_ours(state: Mapping[str, Value]) -> tuple[dict[str, Value], list[str]]:
    """Renames a foreign state dict.

    Returns:
        the renamed entries, and the foreign keys that no rule knows, for the caller to refuse.
    """
    table = _TO_OURS[naming_of(state)]
    renamed: dict[str, Value] = {}
    unknown = []
    for key, value in state.items():
        bare = _unwrap(key)
        if _IGNORED.search(bare):
            continue
        name = _rename(bare, table)
        if name is None:
            unknown.append(key)
        else:
            renamed[name] = value
    return renamed, unknown


def to_diffusers(state: Mapping[str, Value]) -> dict[str, Value]:
    """Renames our state dict to diffusers' names. Raises KeyError for a key that is not the model's."""
    return _all_renamed(state, _DIFFUSERS)


def to_original(state: Mapping[str, Value]) -> dict[str, Value]:
    """Renames our state dict to the names of Wan's own release. Raises KeyError for a key that is not the model's."""
    return _all_renamed(state, _ORIGINAL)


def _all_renamed(state: Mapping[str, Value], names: Mapping[str, str]) -> dict[str, Value]:
    renamed = {}
    for key, value in state.items():
        name = _rename(key, names)
        if name is None:
            raise KeyError(f"{key} is not a key of model.transformer.Transformer")
        renamed[name] = value
    return renamed


def is_kept_fp32(key: str) -> bool:
    """Whether diffusers holds our `key` in fp32 when a lower dtype is asked for."""
    theirs = _rename(key, _DIFFUSERS)
    return theirs is not None and not _FP32.isdisjoint(theirs.split("."))

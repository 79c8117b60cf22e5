"""Clips longer than a model's own: which rows are, how they are made, and what of them a model sees at once.

A long clip is rendered in windows, so a model's limits hold for a window, and the work grows with the clip's length and
not with its square. What there is to know of a model stands in its facts under `long`; without it no clip is long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalogs import grid
from catalogs.cost import take_gpu_s

METHODS = ("hierarchical", "overlap", "co_denoise")
KEYS_APART, STEADY = 3, 0.5  # as in `model.long.planning`, which needs torch's package; a test holds them together


@dataclass(frozen=True)
class LongShots:
    """How the shots of a batch are cut into windows; arrays are (n,).

    Attributes:
        long: whether the clip is a long one.
        method: text, null where it is not.
        window_frames: frames of one window, int32, null where it is not.
        render_frames: of the whole clip.
        window: frames that the model sees at once: of a window, else of the clip.
    """

    long: np.ndarray
    method: pa.Array
    window_frames: pa.Array
    render_frames: np.ndarray
    window: np.ndarray


def cut_long(
    columns: Mapping[str, pa.Array],
    frames: np.ndarray,
    render_frames: np.ndarray,
    tokens: np.ndarray,
    facts: Mapping[str, Any],
) -> LongShots:
    """Says which shots are long, and how they are made.

    Args:
        columns: task, long_method and deadline of the shots, each (n,).
        frames, render_frames: of the films, and of the clips on the model's grid.
        tokens: of the whole clips.
        facts: of the model.
    """
    rules = facts.get("long") or {}
    count = len(frames)
    if not rules:
        nulls = pa.nulls(count, pa.string()), pa.nulls(count, pa.int32())
        return LongShots(np.zeros(count, bool), *nulls, render_frames, render_frames)
    own = int(rules["window_frames"])
    beyond = (render_frames > facts["max_frames"]) | (tokens > facts["max_tokens"])
    long = (render_frames > rules["above"]) | ((render_frames > own) & beyond)
    chosen = _chosen(columns["task"], np.asarray(columns["deadline"].is_valid()), rules)
    method = pc.if_else(pa.array(long), pc.coalesce(columns["long_method"], chosen), None)
    # A loop that is co-denoised is a ring of whole groups: it needs none that shows its beginning again.
    ring = np.asarray(pc.equal(method, "co_denoise").fill_null(False)) & np.asarray(pc.equal(columns["task"], "loop"))
    stride = facts["frame_stride"]
    return LongShots(
        long,
        method,
        pc.if_else(pa.array(long), pa.scalar(own, pa.int32()), None),
        np.where(ring, -(-frames // stride) * stride + 1, render_frames),
        np.where(long, own, render_frames),
    )


def _chosen(task: pa.Array, hurry: np.ndarray, rules: Mapping[str, Any]) -> pa.Array:
    kinds = task.dictionary_encode()
    names = kinds.dictionary.to_pylist()
    calm = [rules["by_task"].get(name, rules["otherwise"]) for name in names]
    hurried = [
        method if name in rules["unhurried"] else rules["in_a_hurry"] for name, method in zip(names, calm, strict=True)
    ]
    slow, fast = (pa.array(methods, pa.string()).take(kinds.indices) for methods in (calm, hurried))
    return pc.if_else(pa.array(hurry), fast, slow)


def long_gpu_s(
    cut: LongShots,
    width: np.ndarray,
    height: np.ndarray,
    steps: np.ndarray,
    guidance_scale: np.ndarray,
    facts: Mapping[str, Any],
) -> np.ndarray:
    """GPU seconds of the long shots, estimated from their windows; what it says of the others means nothing.

    The windows are counted without planning the pieces: within a few percent of what `model.long` plans.
    """
    stride = facts["frame_stride"]
    latents = (cut.render_frames - 1) // stride + 1
    window = np.maximum((cut.window - 1) // stride + 1, 2)
    full = {
        "overlap": 1 + -(-(latents - window) // (window - np.maximum(window // 3, 1))),
        "co_denoise": 1 + -(-(latents - window) // (window - window // 2)),
    }

    def cost(frames: np.ndarray) -> np.ndarray:
        return take_gpu_s(grid.tokens(width, height, frames, facts), steps, guidance_scale, facts)

    windows = np.zeros(len(latents))
    for method, many in full.items():
        windows = np.where(np.asarray(pc.equal(cut.method, method).fill_null(False)), many, windows)
    keyed = np.asarray(pc.equal(cut.method, "hierarchical").fill_null(False))
    keys = _keys(latents, window, stride)
    between = keys.whole * cost(cut.window) + keys.parts * cost(np.rint(keys.part).astype(int) * stride + 1)
    return np.where(keyed, cost(cut.window) + keys.strength * between, windows * cost(cut.window))


class _Keys(NamedTuple):
    """What a hierarchical clip takes besides its first window; arrays are (n,).

    Attributes:
        whole: windows of keys between keys.
        parts, part: windows of gaps and joints, and the latents of one less its first.
        strength: share of the steps that all of them do.
    """

    whole: np.ndarray
    parts: np.ndarray
    part: np.ndarray
    strength: np.ndarray


def _keys(latents: np.ndarray, window: np.ndarray, stride: int) -> _Keys:
    """As `model.long.planning` cuts a clip, in means: without each one's rounding."""
    way, span = np.maximum(latents - 1, 1), window - 1

    def gaps(way: np.ndarray) -> np.ndarray:
        """From key to key on a way."""
        frames, fit = stride * span, -(-way // span)
        roomy, close = np.ones(len(way)), frames
        for parts in range(int(frames.max()), 0, -1):
            even = frames % parts == 0
            close = np.where(even & (parts >= fit), parts, close)
            roomy = np.where(even & (parts * KEYS_APART <= way), np.maximum(roomy, parts), roomy)
        return np.minimum(np.where(roomy >= fit, roomy, close), way)

    many, whole = gaps(way), np.zeros(len(way))
    while (far := way / many > span).any():
        whole = np.where(far, whole + many, whole)
        many = np.where(far, many * gaps(np.rint(way / many)), many)
    apart = way / many
    held = np.maximum(np.floor(span / apart), 1)  # gaps that one window holds
    slower = np.maximum(way / span, 2)
    strength = np.maximum(STEADY, 1 - (1 - STEADY) * np.log2(slower / 2) / 2)
    return _Keys(whole, (2 * many - 1) / held, held * apart, strength)

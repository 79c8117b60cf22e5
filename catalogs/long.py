"""Clips longer than a model's own: which rows are, how they are made, and what of them a model sees at once.

A long clip is rendered in windows, so a model's limits hold for a window, and the work grows with the clip's length and
not with its square. What there is to know of a model stands in its facts under `long`; without it no clip is long.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
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

    The windows are counted without planning the pieces: within a tenth of what `model.long` plans where a window has
    seven latents or more, a fifth where it has four to six. A source that is changed may take a quarter more.
    """
    stride = facts["frame_stride"]
    latents = (cut.render_frames - 1) // stride + 1
    window = np.maximum((cut.window - 1) // stride + 1, 3)  # no smaller one is moved along
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
    found = np.zeros((len(latents), 4))
    if keyed.any():
        found[keyed] = [_keyed(int(one), int(own), stride) for one, own in np.stack([latents, window], 1)[keyed]]
    whole, parts, part, strength = found.T
    between = whole * cost(cut.window) + parts * cost(np.rint(part).astype(int) * stride + 1)
    return np.where(keyed, cost(cut.window) + strength * between, windows * cost(cut.window))


class _Keyed(NamedTuple):
    """What a hierarchical clip takes besides its first window.

    Attributes:
        whole: windows of keys between keys.
        parts, part: windows of gaps and joints, and the latents of one less its first, in the mean.
        strength: share of the steps that all of them do.
    """

    whole: int
    parts: float
    part: float
    strength: float


@lru_cache(maxsize=2**16)
def _keyed(latents: int, window: int, stride: int) -> _Keyed:
    """As `model.long.planning` cuts a clip; how many gaps a window holds is a mean."""
    way, span = latents - 1, window - 1
    whole, gaps = 0, Counter({way: 1})  # ways from key to key, and how many there are of each
    while (far := max(gaps)) > span:
        many, parts = gaps.pop(far), _parts(far, span, stride, inner=far < way)
        short, longer = divmod(far, parts)
        whole += many
        gaps[short] += many * (parts - longer)
        gaps[short + 1] += many * longer
    strength = min(1.0, max(STEADY, 1 - (1 - STEADY) * math.log2(way / span / 2) / 2))
    whole = max(whole - 1, 0)  # without the clip's first one
    filled = {apart: many for apart, many in gaps.items() if apart > 1 and many}
    if not filled:
        return _Keyed(whole, 0.0, 0.0, strength)
    count = sum(filled.values())
    apart = sum(apart * many for apart, many in filled.items()) / count
    held = max(span // apart, 1.0)
    return _Keyed(whole, (2 * count - 1) / held, held * apart, strength)


def _parts(way: int, span: int, stride: int, *, inner: bool) -> int:
    """Into how many a way is cut that is longer than a window; `inner` between two keys that are there."""
    frames = stride * span
    last = frames - stride / 2 if inner else frames
    fit = math.ceil(way * frames / (last * span))
    even = [parts for parts in range(1, frames + 1) if frames % parts == 0]
    parts = max(parts for parts in even if parts == 1 or KEYS_APART * parts <= way)
    if parts < fit:
        parts = min((number for number in even if number >= fit), default=frames)
    return min(parts, way)

"""One rank of a gang that renders the same take in every layout; run as a script by test_pipeline_gang.

    python -m tests.model.sampling_rank RANK PORT FOLDER OUT

Rank 0 writes OUT/frames.npz; every rank writes OUT/rank-N.json with what became of the takes that fail on purpose.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch.distributed import PrefixStore

from model.conditions import takes
from model.conditions.given import Given
from model.conditions.takes import clip_of, sample
from model.errors import InputError, PeerFailed
from model.parallel import Layout, ParallelGroup, join_store
from model.pipeline import Pipeline

# 27 tokens and 3 heads: neither divides by 2 ranks.
CLIP: dict[str, Any] = {"width": 48, "height": 48, "frames": 9}
TAKE: dict[str, Any] = {
    **CLIP,
    "prompt": "a red circle moves left .",
    "negative_prompt": "blue",
    "seed": 11,
    "steps": 4,
    "guidance_scale": 4.0,
}
LAYOUTS = ("cfg=2", "ulysses=2", "ring=2", "cfg=2,ulysses=2", "cfg=2,ring=2", "ulysses=2,ring=2")
BF16_LAYOUTS = ("cfg=2", "ulysses=2", "ring=2")
TIMEOUT_S = 60.0
HASTY_S = 2.5  # time limit of a gang whose rank 0 is slow on purpose


class StoppedError(Exception):
    """What a cancel raises."""


def picture() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (6, 6, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)


def outcome(render: Callable[[], Any]) -> str:
    try:
        render()
    except (StoppedError, PeerFailed, InputError) as error:
        return f"{type(error).__name__}: {error}"
    return "done"


def slowly(call: Callable[..., Any]) -> Callable[..., Any]:
    """A call that takes longer, the first time, than the ranks of a hasty gang wait for one another."""
    naps = iter([HASTY_S + 1])

    def slow(*given: Any) -> Any:
        time.sleep(next(naps, 0.0))
        return call(*given)

    return slow


def edited(pipeline: Pipeline, group: ParallelGroup | None, rank: int) -> np.ndarray:
    """Latents of a new background behind a square: two looks, with the decoder between them on rank 0 alone."""
    mask = np.ones((1, 96, 96), bool)
    mask[:, 32:64, 32:64] = False
    clip = clip_of(pipeline, "edit", 96, 96, 5)
    source = np.random.default_rng(2).integers(0, 256, (5, 12, 12, 3)).astype(np.uint8).repeat(8, 1).repeat(8, 2)
    told = pipeline.condition("edit", Given(video=source, mask=mask), clip) if rank == 0 else None
    made = sample(pipeline, "edit", TAKE["prompt"], clip, steps=5, told=told, seed=3, guidance_scale=3.0, group=group)
    assert made.latents is not None
    return made.latents.numpy()


def main(rank: int, port: int, folder: Path, out: Path) -> None:
    torch.set_num_threads(1)
    store = join_store("127.0.0.1", port, timeout_s=TIMEOUT_S)
    parts = Pipeline.parts_of(rank)
    pipeline = Pipeline.from_pretrained(folder, autoencoder_dtype="float32", parts=parts)
    condition = pipeline.condition_i2v(picture(), **CLIP) if rank == 0 else None
    frames: dict[str, np.ndarray] = {}
    if rank == 0:
        frames["single"] = pipeline.decode(pipeline.denoise(**TAKE, condition=condition), "uint16")

    def gang(name: str, kind: str, timeout_s: float = TIMEOUT_S) -> ParallelGroup | None:
        layout = Layout.parse(name)
        if rank >= layout.size:
            return None
        prefix = PrefixStore(f"{kind} {name}", store)
        return ParallelGroup.create(layout, rank, layout.size, store=prefix, timeout_s=timeout_s)

    for name in LAYOUTS:
        group = gang(name, "fp32")
        if group is not None:
            with group:
                found = pipeline(**TAKE, condition=condition, group=group, depth="uint16")
                if found is not None:
                    frames[name] = found

    outcomes = {}
    group = gang("cfg=2", "fail")
    if group is not None:
        with group:

            def stop_at(step: int) -> Callable[[int, int], None]:
                def on_step(done: int, _: int) -> None:
                    if done == step:
                        raise StoppedError(f"after {done}")

                return on_step

            wrong = None if condition is None else pipeline.condition_i2v(picture(), width=32, height=32, frames=9)
            take = {**TAKE, "group": group}
            cancels = {0: stop_at(2) if rank == 0 else None, 1: stop_at(1) if rank == 1 else None}
            for who, on_step in cancels.items():
                outcomes[f"cancelled by {who}"] = outcome(lambda call=on_step: pipeline.denoise(**take, on_step=call))
            outcomes["wrong condition"] = outcome(lambda: pipeline.denoise(**take, condition=wrong))
            # No guidance: both ranks do the same forward, and nothing is exchanged.
            unguided = {**take, "guidance_scale": 1.0}
            outcomes["unguided"] = outcome(lambda: frames.update(unguided=pipeline.denoise(**unguided).numpy()))
            outcomes["edit"] = outcome(lambda: frames.update(edit=edited(pipeline, group, rank)))
    hasty = gang("cfg=2", "hasty", HASTY_S)
    if hasty is not None:
        with hasty, patch.object(takes, "drawn_in", slowly(takes.drawn_in)):
            outcomes["slow edit"] = outcome(lambda: edited(pipeline, hasty, rank))

    half = Pipeline.from_pretrained(folder, transformer_dtype="bfloat16", autoencoder_dtype="float32", parts=parts)
    if rank == 0:
        frames["bf16 single"] = half.decode(half.denoise(**TAKE, condition=condition), "uint16")
        frames["single edit"] = edited(pipeline, None, rank)
        frames["single unguided"] = pipeline.denoise(**{**TAKE, "guidance_scale": 1.0}).numpy()
    for name in BF16_LAYOUTS:
        group = gang(name, "bf16")
        if group is not None:
            with group:
                found = half(**TAKE, condition=condition, group=group, depth="uint16")
                if found is not None:
                    frames[f"bf16 {name}"] = found
    if rank == 0:
        np.savez(out / "frames.npz", **frames)
    (out / f"rank-{rank}.json").write_text(json.dumps(outcomes))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))

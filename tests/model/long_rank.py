"""One rank of a gang that renders long clips in every layout of two; run as a script by test_long_gang.

    python -m tests.model.long_rank RANK PORT FOLDER OUT

Rank 0 writes OUT/latents.pt; every rank writes OUT/rank-N.json with what became of the takes that end early.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.distributed import PrefixStore

from model.errors import PeerFailed
from model.long import METHODS, Long, denoise_long, run
from model.parallel import Layout, ParallelGroup, join_store
from model.pipeline import Pipeline
from tests.model.sampling_rank import HASTY_S, slowly

PROMPT = "a red circle moves left ."
# 9 tokens a latent and 3 heads: neither divides by 2 ranks.
TAKE: dict[str, Any] = {"width": 48, "height": 48, "frames": 45, "seed": 11, "steps": 6, "guidance_scale": 4.0}
WINDOW = 17
LAYOUTS = ("cfg=2", "ulysses=2", "ring=2")
TIMEOUT_S = 60.0


class StoppedError(Exception):
    """What a cancel raises."""


class Kept:
    """A keeper in memory."""

    def __init__(self) -> None:
        self.pieces: dict[str, Tensor] = {}
        self.saved: list[str] = []

    def load(self, piece: str, stamp: str) -> Tensor | None:
        return self.pieces.get(piece)

    def listed(self) -> list[str]:
        return list(self.pieces)

    def save(self, piece: str, stamp: str, latents: Tensor) -> None:
        self.pieces[piece] = latents.clone()
        self.saved.append(piece)


def main(rank: int, port: int, folder: Path, out: Path) -> None:
    torch.set_num_threads(1)
    store = join_store("127.0.0.1", port, timeout_s=TIMEOUT_S)
    pipeline = Pipeline.from_pretrained(folder, autoencoder_dtype="float32", parts=Pipeline.parts_of(rank))
    latents: dict[str, Tensor | None] = {}
    outcomes: dict[str, Any] = {}
    if rank == 0:
        for method in METHODS:
            latents[f"{method} single"] = denoise_long(pipeline, PROMPT, Long(method, WINDOW), **TAKE)
    for name in LAYOUTS:
        with ParallelGroup.create(
            Layout.parse(name), rank, 2, store=PrefixStore(name, store), timeout_s=TIMEOUT_S
        ) as group:
            for method in METHODS:
                kept = Kept() if rank == 0 else None  # the others have no store to ask
                long, take = Long(method, WINDOW, kept), {**TAKE, "group": group}
                latents[f"{method} {name}"] = denoise_long(pipeline, PROMPT, long, **take)
                if kept is not None:
                    del kept.pieces[kept.saved[len(kept.saved) // 2]]
                    kept.saved.clear()
                latents[f"{method} {name} again"] = denoise_long(pipeline, PROMPT, long, **take)
                outcomes[f"{method} {name}"] = kept and len(kept.saved)

            def stop(done: int, of: int) -> None:
                if rank == 1 and done == 6:
                    raise StoppedError("after 6")

            try:
                denoise_long(pipeline, PROMPT, Long("overlap", WINDOW), group=group, on_step=stop, **TAKE)
            except (StoppedError, PeerFailed) as error:
                outcomes[f"stopped {name}"] = f"{type(error).__name__}: {error}"
    with (
        ParallelGroup.create(
            Layout.parse("cfg=2"), rank, 2, store=PrefixStore("hasty", store), timeout_s=HASTY_S
        ) as group,
        patch.object(run, "held", slowly(run.held)),
    ):
        made = denoise_long(pipeline, PROMPT, Long("hierarchical", WINDOW), **{**TAKE, "group": group})
        latents["hierarchical slow"] = made
    if rank == 0:
        torch.save(latents, out / "latents.pt")
    (out / f"rank-{rank}.json").write_text(json.dumps(outcomes))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))

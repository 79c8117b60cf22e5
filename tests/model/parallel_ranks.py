"""What each rank does in test_parallel.py: one process per rank lives through all cases of its world size.

A rank writes what it found to `<folder>/<rank>.pt`, a dict of plain numbers and strings by case.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor

from model.errors import PeerFailed
from model.gang import together
from model.parallel import Layout, ParallelGroup, join_store
from model.parallel.plan import Shards
from model.parallel.ring import ring_attention
from model.transformer import Transformer, TransformerConfig

HEADS = (1, 2, 3, 5, 12)
TIMEOUT_S = 30.0
SHORT_TIMEOUT_S = 3.0


def grids(ranks: int) -> dict[str, tuple[int, int, int]]:
    """Latent sizes by the number of tokens that they make."""
    return {
        "even": (3, 8, 2),  # 12 tokens
        "one too many": (13, 2, 2),  # 13 tokens: 1 modulo 2, 3 and 4
        "fewer than ranks": (ranks - 1, 2, 2),
        "odd": (5, 7, 11),  # 75 tokens
    }


def tiny(heads: int, **changes: Any) -> Transformer:
    """The same random model on every rank."""
    torch.manual_seed(heads)
    sizes: dict[str, Any] = {"in_channels": 4, "out_channels": 4, "text_dim": 8, "ffn_dim": 16, "num_layers": 2}
    sizes |= {"num_attention_heads": heads, "attention_head_dim": 6, "freq_dim": 32, **changes}
    model = Transformer(TransformerConfig(**sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def clip(model: Transformer, grid: tuple[int, int, int], per_token: bool, seed: int = 5) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    t, h, w = grid
    tokens = t * (h // 2) * (w // 2)
    latents = torch.randn(2, model.config.in_channels, t, h, w, generator=generator)
    steps = torch.rand((2, tokens) if per_token else (2,), generator=generator) * 1000
    return latents, steps, torch.randn(2, 5, model.config.text_dim, generator=generator)


def error(found: Tensor, wanted: Tensor) -> float:
    """Largest difference by largest value; infinity for anything that is not finite or has another shape."""
    if found.shape != wanted.shape or not found.isfinite().all():
        return float("inf")
    return float((found - wanted).abs().max() / wanted.abs().max())


class Rank:
    """One rank through all its cases. Every group meets under a name of its own in the one store."""

    def __init__(self, rank: int, size: int, store: dist.Store) -> None:
        self.rank, self.size, self.store, self.groups = rank, size, store, 0

    def join(self, layout: Layout, timeout_s: float = TIMEOUT_S) -> ParallelGroup:
        self.groups += 1
        store = dist.PrefixStore(f"group {self.groups}", self.store)
        return ParallelGroup.create(layout, self.rank, self.size, store=store, timeout_s=timeout_s)

    def transformer(self) -> dict[str, float]:
        """Every layout x heads x tokens x kind of time step, against one rank."""
        found = {}
        models = {heads: tiny(heads) for heads in HEADS}
        cases = {}
        for heads, (name, grid), per_token in product(HEADS, grids(self.size).items(), (False, True)):
            given = clip(models[heads], grid, per_token)
            case = f"heads={heads} {name} {'per token' if per_token else 'per clip'}"
            cases[case] = (heads, given, models[heads](*given))
        for layout in Layout.legal(self.size):
            with self.join(layout) as group:
                for case, (heads, given, wanted) in cases.items():
                    found[f"{layout} {case}"] = error(models[heads](*given, group=group.sequence), wanted)
        return found

    def image_tokens(self) -> dict[str, float]:
        """Image tokens and counted text are replicated."""
        model = tiny(3, image_dim=7, added_kv_proj_dim=18)
        given = clip(model, (5, 6, 6), per_token=True)
        rest = {"encoder_multiplicity": torch.tensor([[1.0, 2, 0, 1, 9]]).expand(2, -1)}
        image = torch.randn(2, 4, 7, generator=torch.Generator().manual_seed(1))
        with self.join(Layout(ulysses=self.size)) as group:
            return {"image": error(model(*given, image, group=group.sequence, **rest), model(*given, image, **rest))}

    def bf16(self) -> dict[str, float]:
        """How far several ranks and one rank are from fp32, both in bf16."""
        model, found = tiny(4, num_layers=4), {}
        given = clip(model, (5, 6, 6), per_token=False)
        exact = model(*given)
        model, low = model.bfloat16(), (given[0].bfloat16(), given[1], given[2].bfloat16())
        found["one rank"] = error(model(*low).float(), exact)
        for layout in (Layout(ulysses=self.size), Layout(ring=self.size)):
            with self.join(layout) as group:
                found[str(layout)] = error(model(*low, group=group.sequence).float(), exact)
        return found

    def guidance(self) -> dict[str, float]:
        """Two cfg halves exchange one prediction each."""
        found = {}
        for layout in (layout for layout in Layout.legal(self.size) if layout.cfg == 2):
            model = tiny(3)
            halves = [clip(model, (3, 4, 6), per_token=False, seed=seed) for seed in (1, 2)]
            with self.join(layout) as group:
                mine = model(*halves[group.cfg_rank], group=group.sequence)
                both = group.exchange_cfg(mine)
                wanted = [model(*half) for half in halves]
                found[str(layout)] = max(error(a, b) for a, b in zip(both, wanted, strict=True))
        return found

    def unwritten_memory(self) -> dict[str, float]:
        """With every fresh buffer full of NaN, no padding and no unwritten place may reach the result."""
        found = {}
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = True
        assert torch.empty(3).isnan().all()
        for layout in Layout.legal(self.size):
            with self.join(layout) as group:
                model = tiny(5)
                given = clip(model, grids(self.size)["one too many"], per_token=True)
                found[str(layout)] = error(model(*given, group=group.sequence), model(*given))
        torch.use_deterministic_algorithms(False)
        return found

    def ring_traffic(self) -> dict[str, Any]:
        """Ring attention with every collective forbidden, and its bytes counted."""
        sizes = Shards.even(13, self.size).sizes
        generator = torch.Generator().manual_seed(3)
        whole = torch.randn(3, 2, 13, 4, 6, generator=generator)
        q, k, v = whole[:, :, Shards(sizes).span(self.rank)]
        forbidden = mock.Mock(side_effect=AssertionError("a collective inside ring attention"))
        names = [name for name in dir(dist) if name.startswith(("all_", "gather", "broadcast", "reduce", "scatter"))]
        with self.join(Layout(ring=self.size)) as group:
            assert group.sequence is not None
            with mock.patch.multiple(dist, **dict.fromkeys(names, forbidden)):
                out = ring_attention(group.sequence.ring, q, k, v, Shards(sizes))
            sent = dict(group.sequence.sent)
        wanted = torch.nn.functional.scaled_dot_product_attention(*whole.transpose(2, 3).unbind()).transpose(1, 2)
        passed_on = sum(sizes) - sizes[(self.rank + 1) % self.size]  # all shards but the next rank's own
        return {
            "error": error(out, wanted[:, Shards(sizes).span(self.rank)]),
            "verbs": sorted(sent),
            "bytes": sent["point_to_point"],
            "expected bytes": passed_on * 2 * 2 * 4 * 6 * 4,
        }

    def messages(self) -> dict[str, Any]:
        """broadcast of tensors and objects, and agree."""
        found: dict[str, Any] = {}
        with self.join(Layout(ulysses=self.size)) as group:
            last = self.size - 1
            mine = torch.arange(6, dtype=torch.bfloat16).view(2, 3).T if self.rank == last else None
            tensor = group.broadcast(mine, src=last)
            found["tensor"] = tensor.dtype is torch.bfloat16 and tensor.T.flatten().tolist() == [0, 1, 2, 3, 4, 5]
            found["object"] = group.broadcast({"prompt": "köpek"} if self.rank == 0 else "other") == {"prompt": "köpek"}
            group.agree()
            try:
                group.agree("out of memory" if self.rank == last else None)
                found["agree"] = "returned"
            except PeerFailed as failure:
                found["agree"] = str(failure)
            group.agree(step=3, value=0.8 + 1e-6 * self.rank)  # the group is still good
            found["disagree"] = [
                self.told(lambda: group.agree(step=3 + (self.rank == last), value=0.8)),
                self.told(lambda: group.agree(step=3, value=0.8 if self.rank else 0.9)),
            ]
            group.agree()
            try:
                self.join(Layout(ulysses=self.size))
            except RuntimeError as failure:
                self.groups -= 1
                found["second group"] = str(failure)
            group.close()
            group.close()
        return found

    def told(self, call: Callable[[], None]) -> str:
        try:
            call()
        except PeerFailed as failure:
            return str(failure)
        return "nothing"

    def failing_peer(self) -> dict[str, Any]:
        """The last rank leaves a step by an error of its own while the others are in an exchange with it."""
        model = tiny(2)
        given = clip(model, (3, 4, 6), per_token=False)
        group = self.join(Layout(ulysses=self.size))
        began = time.monotonic()
        try:
            with together(group):
                if self.rank == self.size - 1:
                    raise MemoryError("no room")
                model(*given, group=group.sequence)
        except (PeerFailed, MemoryError) as failure:
            found = {"failed after": time.monotonic() - began, "message": str(failure)}
        found["afterwards"] = self.told(group.agree)
        group.close()
        with self.join(Layout(ulysses=self.size)) as group:
            found["rebuilt"] = error(model(*given, group=group.sequence), model(*given))
        return found

    def late_peer(self) -> dict[str, Any]:
        """Rank 1 stalls: the others fail at the time-out, and a new group works once everyone is back."""
        model = tiny(2)
        given = clip(model, (3, 4, 6), per_token=False)
        found: dict[str, Any] = {}
        group = self.join(Layout(ring=self.size), timeout_s=SHORT_TIMEOUT_S)
        began = time.monotonic()
        if self.rank == 1:
            time.sleep(2.5 * SHORT_TIMEOUT_S)
        else:
            try:
                model(*given, group=group.sequence)
            except PeerFailed as failure:
                found["failed after"], found["message"] = time.monotonic() - began, str(failure)
        group.close()
        with self.join(Layout(ulysses=self.size)) as group:
            found["rebuilt"] = error(model(*given, group=group.sequence), model(*given))
        return found

    def dead_peer(self) -> dict[str, Any]:
        """The last rank dies between two forwards. Nothing can follow this case."""
        model = tiny(2)
        given = clip(model, (3, 4, 6), per_token=False)
        group = self.join(Layout(ulysses=self.size))
        model(*given, group=group.sequence)
        if self.rank == self.size - 1:
            os._exit(0)
        began = time.monotonic()
        try:
            model(*given, group=group.sequence)
        except PeerFailed as failure:
            return {"failed after": time.monotonic() - began, "message": str(failure)}
        finally:
            group.close()
        return {}


def live(rank: int, size: int, port: int, folder: str, cases: list[str]) -> None:
    """The entry point of a rank's process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found: dict[str, Any] = {}
    file = Path(folder) / f"{rank}.pt"
    try:
        store = join_store("127.0.0.1", port)
        store.set_timeout(timedelta(seconds=TIMEOUT_S))
        me = Rank(rank, size, store)
        with torch.no_grad():
            for case in cases:
                found[case] = getattr(me, case)()
                torch.save(found, file)  # at once: the last case may end this process
    except BaseException:
        found["error"] = traceback.format_exc()
        torch.save(found, file)
        raise

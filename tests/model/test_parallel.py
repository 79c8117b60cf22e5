"""Several gloo ranks against one: layouts, uneven tokens and heads, messages, and ranks that die or stall.

Starting processes costs more than all cases together, so each world size starts its ranks once.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from model.parallel import Layout, LayoutError, ParallelGroup, serve_store
from model.parallel.plan import Shards, split_evenly
from tests.model import parallel_ranks

CASES = ["transformer", "image_tokens", "bf16", "guidance", "ring_traffic", "messages"]
MORE_CASES = {2: [], 3: ["failing_peer", "late_peer", "dead_peer"], 4: ["unwritten_memory"]}
Found = list[dict[str, Any]]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Found]:
    """What every rank of a gang of that size found; the gang runs when it is first asked for."""
    known: dict[int, Found] = {}

    def found(size: int) -> Found:
        if size not in known:
            known[size] = run(size, tmp_path_factory.mktemp(f"ranks{size}"))
        return known[size]

    return found


def run(size: int, folder: Path) -> Found:
    store = serve_store(timeout_s=parallel_ranks.TIMEOUT_S)
    context = multiprocessing.get_context("forkserver")  # a clean process each, but torch is imported once for all
    context.set_forkserver_preload(["model.parallel.group", "model.transformer"])
    cases = CASES + MORE_CASES[size]
    processes = [
        context.Process(target=parallel_ranks.live, args=(rank, size, store.port, str(folder), cases), daemon=True)
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=240)
    late = [process.pid for process in processes if process.is_alive()]
    for process in processes:
        process.kill()
    assert not late, f"ranks still at work after 240 s: {late}"
    results = [torch.load(folder / f"{rank}.pt") for rank in range(size)]
    for rank, result in enumerate(results):
        assert "error" not in result, f"rank {rank}: {result['error']}"
    return results


SIZES = pytest.mark.parametrize("size", [2, 3, 4])


@SIZES
@pytest.mark.parametrize("case", ["transformer", "image_tokens", "guidance"])
def test_every_layout_gives_the_one_rank_result(ranks: Callable[[int], Found], size: int, case: str) -> None:
    results = ranks(size)
    assert all(result[case].keys() == results[0][case].keys() for result in results)
    if case == "transformer":
        layouts = {2: 3, 3: 2, 4: 5}[size]
        assert len(results[0][case]) == layouts * len(parallel_ranks.HEADS) * 4 * 2
    if case != "guidance" or size != 3:
        assert results[0][case]
    wrong = {name: value for result in results for name, value in result[case].items() if not value <= 1e-5}
    assert not wrong


def test_no_padding_and_no_unwritten_memory_enters(ranks: Callable[[int], Found]) -> None:
    for result in ranks(4):
        assert len(result["unwritten_memory"]) == 5
        assert all(value <= 1e-5 for value in result["unwritten_memory"].values())


@SIZES
def test_bf16_on_several_ranks_is_as_close_to_fp32_as_on_one(ranks: Callable[[int], Found], size: int) -> None:
    for result in ranks(size):
        one = result["bf16"].pop("one rank", None)
        assert one is not None
        assert 0 < one < 0.05
        for layout, distance in result["bf16"].items():
            assert distance <= 1.5 * one, layout
        result["bf16"]["one rank"] = one


@SIZES
def test_ring_is_point_to_point(ranks: Callable[[int], Found], size: int) -> None:
    for result in ranks(size):
        traffic = result["ring_traffic"]
        assert traffic["error"] <= 1e-5
        assert traffic["verbs"] == ["point_to_point"]
        assert traffic["bytes"] == traffic["expected bytes"] > 0


@SIZES
def test_messages(ranks: Callable[[int], Found], size: int) -> None:
    for rank, result in enumerate(ranks(size)):
        found = result["messages"]
        assert found["tensor"]
        assert found["object"]
        assert found["agree"] == ("returned" if rank == size - 1 else f"rank {size - 1}: out of memory")
        assert "in a gang already" in found["second group"]
        steps, values = found["disagree"]
        assert steps.startswith("the ranks disagree: rank 0: step 3, 0.8") and f"rank {size - 1}: step 4" in steps
        assert values.startswith("the ranks disagree: rank 0: step 3, 0.9; rank 1: step 3, 0.8")


def test_a_rank_that_leaves_alone_takes_the_others_out_at_once(ranks: Callable[[int], Found]) -> None:
    results = [result["failing_peer"] for result in ranks(3)]
    assert results[2]["message"] == "no room"
    for result in results[:2]:
        assert result["failed after"] < parallel_ranks.TIMEOUT_S / 2
        assert "with the other ranks failed" in result["message"]
    for result in results:
        assert "this rank has left the gang" in result["afterwards"]
        assert result["rebuilt"] <= 1e-5


def test_a_stalled_rank_fails_the_others_at_the_time_out_and_a_new_group_works(ranks: Callable[[int], Found]) -> None:
    results = ranks(3)
    for rank in (0, 2):
        found = results[rank]["late_peer"]
        assert 0.5 * parallel_ranks.SHORT_TIMEOUT_S <= found["failed after"] <= 2 * parallel_ranks.SHORT_TIMEOUT_S
        assert "with the other ranks failed" in found["message"]
    assert all(result["late_peer"]["rebuilt"] <= 1e-5 for result in results)


def test_a_dead_rank_fails_the_others_within_the_time_out(ranks: Callable[[int], Found]) -> None:
    results = ranks(3)
    assert "dead_peer" not in results[2]
    for result in results[:2]:
        assert result["dead_peer"]["failed after"] < parallel_ranks.TIMEOUT_S / 2
        assert "all_to_all with the other ranks failed" in result["dead_peer"]["message"]


def test_a_gang_that_never_meets_fails_in_time() -> None:
    from model.errors import PeerFailed

    with pytest.raises(PeerFailed, match="meeting"):
        ParallelGroup.create(Layout(ulysses=2), 0, 2, store=serve_store(timeout_s=1.0), timeout_s=1.0)
    assert not torch.distributed.is_initialized()


def test_single_touches_no_process_group() -> None:
    with ParallelGroup.single() as group:
        assert (group.size, group.rank, group.cfg_size, group.cfg_rank, group.sequence) == (1, 0, 1, 0, None)
        value = torch.ones(2)
        assert group.broadcast(value) is value
        assert torch.equal(group.exchange_cfg(value)[0], value)
        group.agree("its own error is its own to raise")
    assert not torch.distributed.is_initialized()
    assert ParallelGroup.create(Layout(), 0, 1).size == 1


def test_sequence_parallel_forward_refuses_to_lose_gradients() -> None:
    class Alone:
        def plan(self, tokens: int) -> Any:
            from model.parallel.plan import WholePlan

            return WholePlan(tokens)

    model = parallel_ranks.tiny(2)
    given = parallel_ranks.clip(model, (1, 4, 4), per_token=False)
    with pytest.raises(RuntimeError, match="no_grad"):
        model(*given, group=Alone())
    with torch.no_grad():
        assert torch.equal(model(*given, group=Alone()), model(*given))


def test_layout_text() -> None:
    assert Layout.parse("cfg=2,ulysses=2") == Layout(cfg=2, ulysses=2)
    assert Layout.parse(" ring=3 , cfg=2 ").size == 6
    for layout in (Layout(), Layout(2, 3, 4), Layout(ring=2)):
        assert Layout.parse(str(layout)) == layout
    assert str(Layout(2, 1, 4)) == "cfg=2,ulysses=4"
    for text in ("", "ulysses", "tp=2", "ring=0", "ring=-1", "ring=1.5", "cfg=3", "ring=2,ring=2", "ulysses=²"):
        with pytest.raises(LayoutError):
            Layout.parse(text)
    with pytest.raises(LayoutError):
        Layout(ulysses=True)


def test_layout_errors_list_what_is_legal() -> None:
    assert Layout(ulysses=4).check(4) == Layout(ulysses=4)
    with pytest.raises(LayoutError) as failure:
        Layout(cfg=2, ulysses=3).check(4)
    text = str(failure.value)
    assert "Legal: cfg=2,ulysses=2; cfg=2,ring=2; ulysses=4; ring=2,ulysses=2; ring=4" in text
    with pytest.raises(LayoutError):
        ParallelGroup.create(Layout(ring=2), 0, 4, store=None)
    with pytest.raises(ValueError, match="rank 4"):
        ParallelGroup.create(Layout(ring=4), 4, 4)
    with pytest.raises(ValueError, match="mpi"):
        ParallelGroup.create(Layout(ring=4), 0, 4, backend="mpi")
    with pytest.raises(ValueError, match="init_method or store"):
        ParallelGroup.create(Layout(ring=4), 0, 4)


@pytest.mark.parametrize(
    ("gang", "heads", "guidance", "wanted"),
    [
        (1, 12, True, "single"),
        (2, 12, True, "cfg=2"),
        (2, 12, False, "ulysses=2"),
        (3, 12, True, "ulysses=3"),
        (3, 4, True, "ring=3"),
        (4, 12, True, "cfg=2,ulysses=2"),
        (8, 12, False, "ring=2,ulysses=4"),
        (8, 40, True, "cfg=2,ulysses=4"),
        (16, 12, True, "cfg=2,ring=2,ulysses=4"),
        (2, 5, False, "ring=2"),
    ],
)
def test_layout_choice(gang: int, heads: int, guidance: bool, wanted: str) -> None:
    chosen = Layout.choose(gang, heads, guidance=guidance)
    assert str(chosen) == wanted
    assert chosen in Layout.legal(gang)
    assert chosen.check(gang) is chosen


def test_even_splits_cover_everything_once() -> None:
    for total in range(20):
        for parts in range(1, 7):
            sizes = split_evenly(total, parts)
            assert sum(sizes) == total
            assert max(sizes) - min(sizes) <= 1
            shards = Shards(sizes)
            assert [i for rank in range(parts) for i in range(total)[shards.span(rank)]] == list(range(total))

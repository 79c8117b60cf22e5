"""How long clips are cut into pieces: everything is made, nothing before what it needs, and no window is too wide."""

from __future__ import annotations

import itertools

import pytest

from catalogs.cost import take_gpu_s
from catalogs.long import METHODS as CATALOG_METHODS
from catalogs.long import LongShots, long_gpu_s
from model.errors import InputError
from model.long import METHODS, LongPlan, choose_method, long_facts, plan_pieces

SIZES = [(121, 9), (121, 5), (121, 3), (10, 9), (20, 5), (481, 9), (122, 31), (18, 9)]


def check(plan: LongPlan) -> None:
    """Pieces come after what they need, see no more than a window, and together make every latent."""
    done: set[str] = set()
    for piece in plan.pieces:
        assert set(piece.needs) <= done, piece.id
        assert piece.id not in done
        assert set(piece.makes) <= set(piece.positions)
        assert len(piece.positions) <= plan.window or piece.steps is not None
        for position in piece.known:
            source = plan.source(piece, position)
            assert position in plan.by_id[source].makes and source in piece.needs
        done.add(piece.id)
    assert {position for piece in plan.pieces for position in piece.makes} == set(range(plan.latents))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("latents", "window"), SIZES)
def test_every_latent_is_made_after_what_it_needs(method: str, latents: int, window: int) -> None:
    for backward in (False, True):
        plan = plan_pieces(method, latents, window, steps=12, backward=backward)
        check(plan)
        assert plan == plan_pieces(method, latents, window, steps=12, backward=backward), "the plan is a function"
        for window_positions in plan.windows:
            assert len(window_positions) == window
        if plan.windows:
            assert set(itertools.chain(*plan.windows)) == set(range(latents))


def test_the_keys_span_the_clip_and_the_gaps_do_not_wait_for_one_another() -> None:
    plan = plan_pieces("hierarchical", 121, 9)
    assert plan.pieces[0].positions == (0, 15, 30, 45, 60, 75, 90, 105, 120)
    keys = {piece.id for piece in plan.pieces if piece.id.startswith("keys")}
    gaps = [piece for piece in plan.pieces if piece.id.startswith("gap")]
    joints = [piece for piece in plan.pieces if piece.id.startswith("joint")]
    assert len(gaps) == 16 and len(joints) == 15
    assert all(piece.held == piece.id.startswith("keys") for piece in plan.pieces)
    remade = {position for joint in joints for position in joint.makes}
    borders = {position for joint in joints for position in joint.known}
    assert remade | borders == set(range(min(borders), max(borders) + 1)), "all but half of the first gap and the last"
    for left, right in itertools.pairwise(joints):
        assert left.positions[-1] == right.positions[0], "two joints meet in the middle of a gap"
    assert all(set(gap.needs) <= keys for gap in gaps), "gaps need keys alone"
    assert not any({need for need in joint.needs if need.startswith("joint")} for joint in joints)
    assert plan.ready(set()) == [plan.pieces[0]]
    assert plan.ready(keys) == gaps


@pytest.mark.parametrize(("latents", "window"), SIZES)
def test_keys_are_joined_where_there_is_something_between_them(latents: int, window: int) -> None:
    plan = plan_pieces("hierarchical", latents, window)
    keys = sorted(position for piece in plan.pieces if piece.held for position in piece.makes)
    joints = {int(piece.id.split("-")[1]): piece for piece in plan.pieces if piece.id.startswith("joint")}
    for before, key, after in zip(keys, keys[1:], keys[2:], strict=False):
        assert (key in joints) == (min(key - before, after - key) > 1)
    for key, joint in joints.items():
        assert key in joint.makes and not set(joint.known) & set(keys)


def test_backward_windows_begin_at_the_end() -> None:
    plan = plan_pieces("overlap", 20, 5, backward=True)
    assert plan.pieces[0].makes == (15, 16, 17, 18, 19)
    assert plan.pieces[-1].makes[0] == 0
    assert all(max(piece.makes) < min(piece.known) for piece in plan.pieces[1:])


def test_a_ring_wraps_and_has_no_end() -> None:
    plan = plan_pieces("co_denoise", 13, 5, steps=4, closed=True)
    around = set(range(1, 13))
    assert set(itertools.chain(*plan.windows)) == around, "latent 0 is latent 12 seen from the other side"
    assert any(12 in window and 1 in window for window in plan.windows)
    for window in plan.windows:
        assert all((b - a) % 12 == 1 for a, b in itertools.pairwise(window))
    with pytest.raises(InputError, match="ring"):
        plan_pieces("overlap", 13, 5, closed=True)


def test_a_clip_that_fits_is_one_piece() -> None:
    for method in METHODS:
        assert [piece.id for piece in plan_pieces(method, 5, 5).pieces] == ["all"]


def test_what_cannot_be_planned() -> None:
    with pytest.raises(InputError, match="no long method is called 'sideways'; there are hierarchical"):
        plan_pieces("sideways", 20, 5)
    with pytest.raises(InputError, match="at least 3"):
        plan_pieces("overlap", 20, 2)


def test_joins_are_where_pieces_meet() -> None:
    assert plan_pieces("overlap", 9, 5).joins(4) == (17,)
    assert plan_pieces("co_denoise", 9, 5, steps=8).joins(4) == ()


def test_the_method_follows_task_and_deadline() -> None:
    assert choose_method("t2v") == choose_method("flf2v") == "hierarchical"
    assert choose_method("extend") == choose_method("v2v") == "overlap"
    assert choose_method("extend", deadline=True) == "hierarchical"
    assert choose_method("loop") == choose_method("loop", deadline=True) == "co_denoise"


def test_stamps_tell_plans_apart() -> None:
    stamps = {plan_pieces(method, 20, window).stamp for method in METHODS for window in (5, 9)}
    assert len(stamps) == 6
    assert plan_pieces("overlap", 20, 5).stamp == plan_pieces("overlap", 20, 5).stamp


def test_the_catalog_knows_the_same_methods() -> None:
    assert CATALOG_METHODS == METHODS
    facts = long_facts(33, 4)
    assert {*facts["by_task"].values(), facts["otherwise"], facts["in_a_hurry"]} <= set(METHODS)
    assert long_facts(5, 4) == {}, "two latents cannot be moved along"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("latents", "window"), [(121, 9), (121, 5), (61, 9), (481, 31)])
def test_the_estimate_counts_the_windows_of_the_plan(method: str, latents: int, window: int) -> None:
    import numpy as np
    import pyarrow as pa

    facts = {
        "frame_stride": 4, "spatial_stride": 8, "patch": [1, 2, 2], "layers": 6, "model_width": 192, "ffn_dim": 768,
        "gpu_s_per_tflop": 20.0,
    }  # fmt: skip
    one = np.ones(1, np.int64)
    shots = LongShots(
        long=np.ones(1, bool), method=pa.array([method]), window_frames=pa.array([4 * window - 3], pa.int32()),
        render_frames=one * (4 * latents - 3), window=one * (4 * window - 3),
    )  # fmt: skip
    estimate = float(long_gpu_s(shots, one * 128, one * 128, one * 20, one * 3.0, facts)[0])
    plan = plan_pieces(method, latents, window, steps=20)
    lengths = [len(each) for each in plan.windows] or [len(piece.positions) for piece in plan.pieces]
    exact = sum(float(take_gpu_s(64 * length, 20, 3.0, facts)) for length in lengths)
    assert estimate == pytest.approx(exact, rel=0.25)

"""How long clips are cut into pieces: everything is made, nothing before what it needs, and no window is too wide."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest

from catalogs import long as catalog_long
from catalogs.cost import take_gpu_s
from catalogs.long import METHODS as CATALOG_METHODS
from catalogs.long import LongShots, long_gpu_s
from model.errors import InputError
from model.long import METHODS, LongPlan, choose_method, long_facts, plan_pieces, story_of
from model.long.planning import KEYS_APART, STEADY

SIZES = [(121, 9), (121, 5), (121, 3), (10, 9), (20, 5), (481, 9), (122, 31), (18, 9)]


def check(plan: LongPlan) -> None:
    """Pieces come after what they need, see no more than a window, and together make every latent."""
    done: set[str] = set()
    for piece in plan.pieces:
        assert set(piece.needs) <= done, piece.id
        assert piece.id not in done
        assert piece.pictures or set(piece.makes) <= set(piece.positions)
        assert len(piece.pictures) in (0, len(piece.makes))
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


def test_the_frames_of_one_window_are_the_keys_and_gaps_do_not_wait_for_one_another() -> None:
    plan = plan_pieces("hierarchical", 121, 9)
    keys, *between = plan.pieces
    assert keys.positions == (0, 15, 30, 45, 60, 75, 90, 105, 120)
    assert keys.pictures == tuple(range(33)), "every frame of the window is a key"
    assert {after - before for before, after in itertools.pairwise(keys.makes)} == {3, 4}
    gaps = [piece for piece in between if piece.id.startswith("gap")]
    joints = [piece for piece in between if piece.id.startswith("joint")]
    assert between == [*gaps, *joints]
    assert len(gaps) == len(joints) == 16, "a window holds two gaps"
    assert all(piece.needs == ("keys",) for piece in gaps)
    assert not {need for joint in joints for need in joint.needs if not need.startswith("gap")}
    assert not set(keys.makes[1:-1]) & {position for joint in joints for position in joint.known}
    assert set(keys.makes[1:-1]) <= {position for joint in joints for position in joint.makes}, "no key stands still"
    for left, right in itertools.pairwise(joints):
        assert left.positions[-1] == right.positions[0], "two joints meet in the middle of a gap"
    assert plan.ready(set()) == [keys]
    assert plan.ready({"keys"}) == gaps


@pytest.mark.parametrize(("latents", "window"), SIZES)
def test_keys_are_even_and_leave_something_between_them(latents: int, window: int) -> None:
    plan = plan_pieces("hierarchical", latents, window)
    first = plan.pieces[0]
    apart = [after - before for before, after in itertools.pairwise(first.makes)]
    frames = [after - before for before, after in itertools.pairwise(first.pictures)]
    assert max(apart) - min(apart) <= 1
    assert max(frames) == min(frames), "a frame left out is a film that goes twice as fast"
    assert first.pictures[-1] == 4 * (window - 1)
    assert min(apart) >= min(KEYS_APART, window // 2)


def test_a_key_belongs_where_its_frame_would_fall() -> None:
    keys, *between = plan_pieces("hierarchical", 121, 9).pieces
    exact = dict(zip(keys.makes, np.linspace(0, 120, 33), strict=True))
    for piece in between:
        if piece.id.startswith("gap"):
            assert piece.places == pytest.approx([exact[position] for position in piece.known])
            assert max(abs(a - b) for a, b in zip(piece.places, piece.known, strict=True)) <= 0.5
        else:
            assert piece.places == (), "what a joint knows stands where it belongs"


def test_what_is_one_moment_at_the_end_is_one_key() -> None:
    keys, *between = plan_pieces("hierarchical", 121, 9, ended=True).pieces
    assert keys.pictures == (*range(29), 32), "the frames of the last group show the same"
    apart = [after - before for before, after in itertools.pairwise(keys.makes)]
    assert keys.makes[-1] == 120 and set(apart[:-1]) == {4} and apart[-1] == 8, "at one pace to the end"
    for piece in between:
        if piece.id.startswith("gap"):
            for position, place in zip(piece.known, piece.places, strict=True):
                frame = keys.pictures[keys.makes.index(position)]
                assert place == pytest.approx(120 * min(frame, 30) / 30) and abs(place - position) <= 0.5
    deep = plan_pieces("hierarchical", 481, 9)
    inner = [piece for piece in deep.pieces if piece.pictures and piece.needs]
    assert inner and all(max(piece.pictures) <= 28 for piece in inner), "between two keys the later one is one moment"


@pytest.mark.parametrize("sourced", [False, True])
@pytest.mark.parametrize("ended", [False, True])
def test_clips_of_any_length_can_be_planned(sourced: bool, ended: bool) -> None:
    for window in (3, 4, 5, 9, 21):
        for latents in (*range(window + 1, 4 * window), 121, 122, 260):
            plan = plan_pieces("hierarchical", latents, window, sourced=sourced, ended=ended)
            check(plan)
            for piece in plan.pieces:
                assert list(piece.places) == sorted(set(piece.places))
                assert list(piece.makes) == sorted(set(piece.makes))


def test_what_a_task_is_given_bears_on_its_pieces() -> None:
    assert story_of("t2v", "hierarchical") == story_of("i2v", "overlap") == (False, False, False, False)
    assert story_of("flf2v", "hierarchical").ended and story_of("infill", "hierarchical").sourced
    assert story_of("extend_back", "overlap").backward
    assert story_of("loop", "co_denoise").closed and not story_of("loop", "overlap").closed


@pytest.mark.parametrize(("latents", "window"), SIZES)
def test_keys_of_a_source_show_the_moment_that_they_stand_at(latents: int, window: int) -> None:
    plan = plan_pieces("hierarchical", latents, window, sourced=True)
    check(plan)
    for piece in plan.pieces:
        for position, picture in zip(piece.makes, piece.pictures, strict=False):
            assert piece.positions[picture // 4] == position and picture % 4 == 0


def test_a_film_is_steadied_the_more_the_slower_it_goes() -> None:
    strengths = []
    for latents in (17, 33, 65, 121, 257):
        plan = plan_pieces("hierarchical", latents, 9)
        assert plan.pieces[0].strength == 1.0, "keys are made of pure noise"
        (strength,) = {piece.strength for piece in plan.pieces[1:]}
        strengths.append(strength)
    assert strengths == [1.0, 0.75, 0.5, 0.5, 0.5]
    assert {piece.strength for method in METHODS[1:] for piece in plan_pieces(method, 121, 9).pieces} == {1.0}


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
    assert (catalog_long.KEYS_APART, catalog_long.STEADY) == (KEYS_APART, STEADY)
    facts = long_facts(33, 4)
    assert {*facts["by_task"].values(), facts["otherwise"], facts["in_a_hurry"]} <= set(METHODS)
    assert long_facts(5, 4) == {}, "two latents cannot be moved along"


FACTS = {
    "frame_stride": 4, "spatial_stride": 8, "patch": [1, 2, 2], "layers": 6, "model_width": 192, "ffn_dim": 768,
    "gpu_s_per_tflop": 20.0,
}  # fmt: skip


def estimated(methods: list[str | None], latents: list[int], windows: list[int]) -> list[float]:
    """GPU seconds of clips of 128x128 and 20 steps; one without a method is not a long one."""
    frames, window = (np.array([4 * each - 3 for each in sizes]) for sizes in (latents, windows))
    method, one = pa.array(methods, pa.string()), np.ones(len(methods), np.int64)
    shots = LongShots(np.asarray(method.is_valid()), method, pa.array(window, pa.int32()), frames, window)
    return long_gpu_s(shots, one * 128, one * 128, one * 20, one * 3.0, FACTS).tolist()


def planned(method: str, latents: int, window: int) -> float:
    plan = plan_pieces(method, latents, window, steps=20)
    lengths = [(len(each), 1.0) for each in plan.windows] or [
        (len(piece.positions), piece.strength) for piece in plan.pieces
    ]
    return sum(share * float(take_gpu_s(64 * length, 20, 3.0, FACTS)) for length, share in lengths)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("latents", "window"), [(121, 9), (121, 5), (61, 9), (17, 9), (481, 31), (481, 9), (241, 21)])
def test_the_estimate_counts_the_windows_of_the_plan(method: str, latents: int, window: int) -> None:
    (estimate,) = estimated([method], [latents], [window])
    assert estimate == pytest.approx(planned(method, latents, window), rel=0.1)


@pytest.mark.parametrize("window", [3, 4, 5, 6, 9])
def test_the_estimate_knows_that_few_gaps_may_be_too_long(window: int) -> None:
    way = 4 * (window - 1) ** 2  # with one latent more, one gap of many does not fit, and the mean of them does
    latents = [way + more for more in (1, 2, 3, window)]
    found = estimated(["hierarchical"] * 4, latents, [window] * 4)
    rel = 0.3 if window < 7 else 0.1
    assert found == pytest.approx([planned("hierarchical", each, window) for each in latents], rel=rel)


def test_the_estimate_of_a_row_does_not_depend_on_its_neighbours() -> None:
    methods = ["hierarchical", None, "overlap", None, "hierarchical", None]
    latents, windows = [121, 1, 121, 0, 66, 10**8], [9, 1, 9, 0, 5, 10**8]
    found = estimated(methods, latents, windows)
    for place in (0, 2, 4):
        assert [found[place]] == estimated([methods[place]], [latents[place]], [windows[place]])

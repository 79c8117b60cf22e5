"""Which frames of a source a task looks at, and where they stand in the clip: whole numbers, and their edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.conditions.spans import (
    Clip,
    Want,
    default_keep,
    head_start,
    held_between,
    kept_frames,
    loop_frames,
    partly_kept,
    tail_length,
    wants,
)
from model.errors import InputError


def clip(film: int, *, loop: bool = False) -> Clip:
    frames = -(-(film - 1) // 4) * 4 + 1
    return Clip(64, 64, frames + 4 * loop, film, 4)


def test_groups_of_a_clip() -> None:
    own = clip(17)
    assert (own.frames, own.groups, own.end) == (17, 5, 13)
    assert [own.first_frame(group) for group in range(5)] == [0, 1, 5, 9, 13]
    assert (clip(18).frames, clip(18).end) == (21, 17)
    assert (clip(14).end, clip(13).end, clip(1).end) == (13, 9, 0)


@pytest.mark.parametrize(
    ("film", "tail", "start"), [(5, 1, 1), (9, 1, 5), (10, 5, 5), (17, 5, 9), (18, 9, 13), (33, 9, 25)]
)
def test_tail_and_head_are_whole_groups_and_at_most_half_the_film(film: int, tail: int, start: int) -> None:
    assert tail_length(clip(film), 2) == tail
    assert head_start(clip(film), 2) == start


@given(st.integers(2, 200), st.sampled_from([2, 3]), st.integers(1, 300))
def test_tails_and_heads_fit(film: int, share: int, available: int) -> None:
    own = clip(film)
    tail, start = tail_length(own, share, available), head_start(own, share, available)
    assert tail % 4 == 1
    assert tail <= max(1, min(9, film // share))
    assert tail <= available
    assert start % 4 == 1
    assert start < film <= own.frames
    assert film - start <= max(4, min(9, film // share))
    assert film - start <= max(4, available)


def test_a_source_that_is_short_gives_less() -> None:
    assert tail_length(clip(33), 2, 3) == 1
    assert tail_length(clip(33), 2, 6) == 5
    assert head_start(clip(33), 2, 7) == 29


def test_what_is_looked_at() -> None:
    assert wants("t2v", clip(17)) == wants("still", clip(1)) == {}
    assert wants("extend", clip(17)) == {"video": Want("tail", 5)}
    assert wants("extend_back", clip(18)) == {"video": Want("head", 8)}, "frames past the film's end are looked at, too"
    assert wants("connect", clip(18)) == {"video": Want("tail", 5), "last": Want("head", 8)}
    assert wants("v2v", clip(18)) == {"video": Want("whole", 18)}
    assert set(wants("edit", clip(17))) == {"image", "video", "mask"}


def test_kept_frames_and_the_groups_they_fill() -> None:
    own = clip(16)
    kept = kept_frames(own, default_keep(own))
    assert np.nonzero(kept)[0].tolist() == [0, 13, 14, 15, 16], "the trimmed frame goes with the last"
    assert not partly_kept(own, kept).any()
    kept = kept_frames(own, ((0, 3), (7, 7)))
    assert np.nonzero(partly_kept(own, kept))[0].tolist() == [1, 2, 3, 7]
    for bad in ((16, 16), (3, 2), (-1, 0)):
        with pytest.raises(InputError, match="0 to 15"):
            kept_frames(own, (bad,))


def test_what_is_not_given_holds_the_nearest() -> None:
    known = np.zeros(9, bool)
    known[[0, 5, 6]] = True
    assert held_between(known).tolist() == [0, 0, 0, 5, 5, 5, 6, 6, 6]
    with pytest.raises(InputError, match="no frame"):
        held_between(np.zeros(3, bool))


@given(st.integers(7, 200))
def test_a_loop_keeps_its_ends_and_drops_frames_only_inside(film: int) -> None:
    own = clip(film, loop=True)
    frames = loop_frames(own)
    turn = own.frames - 4
    assert len(frames) == film
    assert (frames[0], frames[-1]) == (0, turn - 1)
    steps = np.diff(frames)
    assert steps.min() == 1
    assert steps.max() <= 4
    assert np.median(steps) == 1


def test_a_loop_of_a_whole_turn_drops_nothing() -> None:
    assert loop_frames(clip(17, loop=True)).tolist() == list(range(17))
    with pytest.raises(InputError, match="does not fit"):
        loop_frames(clip(17))


@pytest.mark.parametrize(
    ("frames", "film", "says"), [(16, 16, "multiple of 4"), (17, 18, "not cut"), (17, 0, "not cut")]
)
def test_clips_that_cannot_be(frames: int, film: int, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Clip(64, 64, frames, film, 4)

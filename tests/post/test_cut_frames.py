"""Arithmetic of a cut: whole frames, timecode, and a sum that always comes out."""

from __future__ import annotations

from fractions import Fraction

import opentimelineio as otio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.cut import otio as reader
from infra.cut.errors import BadTimeline
from infra.cut.frames import as_speed, check_timecode, timecode, timecode_rate, whole_frames
from infra.cut.segments import split
from infra.cut.timeline import Part, Solid, Take, Timeline

NTSC = Fraction(24000, 1001)
RATES = (Fraction(8), Fraction(24), Fraction(25), NTSC, Fraction(30000, 1001), Fraction(16))


def take(frames: int, fps: Fraction | None = Fraction(8)) -> Take:
    return Take("s", "a", 1, "0011aabb", "a" * 64, "shots/s/a/x.mp4", "b" * 64, 64, 48, frames, fps)


def film(*parts: Part, fps: Fraction = Fraction(8)) -> Timeline:
    return Timeline("film", fps, 64, 48, parts)


@pytest.mark.parametrize(
    ("fps", "rate"),
    [("8", "24"), ("12", "24"), ("16", "48"), ("15", "30"), ("12.5", "25"), ("24", "24"), ("60", "60"), ("7", "7"),
     ("24000/1001", "24000/1001"), ("15000/1001", "30000/1001")],
)  # fmt: skip
def test_timecode_counts_at_a_rate_that_editors_know(fps: str, rate: str) -> None:
    assert timecode_rate(Fraction(fps)) == Fraction(rate)


@pytest.mark.parametrize(
    ("frame", "fps", "text"),
    [(7, 8, "00:00:00:21"), (8, 8, "00:00:01:00"), (24 * 3600, 24, "01:00:00:00"), (30 * 60, 30, "00:01:00:00"),
     (24 * 60, NTSC, "00:01:00:00")],
)  # fmt: skip
def test_a_frame_is_written_as_timecode(frame: int, fps: Fraction | int, text: str) -> None:
    assert timecode(frame, Fraction(fps)) == text


def test_timecode_counts_from_the_films_start() -> None:
    assert timecode(25, Fraction(24), start="09:59:59:23") == "10:00:01:00"


@pytest.mark.parametrize("text", ["1:00:00:00", "01:60:00:00", "01:00:00:24", "01:00:00:00;rm", "", "aa:00:00:00"])
def test_what_is_no_timecode_is_refused(text: str) -> None:
    with pytest.raises(BadTimeline):
        check_timecode(text, Fraction(24))


def test_a_hundred_hours_have_no_timecode() -> None:
    with pytest.raises(BadTimeline, match="99 hours"):
        timecode(24 * 3600 * 100, Fraction(24))


def test_a_time_between_two_frames_is_refused() -> None:
    assert whole_frames(6, Fraction(24), Fraction(8), "it") == 2
    with pytest.raises(BadTimeline, match="between two frames"):
        whole_frames(7, Fraction(24), Fraction(8), "it")


@pytest.mark.parametrize("speed", [-1, float("nan"), float("inf"), 101, "x"])
def test_what_is_no_speed_is_refused(speed: float) -> None:
    with pytest.raises(BadTimeline):
        as_speed(speed, "it")


def test_speed_and_rate_pick_frames_exactly() -> None:
    half = Part(take(12), 24, speed=Fraction(1, 2))
    assert [half.source_frame(number, Fraction(8)) for number in range(5)] == [0, 0, 1, 1, 2]
    assert half.source_out(Fraction(8)) == 12
    third = Part(take(12), 8, speed=Fraction(3, 2))
    assert [third.source_frame(number, Fraction(8)) for number in range(8)] == [0, 1, 3, 4, 6, 7, 9, 10]
    conformed = Part(take(50, Fraction(25)), 48)
    assert conformed.source_out(Fraction(24)) == 49


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    """Any timeline whose transitions fit."""
    fps = draw(st.sampled_from(RATES))
    count = draw(st.integers(1, 8))
    lengths = draw(st.lists(st.integers(1, 40), min_size=count, max_size=count))
    parts, room = [], 0
    for number, frames in enumerate(lengths):
        overlap = draw(st.integers(0, min(room, frames))) if number else 0
        room = frames - overlap
        content = take(frames, fps) if draw(st.booleans()) else Solid()
        parts.append(Part(content, frames, overlap=overlap))
    return film(*parts, fps=fps).check()


@given(timelines())
def test_parts_less_overlaps_are_the_film_in_segments_too(timeline: Timeline) -> None:
    placed = list(timeline.placed())
    lengths = sum(one.record_out - one.record_in for one in placed)
    assert lengths - sum(one.part.overlap for one in placed) == timeline.frames
    assert placed[0].record_in == 0 and placed[-1].record_out == timeline.frames
    segments = split(timeline)
    assert sum(segment.frames for segment in segments) == timeline.frames
    at = 0
    for segment in segments:
        assert segment.record_in == at and segment.frames > 0
        at += segment.frames


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((), "empty"),
        ((Part(take(12), 13),), "has 12"),
        ((Part(take(12), 6, source_in=-1),), "frames -1 to 5"),
        ((Part(take(12), 6, source_in=7),), "frames 7 to 13"),
        ((Part(take(12), 7, speed=Fraction(2)),), "frames 0 to 13"),
        ((Part(take(12), 0),), "no frames"),
        ((Part(take(12), 12, overlap=2),), "first part"),
        ((Part(take(12), 4), Part(take(12), 12, overlap=5)), "transitions take 5"),
        ((Part(take(12), 12), Part(take(12), 6, overlap=4), Part(take(12), 12, overlap=3)), "transitions take 7"),
    ],
)
def test_what_cannot_be_a_film_is_refused(parts: tuple[Part, ...], words: str) -> None:
    with pytest.raises(BadTimeline, match=words):
        film(*parts).check()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_no_time(value: float) -> None:
    with pytest.raises(BadTimeline, match=r"clip 1 .*no time"):
        whole_frames(value, Fraction(8), Fraction(8), "clip 1")
    span = otio.opentime.TimeRange(otio.opentime.RationalTime(0, 8), otio.opentime.RationalTime(value, 8))
    with pytest.raises(BadTimeline, match=r"cut.otio: clip 1.*has a time of"):
        reader.read(timeline_of(otio.schema.Clip("a", source_range=span)), "cut.otio")


def test_a_clip_whose_length_nobody_knows_is_refused() -> None:
    clip = otio.schema.Clip("a")
    clip.enabled = False
    with pytest.raises(BadTimeline, match=r"cut.otio cannot be cut: .*available_range"):
        reader.read(timeline_of(clip), "cut.otio")


def timeline_of(clip: otio.schema.Clip) -> str:
    timeline, track = otio.schema.Timeline("film"), otio.schema.Track(kind=otio.schema.TrackKind.Video)
    track.append(clip)
    timeline.tracks.append(track)
    return str(otio.adapters.write_to_string(timeline, "otio_json"))

"""Timelines: read, written, and read back by other readers."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import opentimelineio as otio
import pycmx
import pytest

from infra.cut import edl, sheet, table
from infra.cut import otio as timelines
from infra.cut.asked import Asked, ref_of
from infra.cut.errors import BadTimeline, CutError, TakeMissing
from infra.cut.library import Library
from infra.cut.resolve import resolve
from infra.cut.timeline import Card, Part, Solid, Take, Timeline
from infra.store.selection import Chosen, Missing, Selection

EIGHT = Fraction(8)
NTSC = Fraction(24000, 1001)


def commit(
    shot_id: str, take: int = 1, *, show: str = "s", fps: float = 8.0, revision: str = "0011aabb"
) -> dict[str, Any]:
    key = f"{sum(map(ord, show + shot_id)) * 1000 + take * 7:08x}".ljust(64, revision[0])
    path = f"shots/{show}/{shot_id}/{revision}.take-{take:03d}.{key[:8]}.mp4"
    media = {"path": path, "sha256": key, "bytes": 1, "width": 64, "height": 48, "frames": 12, "fps": fps}
    names = {"show": show, "shot_id": shot_id, "take": take, "revision": revision, "spec_key": key}
    return {**names, "media": media}


A, A2, B, C = commit("a"), commit("a", 2), commit("b"), commit("c")


def library(*commits: dict[str, Any], missing: tuple[Missing, ...] = ()) -> Library:
    """All of these takes; the first of each shot is the chosen one."""
    first: dict[str, dict[str, Any]] = {}
    for one in commits:
        first.setdefault(one["shot_id"], one)
    chosen = [Chosen(one["show"], one["shot_id"], one, "rule") for one in first.values()]
    return Library(commits, Selection(chosen, list(missing)))


ALL = library(A, A2, B, C)


def resolved(asked: Asked, takes: Library = ALL, **more: Any) -> Timeline:
    return resolve(asked, takes, name="film", **more)


def as_take(found: dict[str, Any], fps: Fraction = EIGHT) -> Take:
    return Take.of(found, fps)


def every_kind(fps: Fraction = EIGHT) -> Timeline:
    """Cuts, dissolves, a dip, changed speeds, a held frame, a card and a gap."""
    one, other, third = (as_take(found, fps) for found in (A2, B, C))
    parts = [
        Part(Card('Say "hi", *\n002  AX V C 00:00:00:00', (255, 0, 0), (1, 2, 3)), 16),
        Part(one, 10, source_in=1, overlap=4),
        Part(other, 12),
        Part(Solid((255, 255, 255)), 6, overlap=3),
        Part(third, 20, source_in=1, speed=Fraction(1, 2), overlap=3),
        Part(one, 5, source_in=2, speed=Fraction(2)),
        Part(Solid(), 6, overlap=2),
        Part(other, 9, source_in=3, speed=Fraction(0), overlap=2),
        Part(third, 4, source_in=8),
    ]
    return Timeline("film", fps, 64, 48, parts).check()


def uris(timeline: Timeline) -> dict[str, str]:
    return {
        part.content.media: f"s3://b/x/{part.content.media}"
        for part in timeline.parts
        if isinstance(part.content, Take)
    }


def ntsc() -> Library:
    return library(*[{**one, "media": {**one["media"], "fps": 23.976}} for one in (A, A2, B, C)])


@pytest.mark.parametrize("fps", [EIGHT, NTSC])
@pytest.mark.parametrize("kind", ["otio", "edl"])
def test_what_is_written_comes_back_as_it_was(kind: str, fps: Fraction) -> None:
    timeline = every_kind(fps)
    if kind == "otio":
        asked = timelines.read(timelines.write(timeline, uris(timeline)), "it.otio")
    else:
        asked = edl.read(edl.write(timeline, uris(timeline)), "it.edl", fps)
    back = resolved(asked, ALL if fps == EIGHT else ntsc())
    assert list(back.parts) == list(timeline.parts) and back.frames == timeline.frames and back.fps == fps


def test_otio_itself_reads_what_is_written_and_finds_the_films_length() -> None:
    timeline = every_kind()
    found = otio.adapters.read_from_string(timelines.write(timeline, uris(timeline)), "otio_json")
    assert found.duration() == otio.opentime.RationalTime(timeline.frames, 8)
    urls = {
        clip.media_reference.target_url for clip in found.find_clips() if hasattr(clip.media_reference, "target_url")
    }
    assert urls == set(uris(timeline).values())


def test_another_edl_reader_finds_the_same_events() -> None:
    timeline = every_kind()
    read = pycmx.parse_cmx3600(io.StringIO(edl.write(timeline, uris(timeline))))
    assert read.title == "film"
    events = list(read.events)
    edits = [edit for event in events for edit in event.edits]
    dissolves = [edit for edit in edits if edit.transition.dissolve]
    assert len(events) == len(timeline.parts)
    assert [int(edit.transition.operand or 0) for edit in dissolves] == [12, 9, 9, 6, 6]
    shown = [event.edits[-1] for event in events]
    assert [edit.source for edit in shown] == [
        "AX", A2["spec_key"][:8].upper(), B["spec_key"][:8].upper(), "AX", C["spec_key"][:8].upper(),
        A2["spec_key"][:8].upper(), "BL", B["spec_key"][:8].upper(), C["spec_key"][:8].upper(),
    ]  # fmt: skip
    assert shown[0].record_in == "01:00:00:00" and shown[-1].record_out == "01:00:09:06"  # 74 frames of 8 a second
    for before, behind in pairwise(shown):
        assert before.record_out == behind.record_in


def test_a_text_cannot_add_an_event() -> None:
    timeline = every_kind()
    lines = edl.write(timeline, uris(timeline)).splitlines()
    events = [line for line in lines if line[:3].isdigit()]
    assert len(events) == len(timeline.parts) + sum(part.overlap > 0 for part in timeline.parts)


def test_the_table_has_a_row_per_part_and_no_formula() -> None:
    timeline = replace(every_kind(), parts=[Part(Card("=cmd()"), 8), *every_kind().parts[1:2]])
    timeline = replace(timeline, parts=[timeline.parts[0], replace(timeline.parts[1], overlap=0)])
    rows = list(csv.DictReader(io.StringIO(table.write(timeline, uris(timeline)))))
    assert rows[0]["text"] == "'=cmd()" and rows[0]["kind"] == "title"
    take = rows[1]
    assert (take["source_in"], take["source_out"], take["record_in"], take["record_out"]) == ("1", "11", "8", "18")
    assert (take["source_tc_in"], take["record_tc_in"]) == ("00:00:00:03", "01:00:01:00")
    assert take["source_uri"].startswith("s3://b/x/shots/s/a/") and take["handle_tail"] == "1"


def clip(name: str, start: float = 0, length: float | None = 12, rate: float = 8, **more: Any) -> otio.schema.Clip:
    time = otio.opentime.RationalTime
    span = None if length is None else otio.opentime.TimeRange(time(start, rate), time(length, rate))
    return otio.schema.Clip(name=name, source_range=span, **more)


def dissolve(lead: float, trail: float, rate: float = 8) -> otio.schema.Transition:
    time = otio.opentime.RationalTime
    return otio.schema.Transition(
        transition_type="SMPTE_Dissolve", in_offset=time(lead, rate), out_offset=time(trail, rate)
    )


def text(*items: Any, tracks: int = 1, kind: str = "Video") -> str:
    timeline = otio.schema.Timeline("t")
    for number in range(tracks):
        track = otio.schema.Track(f"V{number}", kind=kind)
        track.extend(items if not number else [one.deepcopy() for one in items])
        timeline.tracks.append(track)
    written: str = otio.adapters.write_to_string(timeline, "otio_json")
    return written


def read(*items: Any, **more: Any) -> Timeline:
    return resolved(timelines.read(text(*items, **more), "it.otio"))


def test_an_editors_transition_takes_its_frames_from_the_handles() -> None:
    found = read(clip("s/a", 2, 6), dissolve(2, 1), clip("s/b", 4, 6))
    first, second = found.parts
    assert (first.source_in, first.frames) == (2, 7)
    assert (second.source_in, second.frames, second.overlap) == (2, 8, 3)
    assert found.frames == 12


def test_names_find_takes() -> None:
    by_media = otio.schema.ExternalReference(target_url="https://cdn/x/" + B["media"]["path"])
    items = [
        clip("a"),
        clip("s/a"),
        clip("s/a.take-002"),
        clip("s/a:2"),
        clip("whatever it is", media_reference=by_media),
    ]
    found = read(*items, clip(C["media"]["path"]), clip("a", length=None))
    names = [part.name for part in found.parts]
    assert names == [
        "s/a.take-001", "s/a.take-001", "s/a.take-002", "s/a.take-002", "s/b.take-001", "s/c.take-001", "s/a.take-001"
    ]  # fmt: skip


def test_times_of_another_rate_must_fall_on_frames() -> None:
    assert read(clip("a", 3, 24, rate=24)).parts[0].source_in == 1
    with pytest.raises(BadTimeline, match="between two frames"):
        read(clip("a", 4, 24, rate=24))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("s/z", "no take of such a shot"),
        ("s/a.take-009", "which has takes 1, 2"),
        ("../../etc/passwd", "no take of this store"),
        ("file:///etc/passwd", "no take of this store"),
        ("two words", "no take of this store"),
        ("", "no take of this store"),
    ],
)
def test_a_take_that_is_not_there_is_named(name: str, words: str) -> None:
    with pytest.raises(TakeMissing, match=words) as caught:
        read(clip("a"), clip(name))
    assert "it.otio: clip 2" in str(caught.value)


def test_a_shot_of_which_nothing_goes_on_says_why() -> None:
    takes = library(A, missing=(Missing("s", "b", "people turned down all 2 takes of it"),))
    with pytest.raises(TakeMissing, match="turned down all 2"):
        resolved(timelines.read(text(clip("b")), "it.otio"), takes)


def test_a_shot_of_two_shows_needs_its_show() -> None:
    takes = library(A, commit("a", show="t"))
    with pytest.raises(TakeMissing, match="several shows have it: s/a, t/a"):
        resolved(timelines.read(text(clip("a")), "it.otio"), takes)


@pytest.mark.parametrize(
    "items",
    [
        [clip("a", 4, 9)],
        [clip("a", -1, 4)],
        [clip("a", 0, 12), dissolve(0, 1), clip("b", 0, 12)],
        [clip("a", 0, 4), dissolve(1, 0), clip("b", 0, 12)],
        [clip("a", 1, 2), dissolve(3, 0), clip("b", 3, 4)],
        [dissolve(1, 1), clip("a", 2, 4)],
        [clip("a", 2, 4), dissolve(1, 1)],
        [clip("a", 0, 4, effects=[otio.schema.LinearTimeWarp(time_scalar=-1)])],
        [clip("a", 0, 12, effects=[otio.schema.LinearTimeWarp(time_scalar=2)])],
        [clip("a", 0, 4, effects=[otio.schema.TimeEffect()])],
        [otio.schema.Stack()],
        [clip("x", media_reference=otio.schema.GeneratorReference(generator_kind="SMPTEBars"))],
        [],
    ],
)  # fmt: skip
def test_what_an_otio_timeline_cannot_ask_for(items: list[Any]) -> None:
    with pytest.raises(BadTimeline):
        read(*[item.deepcopy() for item in items])


def test_two_picture_tracks_are_refused() -> None:
    with pytest.raises(BadTimeline, match="2 picture tracks"):
        read(clip("a"), tracks=2)


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"OTIO_SCHEMA": "Clip.2"}', '{"OTIO_SCHEMA": "Nonsense.1"}', "\0"])
def test_what_is_no_otio_is_said_to_be_none(broken: str) -> None:
    with pytest.raises(BadTimeline, match=r"it\.otio"):
        timelines.read(broken, "it.otio")


@pytest.mark.parametrize(
    "broken",
    [
        "not an edl",
        "001  AX V C 00:00:00:00",
        "001  AX V C 00:00:00:00 00:00:01:00 00:00:00:00 00:00:02:00",
        "001  AX V W001 010 00:00:00:00 00:00:01:00 00:00:00:00 00:00:01:00",
        "001  AX V C 99:99:99:99 00:00:01:00 00:00:00:00 00:00:01:00",
    ],
)
def test_what_is_no_edl_is_said_to_be_none(broken: str) -> None:
    with pytest.raises(CutError, match=r"it\.edl"):
        resolved(edl.read(broken, "it.edl", EIGHT))


def test_an_edl_of_an_editor_finds_takes_by_clip_name_and_by_reel() -> None:
    reel = B["spec_key"][:8].upper()
    found = resolved(
        edl.read(
            "TITLE: x\nFCM: NON-DROP FRAME\n"
            "001  AX       V     C        00:00:00:03 00:00:01:00 01:00:00:00 01:00:00:21\n"
            "* FROM CLIP NAME: s/a.take-002\n"
            f"002  {reel} V     C        00:00:00:00 00:00:01:12 01:00:00:21 01:00:02:09\n",
            "it.edl",
            EIGHT,
        )
    )
    assert [(part.name, part.source_in, part.frames) for part in found.parts] == [
        ("s/a.take-002", 1, 7),
        ("s/b.take-001", 0, 12),
    ]


def test_mixed_rates_are_refused_unless_they_are_conformed() -> None:
    takes = library(A, commit("b", fps=25.0))
    asked = timelines.read(text(clip("a", length=None), clip("b", length=None)), "it.otio")
    with pytest.raises(BadTimeline, match=r"8 \(s/a\.take-001\); 25 \(s/b\.take-001\)") as caught:
        resolved(asked, takes)
    assert "--conform" in str(caught.value.hint)
    found = resolved(asked, takes, conform=Fraction(25))
    assert [part.frames for part in found.parts] == [37, 12]


def test_a_sheet_says_all_that_a_part_can_be() -> None:
    found = resolved(
        sheet.read(
            """
            [[part]]
            title = "One"
            seconds = 2
            colour = "#ff0000"
            [[part]]
            shot = "s/a.take-002"
            in = 2
            out = 11
            dissolve = 4
            [[part]]
            shot = "b"
            speed = 0.5
            dip = 5
            [[part]]
            solid = "white"
            length = 3
            """,
            "it.toml",
        )
    )
    kinds = [(part.kind, part.frames, part.overlap) for part in found.parts]
    assert kinds == [("title", 16, 0), ("take", 9, 4), ("solid", 5, 2), ("take", 24, 3), ("solid", 3, 0)]
    assert found.frames == 16 + 9 + 24 + 3 - 4


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("part = 3", "list of"),
        ("[[part]]\nshot = 'a'\n[other]\n", "list of"),
        ("[[part]]", "none of shot"),
        ("[[part]]\nshot = 'a'\ntitle = 'b'", "takes one"),
        ("[[part]]\nshot = 'a'\nfilter = 'x'", "no filter"),
        ("[[part]]\nshot = 'a'\ndissolve = 2", "first part"),
        ("[[part]]\nshot = 'a'\n[[part]]\nshot = 'b'\ndissolve = 2\ndip = 2", "takes one"),
        ("[[part]]\nshot = 'a'\n[[part]]\nshot = 'b'\ndip = 1", "at least 2"),
        ("[[part]]\nshot = 'a'\nin = 1.5", "number of frames"),
        ("[[part]]\nshot = 'a'\nin = -1", "number of frames"),
        ("[[part]]\nshot = 'a'\nin = 5\nout = 5", "no frames"),
        ("[[part]]\nshot = 'a'\nout = 13", "has 12"),
        ("[[part]]\nshot = 'a'\nspeed = nan", "no number"),
        ("[[part]]\ntitle = ''\nseconds = 1", "1 to 500"),
        ("[[part]]\ntitle = 'x'\nseconds = 0", "no length"),
        ("[[part]]\ntitle = 'x'\ncolour = 'url(x)'", "no colour"),
        ("[[part]]\ntitle = 'x'\nsize = 9", "share"),
        ("[[part", "no cut sheet"),
    ],
)
def test_a_sheet_that_cannot_be_cut_is_refused(broken: str, words: str) -> None:
    with pytest.raises(BadTimeline, match=words):
        resolved(sheet.read(broken, "it.toml"))


def test_references_are_read_from_names_and_never_leave_the_store() -> None:
    assert ref_of("s/a.take-012").take == 12 and ref_of("s/a.take-012").shot_id == "a"
    assert ref_of("a.b-c").shot_id == "a.b-c"
    assert ref_of("../a").shot_id is None and ref_of("s/a/b").shot_id is None
    assert ref_of("x y", media="file:///out/../../" + A["media"]["path"]).media == A["media"]["path"]
    assert ref_of("x y", media="file:///etc/passwd").media is None


def test_the_json_of_ours_can_be_edited_by_hand(tmp_path: Path) -> None:
    """A clip that is given another name is another take, whatever the rest of it says."""
    timeline = Timeline("film", EIGHT, 64, 48, [Part(as_take(A), 12)]).check()
    written = json.loads(timelines.write(timeline, uris(timeline)))
    written["tracks"]["children"][0]["children"][0]["name"] = "s/a.take-002"
    assert resolved(timelines.read(json.dumps(written), "it.otio")).parts[0].name == "s/a.take-002"

"""OpenTimelineIO: reading a timeline of takes, and writing the one that was cut.

A dissolve of OTIO takes its frames from beyond the ranges of the two clips beside it, so that the film is as long as
the clips are. What is written has the form of an EDL: a dissolve begins where the clip before it ends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import opentimelineio as otio

from infra.cut.asked import Asked, AskedPart, Ref, Time, card_of, colour_of, ref_of
from infra.cut.edl_cards import card_of_comment
from infra.cut.errors import BadTimeline
from infra.cut.frames import as_speed, rate_of
from infra.cut.timeline import Card, Part, Placed, Solid, Take, Timeline

schema, opentime = otio.schema, otio.opentime

MOST_BYTES = 64 * 2**20
OURS = "rushes"
"""Name of our metadata, of the kind of generator that draws a title card, and of nothing else."""
TITLE, COLOUR = "rushes.title", "SolidColor"
SPEED = "RUSHES SPEED:"
"""Begins the comment of an EDL that holds a speed exactly."""


def read(text: str, name: str) -> Asked:
    """The timeline in the JSON of OTIO. `name` is what messages call it. BadTimeline for what cannot be cut."""
    if len(text) > MOST_BYTES:
        raise BadTimeline(f"{name} is larger than {MOST_BYTES // 2**20} MiB")
    try:
        found = otio.adapters.read_from_string(text, "otio_json")
    except Exception as error:  # whatever the library raises about text that it was given
        raise BadTimeline(f"{name} is no OpenTimelineIO timeline: {_first_line(error)}") from error
    if not isinstance(found, schema.Timeline):
        raise BadTimeline(f"{name} holds a {type(found).__name__}, not a timeline")
    try:
        return asked_of(found, name)
    except otio.exceptions.OTIOError as error:  # such as a clip without a range, of media without one
        raise BadTimeline(f"{name} cannot be cut: {_first_line(error)}") from error


def asked_of(timeline: otio.schema.Timeline, name: str) -> Asked:
    """The clips of its only picture track, as parts."""
    tracks = [track for track in timeline.tracks if isinstance(track, schema.Track)]
    pictures = [track for track in tracks if track.kind == schema.TrackKind.Video and len(track)]
    if len(pictures) != 1 or len(tracks) != len(timeline.tracks):
        raise BadTimeline(
            f"{name} has {len(pictures)} picture tracks with something on them; a film is cut from one",
            "Flatten the timeline in the editor.",
        )
    notes = []
    if any(track.kind == schema.TrackKind.Audio and len(track) for track in tracks):
        notes.append(f"{name}: its sound tracks are left out; sound is given on the command line (--bed, --voice)")
    return Asked(_parts(list(pictures[0]), name), notes)


def _parts(items: Sequence[Any], name: str) -> list[AskedPart]:
    parts: list[AskedPart] = []
    pending: otio.schema.Transition | None = None
    for number, item in enumerate(items, 1):
        where = f"{name}: clip {len(parts) + 1}"
        if isinstance(item, schema.Transition):
            if pending is not None or not parts or number == len(items):
                raise BadTimeline(f"{name}: a transition without a clip on both sides of it", "Put a gap there.")
            pending = item
            continue
        part = _part(item, where)
        if pending is not None:
            lead, trail = _time(pending.in_offset, where), _time(pending.out_offset, where)
            parts[-1] = replace(parts[-1], tail=trail)
            part = replace(part, overlap=(lead, trail), head=lead)
            pending = None
        parts.append(part)
    return parts


def _part(item: Any, where: str) -> AskedPart:
    if isinstance(item, schema.Gap) or (isinstance(item, schema.Clip) and not item.enabled):
        return AskedPart(Solid(), f"{where} (a gap)", length=_time(item.duration(), where))
    if not isinstance(item, schema.Clip):
        raise BadTimeline(f"{where} is a {type(item).__name__}, which is not cut", "Flatten it in the editor.")
    where = f"{where}, {item.name[:80]!r},"
    content = _content(item, where)
    span = item.source_range
    if span is None:
        known = item.media_reference.available_range if item.media_reference is not None else None
        if isinstance(content, Ref):
            return AskedPart(content, where, speed=_speed(item, where))  # all of the take
        span = known
    if span is None:
        return AskedPart(content, where)
    start = _time(span.start_time, where)
    media = item.media_reference
    if media is not None and media.available_range is not None and isinstance(content, Ref):
        start = _less(start, _time(media.available_range.start_time, where))
    return AskedPart(content, where, start, length=_time(span.duration, where), speed=_speed(item, where))


def _content(clip: otio.schema.Clip, where: str) -> Ref | Card | Solid:
    media = clip.media_reference
    ours = _mapping(clip.metadata.get(OURS))
    if isinstance(media, schema.GeneratorReference):
        told = _mapping(media.parameters)
        if media.generator_kind == TITLE:
            return _card(told, where)
        if media.generator_kind.lower() == "black":
            return Solid()
        if media.generator_kind == COLOUR:
            return Solid(colour_of(told.get("color", "black"), where))
        raise BadTimeline(f"{where} is made by {media.generator_kind!r}, which is not known here")
    drawn = title_of_comments(_comments(clip), where)
    if drawn is not None:
        return drawn
    url = media.target_url if isinstance(media, schema.ExternalReference) else None
    edited = _mapping(clip.metadata.get("cmx_3600"))
    if "cmx_3600" in clip.metadata and ref_of(clip.name).shot_id is not None:
        # Of a dissolve, the adapter gives the incoming clip the film of the outgoing one: the name and reel are right.
        return ref_of(clip.name, spec_key=str(edited.get("reel") or "").lower())
    return ref_of(clip.name or str(url or ""), media=url, spec_key=str(ours.get("spec_key") or ""))


def title_of_comments(comments: Sequence[str], where: str) -> Card | Solid | None:
    """The card, or the colour, that a comment of an EDL of ours holds."""
    for comment in comments:
        told = card_of_comment(comment)
        if told is not None:
            return _card(told, where) if "text" in told else Solid(colour_of(told.get("background", "black"), where))
    return None


def _card(told: Mapping[str, Any], where: str) -> Card:
    return card_of(
        told.get("text", ""),
        where,
        colour=told.get("colour", "white"),
        background=told.get("background", "black"),
        font=told.get("font"),
        size=told.get("size"),
    )


def _speed(clip: otio.schema.Clip, where: str) -> Fraction:
    warps = [effect for effect in clip.effects if isinstance(effect, schema.TimeEffect)]
    if not warps:
        return Fraction(1)
    if len(warps) > 1 or not isinstance(warps[0], schema.LinearTimeWarp):  # FreezeFrame is one, of speed 0
        raise BadTimeline(f"{where} has a change of speed that is not even: only one constant speed is cut")
    for comment in _comments(clip):
        if comment.startswith(SPEED):
            return as_speed(comment.removeprefix(SPEED).strip(), where)
    return as_speed(warps[0].time_scalar, where)


def _comments(clip: otio.schema.Clip) -> list[str]:
    """Comments of an EDL that its adapter left as they are."""
    return [str(comment) for comment in _mapping(clip.metadata.get("cmx_3600")).get("comments") or ()]


def _time(time: otio.opentime.RationalTime, where: str) -> Time:
    if not math.isfinite(time.value):  # the library reads NaN and Infinity
        raise BadTimeline(f"{where} has a time of {time.value:g} frames, which is none")
    return Time(time.value, rate_of(time.rate, where))


def _less(time: Time, other: Time) -> Time:
    rate = time.rate
    assert rate is not None and other.rate is not None
    shift = Fraction(other.value).limit_denominator(100_000) / other.rate * rate
    return Time(Fraction(time.value).limit_denominator(100_000) - shift, rate)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if hasattr(value, "get") else {}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def write(timeline: Timeline, uri_of: Mapping[str, str]) -> str:
    """The timeline as the JSON of OTIO. `uri_of` gives the address of each take's film by its path in the store."""
    track = schema.Track(name="V1", kind=schema.TrackKind.Video)
    for placed in timeline.placed():
        if placed.part.overlap:
            track.append(
                schema.Transition(
                    transition_type=schema.TransitionTypes.SMPTE_Dissolve,
                    in_offset=_frames(0, timeline.fps),
                    out_offset=_frames(placed.part.overlap, timeline.fps),
                )
            )
        track.append(_item(placed, timeline, uri_of))
    found = schema.Timeline(name=timeline.name)
    found.metadata[OURS] = {"width": timeline.width, "height": timeline.height, "start": timeline.start}
    found.tracks.append(track)
    return str(otio.adapters.write_to_string(found, "otio_json"))


def _item(placed: Placed, timeline: Timeline, uri_of: Mapping[str, str]) -> otio.core.Item:
    part, fps = placed.part, timeline.fps
    shown = part.frames - placed.tail
    span = opentime.TimeRange(_frames(0, fps), _frames(shown, fps))
    content = part.content
    if isinstance(content, Solid) and content.colour == (0, 0, 0):
        return schema.Gap(source_range=span)
    if not isinstance(content, Take):
        return schema.Clip(name=part.name, media_reference=_generator(content, part, fps), source_range=span)
    own = content.fps or fps
    clip = schema.Clip(
        name=content.name,
        media_reference=schema.ExternalReference(
            target_url=uri_of[content.media],
            available_range=opentime.TimeRange(_frames(0, own), _frames(content.frames, own)),
        ),
        source_range=opentime.TimeRange(_frames(part.source_in, own), _frames(shown, fps)),
    )
    clip.metadata[OURS] = {
        "show": content.show,
        "shot_id": content.shot_id,
        "take": content.take,
        "revision": content.revision,
        "spec_key": content.spec_key,
        "sha256": content.sha256,
    }
    if part.speed == 0 and content.fps is not None:
        clip.effects.append(schema.FreezeFrame())
    elif part.speed != 1:
        clip.effects.append(schema.LinearTimeWarp(time_scalar=float(part.speed)))
    return clip


def card_values(content: Card | Solid) -> dict[str, Any]:
    """A card or a colour as plain data, as timelines keep it."""
    if isinstance(content, Solid):
        return {"background": _hex(content.colour)}
    values: dict[str, Any] = {
        "text": content.text,
        "colour": _hex(content.colour),
        "background": _hex(content.background),
        "size": float(content.size),
    }
    return values | ({"font": content.font} if content.font is not None else {})


def _generator(content: Card | Solid, part: Part, fps: Fraction) -> otio.schema.GeneratorReference:
    card = isinstance(content, Card)
    return schema.GeneratorReference(
        name=part.name,
        generator_kind=TITLE if card else COLOUR,
        parameters=card_values(content) if card else {"color": card_values(content)["background"]},
        available_range=opentime.TimeRange(_frames(0, fps), _frames(part.frames, fps)),
    )


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _frames(count: int, fps: Fraction) -> otio.opentime.RationalTime:
    return opentime.RationalTime(count, float(fps))

"""Making the film of a timeline: copy what is whole, encode the rest, join, add sound, and look at what came out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from infra.cut.errors import BadAudio, CutError, FilmDiffers
from infra.cut.joining import Form, Piece, boundaries, form_of, join
from infra.cut.pictures import Pictures
from infra.cut.segments import Segment, key_of, pieces, split
from infra.cut.sound import KEPT, Sound, add, measure, mix
from infra.cut.timeline import Take, Timeline
from infra.cut.titles import Fonts
from infra.deliver.look import look
from infra.deliver.tool import Tools
from infra.media import MediaMismatch, Unplayable, expect, probe
from infra.media.film import encode_planes
from infra.store.errors import NotFound
from infra.store.store import Store

Progress = Callable[[int, str], None]
"""Told how many frames of the film are there, and what is being made."""


@dataclass(frozen=True)
class Encoder:
    """How segments are encoded: as takes are, so that both can be joined."""

    crf: int = 10
    preset: str = "medium"
    ffmpeg: str | None = None
    timeout_s: float = 600.0

    @property
    def recipe(self) -> dict[str, Any]:
        """What of it decides about the bytes."""
        return {"crf": self.crf, "preset": self.preset}


@dataclass(frozen=True)
class Made:
    """A segment that is there.

    Attributes:
        copied_from: the frame of a take's own film that it begins with; None where it was encoded.
        cached: whether it was encoded for an earlier cut.
    """

    segment: Segment
    key: str
    path: Path
    copied_from: int | None
    cached: bool

    @property
    def copied(self) -> bool:
        """Whether it is a take's own, untouched."""
        return self.copied_from is not None

    @property
    def piece(self) -> Piece:
        """What goes into the film."""
        return Piece(self.path, self.copied_from or 0, self.segment.frames)


@dataclass(frozen=True)
class Film:
    """A finished film on this machine, measured. sound: what its track is, None without one."""

    path: Path
    segments: list[Made]
    sound: dict[str, Any] | None


@dataclass(frozen=True)
class Shop:
    """What films are made with.

    Attributes:
        store: where takes, and segments of earlier cuts, are.
        folder: an empty folder of this machine for everything on the way.
        cached: paths in the store of encoded segments, by their keys.
    """

    store: Store
    folder: Path
    fonts: Fonts
    encoder: Encoder
    cached: Mapping[str, str]

    def film_of(self, take: Take) -> Path:
        """The film of a take, fetched once, and compared with its hash.

        CutError where it is gone or is not what the commit says.
        """
        local = self.folder / f"take-{take.sha256}{Path(take.media).suffix}"
        if local.exists():
            return local
        try:
            self.store.fetch(take.media, local)
        except NotFound as error:
            raise CutError(f"{take.media} is not in the store, though its take is committed", _AUDIT) from error
        with local.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != take.sha256:
                local.unlink()
                raise CutError(f"{take.media} is not the film that was committed", _AUDIT)
        return local


_AUDIT = "`rushes verify` looks at all films; `rushes verify --repair` renders them again."


def make(timeline: Timeline, shop: Shop, sound: Sound | None = None, on_progress: Progress | None = None) -> Film:
    """The film of a timeline, in `shop.folder`.

    Raises:
        CutError: FilmDiffers where what came out is not what the timeline adds up to, BadAudio.
        EncodeError, StoreError: as they are.
    """
    segments = split(timeline)
    told = on_progress or (lambda done, what: None)
    pictures = Pictures(timeline, shop.film_of, shop.fonts)
    made = _segments(timeline, segments, shop, pictures, told)
    joined = shop.folder / "pictures.mp4"
    join([one.piece for one in made], joined, timeline.fps)
    told(timeline.frames, "joined")
    if sound is None:
        _check(joined, timeline)
        return Film(joined, made, None)
    tools = Tools(shop.encoder.ffmpeg, shop.encoder.timeout_s)
    seconds = timeline.frames / timeline.fps
    wav, film = shop.folder / "sound.wav", shop.folder / "film.mp4"
    mix(sound, wav, seconds, tools)
    add(joined, wav, film, tools)
    _check(film, timeline)
    heard = look(film).sound
    if heard is None or abs(heard.seconds - float(seconds)) > _SOUND_BLOCK_S:
        found = "no sound" if heard is None else f"{heard.seconds:.3f} s of sound"
        raise BadAudio(f"the film has {found}, its pictures last {float(seconds):.3f} s")
    facts = {"codec": heard.codec, "sample_rate": heard.rate, "channels": heard.channels, "bitrate_k": KEPT.bitrate_k}
    return Film(film, made, facts | {"measured": measure(film, sound.loudness, tools)})


_SOUND_BLOCK_S = 2 * 1024 / 48_000
"""An AAC track ends with a whole block of 1,024 samples; a decoder may give one more."""


def _segments(
    timeline: Timeline, segments: list[Segment], shop: Shop, pictures: Pictures, told: Progress
) -> list[Made]:
    """Every segment, or its pieces, as films of the same form."""

    @cache
    def parted(take: Take) -> Sequence[int]:
        return boundaries(shop.film_of(take), timeline.fps)

    @cache
    def form(take: Take) -> Form:
        return form_of(shop.film_of(take))

    todo = [piece for segment in segments for piece in pieces(segment, timeline, parted)]
    forms = Counter(form(_take(segment)) for segment, copied_from in todo if copied_from is not None)
    common = forms.most_common(1)[0][0] if forms else None

    def all_of(common: Form | None) -> list[Made]:
        made, done = [], 0
        for segment, copied_from in todo:
            if copied_from is not None and form(_take(segment)) == common:
                key = key_of(segment, timeline, shop.fonts, shop.encoder.recipe)
                made.append(Made(segment, key, shop.film_of(_take(segment)), copied_from, cached=False))
            else:
                made.append(_encoded(timeline, segment, shop, pictures))
            done += segment.frames
            told(done, f"part {segment.numbers[0] + 1}")
        return made

    made = all_of(common)
    if common is not None and any(form_of(one.path) != common for one in made):
        # Takes of another encoder, or of other settings: nothing that is encoded here can be joined to them.
        made = all_of(None)
    return made


def _take(segment: Segment) -> Take:
    assert isinstance(segment.part.content, Take)
    return segment.part.content


def _encoded(timeline: Timeline, segment: Segment, shop: Shop, pictures: Pictures) -> Made:
    key = key_of(segment, timeline, shop.fonts, shop.encoder.recipe)
    path = shop.folder / f"segment-{key}.mp4"
    wanted = replace(timeline, parts=[replace(segment.part, frames=segment.frames, overlap=0)])
    if path.exists():  # the same frames are seen twice in this film
        return Made(segment, key, path, None, cached=key in shop.cached)
    if key in shop.cached and _fetched(shop, key, path, wanted):
        return Made(segment, key, path, None, cached=True)
    if segment.into is not None:
        frames = pictures.dissolve(segment.part, segment.first, segment.into, segment.frames)
    else:
        frames = pictures.of(segment.part, segment.first, segment.frames)
    encoder = shop.encoder
    encode_planes(
        frames, path, width=timeline.width, height=timeline.height, frames=segment.frames, fps=timeline.fps,
        crf=encoder.crf, preset=encoder.preset, ffmpeg=encoder.ffmpeg,
    )  # fmt: skip
    _check(path, wanted)
    return Made(segment, key, path, None, cached=False)


def _fetched(shop: Shop, key: str, path: Path, wanted: Timeline) -> bool:
    """Whether an earlier cut's segment is still there and is what it was."""
    try:
        shop.store.fetch(shop.cached[key], path)
        _check(path, wanted)
    except (NotFound, FilmDiffers):  # a cache: it is made anew
        path.unlink(missing_ok=True)
        return False
    return True


def _check(path: Path, timeline: Timeline) -> None:
    """FilmDiffers where a file is not a film of this size, rate and number of frames, each at its time."""
    try:
        expect(probe(path), width=timeline.width, height=timeline.height, frames=timeline.frames, fps=timeline.fps)
    except (MediaMismatch, Unplayable) as error:
        raise FilmDiffers(f"the film that was made is not the one that was ordered: {error}") from error

"""Delivery profiles: what a destination wants, as data. `profiles.toml` holds ours; a file of yours adds or replaces.

    profiles = load_profiles("mine.toml")
    profiles["mp4"].video.codec

A key that the schema does not know is an error that names the file, the profile and the key.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from infra.deliver.errors import BadProfiles
from infra.media.rate import as_rate

OWN: Final = Path(__file__).with_name("profiles.toml")
NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
_OPTION: Final = r"^[A-Za-z0-9_][A-Za-z0-9_:-]{0,63}$"

Kind = Literal["film", "ladder", "sequence", "picture", "poster", "tiles", "sprite"]
FILMS: Final = ("film", "ladder")
"""Kinds that play: they have a rate, and may have sound and captions."""
PICTURE_COLUMN: Final = ("png",)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Video(_Part):
    """How pictures are encoded, and what a probe must find afterwards."""

    encoders: tuple[str, ...] = Field(min_length=1, description="ffmpeg's encoders, the first that is there is used")
    codec: str = Field(description="codec that the probe must find")
    profile: str | None = Field(default=None, description="codec profile that the probe must find")
    pix_fmt: str = Field(description="pixel format")
    decoded: str | None = Field(default=None, description="pixel format that a decoder gives, where it is another")
    options: dict[str, str | int | float] = Field(default_factory=dict, description="options of the encoder")
    gop_s: float | None = Field(default=None, gt=0, le=60, description="seconds between key frames, on a fixed grid")
    gop_frames: int | None = Field(default=None, ge=1, description="the same in frames")
    lossless: bool = Field(default=False, description="decoded frames must be the source's, bit by bit")

    def gop(self, rate: Fraction) -> int | None:
        """Frames between key frames at this rate; None where there is no grid."""
        if self.gop_frames is not None:
            return self.gop_frames
        return None if self.gop_s is None else max(1, round(rate * Fraction(self.gop_s)))


class Audio(_Part):
    """How sound is encoded, and what a probe must find afterwards."""

    encoder: Literal["aac", "pcm_s16le", "pcm_s24le", "flac"] = "aac"
    bitrate_k: int | None = Field(default=None, ge=16, le=1024, description="kilobits a second")
    rate: int = Field(default=48_000, ge=8_000, le=192_000, description="samples a second")
    channels: int = Field(default=2, ge=1, le=8)
    silence: bool = Field(default=False, description="a silent track where the source has no sound")


class Loudness(_Part):
    """What sound must measure after the encode (EBU R128)."""

    target: float = Field(ge=-70, le=-5, description="integrated loudness, LUFS (= LKFS)")
    tolerance: float = Field(default=0.5, gt=0, le=10, description="by how much it may differ, LU")
    true_peak: float = Field(ge=-9, le=0, description="highest true peak, dBTP")


class Frame(_Part):
    """Size and rate. Without width and height the source's."""

    width: int | None = Field(default=None, ge=16, le=8192, multiple_of=2)
    height: int | None = Field(default=None, ge=16, le=8192, multiple_of=2)
    fit: Literal["contain", "cover", "follow"] = Field(
        default="contain", description="contain: bars; cover: cut around the centre; follow: cut around the subject"
    )
    fps: float | None = Field(default=None, gt=0, le=240)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.width is not None and self.height is None:
            raise ValueError("a width needs a height (a height alone keeps the source's aspect)")
        if self.fit != "contain" and self.width is None:
            raise ValueError(f"fit = {self.fit} needs width and height")
        return self

    @property
    def rate(self) -> Fraction | None:
        """The exact rate; None for the source's."""
        return None if self.fps is None else as_rate(self.fps)


class Band(_Part):
    """What stands before or after the programme."""

    kind: Literal["slate", "black", "freeze"]
    seconds: float | None = Field(default=None, gt=0, le=600)
    frames: int | None = Field(default=None, ge=1, le=100_000)
    clock: bool = Field(default=False, description="of a slate: the seconds that are left before the programme")

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.clock and self.kind != "slate":
            raise ValueError("a clock stands on a slate")
        if (self.seconds is None) == (self.frames is None):
            raise ValueError("either seconds or frames")
        return self

    def length(self, rate: Fraction) -> int:
        """In frames at this rate."""
        return self.frames if self.frames is not None else max(1, round(Fraction(self.seconds or 0) * rate))


class Rung(_Part):
    """One size of a ladder. `height` is of the shorter side, so that a tall film has the same rungs."""

    height: int = Field(ge=16, le=8192, multiple_of=2)
    bitrate_k: int = Field(ge=16, le=200_000)


class Sheet(_Part):
    """Small pictures in one large one."""

    columns: int = Field(default=8, ge=1, le=64)
    height: int = Field(default=100, ge=16, le=1024, description="of a small picture, pixels")
    most: int = Field(default=3840, ge=1, le=10_000, description="small pictures at most, evenly spread")
    every_s: float | None = Field(default=None, gt=0, description="seconds from one to the next; else every frame")


class Profile(_Part):
    """One destination."""

    name: str
    description: str = Field(min_length=1)
    kind: Kind = "film"
    container: Literal["mp4", "mov", "mkv", "mxf", "png", "jpg", "hls"]
    video: Video | None = None
    audio: Audio | None = None
    loudness: Loudness | None = None
    frame: Frame = Frame()
    captions: Literal["none", "sidecar", "burned", "both"] = "sidecar"
    burn_in: bool = Field(default=False, description="show, shot, take, seed and frame number in the picture")
    head: tuple[Band, ...] = ()
    tail: tuple[Band, ...] = ()
    timecode: str | None = Field(
        default=None, pattern=r"^\d{2}:\d{2}:\d{2}[:;]\d{2}$", description="of the first frame"
    )
    rungs: tuple[Rung, ...] = ()
    segment_s: float = Field(default=6.0, gt=0, le=60)
    sheet: Sheet | None = None
    at: float = Field(default=0.5, ge=0, le=1, description="where in the film a poster is taken")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name: small letters, digits, '.' and '-'")
        if self.kind in ("film", "ladder", "sequence") and self.video is None:
            raise ValueError(f"a {self.kind} needs [video]")
        if self.kind == "ladder" and self.audio is not None and self.audio.encoder != "aac":
            raise ValueError("the sound of a ladder is aac")
        if self.kind == "ladder" and (not self.rungs or self.video is None or self.video.codec != "h264"):
            raise ValueError("a ladder needs rungs and a video of codec h264")
        if self.kind == "ladder" and (self.video is None or self.video.gop_s is None):
            raise ValueError("a ladder needs video.gop_s: its rungs share one grid")
        if self.kind == "ladder" and (self.head or self.tail or self.burn_in):
            raise ValueError("a ladder has neither head nor tail nor burn-in: make a film with these first")
        if self.kind == "ladder" and self.burns:
            raise ValueError("the captions of a ladder are sidecar or none: one picture serves all locales")
        if self.kind in ("tiles", "sprite") and self.sheet is None:
            raise ValueError(f"{self.kind} need [sheet]")
        if any(band.kind == "freeze" for band in self.head) or any(band.kind == "slate" for band in self.tail):
            raise ValueError("a slate stands in the head, a freeze in the tail")
        if any(band.kind == "slate" for band in self.head[1:]) or any(b.kind == "freeze" for b in self.tail[1:]):
            raise ValueError("a slate comes first in the head, a freeze first in the tail")
        if self.loudness is not None and self.audio is None:
            raise ValueError("loudness needs [audio]")
        return self

    @property
    def plays(self) -> bool:
        """Whether it has a rate and may have sound."""
        return self.kind in FILMS

    @property
    def takes_stills(self) -> bool:
        """Whether a still can be delivered so."""
        return self.kind in ("picture", "poster")

    @property
    def takes_films(self) -> bool:
        """Whether a film can be delivered so."""
        return self.kind != "picture"

    @property
    def burns(self) -> bool:
        """Whether captions are drawn into the picture."""
        return self.captions in ("burned", "both")


def load_profiles(*files: str | Path) -> dict[str, Profile]:
    """Our profiles, then those of each file; one of the same name replaces the earlier one.

    Raises BadProfiles: unreadable, not TOML, or not of the schema.
    """
    found: dict[str, Profile] = {}
    for file in (OWN, *files):
        for name, table in _read(Path(file)).items():
            found[name] = _profile(Path(file), name, table)
    return found


def pick(profiles: Mapping[str, Profile], names: Sequence[str]) -> list[Profile]:
    """These profiles, each once. BadProfiles for a name that is none."""
    unknown = [name for name in names if name not in profiles]
    if unknown:
        raise BadProfiles(f"no such profile: {', '.join(unknown)}; there are: {', '.join(sorted(profiles))}")
    return [profiles[name] for name in dict.fromkeys(names)]


def profiles_table(profiles: Mapping[str, Profile]) -> str:
    """The table of README.md."""
    lines = ["| profile | file | video | size and rate | sound | what for |", "|---|---|---|---|---|---|"]
    for name, profile in profiles.items():
        cells = (
            f"`{name}`", profile.container if profile.plays or profile.kind == "picture" else profile.kind,
            _video(profile), _frame(profile), _sound(profile), profile.description,
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _read(file: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadProfiles(f"{file}: {error.strerror or 'cannot be read'}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadProfiles(f"{file}: not TOML: {error}") from error
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise BadProfiles(f"{file}: {name} is no table: a profile begins with [{name}]")
    return tables


def _profile(file: Path, name: str, table: Mapping[str, Any]) -> Profile:
    try:
        return Profile(**{**table, "name": name})
    except ValidationError as error:
        faults = []
        for fault in error.errors(include_url=False, include_context=False):
            place = ".".join([name, *map(str, fault["loc"])])
            message = (
                "no such key" if fault["type"] == "extra_forbidden" else fault["msg"].removeprefix("Value error, ")
            )
            faults.append(f"{place}: {message}")
        raise BadProfiles(f"{file}: " + "; ".join(faults)) from error


def _video(profile: Profile) -> str:
    video = profile.video
    if video is None:
        return "–"
    grid = f"a key frame every {video.gop_s:g} s" if video.gop_s else ""
    grid = grid or (f"a key frame every {video.gop_frames} frames" if (video.gop_frames or 1) > 1 else "")
    return ", ".join(part for part in (f"{video.codec} {video.profile or ''}".strip(), video.pix_fmt, grid) if part)


def _frame(profile: Profile) -> str:
    frame = profile.frame
    size = f"{frame.width}x{frame.height}, {frame.fit}" if frame.width else ""
    size = size or (f"{frame.height} high" if frame.height else "the source's")
    rate = f", {frame.fps:g} fps" if frame.fps else ""
    rungs = f", {len(profile.rungs)} rungs" if profile.rungs else ""
    return size + rate + rungs


def _sound(profile: Profile) -> str:
    if profile.audio is None:
        return "–"
    loud = profile.loudness
    level = f", {loud.target:g} LUFS ±{loud.tolerance:g}, {loud.true_peak:g} dBTP" if loud else ""
    return profile.audio.encoder + level

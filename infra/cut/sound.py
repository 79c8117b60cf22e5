"""Sound of a cut: a bed, voices that it ducks under, and the loudness of both together.

Sound comes from files that the command line names, never from a timeline: a timeline is somebody else's file, and its
paths are not followed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import av.error
import ffmpeg as graph

from infra.cut.errors import BadAudio
from infra.deliver import loudness
from infra.deliver.errors import BadAudio as DeliveredBadAudio
from infra.deliver.profiles import Audio, Loudness
from infra.deliver.tool import Tools
from infra.media.errors import EncodeError

FORMATS: Final = "WAV, AIFF, FLAC, MP3, AAC, M4A, Ogg (Vorbis, Opus), and the sound of MP4, MOV, MKV and WebM"
# Nothing that names other files or addresses, as playlists do.
_DEMUXERS: Final = "wav,w64,aiff,flac,mp3,aac,ogg,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm"
KEPT: Final = Audio(encoder="aac", bitrate_k=320, rate=48_000, channels=2)
"""How a film's sound is kept: AAC, 320 kb/s, 48 kHz, stereo."""
# The bed gives way within 20 ms and comes back within 400 ms, by up to seven eighths of what the voice is above -30 dB.
_DUCK: Final = {"threshold": 0.0316, "ratio": 8, "attack": 20, "release": 400, "makeup": 1}
_LONGEST_S: Final = 12 * 3600.0


@dataclass(frozen=True)
class Voice:
    """A file that speaks from `at` seconds on."""

    path: Path
    at: Fraction = Fraction(0)


@dataclass(frozen=True)
class Sound:
    """What is heard.

    Attributes:
        duck: whether the bed gives way to voices.
        loop: whether a bed that is shorter than the film begins again.
        fade_s: seconds in which the bed fades out at the end.
        loudness: LUFS and dBTP that the film has afterwards; None leaves the level as it is.
    """

    bed: Path | None
    voices: Sequence[Voice] = ()
    duck: bool = True
    loop: bool = False
    fade_s: Fraction = Fraction(0)
    loudness: Loudness | None = None

    def recipe(self) -> dict[str, Any]:
        """What the sound depends on, by content and not by path."""
        return {
            "bed": None if self.bed is None else _sha256(self.bed),
            "voices": [[_sha256(voice.path), str(voice.at)] for voice in self.voices],
            "duck": self.duck and bool(self.voices),
            "loop": self.loop,
            "fade_s": str(self.fade_s),
            "loudness": None if self.loudness is None else self.loudness.model_dump(),
            "kept": KEPT.model_dump(),
        }


def check(sound: Sound, seconds: Fraction) -> None:
    """BadAudio for a file that is not there or holds no sound that can be read, or a voice behind the film's end."""
    for path in ([sound.bed] if sound.bed else []) + [voice.path for voice in sound.voices]:
        _read_through(path)
    for voice in sound.voices:
        if not 0 <= voice.at < seconds:
            raise BadAudio(f"{voice.path} begins at {float(voice.at):g} s, the film is {float(seconds):g} s long")


def mix(sound: Sound, made: Path, seconds: Fraction, tools: Tools) -> None:
    """Write `made`, a WAV of exactly `seconds` at the loudness that was asked for. BadAudio where that cannot be."""
    mixed = made.with_name(f"{made.stem}-mix.wav")
    output = _graph(sound, seconds).output(
        _local(mixed), **{"c:a": "pcm_f32le", "f": "wav", "map_metadata": -1, "fflags": "+bitexact"}
    )
    try:
        tools.run(output)
        measured = loudness.prepare(mixed, made, seconds=seconds, audio=KEPT, loudness=sound.loudness, tools=tools)
    except (EncodeError, DeliveredBadAudio) as error:
        raise BadAudio(f"the sound cannot be made: {error}") from error
    if sound.loudness is not None and measured is None:
        raise BadAudio(
            "the sound is silent: it cannot be brought to a loudness", "Look at the files, or give --loudness off."
        )
    mixed.unlink()


def add(film: Path, wav: Path, made: Path, tools: Tools) -> None:
    """Write `made`, the film with the sound of a WAV; its pictures are copied."""
    pictures, heard = graph.input(_local(film)), graph.input(_local(wav))
    output = graph.output(
        pictures.video, heard.audio, _local(made),
        **{
            "c:v": "copy", "c:a": KEPT.encoder, "b:a": f"{KEPT.bitrate_k}k", "movflags": "+faststart", "f": "mp4",
            "map_metadata": -1, "fflags": "+bitexact", "flags:a": "+bitexact",
        },
    )  # fmt: skip
    try:
        tools.run(output)
    except EncodeError as error:
        raise BadAudio(f"the sound cannot be joined to the pictures: {error}") from error


def measure(film: Path, wanted: Loudness | None, tools: Tools) -> dict[str, float | None]:
    """What the finished film's sound measures. BadAudio where that is not what was asked for."""
    found = loudness.measure(film, tools)
    if wanted is not None:
        if abs(found.integrated - wanted.target) > wanted.tolerance:
            raise BadAudio(
                f"the film's sound measures {found.integrated:.1f} LUFS after the encode, {wanted.target:g} was wanted"
            )
        if found.true_peak > wanted.true_peak + 0.05:
            raise BadAudio(
                f"the film's true peak is {found.true_peak:.1f} dBTP after the encode, {wanted.true_peak:g} is allowed",
                "Give a lower --true-peak or --loudness.",
            )
    return found.as_dict()


def _graph(sound: Sound, seconds: Fraction) -> Any:
    samples = round(seconds * KEPT.rate)
    bed = None
    if sound.bed is not None:
        bed = _even(_input(sound.bed, loop=sound.loop).audio, samples)
        if sound.fade_s:
            bed = bed.filter(
                "afade", t="out", st=float(max(Fraction(0), seconds - sound.fade_s)), d=float(sound.fade_s)
            )
    if not sound.voices:
        return bed
    spoken = []
    for voice in sound.voices:
        late = round(voice.at * KEPT.rate)
        heard = _input(voice.path).audio.filter("aresample", KEPT.rate).filter("aformat", channel_layouts="stereo")
        spoken.append(_even(heard.filter("adelay", f"{late}S", all=1) if late else heard, samples))
    voices = spoken[0] if len(spoken) == 1 else graph.filter(spoken, "amix", inputs=len(spoken), normalize=0)
    if bed is None:
        return voices
    if sound.duck:
        split = voices.asplit()
        bed = graph.filter([bed, split[0]], "sidechaincompress", **_DUCK)
        voices = split[1]
    return _even(graph.filter([bed, voices], "amix", inputs=2, normalize=0), samples)


def _input(path: Path, *, loop: bool = False) -> Any:
    options: dict[str, Any] = {"protocol_whitelist": "file", "format_whitelist": _DEMUXERS}
    return graph.input(_local(path), **options, **({"stream_loop": -1} if loop else {}))


def _even(stream: Any, samples: int) -> Any:
    """So many samples of 48 kHz stereo."""
    return (
        stream.filter("aresample", KEPT.rate)
        .filter("aformat", sample_fmts="flt", channel_layouts="stereo")
        .filter("apad", whole_len=samples)
        .filter("atrim", end_sample=samples)
        .filter("asetpts", "N/SR/TB")
    )


def _read_through(path: Path) -> None:
    """Decodes a file's sound to its end."""
    if not path.is_file():
        raise BadAudio(f"there is no sound file {path}")
    heard = 0.0
    try:
        with av.open(_local(path), options={"protocol_whitelist": "file", "format_whitelist": _DEMUXERS}) as container:
            if not container.streams.audio:
                raise BadAudio(f"{path} holds no sound", f"Sound is read from {FORMATS}.")
            for frame in container.decode(container.streams.audio[0]):
                heard += frame.samples / frame.sample_rate
                if heard > _LONGEST_S:
                    raise BadAudio(f"{path} is longer than {_LONGEST_S / 3600:g} hours, which is the limit")
    except (av.error.FFmpegError, ValueError) as error:
        raise BadAudio(f"{path} cannot be read as sound: {error}", f"Sound is read from {FORMATS}.") from error
    if not heard:
        raise BadAudio(f"{path} holds no sound", f"Sound is read from {FORMATS}.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _local(path: Path) -> str:
    """A path that no protocol can be read into."""
    return f"file:{path.absolute()}"

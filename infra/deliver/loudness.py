"""Loudness: measured by EBU R128, brought to a target in two passes, and measured again.

Sound is prepared as a WAV of exactly the film's length before it is encoded, so that pictures and sound end together.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import ffmpeg as graph

from infra.deliver.errors import BadAudio
from infra.deliver.profiles import Audio, Loudness
from infra.deliver.tool import Tools
from infra.media.errors import EncodeError

_JSON: Final = re.compile(r"\{[^{}]*\"input_i\"[^{}]*\}")
LOSSY: Final = ("aac",)
_PEAK_LEFT: Final = 0.2  # dB that are left to the true peak: two meters differ by so much
_CLOSE: Final = 0.1  # LU: nearer than this to the target is not corrected
_TRIES: Final = 3
_SILENT: Final = -69.0  # LUFS: below it nothing was heard that could be measured


@dataclass(frozen=True)
class Measured:
    """integrated: LUFS; true_peak: dBTP; range: LU. Of silence the first two are minus infinity."""

    integrated: float
    true_peak: float
    range: float
    threshold: float

    def as_dict(self) -> dict[str, float | None]:
        """For JSON; None for what silence has not."""
        values = {"integrated_lufs": self.integrated, "true_peak_dbtp": self.true_peak, "range_lu": self.range}
        return {name: round(value, 2) if math.isfinite(value) else None for name, value in values.items()}

    @property
    def silent(self) -> bool:
        """Whether nothing was heard."""
        return not self.integrated > _SILENT


def measure(path: Path, tools: Tools, *, start: Fraction = Fraction(0), seconds: Fraction | None = None) -> Measured:
    """The loudness of a file's first track of sound, or of a part. BadAudio where there is none that can be read."""
    wanted = {"I": -23, "TP": -1, "LRA": 11}
    stream = graph.input(_local(path)).audio
    if seconds is not None:
        stream = stream.filter("atrim", start=float(start), duration=float(seconds))
    told = _loudnorm(stream, wanted, tools, path.name)
    values = [float(told[name]) for name in ("input_i", "input_tp", "input_lra", "input_thresh")]
    return Measured(*values)


def prepare(
    source: Path,
    made: Path,
    *,
    seconds: Fraction,
    audio: Audio,
    loudness: Loudness | None,
    tools: Tools,
) -> Measured | None:
    """Write `made`, a WAV of exactly `seconds`, from a file's sound: cut or filled up with silence, at its loudness.

    Returns what it measures then; None without a target, or where the sound is silent. BadAudio when the target
    cannot be reached below the true peak.
    """
    stream = _even(graph.input(_local(source)).audio, audio, seconds)
    if loudness is None:
        _write(stream, made, audio, tools, source)
        return None
    peak = max(-9.0, loudness.true_peak - (1.0 if audio.encoder in LOSSY else _PEAK_LEFT))
    wanted: dict[str, float] = {"I": loudness.target, "TP": peak, "LRA": 20}
    told = _loudnorm(stream, wanted, tools, source.name)
    first = Measured(*(float(told[name]) for name in ("input_i", "input_tp", "input_lra", "input_thresh")))
    if first.silent:
        _write(_even(graph.input(_local(source)).audio, audio, seconds), made, audio, tools, source)
        return None
    again = wanted | {
        "measured_I": first.integrated, "measured_TP": first.true_peak, "measured_LRA": first.range,
        "measured_thresh": first.threshold, "offset": float(told["target_offset"]), "linear": "true",
    }  # fmt: skip
    stream = _even(graph.input(_local(source)).audio, audio, seconds).filter("loudnorm", **again)
    _write(_even(stream, audio, seconds), made, audio, tools, source)
    return _corrected(made, loudness, audio, seconds, tools)


def silence(made: Path, *, seconds: Fraction, audio: Audio, tools: Tools) -> None:
    """Write `made`, a WAV of silence."""
    layout = f"{audio.channels}c" if audio.channels > 2 else ("mono", "stereo")[audio.channels - 1]
    source = graph.input(f"anullsrc=r={audio.rate}:cl={layout}", f="lavfi").audio
    _write(_even(source, audio, seconds), made, audio, tools, made)


def _corrected(made: Path, loudness: Loudness, audio: Audio, seconds: Fraction, tools: Tools) -> Measured:
    """What loudnorm leaves (it misses where sound is short or uneven) and the encoder changes is made good by a gain.

    It is measured as it will be heard, after the encoder, and the gain is given as far as the true peak allows.
    """
    found = _heard(made, audio, tools)
    for _ in range(_TRIES):
        gain = min(loudness.target - found.integrated, loudness.true_peak - _PEAK_LEFT - found.true_peak)
        if abs(gain) <= _CLOSE:
            break
        better = made.with_name(f"{made.stem}-louder.wav")
        stream = graph.input(_local(made)).audio.filter("volume", f"{gain:.3f}dB")
        _write(_even(stream, audio, seconds), better, audio, tools, made)
        better.replace(made)
        found = _heard(made, audio, tools)
    if abs(found.integrated - loudness.target) > loudness.tolerance or found.true_peak > loudness.true_peak:
        raise BadAudio(
            f"the sound reaches {found.integrated:.1f} LUFS where {loudness.target:g} is wanted: louder than that, its "
            f"peaks go beyond {loudness.true_peak:g} dBTP; mix it with less of a difference"
        )
    return found


def _heard(wav: Path, audio: Audio, tools: Tools) -> Measured:
    """The loudness of a WAV once it is encoded: a lossy encoder takes something of it away."""
    if audio.encoder not in LOSSY:
        return measure(wav, tools)
    trial = wav.with_name(f"{wav.stem}-trial.m4a")
    tools.run(graph.input(_local(wav)).audio.output(_local(trial), **encoded(audio), f="mp4"))
    return measure(trial, tools)


def encoded(audio: Audio) -> dict[str, Any]:
    """Options of an output with this sound."""
    options: dict[str, Any] = {"c:a": audio.encoder, "ar": audio.rate, "ac": audio.channels, "flags:a": "+bitexact"}
    if audio.encoder in LOSSY:
        options["b:a"] = f"{audio.bitrate_k or 192}k"
    return options


def _even(stream: Any, audio: Audio, seconds: Fraction) -> Any:
    """So many samples, at this rate and with these channels."""
    samples = round(seconds * audio.rate)
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}.get(audio.channels, f"{audio.channels}c")
    return (
        stream.filter("aresample", audio.rate)
        .filter("aformat", sample_fmts="flt", channel_layouts=layout)
        .filter("apad", whole_len=samples)
        .filter("atrim", end_sample=samples)
        .filter("asetpts", "N/SR/TB")
    )


def _write(stream: Any, made: Path, audio: Audio, tools: Tools, source: Path) -> None:
    output = stream.output(_local(made), **{"c:a": "pcm_f32le", "f": "wav", "map_metadata": -1, "fflags": "+bitexact"})
    try:
        tools.run(output)
    except EncodeError as error:
        raise BadAudio(f"{source.name}: its sound cannot be read: {error.stderr[-300:]}") from error


def _loudnorm(stream: Any, wanted: Mapping[str, float], tools: Tools, name: str) -> Mapping[str, Any]:
    output = stream.filter("loudnorm", **wanted, print_format="json").output("-", f="null")
    try:
        said = tools.run(output, level="info")
    except EncodeError as error:
        raise BadAudio(f"{name}: its sound cannot be read: {error.stderr[-300:]}") from error
    found = _JSON.search(said)
    if found is None:
        raise BadAudio(f"{name}: no loudness was told of it")
    told: Mapping[str, Any] = json.loads(found[0])
    return told


def _local(path: Path) -> str:
    """A path that no protocol can be read into."""
    return f"file:{path}"

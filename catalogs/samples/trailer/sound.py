"""A bed of sound for the trailer, computed: four chords, a bass, a pulse that grows. Nobody has rights in it."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

RATE: Final = 44_100
"""Samples a second."""
_CHORDS: Final = ((57, 60, 64), (53, 57, 60), (48, 52, 55), (55, 59, 62))  # A minor, F, C, G, as MIDI notes
_BAR_S: Final = 2.0
_BEAT_S: Final = 0.5


def bed(seconds: float) -> NDArray[np.int16]:
    """Stereo sound, (samples, 2), 16 bit, at `RATE`; the same each time."""
    count = round(seconds * RATE)
    time = np.arange(count) / RATE
    left, right = np.zeros(count), np.zeros(count)
    for bar in range(int(np.ceil(seconds / _BAR_S))):
        start, stop = round(bar * _BAR_S * RATE), min(round((bar + 1) * _BAR_S * RATE), count)
        own = time[start:stop] - bar * _BAR_S
        shape = np.sin(np.pi * np.clip(own / _BAR_S, 0, 1)) ** 0.5
        chord = _CHORDS[bar % len(_CHORDS)]
        for number, note in enumerate(chord):
            left[start:stop] += 0.16 * shape * _tone(note, own)
            right[start:stop] += 0.16 * shape * _tone(note + 0.06 * (number - 1), own)  # a little apart: it is wide
        bass = 0.3 * shape * np.sin(2 * np.pi * _hertz(chord[0] - 24) * own)
        left[start:stop] += bass
        right[start:stop] += bass
    beat = time % _BEAT_S
    pulse = np.sin(2 * np.pi * 55 * beat) * np.exp(-beat * 18) * np.clip(time / max(seconds, 1e-9), 0, 1)
    mixed = np.stack([left, right], 1) + 0.6 * pulse[:, None]
    ends = np.clip(np.minimum(time, time[::-1]) / 0.05, 0, 1)  # no click at either end
    mixed *= ends[:, None]
    return (mixed / np.abs(mixed).max() * 0.7 * 32767).astype(np.int16)


def write_wav(path: Path, samples: NDArray[np.int16]) -> None:
    """Puts sound (samples, channels), 16 bit, into a WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.astype("<i2").tobytes())


def _hertz(note: float) -> float:
    return 440.0 * float(2.0 ** ((note - 69) / 12))


def _tone(note: float, time: NDArray[np.float64]) -> NDArray[np.float64]:
    """A soft tone: three harmonics."""
    base = 2 * np.pi * _hertz(note) * time
    made: NDArray[np.float64] = np.sin(base) + 0.4 * np.sin(2 * base) + 0.15 * np.sin(3 * base)
    return made

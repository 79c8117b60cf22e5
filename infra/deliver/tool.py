"""Running ffmpeg on files: what it can, and what it said."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from infra.deliver.errors import EncoderMissing
from infra.deliver.profiles import Profile
from infra.media import child
from infra.media.errors import EncodeError, FfmpegMissing
from infra.media.ffmpeg import ffmpeg_path

_QUIET = ("-hide_banner", "-nostdin", "-nostats", "-y", "-filter_complex_threads", "1")
_KEPT = 65_536  # bytes of what it said
_NAMED = re.compile(r"^ [VAS][F.][S.][X.][B.][D.] (\S+)", re.MULTILINE)
_SAID_BY = re.compile(r"^(?:\[[^\]]*\] ?)+")
_NOISE = re.compile(r"Guessed Channel Layout|deprecated|Task finished|Terminating thread|thread_encoder_init|Svt\[")
# Slowest encode that is still waited for, of AV1 or of motion interpolation on one core.
_PIXELS_PER_S = 5e4


@dataclass(frozen=True)
class Tools:
    """Which ffmpeg is used and how long one run of it may take: `start_s` and what the pixels need beyond that."""

    ffmpeg: str | None = None
    start_s: float = 600.0

    @property
    def program(self) -> str:
        """The absolute path. FfmpegMissing where there is none."""
        return ffmpeg_path(self.ffmpeg)

    def run(self, what: Any, *, pixels: float = 0, level: str = "warning") -> str:
        """Run a graph of ffmpeg-python, or a list of arguments, to its end; returns what was said.

        EncodeError when ffmpeg fails, is killed or takes too long. ffmpeg is gone when this returns, however it does.
        """
        args = list(what) if isinstance(what, list | tuple) else what.get_args()
        return _run([self.program, *_QUIET, "-loglevel", level, *args], self.start_s + pixels / _PIXELS_PER_S)


def _run(command: Sequence[str], timeout_s: float) -> str:
    process = child.start(command[0], *command[1:], stdin=subprocess.DEVNULL)
    assert process.stderr is not None
    said = bytearray()

    def drain() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            said.extend(line)
            del said[:-_KEPT]

    reader = threading.Thread(target=drain, name="ffmpeg-stderr", daemon=True)
    try:
        reader.start()
        try:
            code: int | None = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            code = None
    finally:
        process.kill()  # no effect on one that has ended
        process.wait()
        reader.join()
        process.stderr.close()
    text = said.decode(errors="replace")
    if code != 0:
        happened = f"did not end in {timeout_s:.0f} s" if code is None else f"ended with {code}"
        if told := _telling(text):
            happened += f": {told}"
        raise EncodeError(f"ffmpeg {happened}", code, "\n".join(text.splitlines()[-12:]))
    return text


def _telling(text: str) -> str:
    """The first lines of what ffmpeg said that speak of a fault, without who said them."""
    lines = (_SAID_BY.sub("", line).strip() for line in text.splitlines())
    return "; ".join(list(dict.fromkeys(line for line in lines if line and not _NOISE.search(line)))[:2])


@cache
def encoders(program: str) -> frozenset[str]:
    """The names of all encoders of this ffmpeg. FfmpegMissing when it is none that runs."""
    try:
        listed = subprocess.run(
            [program, "-hide_banner", "-encoders"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
        raise FfmpegMissing(f"{program} does not run as ffmpeg does: {error}") from error
    if listed.returncode:
        said = listed.stderr[-300:].strip() or f"it ended with {listed.returncode}"
        raise FfmpegMissing(f"{program} does not run as ffmpeg does: {said}")
    return frozenset(_NAMED.findall(listed.stdout))


@cache
def version(program: str) -> str:
    """The version of this ffmpeg, as it says itself."""
    said = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=60, check=False).stdout
    return said.split(" ", 3)[2] if said.startswith("ffmpeg version ") else os.path.basename(program)


def encoder_of(profile: Profile, program: str) -> str | None:
    """The first encoder of a profile that this ffmpeg has; None for a profile that needs none.

    EncoderMissing names the ones that it would need.
    """
    if profile.video is None:
        return None
    there = encoders(program)
    found = next((name for name in profile.video.encoders if name in there), None)
    if found is None:
        wanted = " or ".join(profile.video.encoders)
        raise EncoderMissing(
            f"profile {profile.name} needs the encoder {wanted}, which {program} does not have; "
            "name another ffmpeg in media.ffmpeg"
        )
    if profile.audio is not None and profile.audio.encoder not in there:
        raise EncoderMissing(
            f"profile {profile.name} needs the encoder {profile.audio.encoder}, which {program} does not have"
        )
    return found


def lacking(profiles: Sequence[Profile], program: str) -> dict[str, str]:
    """Profiles that this ffmpeg cannot make, with the reason."""
    found = {}
    for profile in profiles:
        try:
            encoder_of(profile, program)
        except EncoderMissing as error:
            found[profile.name] = str(error)
    return found

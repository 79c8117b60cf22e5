"""The ffmpeg program: where it is, and running it with frames on its standard input."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Iterable
from typing import Any

import imageio_ffmpeg

from infra.media import child
from infra.media.errors import EncodeError, FfmpegMissing

_STDERR_LINES = 30
_QUIET = ("-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning")
# Slices of a frame are dithered and resized on their own, so their number would show in the bytes.
_ONE_SLICE = ("-filter_complex_threads", "1")


def ffmpeg_path(setting: str | os.PathLike[str] | None = None) -> str:
    """The absolute path of the program: `setting` (a path, or a name on the PATH), else the one in the wheel.

    FfmpegMissing when there is none.
    """
    if setting is not None:
        found = shutil.which(os.path.expanduser(setting))
        if found is None:
            raise FfmpegMissing(f"the ffmpeg of the settings, {os.fspath(setting)!r}, is not there or cannot be run")
        return os.path.abspath(found)
    try:
        return os.path.abspath(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise FfmpegMissing(f"imageio-ffmpeg has no program for this machine: {error}") from error


def run(
    output: Any, *, feed: Iterable[Any] = (), timeout_s: float, ffmpeg: str | os.PathLike[str] | None = None
) -> None:
    """Run one ffmpeg-python graph to its end, with the buffers of `feed` on its standard input.

    `feed` is written from a thread, piece by piece, while another drains standard error, so neither pipe can block the
    other. EncodeError when ffmpeg fails, is killed or takes longer than `timeout_s`; an error of `feed` itself is
    raised as it is. ffmpeg is gone when this returns, however it does.
    """
    program, *args = output.compile(cmd=[ffmpeg_path(ffmpeg), *_QUIET, *_ONE_SLICE], overwrite_output=True)
    process = child.start(program, *args, stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stderr is not None
    tail: deque[str] = deque(maxlen=_STDERR_LINES)
    feeder = _Feeder(process, feed)
    drain = threading.Thread(target=_drain, args=(process.stderr, tail), name="ffmpeg-stderr", daemon=True)
    try:
        drain.start()
        feeder.start()
        try:
            returncode: int | None = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            returncode = None
    finally:
        process.kill()  # no effect on one that has ended
        process.wait()
        feeder.join()
        drain.join()
        process.stderr.close()
    if feeder.error is not None:
        raise feeder.error
    if returncode != 0 or not feeder.done:
        raise EncodeError(_what_happened(returncode, timeout_s), returncode, "\n".join(tail))


class _Feeder(threading.Thread):
    """Writes to ffmpeg's standard input. `done` tells that it took everything."""

    def __init__(self, process: subprocess.Popen[bytes], feed: Iterable[Any]) -> None:
        super().__init__(name="ffmpeg-stdin", daemon=True)
        self.process = process
        self.feed = feed
        self.error: BaseException | None = None
        self.done = False

    def run(self) -> None:
        stdin = self.process.stdin
        assert stdin is not None
        # A pipe that breaks means that ffmpeg has ended; its return code and its last lines say why.
        with contextlib.suppress(BrokenPipeError):
            try:
                for piece in self.feed:
                    stdin.write(piece)
                stdin.flush()
                self.done = True
            except BrokenPipeError:
                raise
            except BaseException as error:
                self.error = error
                self.process.kill()
            finally:
                stdin.close()


def _drain(stderr: Any, tail: deque[str]) -> None:
    for line in stderr:
        tail.append(line.decode(errors="replace").rstrip()[:500])


def _what_happened(returncode: int | None, timeout_s: float) -> str:
    if returncode is None:
        return f"ffmpeg did not end in {timeout_s:.0f} s and was stopped"
    if returncode < 0:
        return f"ffmpeg was killed by signal {-returncode}"
    if returncode == 0:
        return "ffmpeg ended before it had read all frames"
    return f"ffmpeg ended with {returncode}"

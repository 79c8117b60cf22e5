"""The worked example from end to end: storyboard, approval, clips, cut, deliverables, audit. `make trailer` runs it.

    python -m flows.trailer [--out ./out-trailer]

It only gives commands that a person could give, and shows each one before it runs. Run again, it goes on where it
stopped: every command renders, cuts and delivers only what is missing.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from catalogs.samples.trailer import CATALOG, SECONDS, TIMELINE
from catalogs.samples.trailer.sound import bed, write_wav

CUT = "trailer"
WHO = "the script"
STILLS = 2
PROFILES = ("mp4", "vertical", "square", "hls", "prores-hq", "poster")


class Stopped(Exception):
    """A command did not end with 0. `code` is what it ended with."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def make_trailer(out: str) -> None:
    """Makes the trailer in the store `out`, or what of it is missing.

    Raises:
        Stopped: by a command; it has said why.
    """
    storyboard = ("storyboard", CATALOG, "--out", out, "--stills", STILLS, "--no-wait")
    board = told(*storyboard)["storyboard"]
    # In place of people: the best still of each shot by its measures, and then the best clip.
    rushes("select", out, "--job", board["stills_job"], "--best", "--who", WHO, "--quiet")
    clips = told(*storyboard)
    rushes("select", out, "--job", clips["job_id"], "--best", "--who", WHO)
    with tempfile.TemporaryDirectory(prefix="rushes-") as folder:
        sound = Path(folder) / "bed.wav"
        write_wav(sound, bed(SECONDS))
        rushes(
            "cut", out, "--name", CUT, "--job", clips["job_id"], "--timeline", TIMELINE, "--bed", sound,
            "--fade-out", 2, "--loudness", -14,
        )  # fmt: skip
    rushes("deliver", out, "--cut", CUT, *(word for name in PROFILES for word in ("--profile", name)))
    rushes("verify", out)


def told(*words: object) -> dict[str, Any]:
    """What a command says as JSON."""
    return dict(json.loads(rushes(*words, "--json", read=True)))


def rushes(*words: object, read: bool = False) -> str:
    """Runs `rushes WORDS`, and returns what it said where that is to be read. Raises Stopped unless it ends with 0."""
    given = [str(word) for word in words]
    print(f"$ rushes {shlex.join(given)}", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "flows", *given], check=False, text=True, stdout=subprocess.PIPE if read else None
    )
    if done.returncode:
        raise Stopped(done.returncode)
    return done.stdout or ""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code of the command that stopped it, else 0."""
    parser = argparse.ArgumentParser(prog="python -m flows.trailer", description="Make the worked example.")
    parser.add_argument("--out", default="./out-trailer", help="the store; ./out-trailer by default")
    out = parser.parse_args(arguments).out
    try:
        make_trailer(out)
    except Stopped as stopped:
        print("stopped; the same command goes on", file=sys.stderr)
        return stopped.code
    except KeyboardInterrupt:
        return 130
    print(f"the trailer and its deliverables: {out}/cuts/{CUT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

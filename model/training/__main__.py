"""Trains the default model from nothing: autoencoder, latents, transformer, and the folder that they make together.

    python -m model.training --out runs/default                     # hours on a CPU; stops and goes on as you like
    python -m model.training --out runs/default --seconds 540       # a piece of it; the same command again goes on
    python -m model.training --out runs/default --device cuda       # on one GPU: large batches, drawn by all processors
    python -m model.training --out runs/small --transformer-steps 2000

Each stage is a command of its own (`python -m model.training.autoencoder --help`), goes on where it stopped and is
passed over when it is done. `OUT/model` is the pipeline folder; every trainer leaves `loss.csv`, `loss.png` and samples
in `sheet.png`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from model.training.run import STOPPED

DONE = "done"
# Of a GPU's batches: what keeps one busy.
GPU_SCALE, GPU_TOKENS = 16, 32768
CLIPS_A_SLOW_ONE = 8


def stages(out: Path, given: argparse.Namespace) -> list[tuple[str, list[str], bool]]:
    """Each stage: its name, its command's words, and whether it can be told to stop after some seconds."""
    machine = ["--threads", str(given.threads), "--device", given.device]
    gpu = given.device != "cpu"
    drawing = ["--scale", str(GPU_SCALE), "--workers", str(max((os.cpu_count() or 2) - 1, 1))] if gpu else []
    vae, latents, transformer = (str(out / name) for name in ("autoencoder/vae", "latents", "transformer"))
    return [
        (
            "autoencoder",
            [
                *("--out", str(out / "autoencoder"), "--steps", str(given.autoencoder_steps)),
                *("--measure", str(given.measure), *drawing, *machine),
            ],
            True,
        ),
        (
            "latents",
            [
                *("--autoencoder", vae, "--out", latents),
                *("--count", str(given.clips), "--stills", str(given.stills)),
                *("--slow", str(given.clips // CLIPS_A_SLOW_ONE), *drawing, *machine),
            ],
            True,
        ),
        (
            "transformer",
            [
                *("--latents", latents, "--autoencoder", vae, "--out", transformer),
                *("--steps", str(given.transformer_steps)),
                *(("--reading", str(given.reading_steps)) if given.reading_steps is not None else ()),
                *(("--tokens", str(GPU_TOKENS)) if gpu else ()),
                *machine,
            ],
            True,
        ),
        ("release", ["--autoencoder", vae, "--transformer", transformer, "--out", str(out / "model")], False),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. 0 when the model stands, 75 when the seconds are over and there is more to do."""
    parser = argparse.ArgumentParser(prog="python -m model.training", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long; run again to go on")
    parser.add_argument("--autoencoder-steps", type=int, default=12000)
    parser.add_argument(
        "--clips",
        type=int,
        default=8192,
        help="clips that are drawn and encoded; an eighth as many slow ones more",
    )
    parser.add_argument("--stills", type=int, default=16384, help="stills that are drawn and encoded")
    parser.add_argument("--reading-steps", type=int, help="of the text encoder alone, before the others")
    parser.add_argument("--transformer-steps", type=int, default=15000)
    parser.add_argument("--measure", type=int, default=8, help="whole clips that the autoencoder is measured on")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda for one GPU")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + given.seconds
    for name, words, stoppable in stages(given.out, given):
        mark = given.out / f"{name}.{DONE}"
        # A stage that was done with other words is not the one that is asked for.
        if mark.exists() and mark.read_text() == " ".join(words):
            continue
        left = ends - time.monotonic()
        if left <= 0:
            return _more(name)
        limit = ["--seconds", f"{left:.0f}"] if stoppable and left != float("inf") else []
        print(f"{name}: {' '.join(words)}", flush=True)
        code = subprocess.run([sys.executable, "-m", f"model.training.{name}", *words, *limit], check=False).returncode
        if code == STOPPED:
            return _more(name)
        if code != 0:
            return code
        mark.write_text(" ".join(words))
    print(f"the model stands in {given.out / 'model'}")
    return 0


def _more(name: str) -> int:
    print(f"{name} is not done yet: the same command goes on", file=sys.stderr)
    return STOPPED


if __name__ == "__main__":
    sys.exit(main())

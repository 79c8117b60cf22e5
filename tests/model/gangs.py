"""Ranks of a gang as processes of their own, each running a script of the tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from model.parallel import serve_store
from tests.model.folders import build_folder

CHECKOUT = Path(__file__).parents[2]


def run_ranks(module: str, ranks: int, out: Path, *, timeout_s: float) -> list[dict[str, Any]]:
    """Runs `python -m MODULE RANK PORT FOLDER OUT` for each rank, on a tiny random folder; all have to end with 0.

    Args:
        timeout_s: of the ranks' meeting place.

    Returns:
        what each rank wrote into OUT/rank-N.json.
    """
    folder = build_folder(out / "folder", "ti2v", heads=3)
    store = serve_store(timeout_s=timeout_s)
    command = [sys.executable, "-m", module]
    started = [
        subprocess.Popen([*command, str(rank), str(store.port), str(folder), str(out)], cwd=CHECKOUT)
        for rank in range(ranks)
    ]
    try:
        assert [rank.wait(timeout=240) for rank in started] == [0] * ranks
    finally:
        for rank in started:
            rank.kill()
            rank.wait()
    return [json.loads((out / f"rank-{rank}.json").read_text()) for rank in range(ranks)]

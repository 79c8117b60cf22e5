"""Every exception of ours crosses processes whole: Ray pickles what a call raises, and what cannot be read is lost."""

from __future__ import annotations

import ast
import builtins
import copy
import pickle
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from actors.errors import ErrorClass, classify
from infra.scratch import ScratchFull, ScratchUnusable

ROOT = Path(__file__).parents[2]
PACKAGES = ("actors", "catalogs", "infra", "model")
WITH: dict[str, tuple[Any, ...]] = {
    "CalledOff": ("called off", ErrorClass.GANG_LOST, 1.5),
    "EncodeError": ("ffmpeg failed", -9, "No space left on device"),
    "GangNotBuilt": ("no gang", ErrorClass.NODE, True),
    "Invalid": ("changed", ("assertion.dataHash.mismatch",)),
    "LostGang": ("rank 1 died", ErrorClass.NODE, 1.5),
    "MediaMismatch": ("frames", 8, 9),
    "NonFinite": (3, "latents"),
    "Refused": ("width", 64, 128),
    "Unplayable": ("a.mp4", "it breaks off"),
}
"""What a class is made from, where that is not a message; with fields that differ from their defaults."""
HINTED = {"CutError", "BadTimeline", "TakeMissing", "FilmDiffers"}


def _classes() -> Iterator[tuple[str, str]]:
    """Module and name of every exception class that is not a module's own, from the sources: none is missed."""
    bases: dict[tuple[str, str], set[str]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            for node in ast.parse(path.read_bytes()).body:
                if isinstance(node, ast.ClassDef):
                    bases[module, node.name] = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
    known = {name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    while more := {name for (_, name), of in bases.items() if name not in known and of & known}:
        known |= more
    yield from ((module, name) for module, name in bases if name in known and not name.startswith("_"))


CLASSES = sorted(_classes())


def test_they_are_found() -> None:
    assert {("infra.scratch", "ScratchFull"), ("actors.gangs.gang", "LostGang"), ("model.errors", "NonFinite")} <= {
        *CLASSES
    }
    assert WITH.keys() <= {name for _, name in CLASSES}


@pytest.mark.parametrize(("module", "name"), CLASSES)
def test_with_all_that_they_hold(module: str, name: str) -> None:
    kind = getattr(import_module(module), name)
    hinted = name in HINTED or (module, name) == ("infra.cut.errors", "BadAudio")
    error: Exception = kind(*(("what was found", "what to do") if hinted else WITH.get(name, ("what was found",))))
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is kind
        assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))
        assert classify(again) == classify(error)


@pytest.mark.parametrize("kind", [ScratchFull, ScratchUnusable])
def test_a_full_disk_says_so_on_the_other_side(kind: type[OSError]) -> None:
    error = kind("no room for 9 bytes")
    again = pickle.loads(pickle.dumps(error))
    assert (again.errno, again.strerror) == (error.errno, "no room for 9 bytes")

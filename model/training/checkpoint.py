"""Checkpoints of a training run: tensors by name in safetensors files of bounded size, swapped in whole.

A checkpoint is a folder `state-<step>/` of `part-*.safetensors`; `progress.json` beside it names the newest one. It is
written first and named afterwards, so that a kill at any moment leaves one that is whole.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

PART_BYTES = 15 * 2**20
"""Most bytes of tensors in one file; a larger tensor has a file to itself."""


def save_checkpoint(folder: Path, step: int, steps: int, state: Mapping[str, Tensor]) -> None:
    """Writes a checkpoint, names it in `progress.json`, and removes the ones before it."""
    name = f"state-{step:07d}"
    partial = folder / f"{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for number, part in enumerate(_parts(state)):
        save_file({key: value.contiguous() for key, value in part.items()}, partial / f"part-{number:03d}.safetensors")
    shutil.rmtree(folder / name, ignore_errors=True)
    partial.rename(folder / name)
    progress = folder / "progress.partial"
    progress.write_text(json.dumps({"step": step, "steps": steps, "state": name}))
    os.replace(progress, folder / "progress.json")
    for other in folder.glob("state-*"):
        if other.name != name:
            shutil.rmtree(other)


def load_checkpoint(folder: Path) -> tuple[int, dict[str, Tensor]] | None:
    """Step and tensors of the newest checkpoint, on the CPU; None where there is none."""
    progress = folder / "progress.json"
    if not progress.exists():
        return None
    found = json.loads(progress.read_text())
    state: dict[str, Tensor] = {}
    for part in sorted((folder / found["state"]).glob("part-*.safetensors")):
        state |= load_file(part)
    return int(found["step"]), state


def _parts(state: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    part: dict[str, Tensor] = {}
    held = 0
    for name, value in state.items():
        size = value.numel() * value.element_size()
        if part and held + size > PART_BYTES:
            yield part
            part, held = {}, 0
        part[name] = value
        held += size
    yield part

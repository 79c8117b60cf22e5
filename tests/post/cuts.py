"""Takes whose every frame can be told from every other by its grey, and films read back as such."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import av
import numpy as np

from flows.command import main
from infra.media import encode_film, encode_still
from infra.store import Store, layout, open_store
from infra.store.commits import publish

WIDTH, HEIGHT, FPS, FRAMES = 64, 48, 8.0, 12
SHOTS = ("a", "b", "c")
FrameName = tuple[str, int]
"""Shot and number of a frame; ("mix", 0) for one that is of no shot alone."""


def grey(shot_id: str, number: int) -> int:
    """The level of a frame, full range: 70 apart between shots, 5 between frames."""
    return 20 + 70 * SHOTS.index(shot_id) + 5 * number


def luma(level: float) -> float:
    """What BT.709 of limited range makes of a grey."""
    return 16 + level * 219 / 255


def add_take(
    store: Store, folder: Path, shot_id: str, *, take: int = 1, show: str = "s", frames: int = FRAMES,
    fps: float | None = FPS, size: tuple[int, int] = (WIDTH, HEIGHT), revision: str = "0011aabb", shift: int = 0,
    preset: str = "medium", **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """Commit a take; `shift` brightens it, so that takes of a shot differ. Without fps it is a still."""
    width, height = size
    pictures = np.empty((frames, height, width, 3), np.uint8)
    for number in range(frames):
        pictures[number] = grey(shot_id, number) + shift
    suffix = ".png" if fps is None else ".mp4"
    local = folder / f"{show}-{shot_id}-{take}{suffix}"
    if fps is None:
        encode_still(pictures[0], local)
    else:
        encode_film(pictures, local, fps=fps, preset=preset)
    key = hashlib.sha256(f"{show}/{shot_id}/{revision}/{take}".encode()).hexdigest()
    media = {"width": width, "height": height, "frames": 1 if fps is None else frames, "fps": fps}
    record = {
        "spec_key": key, "picture_key": key, "show": show, "shot_id": shot_id, "revision": revision, "take": take,
        "seed": take, "media": media, "gang": 1, "layout": "single", "attempt": 1, "gpu_s": 1.0, "epoch": 1, **more,
    }  # fmt: skip
    return publish(store, local=local, record=record, suffix=suffix).commit


def store_of(folder: Path, *shots: str) -> Store:
    """A store with one take of each of these shots."""
    store = open_store(folder / "store")
    store.probe()
    for shot in shots:
        add_take(store, folder, shot)
    return store


def lumas(path: Path) -> list[float]:
    """The mean luma of every frame."""
    with av.open(str(path)) as film:
        return [float(frame.to_ndarray()[: frame.height].mean()) for frame in film.decode(video=0)]


def frames_of(path: Path) -> list[FrameName]:
    """Which frame of which shot each frame of a film is."""
    known = {luma(grey(shot, number)): (shot, number) for shot in SHOTS for number in range(FRAMES)}
    found = []
    for level in lumas(path):
        near = min(known, key=lambda value: abs(value - level))
        found.append(known[near] if abs(near - level) < 1.5 else ("mix", 0))
    return found


def cut_record(store: Store, name: str = "film") -> dict[str, Any]:
    """The record of a cut in the store."""
    record: dict[str, Any] = json.loads(store.read(layout.cut_path(name)))
    return record


def local_film(store: Store, name: str = "film") -> Path:
    """Where the film of a cut lies, of a store that is a folder."""
    return Path(store.url.removeprefix("file://")) / cut_record(store, name)["film"]["path"]


def text_of(store: Store, kind: str, name: str = "film") -> str:
    """A timeline file of a cut."""
    return store.read(cut_record(store, name)["timeline"][kind]["path"]).decode()


def objects(store: Store) -> dict[str, bytes]:
    """Everything that the store holds."""
    return {found.path: store.read(found.path) for found in store.list()}


def rushes_cut(store: Store, *options: object, name: str = "film") -> int:
    """Run the command in this process; returns its exit code."""
    return main(["cut", store.url, "--name", name, "--quiet", *map(str, options)])

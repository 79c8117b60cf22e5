"""Films, posters and sprites of takes as local files, fetched and made when asked for, in a cache of bounded size."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.scratch import Scratch
from infra.store import layout
from infra.store.errors import NotFound

if TYPE_CHECKING:
    from infra.store import Store

MOST_TILES = 25
TILE_WIDTH = 240
CACHE_BYTES = 4 * 2**30
SPRITE_TIMEOUT_S = 60.0
_AT_ONCE = 2
"""Sprites that are made at the same time: a hand that sweeps over a page must not start a hundred ffmpegs."""


def tiles_of(frames: int) -> tuple[int, int]:
    """How many pictures a sprite has, and how many frames lie between two of them."""
    step = max(1, -(-frames // MOST_TILES))
    return -(-frames // step), step


class Pictures:
    """A cache on this machine. Threads may share it; `close` removes it."""

    def __init__(
        self,
        store: Store,
        *,
        scratch: Path | None = None,
        scratch_bytes: int | None = None,
        ffmpeg: str | None = None,
        most_bytes: int = CACHE_BYTES,
    ) -> None:
        """Args:
        scratch, scratch_bytes: the node's scratch disk (`farm.scratch`); the cache takes a quarter of it at most.
        """
        self._store, self._ffmpeg = store, ffmpeg
        self._most = most_bytes if scratch_bytes is None else min(most_bytes, scratch_bytes // 4)
        self._room = contextlib.ExitStack()
        disk = Scratch(scratch, scratch_bytes)
        disk.clean()  # what a killed review left
        self._folder = self._room.enter_context(disk.room("review", 0))
        self._lock = threading.Lock()
        self._being_made: dict[str, threading.Lock] = {}
        self._held: OrderedDict[str, int] = OrderedDict()
        self._makers = threading.BoundedSemaphore(_AT_ONCE)

    def close(self) -> None:
        """Removes the cache."""
        self._room.close()

    def film(self, media: Mapping[str, Any]) -> Path:
        """The film, or still, that a commit names. NotFound where it is gone; StoreError."""
        name = f"{media['sha256']}{Path(str(media['path'])).suffix}"
        return self._cached(name, lambda target: self._store.fetch(str(media["path"]), target))

    def poster(self, spec_key: str, media: Mapping[str, Any]) -> Path:
        """The poster of a take: the store's, else one made from its film.

        Raises:
            NotFound: neither is there. MediaError: the film is none. StoreError.
        """

        def fetch(target: Path) -> None:
            try:
                self._store.fetch(layout.poster_path(spec_key), target)
            except NotFound:
                self._tile(media, target, tiles=1, step=max(1, int(media["frames"]) // 2))

        return self._cached(f"{spec_key}-{media['sha256'][:16]}.jpg", fetch)

    def sprite(self, media: Mapping[str, Any]) -> Path:
        """Evenly chosen frames of a film side by side, `tiles_of` many, as one JPEG; errors as `poster`."""
        tiles, step = tiles_of(int(media["frames"]))
        return self._cached(
            f"{media['sha256']}-sprite.jpg", lambda target: self._tile(media, target, tiles=tiles, step=step)
        )

    def _tile(self, media: Mapping[str, Any], target: Path, *, tiles: int, step: int) -> None:
        import ffmpeg as graph

        from infra.media.ffmpeg import run

        source = self.film(media)
        made = target.with_suffix(".made.jpg")
        picture = graph.input(str(source))
        if source.suffix != ".png":
            picture = (
                picture.filter("select", f"not(mod(n,{step}))")
                if tiles > 1
                else picture.filter("select", f"eq(n,{step})" if int(media["frames"]) > step else "eq(n,0)")
            )
        picture = picture.filter("scale", TILE_WIDTH, -2)
        if tiles > 1:
            picture = picture.filter("tile", f"{tiles}x1")
        with self._makers:
            try:
                run(
                    picture.output(str(made), vframes=1, **{"qscale:v": 4}),
                    timeout_s=SPRITE_TIMEOUT_S, ffmpeg=self._ffmpeg,
                )  # fmt: skip
                made.rename(target)
            finally:
                made.unlink(missing_ok=True)

    def _cached(self, name: str, make: Callable[[Path], None]) -> Path:
        target = self._folder / name
        with self._only_one(name):
            if not target.exists():
                make(target)
            size = target.stat().st_size
        with self._lock:
            self._held[name] = size
            self._held.move_to_end(name)
            while len(self._held) > 1 and sum(self._held.values()) > self._most:
                oldest, _ = self._held.popitem(last=False)
                (self._folder / oldest).unlink(missing_ok=True)  # who reads it now keeps it open
        return target

    @contextlib.contextmanager
    def _only_one(self, name: str) -> Iterator[None]:
        """Of several who ask for the same at once, one makes it."""
        with self._lock:
            lock = self._being_made.setdefault(name, threading.Lock())
        with lock:
            yield
        with self._lock:
            if not lock.locked():
                self._being_made.pop(name, None)

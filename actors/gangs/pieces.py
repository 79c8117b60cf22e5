"""Finished pieces of a long clip, kept in the store under the job until the take is committed.

They save work and are no ledger: a piece that cannot be read is made again, one that cannot be kept is not kept. Each
is one safetensors file, put whole, with the plan and precision that it was made under beside its latents.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from actors.gangs.rendering import Order
from actors.job import InputRules
from infra.store import Store, StoreOptions, open_store
from infra.store.errors import NotFound, StoreError
from infra.store.layout import parse_piece_path, piece_path, pieces_folder

if TYPE_CHECKING:
    from torch import Tensor

    from model.long import Long

log = logging.getLogger(__name__)

HELPED = "helped"
"""Stage of a helper that has made a piece; see ``actors.dispatch.helping``."""
_RETRY_S, _ANSWER_S = 2.0, 10.0  # the other ranks of the gang wait meanwhile
_LATENTS, _STAMP = "latents", "stamp"


class PieceKeeper:
    """A `model.long.Keeper` over the store. Saves in a thread of its own; `close` waits for that.

    Args:
        store: of the job.
        job_id, spec_key: whose pieces they are.
        precision: in which they are made; pieces of another are not taken.

    Attributes:
        made: pieces that were made, and not taken from the store.
    """

    def __init__(self, store: Store, job_id: str, spec_key: str, precision: str) -> None:
        self._store, self._job_id, self._spec_key, self._precision = store, job_id, spec_key, precision
        self.made = 0
        self._saver = ThreadPoolExecutor(1, thread_name_prefix="rushes-pieces")

    def close(self) -> None:
        """Waits for what is being kept."""
        self._saver.shutdown(wait=True)

    def load(self, piece: str, stamp: str) -> Tensor | None:
        """The latents of a kept piece, or None."""
        path = piece_path(self._job_id, self._spec_key, piece)
        try:
            data = self._store.read(path)
        except NotFound:
            return None
        except StoreError as error:
            log.warning("the piece %s cannot be read and is made again: %s", piece, error)
            return None
        latents = _unpacked(data, self._stamp(stamp))
        if latents is None:
            log.warning("%s is damaged, or of another plan or precision: the piece is made again", path)
        else:
            log.info("piece %s taken from the store", piece)
        return latents

    def listed(self) -> list[str]:
        """Pieces of which something is kept."""
        try:
            found = [parse_piece_path(entry.path) for entry in self._store.list(self._folder)]
        except StoreError as error:
            log.warning("kept pieces cannot be listed: %s", error)
            return []
        return [name.piece for name in found if name is not None]

    def save(self, piece: str, stamp: str, latents: Tensor) -> None:
        """Keeps a piece, in the background."""
        log.info("piece %s made", piece)
        self.made += 1
        self._saver.submit(self._save, piece, self._stamp(stamp), latents)

    def _save(self, piece: str, stamp: str, latents: Tensor) -> None:
        from safetensors.torch import save

        data = save({_LATENTS: latents.contiguous()}, metadata={_STAMP: stamp})
        try:
            self._store.write(piece_path(self._job_id, self._spec_key, piece), data)
        except StoreError as error:
            log.warning("the piece %s is not kept: %s", piece, error)

    def _stamp(self, stamp: str) -> str:
        return f"{stamp} {self._precision}"

    @property
    def _folder(self) -> str:
        return pieces_folder(self._job_id, self._spec_key)


def long_of(order: Order, rules: InputRules | None, precision: Mapping[str, str]) -> Long | None:
    """How the order's clip is made when it is a long one.

    rules: of the rank that keeps the pieces; None on the others.
    """
    if not order.get("long_method"):
        return None
    from model.long import Long

    keeper = None
    if rules is not None and rules.store_url is not None and order.get("spec_key"):
        options = (rules.options or StoreOptions()).model_copy(update={"retry_s": _RETRY_S, "timeout_s": _ANSWER_S})
        store = open_store(rules.store_url, options)
        keeper = PieceKeeper(store, order["job_id"], order["spec_key"], precision.get("transformer", "float32"))
    return Long(order["long_method"], int(order["window_frames"]), keeper, order.get("helper"))


@contextmanager
def pieces_kept(long: Long | None) -> Iterator[None]:
    """Pieces that are made meanwhile are kept when it ends, however it ends."""
    try:
        yield
    finally:
        if long is not None and isinstance(long.keeper, PieceKeeper):
            long.keeper.close()


def drop_pieces(store: Store, job_id: str, spec_key: str) -> int:
    """Removes the pieces of a take that is committed, and says how many there were. Raises StoreError."""
    paths = [entry.path for entry in store.list(pieces_folder(job_id, spec_key))]
    for path in paths:
        store.delete(path)
    return len(paths)


def _unpacked(data: bytes, stamp: str) -> Tensor | None:
    """The latents in a safetensors file with this stamp; None for anything else."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        size = int.from_bytes(data[:8], "little")
        header: Any = json.loads(data[8 : 8 + size])
        if header.get("__metadata__", {}).get(_STAMP) != stamp:
            return None
        return load(data).get(_LATENTS)
    except (SafetensorError, ValueError, AttributeError, KeyError):
        return None

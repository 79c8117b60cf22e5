"""Conditional puts whose outcome is known: on doubt the object is read back and its bytes are compared.

A 412 alone proves nothing. The reply to our own successful put may have been lost and the request sent again, by us or
by the HTTP library under us; then 412 is the answer to our own write. So the bytes must hold a token of this one
attempt wherever "ours" and "another's, but equal" must be told apart.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from infra.store.errors import Changed, Exists, NotFound, OutcomeUnknown

if TYPE_CHECKING:
    from infra.store.store import Store


class Settled(NamedTuple):
    """What stands in the store after a conditional put."""

    ours: bool  # our bytes stand there
    data: bytes
    tag: str


def create_or_read(store: Store, path: str, data: bytes) -> Settled:
    """Put if absent, or learn what is there. Raises OutcomeUnknown only while the store cannot be read either."""
    deadline = time.monotonic() + store.options.retry_s
    while True:
        doubt: OutcomeUnknown | None = None
        try:
            return Settled(True, data, store.create(path, data))
        except Exists:
            pass
        except OutcomeUnknown as error:
            doubt = error
        try:
            found, tag = store.read_tagged(path)
        except NotFound:  # the put did not happen, or what stood there has just been deleted
            if time.monotonic() > deadline:
                raise (doubt or OutcomeUnknown(f"create {path}: neither created nor there")) from None
            continue
        return Settled(found == data, found, tag)


def replace_or_read(store: Store, path: str, data: bytes, tag: str) -> Settled:
    """Put if the tag still holds, or learn what is there now. Raises Changed when the object is gone."""
    try:
        return Settled(True, data, store.replace(path, data, tag))
    except (Changed, OutcomeUnknown) as error:
        try:
            found, now = store.read_tagged(path)
        except NotFound:
            raise Changed(f"replace {path}: it is gone") from None
        if isinstance(error, OutcomeUnknown) and now == tag:
            raise  # the old content still stands: the put did not happen, as far as can be seen
        return Settled(found == data, found, now)

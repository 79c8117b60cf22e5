"""Takes that share their pictures with another take: its film is copied under their own names, and nothing is rendered.

So are variants of a shot that differ by locale alone, and of a still by length: one is rendered, and each of the
others has a commit of its own, to be voiced and captioned by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from actors.finish.finishing import Finished, commit_record
from actors.gangs.rendering import Failure, Order
from actors.job import JobSpec
from actors.logs import captured
from infra.scratch import Scratch
from infra.store import Store
from infra.store.commits import publish, read_commit
from infra.store.errors import StoreError
from infra.store.layout import poster_path
from model.errors import InputError

log = logging.getLogger(__name__)

LAYOUT = "copy"
"""In a commit in place of a gang's layout: no gang has rendered the take, and it has cost no GPU seconds."""


def copy_take(store: Store, order: Order, spec: JobSpec) -> Finished:
    """Commits a take with the film, or still, of the one that its order names as `original`.

    Errors are returned. Runs in a thread.
    """
    started = datetime.now(UTC).isoformat(timespec="milliseconds")
    with captured() as lines:
        try:
            commit = _original(store, order)
            facts = {"gang": 0, "layout": LAYOUT, "gpu_s": 0.0, "times": {"started": started}}
            record = commit_record(order, facts, spec)
            record["notes"] |= {"copied_from": commit["spec_key"]}
            if "quality" in (notes := commit.get("notes") or {}):  # the same film, and the same words for its picture
                record["notes"] |= {"quality": notes["quality"]}
            path = str(commit["media"]["path"])
            scratch = Scratch(spec.farm.scratch, spec.farm.scratch_bytes)
            with scratch.room("copy", int(commit["media"]["bytes"])) as folder:
                local = folder / "take"
                store.fetch(path, local)
                published = publish(store, local=local, record=record, suffix=Path(path).suffix)
            log.info("copied from %s", path)
            poster = _copy_poster(store, str(commit["spec_key"]), str(order["spec_key"]))
            return Finished(published.commit, published.outcome == "adopted", poster, log=tuple(lines))
        except Exception as error:
            return Finished(None, failure=Failure.of(error), log=tuple(lines))


def _original(store: Store, order: Order) -> Mapping[str, Any]:
    commit = read_commit(store, order["original"]) if order.get("original") else None
    if commit is None:
        raise InputError(f"the take of {order['picture_of']} whose pictures it shares stands in the store no more")
    if commit["picture_key"] != order["picture_key"]:
        raise InputError(f"the take of {order['picture_of']} has other pictures than this one is to have")
    return commit


def _copy_poster(store: Store, original: str, own: str) -> str | None:
    path = poster_path(own)
    try:
        store.write(path, store.read(poster_path(original)))
    except StoreError as error:  # the take is committed: a missing poster must not make it fail
        log.warning("no poster: %s", error)
        return None
    return path

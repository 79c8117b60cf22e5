"""Which takes people chose: `decisions/<show>/<shot_id>.json`, read for those who start from the chosen one."""

from __future__ import annotations

import json
import logging
from typing import NamedTuple

from infra.store import layout
from infra.store.errors import NotFound
from infra.store.store import Store

log = logging.getLogger(__name__)


class Selected(NamedTuple):
    """The take that was chosen, as far as the decision says: by number, of one revision or of any, or by its key."""

    take: int | None
    revision: str | None = None
    spec_key: str | None = None

    def is_of(self, take: int, revision: str, spec_key: str) -> bool:
        """Whether it is this one."""
        if self.spec_key is not None:
            return self.spec_key == spec_key
        return self.take == take and self.revision in (None, revision)


def decided(store: Store) -> set[tuple[str, str]]:
    """Shots, as (show, shot_id), that have a decision, from one listing."""
    return {shot for found in store.list(layout.DECISIONS) if (shot := layout.parse_decision_path(found.path))}


def selected_take(store: Store, show: str, shot_id: str) -> Selected | None:
    """The take of a shot that people chose; None where nobody did, or where the decision cannot be read.

    The decision is a JSON object with `selected`: a take's number, or an object with `take` or `spec_key`, and
    perhaps `revision`. Raises StoreUnavailable.
    """
    path = layout.decision_path(show, shot_id)
    try:
        chosen = json.loads(store.read(path)).get("selected")
    except NotFound:
        return None
    except (ValueError, AttributeError) as error:
        log.warning("%s is no decision: %s", path, error)
        return None
    if chosen is None:
        return None
    found = chosen if isinstance(chosen, dict) else {"take": chosen}
    take, revision, key = (found.get(name) for name in ("take", "revision", "spec_key"))
    if type(take) is not int and not isinstance(key, str):
        log.warning("%s selects no take: %r", path, chosen)
        return None
    return Selected(
        take if type(take) is int else None,
        revision if isinstance(revision, str) else None,
        key if isinstance(key, str) else None,
    )

"""Which take of the shot before it a take starts from, and what that makes of its keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.store import Store
from infra.store.commits import read_many
from infra.store.decisions import selected_take
from infra.store.selection import passed, rank_of
from model.errors import InputError


@dataclass(frozen=True, slots=True)
class Source:
    """A committed take that others may start from.

    Attributes:
        spec_key: its key, which enters theirs.
        media: the path of its film, or still, in the store.
        sha256: of that file.
        take: its number.
        score: its rank by measured quality, where its commit tells one.
        passed: whether its measures let it pass; where nobody measured it, they do.
        selected: whether people chose it.
    """

    spec_key: str
    media: str
    sha256: str
    take: int
    score: float | None = None
    selected: bool = False
    passed: bool = True


def sources_of(store: Store, show: str, shot_id: str, keys: Sequence[str]) -> list[Source]:
    """The committed takes of a shot, the one to start from first: the selected one, else the best of
    those that pass, else the best, else the first.

    Args:
        keys: spec_keys of its takes, as far as they are done.

    Returns:
        only the selected one, where one of them was chosen; none where no commit can be read any more.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    chosen = selected_take(store, show, shot_id)
    found = []
    for key, commit in read_many(store, keys).items():
        if not isinstance(commit, dict):  # unreadable: it counts for nothing
            continue
        own = chosen is not None and chosen.is_of(commit["take"], commit["revision"], key)
        media = commit["media"]
        found.append(Source(key, media["path"], media["sha256"], commit["take"], rank_of(commit), own, passed(commit)))
    if any(source.selected for source in found):
        return [source for source in found if source.selected]
    unknown = float("-inf")
    ranks = {source.spec_key: unknown if source.score is None else source.score for source in found}
    return sorted(found, key=lambda source: (not source.passed, -ranks[source.spec_key], source.take))


def started_from(order: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """The order of a take that starts from this one."""
    return {**order, "source": source.spec_key, "source_media": source.media, "source_sha256": source.sha256}


def nothing_to_start_from(order: Mapping[str, Any]) -> InputError:
    """Why a take cannot start, where the commits of all takes that it could start from are gone."""
    return InputError(f"no take of {order['show']}/{order['source_shot']} stands in the store any more to start from")

"""Which takes of a job are not wanted any more, because enough others of their shots have passed. From the store alone.

A shot with `keep` is rendered until that many of its takes have passed, in the catalog's order of takes; the rest are
skipped. A take that people rejected has not passed, whatever its measures say. Nothing is written down about it: each
reader of a job derives it anew from the verdicts in the commits and from what people decided. So a rejection, or a
commit that goes (`rushes gc`, `forget`, `verify --repair`), makes the takes pending again that stood behind it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from infra.store.commits import read_many
from infra.store.decisions import decided
from infra.store.errors import Damaged
from infra.store.selection import read_decisions
from infra.store.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

Shot = tuple[str, str]
_AT_ONCE = 2000  # commits that are held in memory


@dataclass(frozen=True)
class Kept:
    """How far the shots with `keep` are.

    Attributes:
        passed: takes that have passed and that nobody rejected, by (show, shot_id); only takes with a `keep` are
            counted.
        skipped: numbers of the rows of takes that are not wanted any more.
    """

    passed: Mapping[Shot, int] = field(default_factory=dict)
    skipped: frozenset[int] = frozenset()


def verdict_of(commit: Mapping[str, Any]) -> str | None:
    """The verdict on a take: pass, retry or escalate; None where its commit tells none, which is no pass."""
    quality = (commit.get("notes") or {}).get("quality")
    found = quality.get("verdict") if isinstance(quality, Mapping) else None
    return found if isinstance(found, str) else None


def has_passed(commit: Mapping[str, Any]) -> bool:
    """Whether a take's measures let it pass."""
    return verdict_of(commit) == "pass"


def keep_of(row: Mapping[str, Any]) -> int | None:
    """How many takes of its shot are wanted, of a row of a plan; None: it is rendered in any case.

    A take beyond those that the catalog asked for was asked for by people, after they had seen the others.
    """
    keep, takes = row.get("keep"), row.get("takes")
    return None if keep is None or (takes is not None and row["take"] > takes) else int(keep)


def kept(
    store: Store,
    rows: pa.Table,
    keys: Sequence[str | None] | Mapping[int, str],
    *,
    done: Collection[int],
    given_up: Collection[int] = (),
    verdicts: Mapping[str, str | None] | None = None,
    rejected: Collection[str] | None = None,
) -> Kept:
    """How far the shots with `keep` are. Costs nothing where no row has one, else a read for each of their commits.

    One listing tells of which shots people decided anything; those decisions are read, where a take has passed.

    Args:
        rows: of the job: show, shot_id, take, takes, keep, picture_of.
        keys: the spec_key of each row, as far as they are known.
        done: numbers of rows whose takes stand in the store. given_up: those that are quarantined in this round.
        verdicts: known already, by spec_key.
        rejected: spec_keys of takes that people rejected; None: as the store has it.

    Raises:
        StoreError: a commit, or a decision, cannot be read now.
    """
    import pyarrow.compute as pc

    if "keep" not in rows.column_names or rows["keep"].null_count == rows.num_rows:
        return Kept()
    names = [name for name in ("show", "shot_id", "take", "takes", "keep", "picture_of") if name in rows.column_names]
    numbers = pc.indices_nonzero(pc.is_valid(rows["keep"])).to_pylist()
    listed = zip(numbers, rows.select(names).take(numbers).to_pylist(), strict=True)
    wanted = {number: row | {"keep": keep} for number, row in listed if (keep := keep_of(row)) is not None}
    settled = set(done)
    found = {n: keys[n] for n in wanted if n in settled and (n in keys if isinstance(keys, Mapping) else keys[n])}
    said = _verdicts(store, [key for key in found.values() if key], verdicts or {})
    passes = {
        number: (wanted[number]["show"], wanted[number]["shot_id"])
        for number, key in found.items()
        if said.get(key or "") == "pass"
    }
    if rejected is None:
        rejected = rejected_keys(store, passes.values())
    passed: Counter[Shot] = Counter(shot for number, shot in passes.items() if found[number] not in rejected)
    open_ = [number for number in wanted if number not in settled and number not in set(given_up)]
    skipped = {n for n in open_ if passed[wanted[n]["show"], wanted[n]["shot_id"]] >= wanted[n]["keep"]}
    # What shares its picture with a take that is never made is never made either.
    gone = {(wanted[n]["show"], wanted[n]["shot_id"], wanted[n]["take"]) for n in skipped}
    skipped |= {n for n in open_ if (wanted[n]["show"], wanted[n].get("picture_of"), wanted[n]["take"]) in gone}
    return Kept(dict(passed), frozenset(skipped))


def rejected_keys(store: Store, shots: Iterable[Shot]) -> frozenset[str]:
    """The spec_keys of the takes of these shots that people rejected. Without shots nothing is read.

    A decision that cannot be read rejects nothing here, and `verify` names it. Raises StoreError.
    """
    if not (wanted := set(shots)):
        return frozenset()
    found: set[str] = set()
    for decision in read_decisions(store, sorted(wanted & decided(store))).values():
        if isinstance(decision, Damaged):
            log.warning("%s", decision)
        else:
            found |= {key for key, said in decision.takes.items() if said.get("verdict") == "rejected"}
    return frozenset(found)


def _verdicts(store: Store, keys: Sequence[str], known: Mapping[str, str | None]) -> dict[str, str | None]:
    said = {key: known[key] for key in keys if key in known}
    left = iter([key for key in keys if key not in said])
    while batch := list(islice(left, _AT_ONCE)):
        for key, commit in read_many(store, batch).items():
            if isinstance(commit, dict):  # an unreadable one counts for nothing
                said[key] = verdict_of(commit)
    return said

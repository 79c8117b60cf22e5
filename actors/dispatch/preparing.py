"""What must be known of a take before a gang is occupied: its keys, its source, whether it stands in the store."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from actors.chains.sources import nothing_to_start_from, sources_of, started_from
from actors.finish.moderation import moderate
from actors.gangs.rendering import Failure, name_of
from actors.job import InputRules, JobSpec
from catalogs.keys import picture_key, spec_fields, spec_key
from catalogs.tasks import INPUTS
from infra.inputs import digest_input
from infra.store import Store
from infra.store.commits import read_commit
from infra.store.errors import CommitUnreadable, StoreUnavailable
from infra.store.layout import log_path

log = logging.getLogger(__name__)

OUTAGE_S = 600.0
"""Seconds for which a take waits for a store that is away before it counts as failed by the farm."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An order that is ready to be rendered; or whose take stands in the store already; or that cannot be rendered."""

    order: dict[str, Any]
    commit: dict[str, Any] | None = None
    failure: Failure | None = None


def prepare_order(
    store: Store, order: Mapping[str, Any], spec: JobSpec, rules: InputRules, life: int, *,
    ended: Callable[[], bool] = bool, outage_s: float = OUTAGE_S,
) -> Prepared:  # fmt: skip
    """What must be known before a gang is occupied: keys, whether the take has been committed meanwhile, and whether it
    may be made at all.

    A store that is away is waited for: what cannot be looked up must not be rendered, and a take that is tried again
    and again would only bring the job's breaker nearer.

    life: how often the job's dispatcher has died. After a death attempts are numbered above those that left a log.
    ended: whether the job is, so that nobody waits any more. outage_s: how long is waited at most.
    Never raises; runs in a thread.
    """
    gives_up = time.monotonic() + outage_s
    while True:
        try:
            return _prepared(store, order, spec, rules, life)
        except StoreUnavailable as error:
            if time.monotonic() > gives_up or ended():
                return Prepared(dict(order), failure=Failure.of(error))
            log.warning("the store is away, %s waits: %s", name_of(order), error)
        pause = time.monotonic() + random.uniform(1.0, 3.0)
        while time.monotonic() < pause and not ended():
            time.sleep(0.1)


def _prepared(store: Store, order: Mapping[str, Any], spec: JobSpec, rules: InputRules, life: int) -> Prepared:
    """As `prepare_order`; raises StoreUnavailable where it is the job's own store that is away."""
    ready = dict(order)
    try:
        if not ready.get("spec_key"):
            ready |= _digests(ready, rules)
    except Exception as error:  # a place of inputs that is away holds up this take alone
        return Prepared(ready, failure=Failure.of(error))
    try:
        if life:
            ready["attempt"] = _free_attempt(store, ready, spec)
        if ready.get("spec_key"):
            commit = _standing(store, ready["spec_key"])
            if commit is not None:
                return Prepared(ready, commit)
        else:
            for candidate in _from_sources(store, ready):
                keyed = resolve_keys(candidate, spec, rules)
                commit = _standing(store, keyed["spec_key"])
                if commit is not None:  # also one that started from another take than this one would
                    return Prepared(keyed, commit)
                ready = ready if ready.get("spec_key") else keyed
        moderate(spec.farm.moderation, ready)
        return Prepared(ready)
    except StoreUnavailable:
        raise
    except Exception as error:
        return Prepared(ready, failure=Failure.of(error))


def _from_sources(store: Store, order: dict[str, Any]) -> list[dict[str, Any]]:
    """The order for each take that it may start from, the one to take first; itself where it starts from none."""
    if "sources" not in order:
        return [order]
    found = sources_of(store, order["show"], order["source_shot"], order["sources"])
    if not found:
        raise nothing_to_start_from(order)
    return [started_from(order, source) for source in found]


def resolve_keys(order: Mapping[str, Any], spec: JobSpec, rules: InputRules) -> dict[str, Any]:
    """The order with the keys that the plan left open, because an input could not be read then.

    Raises the errors of ``infra.inputs`` where it still cannot.
    """
    if order.get("spec_key"):
        return dict(order)
    found = _digests(order, rules)
    fields = spec_fields({**order, **found}, spec.model_facts, precision=spec.precision)
    return {**order, **found, "spec_key": spec_key(fields), "picture_key": picture_key(fields)}


def _digests(order: Mapping[str, Any], rules: InputRules) -> dict[str, str]:
    """Digests of the inputs that the plan has none of."""
    return {
        digest: digest_input(
            order[uri],
            roots=rules.roots,
            max_bytes=rules.max_bytes,
            storage_options=rules.options,
            timeout_s=rules.timeout_s,
        )
        for uri, digest in INPUTS.items()
        if order.get(uri) and not order.get(digest)
    }


def _standing(store: Store, key: str) -> dict[str, Any] | None:
    try:
        return read_commit(store, key)
    except CommitUnreadable:  # it counts for nothing: rendering the take replaces it
        return None


def _free_attempt(store: Store, order: Mapping[str, Any], spec: JobSpec) -> int:
    names = (order["show"], order["shot_id"], order["revision"], order["take"], spec.job_id, spec.epoch)
    attempt = int(order["attempt"])
    while store.stat(log_path(*names, attempt)) is not None:
        attempt += 1
    return attempt

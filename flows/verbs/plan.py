"""`rushes plan`: what a render would do, and the planning that `render` starts with."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flows.report import ExitCode, GpuSeconds, JobReport, Rows, Takes
from flows.verbs.console import Output
from flows.verbs.failure import Failure
from flows.verbs.request import Request, shot_bytes
from flows.verbs.words import money, plural, seconds

if TYPE_CHECKING:
    from catalogs import Plan
    from infra.settings import Settings
    from infra.store import Store

log = logging.getLogger("rushes.plan")

_BLOCK = 1 << 20
_NOT_ID = re.compile(r"[^A-Za-z0-9._-]+")
_HASH_CHARACTERS = 12


@dataclass(frozen=True)
class Planned:
    """A catalog planned into a store: what a job starts from.

    Attributes:
        plan: takes, shards, cost and refused rows.
        job_id: names the job in the store.
        store: where it renders to; nothing has been written.
        facts: of the model, from `model.facts.read_facts`.
        catalog: its path or URL; "prompt" for a single shot.
        catalog_sha256: over its bytes.
        options: what else enters a spec_key, as it entered the job's name.
        roots: prefixes that inputs may come from.
        quarantined: takes given up in the newest round, as (show, shot_id, take).
    """

    plan: Plan
    job_id: str
    store: Store
    facts: Mapping[str, Any]
    catalog: str
    catalog_sha256: str
    options: Mapping[str, Any] = field(default_factory=dict)
    roots: tuple[str, ...] = ()
    quarantined: frozenset[tuple[str, str, int]] = frozenset()

    def takes(self) -> Takes:
        """Counts before anything renders."""
        total = self.plan.takes.num_rows
        cached = cached_count(self.plan)
        return Takes.of(total=total, committed=cached, cached=cached, quarantined=len(self.quarantined))

    def rows(self) -> Rows:
        """The catalog's rows and the refused ones."""
        return Rows(self.plan.rows_total, self.plan.refused)


def make_plan(
    catalog: str | None,
    out: str,
    settings: Settings,
    *,
    shot: Mapping[str, Any] | None = None,
    job: str | None = None,
    model: str | None = None,
    allow: Sequence[str] = (),
    strict: bool = False,
) -> Planned:
    """Reads and validates a catalog, and plans it against what the store holds. Writes nothing.

    Args:
        catalog: path or URL; None with `shot`.
        out: URL of the store, which need not exist yet.
        shot: one row in place of a catalog.
        job: name of the job; else from the catalog's stem and content.
        model: name, folder or URL; the default model if None.
        allow: prefixes that inputs may come from, besides the catalog's folder and `settings.farm.allow`.
        strict: refuse the catalog if a row is refused.

    Raises:
        CatalogError: it cannot be read, or lacks a required column.
        Failure: every row was refused (exit 1), or one with `strict` (exit 2).
        StoreRefused, StoreUnavailable: the store cannot be listed.
    """
    from catalogs import plan, read
    from infra.store import open_store
    from infra.store.commits import committed_keys
    from model.facts import read_facts

    store = open_store(out, settings.store)
    facts = read_facts(model or "default")
    prefixes = (*settings.farm.allow, *allow)
    with _catalog_file(catalog, shot) as url:
        digest = catalog_sha256(url)
        roots = prefixes if catalog is None else (folder_of(url), *prefixes)
        planned = plan(
            read(url, allow=prefixes),
            facts,
            committed_keys(store),
            digest_input=_digests(roots, settings),
            shard_takes=settings.farm.shard_takes,
        )
    if planned.rows_total and len(planned.refused) == planned.rows_total:
        raise Failure(
            f"every row of {catalog or 'the prompt'} was refused",
            exit_code=ExitCode.FAULTS,
            refused=planned.refused,
            rows_total=planned.rows_total,
        )
    if strict and planned.refused:
        raise Failure(
            f"{plural(len(planned.refused), 'row')} of {catalog or 'the prompt'} refused, and --strict was given",
            hint="Correct these rows, or leave --strict out to render the others.",
            refused=planned.refused,
            rows_total=planned.rows_total,
        )
    options = {key: facts[key] for key in ("digest", "sampler", "precision", "picture_version")}
    job_id = job or job_id_of(catalog or "prompt", digest, options)
    return Planned(
        plan=planned,
        job_id=job_id,
        store=store,
        facts=facts,
        catalog=catalog or "prompt",
        catalog_sha256=digest,
        options=options,
        roots=tuple(roots),
        quarantined=_quarantined(store, job_id, planned),
    )

"""A catalog as it is planned into a store: what a job starts from, and what is put of it before it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from flows.report import Rows, Takes
from flows.verbs.origin import Origin

if TYPE_CHECKING:
    import pyarrow as pa

    from catalogs import Plan
    from catalogs.reading import Batch
    from infra.store import Store


class Part(NamedTuple):
    """A job that renders a catalog in part, or in another form.

    Attributes:
        name: stands in the job's name, behind the catalog's.
        rows: what becomes of the catalog's batches, called with them and with `facts`, the model's.
        options: what else the rows depend on; must be JSON.
        roots: prefixes that inputs may come from, in place of the catalog's folder.
    """

    name: str
    rows: Callable[..., Iterator[Batch]]
    options: Mapping[str, Any]
    roots: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Planned:
    """A catalog planned into a store: what a job starts from.

    Attributes:
        plan: takes, shards, cost and refused rows; after the catalog's takes those that were added to the job since.
        job_id: names the job in the store.
        store: where it renders to; nothing has been written.
        facts: of the model, from `model.facts.read_facts`.
        origin: the catalog and the options that this was planned from; it stands in the plan's metadata too.
        quarantined: takes given up in the newest round, as (show, shot_id, take).
        first: the takes as they were planned first, where some have been added to the job, or changed, since.
        finals: of a draft, the takes as they would be at full size.
    """

    plan: Plan
    job_id: str
    store: Store
    facts: Mapping[str, Any]
    origin: Origin
    quarantined: frozenset[tuple[str, str, int]] = frozenset()
    first: pa.Table | None = None
    finals: pa.Table | None = None

    def put(self) -> pa.Table:
        """Puts the plan if the job has none; returns all takes of the job as they stand, additions among them.

        Raises:
            PlanDiffers: the job has another plan. StoreError.
        """
        from infra.store.additions import list_additions, read_takes
        from infra.store.finals import put_finals
        from infra.store.jobs import put_plan

        if self.finals is not None:
            put_finals(self.store, self.job_id, self.finals)
        standing = put_plan(self.store, self.job_id, self._planned_first)
        return read_takes(self.store, self.job_id) if list_additions(self.store, self.job_id) else standing

    def check(self) -> None:
        """Whether `put` would be refused, without writing.

        Raises:
            PlanDiffers: the job has another plan. StoreError.
        """
        from infra.store.jobs import check_plan

        check_plan(self.store, self.job_id, self._planned_first)

    @property
    def _planned_first(self) -> pa.Table:
        return self.plan.takes if self.first is None else self.first

    @property
    def roots(self) -> tuple[str, ...]:
        """Prefixes that inputs may come from."""
        return self.origin.roots

    def only_cached(self, keys: Set[str]) -> Planned:
        """The same without those cached takes whose keys are not among these: their commits cannot be read.

        A take whose key the plan leaves open stays as it is: the farm looks for it.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        takes = self.plan.takes
        own = takes["spec_key"]
        stands = pc.or_(pc.is_null(own), pc.is_in(own, value_set=pa.array(sorted(keys), own.type)))
        cached = pc.and_(takes["cached"], stands)
        takes = takes.set_column(takes.column_names.index("cached"), "cached", cached)
        return replace(self, plan=replace(self.plan, takes=takes))

    def takes(self) -> Takes:
        """Counts before anything renders."""
        total = self.plan.takes.num_rows
        cached = cached_count(self.plan)
        counts = {"quarantined": len(self.quarantined), "skipped": len(self.skipped)}
        return Takes.of(total=total, committed=cached, cached=cached, **counts)

    @cached_property
    def skipped(self) -> frozenset[tuple[str, str, int]]:
        """Takes that are not wanted any more, because enough others of their shots have passed."""
        from flows.keeping import skipped_of

        return skipped_of(self.store, self.plan.takes, self.quarantined, self.facts)

    def rows(self) -> Rows:
        """The catalog's rows and the refused ones."""
        return Rows(self.plan.rows_total, self.plan.refused)


def cached_count(plan: Plan) -> int:
    """Takes of a plan that the store holds already."""
    import pyarrow.compute as pc

    return int(pc.sum(pc.cast(plan.takes["cached"], "int64")).as_py() or 0)

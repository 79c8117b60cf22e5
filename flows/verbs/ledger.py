"""What the store alone knows of a job: its plan, commits, quarantine and lease, brought together."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flows.pausing import Pause, pause_state, read_pause
from flows.report import STATES, ExitCode, GpuSeconds, JobReport, Rows, Takes
from flows.verbs.failure import Failure
from flows.verbs.origin import Origin
from flows.verbs.target import no_job

if TYPE_CHECKING:
    import pyarrow as pa

    from infra.store import Store
    from infra.store.lease import LeaseInfo

log = logging.getLogger("rushes.ledger")

TAKE = ("show", "shot_id", "take")


@dataclass(frozen=True)
class Ledger:
    """A job as its store has it.

    Attributes:
        takes: plan and additions, one row per take.
        done: per row of `takes` whether its commit stands, (n,) bool.
        keys: per row its spec_key, (n,) text; one that the plan left open is there once the manifest tells it.
        quarantined: records of the newest round, by (show, shot_id, take), of takes that have no commit.
        round: the newest round.
        failed_gpu_s: GPU seconds of all quarantined takes in all rounds.
        origin: catalog and options that the plan was made from, where the plan tells.
        lease: who runs it, or ran it last.
        owner_gone: the lease says running, and its owner is dead.
        costs: columns spec_key and gpu_s of committed takes, as far as they are known.
        booked: the job's own books, where it left them in its lease.
        board: whether there is a board.
        pause: who asked for the job to be paused, while it stands so in the store.
        skipped: takes that are not wanted any more, because enough others of their shots have passed.
    """

    store: Store
    job_id: str
    takes: pa.Table
    done: pa.ChunkedArray
    keys: pa.ChunkedArray
    quarantined: Mapping[tuple[str, str, int], Mapping[str, Any]]
    round: int
    failed_gpu_s: float
    origin: Origin | None
    lease: LeaseInfo | None
    owner_gone: bool
    costs: pa.Table
    booked: GpuSeconds
    board: bool
    pause: Pause | None = None
    skipped: int = 0

    @classmethod
    def read(cls, store: Store, job_id: str, *, listed: Mapping[str, datetime] | None = None) -> Ledger:
        """Reads the job from the store.

        Args:
            listed: the store's spec_keys and when their commits were written, where they have been listed already.

        Raises:
            Failure: there is no such job. Damaged: its plan, or its lease, is none.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        from infra.store import layout
        from infra.store.additions import read_takes
        from infra.store.commits import list_commits
        from infra.store.errors import NotFound
        from infra.store.jobs import current_round, list_quarantine, usable_manifest
        from infra.store.lease import owner_is_gone, read_lease
        from infra.store.tables import checked

        try:
            takes = checked(read_takes(store, job_id), ("cached",), layout.plan_path(job_id))
        except NotFound as error:
            raise Failure(no_job(store, job_id)) from error
        view = usable_manifest(store, job_id, (*TAKE, "spec_key", "state", "gpu_s"))
        manifest = None if view is None else view.table
        written = None if view is None else view.written
        listed = dict(list_commits(store)) if listed is None else listed
        later = {key for key, changed in listed.items() if written is None or changed >= written}
        keys = _keys(takes, manifest)
        done = pc.is_in(keys, value_set=pa.array(sorted(listed), pa.string()))
        spent, unreadable = _costs(store, keys.filter(done), manifest, later)
        if unreadable:
            done = pc.and_(done, pc.invert(pc.is_in(keys, value_set=pa.array(unreadable, pa.string()))))
        number, records = current_round(store, job_id), list_quarantine(store, job_id, all_rounds=True)
        newest = {take_key(record): record for record in records if record["round"] == number}
        if newest:
            pending = set(names_of(takes.filter(pc.invert(done))))
            newest = {name: record for name, record in newest.items() if name in pending}
        lease = read_lease(store, job_id)
        return cls(
            store=store,
            job_id=job_id,
            takes=takes,
            done=done,
            keys=keys,
            quarantined=newest,
            round=number,
            failed_gpu_s=sum(float(record.get("gpu_s") or 0.0) for record in records),
            origin=Origin.of(takes),
            lease=lease,
            owner_gone=lease is not None and not lease.final and owner_is_gone(lease),
            costs=spent,
            booked=GpuSeconds.told(lease.note.get("gpu_s") if lease is not None else None),
            board=store.stat(layout.board_path(job_id)) is not None,
            pause=read_pause(store, job_id) if lease is not None and not lease.final else None,
            skipped=_skipped(store, takes, keys, done, frozenset(newest), manifest),
        )

    @property
    def running(self) -> bool:
        """Whether somebody works on it now."""
        return self.lease is not None and not self.lease.final and not self.owner_gone

    def counts(self) -> Takes:
        """Takes by state; cached are those that stood in the store when the job was planned."""
        import pyarrow.compute as pc

        committed = pc.sum(self.done).as_py() or 0
        cached = pc.sum(pc.and_(self.takes["cached"], self.done)).as_py() or 0
        counts = {"quarantined": len(self.quarantined), "skipped": self.skipped}
        return Takes.of(total=len(self.done), committed=committed, cached=cached, **counts)

    def gpu_seconds(self) -> GpuSeconds:
        """What the job has cost so far."""
        import pyarrow.compute as pc

        rendered = cached = 0.0
        if self.costs.num_rows:
            before = self.keys.filter(pc.and_(self.takes["cached"], self.done)).combine_chunks()
            found = pc.is_in(self.costs["spec_key"], value_set=before)
            cached = float(pc.sum(self.costs["gpu_s"].filter(found)).as_py() or 0.0)
            rendered = float(pc.sum(self.costs["gpu_s"].filter(pc.invert(found))).as_py() or 0.0)
        failed = max(self.failed_gpu_s, self.booked.failed)
        return GpuSeconds(rendered, failed, self.booked.duplicate, cached)

    def rows(self) -> Rows:
        """Rows of the catalog, as the plan remembers them."""
        if self.origin is None:
            return Rows()
        return Rows(self.origin.rows_total, self.origin.refused)

    def verdict(self) -> tuple[str, int | None]:
        """State and exit code; the code is None while the job is not over."""
        if self.lease is None or not self.lease.final:
            if self.lease is not None and not self.owner_gone:
                return self._running_state(), None
            if not self.counts().pending:  # all was there already, or the owner went right after its last take
                code = ExitCode.FAULTS if self.counts().quarantined or self.rows().refused else ExitCode.DONE
                return STATES[code], code
            return ("pending" if self.lease is None else "interrupted"), None
        exit_code = self.lease.exit_code
        if exit_code in (ExitCode.DONE, ExitCode.FAULTS) and self.counts().pending:
            return "pending", None  # a round was opened, or a film was forgotten, since it ended
        if exit_code is None:
            return self.lease.state, None
        known = exit_code in [int(code) for code in ExitCode]
        return (STATES[ExitCode(exit_code)] if known else self.lease.state), exit_code

    def _running_state(self) -> str:
        """running, or how far it is with a pause: its owner tells in the lease's note."""
        if self.pause is None or self.lease is None:
            return "running"
        return pause_state(self.lease.note) or "pausing"

    def report(self) -> JobReport:
        """The result of `status`."""
        from infra.store import layout

        state, exit_code = self.verdict()
        return JobReport(
            job_id=self.job_id,
            store=self.store.url,
            state=state,
            exit=exit_code,
            board=f"{self.store.url}/{layout.board_path(self.job_id)}" if self.board else None,
            takes=self.counts(),
            rows=self.rows(),
            gpu_s=self.gpu_seconds(),
        )

    def renewed(self) -> datetime | None:
        """When its owner was last heard of, or ended it."""
        return None if self.lease is None else datetime.fromtimestamp(self.lease.renewed, UTC)


def names_of(table: pa.Table) -> Iterator[tuple[str, str, int]]:
    """(show, shot_id, take) of each row."""
    return zip(*(table[name].to_pylist() for name in TAKE), strict=True)


def take_key(record: Mapping[str, Any]) -> tuple[str, str, int]:
    """(show, shot_id, take) of a record."""
    return record["show"], record["shot_id"], int(record["take"])


def _keys(takes: pa.Table, manifest: pa.Table | None) -> pa.ChunkedArray:
    """spec_keys in the plan's order; one that the plan left open comes from the manifest, where a take resolved it."""
    import pyarrow as pa

    keys = takes["spec_key"]
    if manifest is None or not keys.null_count:
        return keys
    later = dict(zip(names_of(manifest), manifest["spec_key"].to_pylist(), strict=True))
    pairs = zip(names_of(takes), keys.to_pylist(), strict=True)
    return pa.chunked_array([pa.array([later.get(name) if key is None else key for name, key in pairs], pa.string())])


def _skipped(
    store: Store, takes: pa.Table, keys: pa.ChunkedArray, done: pa.ChunkedArray,
    quarantined: frozenset[tuple[str, str, int]], manifest: pa.Table | None,
) -> int:  # fmt: skip
    """How many takes are not wanted any more; the manifest knows verdicts that need not be read again."""
    from flows.keeping import has_keep
    from infra.store.keeping import kept

    if not has_keep(takes):
        return 0
    known: dict[str, str | None] = {}
    if manifest is not None and "quality_verdict" in manifest.column_names:
        rows = zip(manifest["spec_key"].to_pylist(), manifest["quality_verdict"].to_pylist(), strict=True)
        known = {key: verdict for key, verdict in rows if key and verdict}
    standing = [number for number, is_done in enumerate(done.to_pylist()) if is_done]
    given_up = [number for number, name in enumerate(names_of(takes)) if name in quarantined]
    return len(kept(store, takes, keys.to_pylist(), done=standing, given_up=given_up, verdicts=known).skipped)


def _costs(
    store: Store, keys: pa.ChunkedArray, manifest: pa.Table | None, later: set[str]
) -> tuple[pa.Table, list[str]]:
    """GPU seconds of these takes, and those of them that are not done because their commits cannot be read.

    From the manifest and, of takes that it does not have yet or that were written later, from their commits.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from infra.store.standing import MOST_READ, open_keys, read_open

    schema = pa.schema([("spec_key", pa.string()), ("gpu_s", pa.float64())])
    known = schema.empty_table()
    if manifest is not None:
        known = manifest.filter(pc.equal(manifest["state"], "committed")).select(schema.names).cast(schema)
        known = known.filter(known["gpu_s"].is_valid())
    missing = open_keys(keys, known["spec_key"], later)
    wanted = pc.is_in(known["spec_key"], value_set=keys.combine_chunks())
    stale = pc.is_in(known["spec_key"], value_set=missing.combine_chunks())
    known = known.filter(pc.and_not(wanted, stale))
    if len(missing) > MOST_READ:
        log.warning("the cost of %d takes is not counted: no manifest has them yet", len(missing) - MOST_READ)
    read, unreadable = read_open(store, missing)
    found = [(key, float(commit["gpu_s"])) for key, commit in read.items()]
    costs = pa.concat_tables([known, pa.table([[k for k, _ in found], [s for _, s in found]], schema=schema)])
    return costs, unreadable

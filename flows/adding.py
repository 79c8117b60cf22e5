"""Whole shots for a job that is there: another catalog's rows, put beside its plan. A job that runs takes them in."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flows.verbs.failure import Failure
from flows.verbs.origin import Origin

if TYPE_CHECKING:
    import pyarrow as pa

    from catalogs import Plan, Refusal
    from infra.settings import Settings
    from infra.store import Store

Shot = tuple[str, str]
_OTHER_KINDS = ("draft", "part", "draft_of")
"""Options of jobs that render a catalog in part or in another form: their rows are nobody's to add to."""
AS_NEW = "Render the catalog as a job of its own into the same store: takes that stand there are reused."


@dataclass
class Added:
    """What became of a catalog's rows.

    Attributes:
        shots: takes by shot that were added, in the catalog's order.
        standing: shots that the job had already, as they are.
        refused: rows that cannot be added, the catalog's own refused ones among them.
        rows_total: rows of the catalog.
        dropped: columns of the catalog that the job's plan does not have.
    """

    shots: dict[Shot, int] = field(default_factory=dict)
    standing: int = 0
    refused: list[Refusal] = field(default_factory=list)
    rows_total: int = 0
    dropped: list[str] = field(default_factory=list)


def add_shots(store: Store, job_id: str, catalog: str, settings: Settings, *, strict: bool = False) -> Added:
    """Puts the shots of a catalog that a job does not have yet beside its plan.

    They are planned as the job was: same model, presets and prompt rules, inputs from the same places. Again with the
    same catalog, nothing is added.

    Raises:
        CatalogError: it cannot be read. Failure: nothing can be added to this job, or a row was refused, with `strict`.
        StoreError.
    """
    from infra.store.additions import add
    from infra.store.jobs import read_plan

    origin = _origin(Origin.of(read_plan(store, job_id)), job_id, settings)
    plan = _planned(store, job_id, catalog, settings, origin)
    told = Added()

    def make(takes: pa.Table) -> pa.Table | None:
        """Called anew where somebody else was quicker: what stands is looked at again."""
        nonlocal told
        told, numbers = _sifted(plan, takes, origin.roots)
        if strict and told.refused:
            raise Failure(
                f"{len(told.refused)} of {told.rows_total} rows of {catalog} cannot be added, and --strict was given",
                hint="Correct these rows, or leave --strict out to add the others.",
                refused=told.refused,
                rows_total=told.rows_total,
            )
        return _fitted(plan.takes, numbers, takes, told) if numbers else None

    add(store, job_id, make)
    return told


def _origin(origin: Origin | None, job_id: str, settings: Settings) -> Origin:
    from catalogs.drafts import LANCZOS

    if origin is None:
        raise Failure(f"the plan of {job_id} does not say what it was made from", hint=AS_NEW)
    if any(name in origin.options for name in _OTHER_KINDS):
        raise Failure(
            f"{job_id} is a draft, or made from another job's takes: shots cannot be added to it",
            hint="Add the rows to the catalog it was made from, and give the command that made it again.",
        )
    if (theirs := origin.options.get("upscaler", LANCZOS)) != settings.media.upscale:
        raise Failure(
            f"{job_id} was planned with the upscaler {theirs}; the settings say {settings.media.upscale}",
            hint="Set media.upscale as it was, or render the catalog as a job of its own.",
        )
    return origin


def _planned(store: Store, job_id: str, catalog: str, settings: Settings, origin: Origin) -> Plan:
    from catalogs import plan, read
    from flows.retakes import facts_of
    from flows.verbs.enhancing import load_enhancer
    from flows.verbs.source import input_digests, storage_options
    from infra.store.commits import committed_keys

    roots = list(origin.roots)
    rows = read(
        catalog,
        allow=(*roots, *settings.farm.allow),
        storage_options=storage_options(catalog, settings.store),
        preset=origin.options.get("preset"),
    )
    return plan(
        rows,
        facts_of(store, job_id, settings),
        committed_keys(store),
        digest_input=input_digests(roots, settings),
        shard_takes=settings.farm.shard_takes,
        enhance=load_enhancer(origin.options.get("enhance")),
        upscaler=settings.media.upscale,
    )


def _sifted(plan: Plan, takes: pa.Table, roots: Sequence[str]) -> tuple[Added, list[int]]:
    """What can be added to these takes, by the numbers of the plan's rows."""
    from catalogs import Refusal
    from catalogs.refusal import show

    standing: dict[Shot, set[tuple[str, int]]] = defaultdict(set)
    columns = (takes[name].to_pylist() for name in ("show", "shot_id", "revision", "take"))
    for show_, shot_id, revision, number in zip(*columns, strict=True):
        standing[show_, shot_id].add((revision, number))
    told = Added(refused=list(plan.refused), rows_total=plan.rows_total)
    numbers: list[int] = []
    refused: dict[Shot, Refusal] = {}
    there: set[Shot] = set()
    added: Counter[Shot] = Counter()
    misplaced = _misplaced(roots)
    for place, row in enumerate(plan.takes.select([n for n in _LOOKED_AT if n in plan.takes.column_names]).to_pylist()):
        shot = row["show"], row["shot_id"]
        if shot in standing:
            broken = _differs(row, standing[shot])
            there.add(shot)
        else:
            broken = _unfit(row) or misplaced(row)
        if broken is not None:
            column, value, legal = broken
            refused.setdefault(shot, Refusal(row["row"], column, show(value), legal))
        elif shot not in standing:
            numbers.append(place)
            added[shot] += 1
    told.refused = sorted([*plan.refused, *refused.values()])
    told.standing = len(there - refused.keys())
    told.shots = {shot: takes for shot, takes in added.items() if shot not in refused}
    names = list(zip(*(plan.takes[name].to_pylist() for name in ("show", "shot_id")), strict=True))
    return told, [number for number in numbers if names[number] not in refused]


_INPUTS = ("image_uri", "last_image_uri", "video_uri", "mask_uri")
_LOOKED_AT = ("row", "show", "shot_id", "revision", "take", "source_shot", "depends_on", "picture_of", *_INPUTS)
_Broken = tuple[str, object, str]
"""Column, value, and what would be legal."""


def _differs(row: Mapping[str, Any], standing: set[tuple[str, int]]) -> _Broken | None:
    if row["revision"] not in {revision for revision, _ in standing}:
        return "shot_id", row["shot_id"], "a shot that the job does not have; an edited one is for a new job"
    if (row["revision"], row["take"]) not in standing:
        most = max(number for revision, number in standing if revision == row["revision"])
        return "takes", row["take"], f"the {most} that the job has; for more: rushes select --shot SHOT --retake"
    return None


def _unfit(row: Mapping[str, Any]) -> _Broken | None:
    """A running job holds no place for takes that come after others: only shots that stand alone are added."""
    for column in ("depends_on", "source_shot"):
        if row.get(column) is not None:
            return column, row[column], "null: a shot that starts from another is for a new job"
    if row.get("picture_of") is not None:
        return "variants", row["shot_id"], "variants with a picture of their own: shared ones are for a new job"
    return None


def _misplaced(roots: Sequence[str]) -> Callable[[Mapping[str, Any]], _Broken | None]:
    """Whether an input of a row lies where the job may not read; the job's places were fixed when it was planned."""
    from catalogs.uris import given_place, place_of

    allowed = [given_place(root) for root in roots]

    def look(row: Mapping[str, Any]) -> _Broken | None:
        for column in _INPUTS:
            uri = row.get(column)
            if uri is not None and not any(place_of(uri).inside(place) for place in allowed):
                return column, uri, "an input below one of the job's own places: " + ", ".join(roots)
        return None

    return look


def _fitted(planned: pa.Table, numbers: Sequence[int], takes: pa.Table, told: Added) -> pa.Table:
    """These rows with the columns of the job, in shards of their own. Failure where a column has another type."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = planned.take(pa.array(numbers, pa.int64()))
    shards = pc.add(pc.rank(rows["shard"], tiebreaker="dense"), pc.max(takes["shard"]))
    columns = []
    for wanted in takes.schema:
        if wanted.name == "shard":
            columns.append(shards.cast(wanted.type))
        elif wanted.name not in rows.column_names:
            columns.append(pa.nulls(rows.num_rows, wanted.type))
        else:
            try:
                columns.append(rows[wanted.name].cast(wanted.type))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise Failure(
                    f"the column {wanted.name} holds {rows.schema.field(wanted.name).type}, in the job it holds "
                    f"{wanted.type} ({error})",
                    hint="Write it as the job has it, or leave it out.",
                ) from error
    told.dropped = sorted(set(rows.column_names) - set(takes.column_names))
    return pa.table(columns, schema=takes.schema.remove_metadata())

"""From a draft to its finals: the takes that people chose, at full size and steps, as a job of their own.

The draft's job keeps the plan that its catalog would have had without being a draft (`infra.store.finals`). A final
job's plan is those rows of it whose takes were chosen: same number, same seed, and the keys that rendering the whole
catalog gives. Another choice is another job, which reuses the commits of takes that are in both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from shlex import quote
from typing import TYPE_CHECKING, Any

from flows.verbs.failure import Failure
from flows.verbs.origin import Origin

if TYPE_CHECKING:
    import pyarrow as pa

    from catalogs import Plan
    from infra.settings import Settings
    from infra.store import Store
    from infra.store.selection import Missing

Name = tuple[str, str, int]
"""show, shot_id, take."""

_MOST_STEM = 100
_HASH_CHARACTERS = 12


@dataclass(frozen=True)
class Finals:
    """The finals of a draft.

    Attributes:
        takes: their plan, in the order of the catalog.
        job_id: of their own job.
        left_out: shots of the draft that get no final, and why.
    """

    takes: pa.Table
    job_id: str
    left_out: list[Missing]


def matched(draft: Plan, full: Plan) -> tuple[Plan, pa.Table]:
    """The draft without shots that are refused at full size, and its takes at full size.

    A shot that cannot be rendered in the end is refused at once, not when somebody has chosen a take of it.
    """
    import pyarrow as pa

    from catalogs.dependencies import first_of_each_row

    both = set(_names(draft.takes)) & set(_names(full.takes))
    small, large = (
        takes.filter(pa.array([name in both for name in _names(takes)], pa.bool_()))
        for takes in (draft.takes, full.takes)
    )
    known = {refusal.row for refusal in draft.refused}
    more = [refusal for refusal in full.refused if refusal.row not in known]
    return replace(draft, takes=small, refused=first_of_each_row([*draft.refused, *more])), large


def finals_of(store: Store, draft: str, settings: Settings, *, best: bool, every: bool = False) -> Finals:
    """The finals of a draft, as its takes are chosen now.

    Args:
        best: of shots of which nobody chose a take, the best one by what was measured.
        every: every approved take of a shot, not only the selected one.

    Raises:
        Failure: the job is no draft, its model has changed since, or no take of it is chosen.
    """
    from infra.store.errors import NotFound
    from infra.store.finals import read_finals
    from infra.store.selection import Missing, choose

    try:
        full = read_finals(store, draft)
    except NotFound as error:
        hint = f"A draft is made by: rushes render CATALOG --out {quote(store.url)} --draft"
        raise Failure(f"{draft} in {store.url} is no draft", hint=hint) from error
    origin = Origin.of(full)
    if origin is None:
        raise Failure(f"the draft {draft} does not say what it was made from", hint="Render it again with --draft.")
    facts = _facts_of(origin, draft, settings)
    selection = choose(store, job_id=draft, best=best)
    chosen = {(found.show, found.shot_id): [found.commit] for found in selection.chosen}
    if every:
        chosen = _with_approved(store, draft, chosen)
    left_out = list(selection.missing)
    left_out = [missing for missing in left_out if (missing.show, missing.shot_id) not in chosen]
    names = _names(full)
    sources = dict(zip((name[:2] for name in names), full["source_shot"].to_pylist(), strict=True))
    while unstarted := [
        shot for shot in chosen if (source := sources.get(shot)) is not None and (shot[0], source) not in chosen
    ]:
        for shot in unstarted:
            del chosen[shot]
            left_out.append(Missing(*shot, f"it starts from {sources[shot]}, of which no take is chosen"))
    if not chosen:
        raise Failure(
            f"no take of {draft} is chosen, so there is nothing to make finals of",
            hint=f"Choose: rushes review {quote(store.url)} --job {draft}. Or let the measures choose: add --best.",
        )
    takes = _rows(full, chosen, facts)
    options = {**origin.options, "draft_of": draft}
    own = replace(origin, options=options, rows_total=len(chosen), refused=(), refused_total=0)
    return Finals(own.attach(takes), _job_id(draft, takes), left_out)


def _facts_of(origin: Origin, draft: str, settings: Settings) -> Mapping[str, Any]:
    """The facts of the model that the draft was made with: another one makes other pictures of the same seeds."""
    from flows.verbs.source import storage_options
    from model.facts import read_facts

    facts = read_facts(origin.model, storage_options=storage_options(origin.model, settings.store))
    if facts["digest"] != origin.options.get("model"):
        raise Failure(
            f"the model {origin.model} has changed since the draft {draft} was made", hint="Make the draft again."
        )
    return facts


def _rows(
    full: pa.Table, chosen: Mapping[tuple[str, str], list[Mapping[str, Any]]], facts: Mapping[str, Any]
) -> pa.Table:
    """The finals' rows, in the catalog's order; of a take that was added to the draft later, made from its shot's."""
    import pyarrow as pa

    names = _names(full)
    places = {name: number for number, name in reversed(list(enumerate(names)))}
    first = {name[:2]: number for number, name in reversed(list(enumerate(names)))}
    indices: list[int] = []
    values: dict[str, list[Any]] = {name: [] for name in ("take", "seed", "spec_key", "picture_key", "draft_of")}
    for shot in sorted(set(chosen) & set(first), key=lambda shot: first[shot]):
        for commit in sorted(chosen[shot], key=lambda commit: int(commit["take"])):
            place = places.get((*shot, int(commit["take"])))
            indices.append(first[shot] if place is None else place)
            row = full.slice(indices[-1], 1).to_pylist()[0]
            made = (row if place is not None else _of_take(row, commit, facts)) | {"draft_of": commit["spec_key"]}
            for name, column in values.items():
                column.append(made[name])
    takes = full.take(pa.array(indices, pa.int64()))
    for name, column in values.items():
        field = takes.schema.field(name)
        takes = takes.set_column(takes.column_names.index(name), field, [pa.array(column, field.type)])
    if "keep" in takes.column_names:  # each of these was chosen: none is spared because another has passed
        field = takes.schema.field("keep")
        takes = takes.set_column(takes.column_names.index("keep"), field, pa.nulls(takes.num_rows, field.type))
    return takes


def _of_take(row: Mapping[str, Any], commit: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    from catalogs.keys import picture_key, spec_fields, spec_key

    made = {**row, "take": int(commit["take"]), "seed": int(commit["seed"])}
    if row["spec_key"] is not None:  # else it starts from another shot, and is known when that is
        fields = spec_fields(made, facts)
        made |= {"spec_key": spec_key(fields), "picture_key": picture_key(fields)}
    return made


def _with_approved(
    store: Store, draft: str, chosen: Mapping[tuple[str, str], list[Mapping[str, Any]]]
) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """Every approved take of each shot of the draft; of one without, what was chosen."""
    from infra.store.additions import read_takes
    from infra.store.commits import read_many
    from infra.store.decisions import decided, read_decision
    from infra.store.selection import job_keys

    takes = read_takes(store, draft)
    own = {key for key in job_keys(store, draft, takes) if key is not None}
    found = dict(chosen)
    for show, shot_id in sorted(decided(store) & {name[:2] for name in _names(takes)}):
        decision = read_decision(store, show, shot_id)
        keys = [key for key in decision.takes if key in own and decision.verdict(key) == "approved"]
        commits = [commit for commit in read_many(store, keys).values() if isinstance(commit, dict)]
        if commits:
            found[show, shot_id] = commits
    return found


def _job_id(draft: str, takes: pa.Table) -> str:
    """`<draft>-final-<12 hex>`, over which takes of which draft these are."""
    keys = [takes[name].to_pylist() for name in ("spec_key", "draft_of")]
    text = json.dumps([draft, [list(name) for name in _names(takes)], *keys], separators=(",", ":"))
    return f"{draft[:_MOST_STEM]}-final-{hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARACTERS]}"


def _names(takes: pa.Table) -> list[Name]:
    return list(zip(*(takes[name].to_pylist() for name in ("show", "shot_id", "take")), strict=True))

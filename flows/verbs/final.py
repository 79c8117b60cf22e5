"""`rushes final`: the chosen takes of a draft again, at full size and steps."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from flows.verbs.console import Output
from flows.verbs.failure import Failure
from flows.verbs.options import Address, Budget, Config, Gang, Gangs, Json, Layout, Quiet, Store, Verbose, check_id
from flows.verbs.words import plural

if TYPE_CHECKING:
    from infra.store import Store as OpenStore

MOST_SAID = 10


def final(
    store: Store,
    job: Annotated[
        str | None,
        typer.Option("--job", help="The draft; the newest of the store if left out.", metavar="ID", callback=check_id),
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="Of shots of which nobody chose a take: the best by its measures.")
    ] = False,
    every: Annotated[
        bool, typer.Option("--all-approved", help="Every approved take of a shot, not the selected one alone.")
    ] = False,
    gang: Gang = None,
    layout: Layout = None,
    gangs: Gangs = None,
    budget: Budget = None,
    address: Address = None,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Render the chosen takes of a draft again: same number, same seed, full size, all steps, as a job of its own."""
    from flows.drafting import finals_of
    from flows.verbs.plan import replan
    from flows.verbs.render import render_planned
    from flows.verbs.target import open_for_reading
    from infra.settings import Settings
    from infra.store.jobs import put_plan

    output = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    flags = {"gang": gang, "layout": layout, "gangs_max": gangs}
    settings = Settings.load(config, farm=flags, ray={"address": address})
    opened = open_for_reading(store, settings)
    draft = _choose_draft(opened, job)
    finals = finals_of(opened, draft, settings, best=best, every=every)
    opened.probe()
    put_plan(opened, finals.job_id, finals.takes)
    output.note(f"{plural(finals.takes.num_rows, 'take')} of {draft} chosen; their finals are {finals.job_id}")
    for missing in finals.left_out[:MOST_SAID]:
        output.note(f"left out: {missing.show}/{missing.shot_id}: {missing.why}")
    if (more := len(finals.left_out) - MOST_SAID) > 0:
        output.note(f"left out: {plural(more, 'more shot')}; --json tells all.")
    left_out = [{"show": one.show, "shot_id": one.shot_id, "why": one.why} for one in finals.left_out]
    return render_planned(
        replan(opened, finals.job_id, settings),
        settings,
        output,
        budget=budget,
        more={"draft": draft, "left_out": left_out},
        incomplete=bool(left_out),
    )


def _choose_draft(store: OpenStore, job_id: str | None) -> str:
    """The draft that was asked for, else the newest one."""
    from flows.verbs.target import choose_job, newest
    from infra.store.finals import is_draft
    from infra.store.jobs import list_jobs

    if job_id is not None:
        return choose_job(store, job_id)
    drafts = [found for found in list_jobs(store) if is_draft(store, found)]
    if not drafts:
        raise Failure(
            f"{store.url} has no draft",
            hint=f"A draft is made by: rushes render CATALOG --out {quote(store.url)} --draft",
        )
    return newest(store, drafts)

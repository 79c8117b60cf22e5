"""`rushes plan`: what a render would do, and the planning that `render` starts with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flows.planned import Part, Planned
from flows.report import ExitCode, GpuSeconds, JobReport, refusal_dict
from flows.verbs.console import Output
from flows.verbs.enhancing import load_enhancer
from flows.verbs.estimate import cached_gpu_s, note_misspelt, print_plan, shapes_of
from flows.verbs.failure import Failure, naming
from flows.verbs.origin import MOST_REFUSED_KEPT, Origin, shown_url
from flows.verbs.request import Request
from flows.verbs.source import catalog_file, input_digests, job_id_of, opened, storage_options
from flows.verbs.standing import quarantined, with_added, with_linked
from flows.verbs.words import plural

if TYPE_CHECKING:
    from catalogs.reading import Batch
    from infra.settings import Settings
    from infra.store import Store

MODEL_DEFAULTS = ("width", "height", "frames", "fps", "steps", "guidance_scale", "negative_prompt")
"""Facts of a model that fill in what a row leaves open, and so enter its keys."""


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
    enhance: str | None = None,
    preset: str | None = None,
    draft: bool = False,
    part: Part | None = None,
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
        enhance: what makes prompts richer, as `load_enhancer` knows it.
        preset: of the rows that name none, one of `catalogs.presets.PRESETS`.
        draft: small and in few steps, as `settings.draft` says, to choose takes from.
        part: what is rendered of the catalog in this job, where that is not its rows as they are.

    Raises:
        CatalogError: it cannot be read, or lacks a required column, or there is no such preset.
        Failure: a row was refused, with `strict` (exit 2), or the model's URL holds a password.
        StoreRefused, StoreUnavailable: the store cannot be listed, or is of a later format.
    """
    from catalogs import plan, read
    from catalogs.drafts import LANCZOS, Draft
    from catalogs.keys import model_fields
    from catalogs.uris import allowed_place, folder_of
    from flows.drafting import matched
    from infra.store import open_store
    from infra.store.probe import read_format
    from infra.store.standing import Standing
    from model.facts import read_facts, resolve

    store = open_store(out, settings.store)
    if model is not None and "://" in model and "@" in urlsplit(model).netloc:  # the plan would keep it
        raise Failure("a model's URL with a user or password in it is refused", hint="Put keys into settings.")
    with naming(store):  # of another program, or a later version: before a million rows are read
        read_format(store)
    # By its absolute place, so that the same folder has the same name from wherever it is asked for.
    location = resolve(model or "default")
    facts = read_facts(location, storage_options=storage_options(location, settings.store))
    prefixes = (*settings.farm.allow, *allow)
    size = Draft(settings.draft.scale, settings.draft.steps) if draft else None
    options = model_fields(facts) | {name: facts[name] for name in MODEL_DEFAULTS}
    if enhance is not None:
        options["enhance"] = enhance
    if preset is not None:
        options["preset"] = preset
    if size is not None:
        options["draft"] = size._asdict()
    if settings.media.upscale != LANCZOS:
        options["upscaler"] = settings.media.upscale
    name = catalog or "prompt"
    if part is not None:
        options["part"] = part.options
    with (
        catalog_file(catalog, shot) as url,
        naming(store),
        opened(url, storage_options(url, settings.store)) as (source, digest),
    ):
        # Absolute: a rank that reads an input has another working folder.
        allowed = [allowed_place(prefix).uri() for prefix in prefixes]
        roots = allowed if catalog is None else [folder_of(catalog).uri(), *allowed]
        if part is not None and part.roots is not None:
            roots = list(part.roots)
        whole = partial(
            plan,
            model_facts=facts,
            digest_input=input_digests(roots, settings),
            shard_takes=settings.farm.shard_takes,
            enhance=load_enhancer(enhance),
            upscaler=settings.media.upscale,
        )

        def shots() -> Iterator[Batch]:
            rows = read(url, allow=prefixes, preset=preset, source=source)
            return rows if part is None else part.rows(rows, facts=facts)

        job_id = job or job_id_of(name, digest, options, part=part.name if part else "draft" if draft else "")
        standing = Standing(store, job_id)
        planned = whole(shots(), done=standing.names(), draft=size)
        full = whole(shots(), done=standing.names()) if draft else None
    finals = None
    if full is not None:
        planned, finals = matched(planned, full)
    planned = replace(planned, takes=with_linked(store, standing.with_commits(planned.takes), facts, standing))
    if strict and planned.refused:
        raise Failure(
            f"{plural(len(planned.refused), 'row')} of {catalog or 'the prompt'} refused, and --strict was given",
            hint="Correct these rows, or leave --strict out to render the others.",
            refused=planned.refused,
            rows_total=planned.rows_total,
        )
    origin = Origin(
        catalog=shown_url(name),
        catalog_sha256=digest,
        model="default" if model in (None, "default") else location,
        options=options,
        roots=tuple(roots),
        rows_total=planned.rows_total,
        refused=[refusal_dict(refusal) for refusal in planned.refused[:MOST_REFUSED_KEPT]],
        refused_total=len(planned.refused),
    )
    first = origin.attach(planned.takes)
    takes = with_added(store, job_id, first, facts, standing)
    planned = replace(planned, takes=first if takes is None else takes)
    return Planned(
        plan=planned,
        job_id=job_id,
        store=store,
        facts=facts,
        origin=origin,
        quarantined=quarantined(store, job_id, planned),
        first=None if takes is None else first,
        finals=None if finals is None else origin.attach(finals),
    )


def replan(store: Store, job_id: str, settings: Settings) -> Planned:
    """The plan that a job already has, ready to be rendered again, without its catalog.

    Raises:
        Failure: the plan does not say where it came from, or its model has changed since.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from catalogs import Plan, Refusal
    from catalogs.cost import Cost
    from catalogs.planning import SHARD_SCHEMA
    from infra.store.additions import read_takes
    from infra.store.jobs import read_plan
    from infra.store.standing import Standing
    from model.facts import read_facts

    first, takes = read_plan(store, job_id), read_takes(store, job_id)
    origin = Origin.of(takes)
    again = "Give the render command again instead."
    if origin is None:
        raise Failure(f"the plan of {job_id} does not say which model it was made for", hint=again)
    facts = read_facts(origin.model, storage_options=storage_options(origin.model, settings.store))
    if facts["digest"] != origin.options.get("model"):
        raise Failure(f"the model {origin.model} has changed since {job_id} was planned", hint=again)
    standing = Standing(store, job_id)
    cached = pc.is_in(takes["spec_key"], value_set=pa.array(list(standing.names()), pa.string()))
    takes = standing.with_commits(takes.set_column(takes.column_names.index("cached"), "cached", cached))
    takes = with_linked(store, takes, facts, standing)
    refused = [Refusal(**row) for row in origin.refused]
    plan = Plan(takes, SHARD_SCHEMA.empty_table(), Cost(), refused, origin.rows_total)
    return Planned(plan, job_id, store, facts, origin, quarantined(store, job_id, plan), first)


def run(request: Request, output: Output) -> int:
    """The verb: prints what a render would do. 1 if rows were refused, else 0."""
    from infra.settings import Settings

    settings = Settings.load(request.config, farm=farm_flags(request))
    planned = plan_request(request, settings)
    planned.check()
    exit_code = ExitCode.FAULTS if planned.plan.refused else ExitCode.DONE
    shapes = shapes_of(planned)
    report = JobReport(
        job_id=planned.job_id,
        store=planned.store.url,
        state="planned",
        exit=exit_code,
        takes=planned.takes(),
        rows=planned.rows(),
        # Estimates: what the pending takes will cost, and what the cached ones need not cost again.
        gpu_s=GpuSeconds(rendered=sum(shape.gpu_s for shape in shapes), cached=cached_gpu_s(planned)),
    )
    output.refused(planned.plan.refused, planned.plan.rows_total)
    output.result(report.as_dict())
    print_plan(report, planned, shapes, settings, output)
    note_misspelt(planned, output)
    if request.budget is not None and report.gpu_s.rendered > request.budget:
        output.note(
            f"The estimate is above --budget: the job would stop with 3 after {request.budget:,.1f} GPU seconds."
        )
    return exit_code


def farm_flags(request: Request) -> dict[str, Any]:
    """The request's options that are settings of the farm."""
    return {"gang": request.gang, "layout": request.layout, "gangs_max": request.gangs}


def plan_request(request: Request, settings: Settings) -> Planned:
    """`make_plan` for a request."""
    return make_plan(
        request.catalog,
        request.out,
        settings,
        shot=request.shot,
        job=request.job,
        model=request.model,
        allow=request.allow,
        strict=request.strict,
        enhance=request.enhance,
        preset=request.preset,
        draft=request.draft,
    )

"""What a plan will take: by shape, in GPU seconds, money and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flows.report import JobReport
from flows.verbs.console import Output
from flows.verbs.words import money, plural, seconds

if TYPE_CHECKING:
    import pyarrow as pa

    from flows.planned import Planned
    from infra.settings import Settings

MOST_SHAPES = 20


@dataclass(frozen=True)
class ShapeRow:
    """Pending takes of one rendered shape."""

    width: int
    height: int
    frames: int
    takes: int
    shards: int
    tokens: int
    gpu_s: float


def shapes_of(planned: Planned) -> list[ShapeRow]:
    """What is left to render, by rendered shape, the most work first."""
    names = ["render_width", "render_height", "render_frames"]
    takes = _pending(planned, [*names, "shard", "tokens", "cost_gpu_s"])
    groups = takes.group_by(names).aggregate(
        [("shard", "count_distinct"), ("shard", "count"), ("tokens", "max"), ("cost_gpu_s", "sum")]
    )
    rows = [
        ShapeRow(
            width=row["render_width"],
            height=row["render_height"],
            frames=row["render_frames"],
            takes=row["shard_count"],
            shards=row["shard_count_distinct"],
            tokens=row["tokens_max"],
            gpu_s=row["cost_gpu_s_sum"],
        )
        for row in groups.to_pylist()
    ]
    return sorted(rows, key=lambda row: -row.gpu_s)


def copies(planned: Planned) -> int:
    """How many of the takes that are left are copies of another's film, as a second locale's are."""
    if "picture_of" not in planned.plan.takes.column_names:  # an older plan
        return 0
    takes = _pending(planned, ["picture_of"])
    return int(takes.num_rows - takes["picture_of"].null_count)


def _pending(planned: Planned, columns: Sequence[str]) -> pa.Table:
    """Some columns of the takes that are left."""
    import pyarrow as pa
    import pyarrow.compute as pc

    takes = planned.plan.takes.select([*columns, "cached", "show", "shot_id", "take"])
    takes = takes.filter(pc.invert(takes["cached"]))
    if (settled := planned.quarantined | planned.skipped) and takes.num_rows:
        given_up = pa.array(["/".join(map(str, key)) for key in settled])
        keys = pc.binary_join_element_wise(takes["show"], takes["shot_id"], pc.cast(takes["take"], pa.string()), "/")
        takes = takes.filter(pc.invert(pc.is_in(keys, given_up)))
    return takes


def cached_gpu_s(planned: Planned) -> float:
    """The estimate for takes that the store holds already."""
    import pyarrow.compute as pc

    takes = planned.plan.takes.select(["cost_gpu_s", "cached"])
    return float(pc.sum(takes.filter(takes["cached"])["cost_gpu_s"]).as_py() or 0.0)


def note_misspelt(planned: Planned, output: Output) -> None:
    """Says which of the catalog's own columns were most likely meant as one that changes the picture."""
    from catalogs.spelling import misspelt

    for column, meant in misspelt(planned.plan.takes.column_names).items():
        said = column.removeprefix("catalog.")
        output.note(f"note: the column {said} is handed through and changes no picture; was {meant} meant?")


def print_plan(
    report: JobReport, planned: Planned, shapes: Sequence[ShapeRow], settings: Settings, output: Output
) -> None:
    """Prints the plan for people."""
    counts, refused = report.takes, len(report.rows.refused)
    gpu_s, price = report.gpu_s.rendered, settings.price
    output.line(
        f"catalog   {planned.origin.catalog}: {plural(report.rows.total, 'row')}"
        + (f", {refused:,} refused" if refused else "")
    )
    output.line(f"model     {planned.facts['name']} ({planned.facts['folder']})")
    output.line(f"job       {planned.job_id}")
    output.line(f"store     {planned.store.url}")
    parts = [f"{counts.cached:,} cached"] if counts.cached else []
    parts += [f"{counts.quarantined:,} quarantined"] if counts.quarantined else []
    parts += [f"{counts.skipped:,} not needed"] if counts.skipped else []
    output.line(f"takes     {counts.total:,}: {', '.join([*parts, f'{counts.pending:,} to render'])}")
    if not counts.pending:
        none = refused and not counts.total
        output.line("Nothing can be rendered: every row is refused." if none else "Nothing is left to render.")
        return
    if copied := copies(planned):
        are = "is a copy" if copied == 1 else "are copies"
        output.line(f"          {copied:,} of these {are} of another's film, as of a second locale: at no cost")
    output.table(
        (
            ">size",
            ">frames",
            ">takes",
            ">shards",
            ">tokens",
            ">GPU seconds",
            *([">cost"] if price.gpu_hour is not None else []),
        ),
        [
            (
                f"{shape.width}x{shape.height}",
                shape.frames,
                f"{shape.takes:,}",
                f"{shape.shards:,}",
                f"{shape.tokens:,}",
                f"{shape.gpu_s:,.1f}",
                *([money(shape.gpu_s, price)] if price.gpu_hour is not None else []),
            )
            for shape in shapes[:MOST_SHAPES]
        ],
    )
    if len(shapes) > MOST_SHAPES:
        output.line(f"and {len(shapes) - MOST_SHAPES:,} more shapes")
    cost = money(gpu_s, price)
    ranks = (settings.farm.gang or 1) * (settings.farm.gangs_max or 1)
    output.line(
        f"estimate  {gpu_s:,.{0 if gpu_s >= 100 else 1}f} GPU seconds"
        + (f", {cost}" if cost else "")
        + f": {seconds(gpu_s / ranks)} on {plural(ranks, 'rank')}"
    )
    if ranks == 1:
        output.line(f"          {seconds(gpu_s / 8)} on 8 ranks (--gangs 8)")
    output.line("          of the transformer's work alone: starting, loading, decoding and encoding come on top")
    if price.gpu_hour is None:
        output.line("          without money: set price.gpu_hour in rushes.toml")

"""What a run's page shows, as text: the job's report, its table of failures, and pictures inside of it. Pure: no
Prefect here.

Prefect draws a Markdown artifact with tables, mermaid and inline data-URI pictures; a progress artifact is text only,
so the report carries a bar of its own. Everything from a catalog or an error is escaped: it is written by strangers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from flows.job_view import MOST_FAILURES, MOST_FILMS, MOST_POSTERS, Failure, JobView
from flows.markdown import cell, code, duration, link, md, picture, shorten
from flows.shards import Shard

MOST_FAILURES_IN_REPORT = 20
MOST_SHARDS_IN_CHART = 24
MOST_POSTER_BYTES = 400_000
"""Of all inline posters together: the report is sent whole with every update."""
BAR_WIDTH = 30
GOING_ON = ("running", "pausing", "paused", "stopping")
"""States of a job that has not ended."""


def slug(job_id: str) -> str:
    """`job_id` as part of an artifact's key, which takes lower-case letters, digits and dashes only.

    Two jobs never share one: where letters had to be changed, six digits of a hash are added.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", job_id.lower()).strip("-")
    if plain == job_id:
        return plain
    return f"{plain}-{hashlib.sha256(job_id.encode()).hexdigest()[:6]}"


def progress_line(view: JobView) -> str:
    """How far the job is, for the card of its progress: the cards of a run's Artifacts page show about forty
    letters.
    """
    t = view.takes
    failed = f", {t['quarantined']} quarantined" if t.get("quarantined") else ""
    return f"{view.percent:.0f} %: {t.get('committed', 0)} of {t.get('total', 0)} committed{failed}, {view.state}"


def cost_line(view: JobView) -> str:
    """What the job cost, for the card of its report."""
    spent = sum(float(view.gpu_s.get(name, 0.0)) for name in ("rendered", "failed", "duplicate"))
    priced = f", {view.price.of(spent)}" if view.price.gpu_hour is not None else ""
    return f"cost {spent:,.1f} GPU s{priced}; report with failures and pictures"


def failures_line(failures: Sequence[Failure], total: int, count: int = 3) -> str:
    """Which shots failed, for the card of the failures table and for messages."""
    named = [f"{failure.what} ({failure.error})" for failure in failures[:count]]
    return ", ".join(named) + (f" and {total - len(named):,} more" if total > len(named) else "")


def report_markdown(view: JobView) -> str:
    """The job's report: state, cost, failures, shards, pictures, links."""
    parts = (_head, _links, _cost, _result, _failures, _running, _chart, _pictures, _films)
    return "\n\n".join(text for part in parts if (text := part(view))) + "\n"


def failure_rows(failures: Iterable[Failure]) -> list[dict[str, Any]]:
    """The rows of the failures table, at most `MOST_FAILURES`."""
    return [failure.as_row() for failure in islice(failures, MOST_FAILURES)]


def sheet_markdown(job_id: str, sheet_png: bytes, caption: str) -> str:
    """The contact sheet as an artifact. Inline in Markdown, because an image artifact needs an address that the
    browser can open, and prints a data URI as an endless link.
    """
    return f"**{md(job_id)}** · {md(caption)}\n\n{picture('contact sheet', sheet_png, 'image/png')}\n"


def _head(view: JobView) -> str:
    filled = int(BAR_WIDTH * view.percent / 100)
    t = view.takes
    lines = [
        f"# {md(view.job_id)}: {md(view.state)}",
        f"`{'█' * filled}{'░' * (BAR_WIDTH - filled)}` **{view.percent:.0f} %** ·"
        f" {t.get('committed', 0):,} of {t.get('total', 0):,} takes committed"
        + (f" · **{t['quarantined']:,} quarantined**" if t.get("quarantined") else "")
        + (f" · {t['skipped']:,} not needed" if t.get("skipped") else "")
        + (f" · {t['running']:,} running" if t.get("running") else "")
        + (f" · {t['pending']:,} pending" if t.get("pending") else ""),
    ]
    times = []
    if view.started is not None and view.updated is not None:
        verb = "running" if view.state in GOING_ON else "ran"
        times.append(f"{verb} for {duration((view.updated - view.started).total_seconds())}")
    if view.eta_s is not None:
        times.append(f"about {duration(view.eta_s)} left")
    if view.updated is not None:
        times.append(f"as of {view.updated:%Y-%m-%d %H:%M:%S} UTC")
    if times:
        lines.append(" · ".join(times))
    if view.error:
        lines.append(f"**Stopped by:** {md(shorten(view.error, 600))}")
    return "\n\n".join(lines)


def _links(view: JobView) -> str:
    board = link("Board: all takes, films, logs", view.board) if view.board else ""
    return " · ".join(part for part in (board, f"store {code(view.store)}") if part)


def _cost(view: JobView) -> str:
    g = {name: float(view.gpu_s.get(name, 0.0)) for name in ("rendered", "failed", "duplicate", "cached")}
    spent = g["rendered"] + g["failed"] + g["duplicate"]
    priced = view.price.gpu_hour is not None
    meanings = {
        "rendered": "became films of this job",
        "failed": "attempts that came to nothing",
        "duplicate": "another had committed first",
        "cached": "saved: films that were there already",
        "spent": "by this job; cached is not in it",
    }
    head, rule = (" money |", "---:|") if priced else ("", "")
    lines = ["## Cost", f"| GPU seconds | |{head} |", f"|---|---:|{rule}---|"]
    for name, value in [*g.items(), ("spent", spent)]:
        b = "**" if name == "spent" else ""
        money = f" {b}{view.price.of(value)}{b} |" if priced else ""
        lines.append(f"| {b}{name}{b} | {b}{value:,.1f}{b} |{money} {meanings[name]} |")
    return "\n".join(lines)


def _result(view: JobView) -> str:
    """What the job came to, once it has ended."""
    if view.result is None:
        return ""
    lines = ["## Result", picture("figures of the job", view.result.picture, "image/png"), ""]
    lines += ["| | |", "|---|---|", *(f"| {md(name)} | {md(value)} |" for name, value in view.result.figures)]
    if look_at := view.result.look_at:
        lines += ["", "People should look at:", "", *(f"- {md(line)}" for line in look_at[:MOST_FAILURES_IN_REPORT])]
        if len(look_at) > MOST_FAILURES_IN_REPORT:
            lines.append(f"- {len(look_at) - MOST_FAILURES_IN_REPORT:,} more in `rushes report`")
    return "\n".join(lines)


def _failures(view: JobView) -> str:
    total = max(view.failures_total, len(view.failures))
    if not total:
        return "## Failures\n\nNone."
    lines = [f"## Failures ({total:,})", "| shot | error | message | attempts | replay |", "|---|---|---|---:|---|"]
    for failure in view.failures[:MOST_FAILURES_IN_REPORT]:
        attempts = "" if failure.attempts is None else str(failure.attempts)
        said = md(shorten(failure.message, 200))
        lines.append(f"| {md(failure.what)} | {md(failure.error)} | {said} | {attempts} | {cell(failure.replay)} |")
    shown = min(len(view.failures), MOST_FAILURES_IN_REPORT)
    if total > shown:
        rest = f"{total - shown:,} more in the artifact `failures-{slug(view.job_id)}`"
        lines.append(f"\n{rest}, all of them on the board.")
    return "\n".join(lines)


def _running(view: JobView) -> str:
    if not view.running:
        return ""
    return "## Rendering now\n\n" + "\n".join(f"- {md(line)}" for line in view.running)


def _chart(view: JobView) -> str:
    """The shards, as a chart that Prefect's newer pages (/v2) draw; the older ones show its text, which can be read
    too.
    """
    if not view.shards:
        return ""
    shown = _most_telling(view.shards)
    lines = ["## Shards", "```mermaid", "flowchart LR"]
    for number, shard in enumerate(shown):
        failed = f", {shard.failed} quarantined" if shard.failed else ""
        label = f"{shard.name}<br/>{shard.done} of {shard.total}{failed}"
        lines.append(f'    s{number}["{_mermaid(label)}"]:::{shard.state}')
    lines += [
        "    classDef done fill:#dcfce7,stroke:#16a34a,color:#14532d",
        "    classDef failed fill:#fee2e2,stroke:#dc2626,color:#7f1d1d",
        "    classDef running fill:#dbeafe,stroke:#2563eb,color:#1e3a8a",
        "    classDef waiting fill:#f3f4f6,stroke:#9ca3af,color:#374151",
        "```",
    ]
    if len(view.shards) > len(shown):
        rest = len(view.shards) - len(shown)
        lines.append(f"{rest:,} more shards; those with failures and those at work are shown first.")
    return "\n".join(lines)


def _most_telling(shards: Sequence[Shard]) -> list[Shard]:
    rank = {"failed": 0, "running": 1, "waiting": 2, "done": 3}
    chosen = sorted(range(len(shards)), key=lambda i: (rank[shards[i].state], i))[:MOST_SHARDS_IN_CHART]
    return [shards[i] for i in sorted(chosen)]


def _mermaid(label: str) -> str:
    """Quoted text of a mermaid node: quotes, brackets and signs of its own grammar by number; our <br/> stays."""
    parts = label.split("<br/>")
    return "<br/>".join(re.sub(r'["#;<>&\[\]{}|`\\]', lambda match: f"#{ord(match.group())};", part) for part in parts)


def _pictures(view: JobView) -> str:
    chosen: list[tuple[str, bytes]] = []
    room = MOST_POSTER_BYTES
    for label, content in view.posters[:MOST_POSTERS]:
        room -= len(content)
        if room < 0:
            break
        chosen.append((label, content))
    if not chosen:
        return ""
    lines = ["## Pictures"]
    for start in range(0, len(chosen), 4):
        row = chosen[start : start + 4]
        if start == 0:
            lines += ["| " + " | ".join(" " for _ in row) + " |", "|" + "---|" * len(row)]
        lines.append("| " + " | ".join(f"{picture(label, content)}<br/>{md(label)}" for label, content in row) + " |")
    if len(view.posters) > len(chosen):
        lines.append(f"\n{len(view.posters) - len(chosen):,} more on the board.")
    return "\n".join(lines)


def _films(view: JobView) -> str:
    if not view.films:
        return ""
    lines = ["## Films"] + [f"- {link(label, url)}" for label, url in view.films[:MOST_FILMS]]
    if len(view.films) > MOST_FILMS:
        lines.append(f"- {len(view.films) - MOST_FILMS:,} more on the board")
    return "\n".join(lines)

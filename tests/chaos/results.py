"""What campaigns found, as lines of JSON in `results/`, and the table that is made of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.chaos.schedule import Kind, Phase

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[2] / "actors" / "RELIABILITY.md"
BEGIN, END = "<!-- chaos table: made by `make chaos-table` -->", "<!-- end of the chaos table -->"
COUNTS = ("lost", "double", "invalid", "stray", "books")


class NoTable(ValueError):
    """The page lacks the two lines between which the table stands."""


def append(file: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Add lines to a results file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as sink:
        sink.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def read(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """All lines of all files of a folder."""
    files = sorted(folder.glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines() if line]


def table(lines: Sequence[dict[str, Any]]) -> str:
    """The kills by process and phase, and what the audits found, as Markdown."""
    kills = [line for line in lines if line["kind"] == "kill"]
    jobs = [line for line in lines if line["kind"] == "job"]
    count = Counter((kill["process"], kill["phase"]) for kill in kills)
    rows = ["| killed | " + " | ".join(Phase) + " | all |", "|---|" + "--:|" * (len(Phase) + 1)]
    for kind in Kind:
        cells = [str(count[kind, phase] or "") for phase in Phase]
        rows.append(f"| {kind} | " + " | ".join(cells) + f" | {sum(count[kind, phase] for phase in Phase)} |")
    sums = [str(sum(count[kind, phase] for kind in Kind)) for phase in Phase]
    rows.append("| all | " + " | ".join(sums) + f" | {len(kills)} |")
    seeds = sorted({int(line["seed"]) for line in jobs})
    bad = [job for job in jobs if job["outcome"] != "clean"]
    found = ", ".join(f"{sum(len(job.get(name, ())) for job in jobs)} {_WORDS[name]}" for name in COUNTS)
    takes = sum(job.get("takes", 0) for job in jobs)
    again = sum(len(job["exits"]) for job in jobs)
    waits = sorted(kill["recovered_s"] for kill in kills if kill.get("recovered_s") is not None)
    rows += [
        "",
        f"{len(kills)} kills in {len(jobs)} jobs with {takes:,} takes; seeds {', '.join(map(str, seeds)) or 'none'}.",
        f"Found: {found}. Jobs that did not end as they should: {len(bad)}.",
        f"Besides after a kill of the flow, the same command had to be given again {again} times.",
    ]
    if waits:
        rows.append(
            f"From a kill to the next commit: {waits[len(waits) // 2]:.1f} s in the middle, {waits[-1]:.1f} s at most."
        )
    return "\n".join(rows) + "\n"


_WORDS = {
    "lost": "takes lost",
    "double": "committed twice",
    "invalid": "invalid commits",
    "stray": "stray processes",
    "books": "GPU seconds that do not add up",
}


def put_table(page: Path = PAGE, folder: Path = RESULTS) -> None:
    """Write the table into the page, between its two lines."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise NoTable(f"{page} lacks {BEGIN!r} or {END!r}")
    page.write_text(f"{before}{BEGIN}\n{table(read(folder))}{END}{after}", encoding="utf-8")

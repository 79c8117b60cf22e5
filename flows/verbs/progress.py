"""Progress on standard error: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from flows.verbs.console import Output, printable
from flows.verbs.words import seconds

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

PLAIN_EVERY_S = 10.0
SAME_EVERY_S = 60.0


class Counted:
    """Counts something of which the total may be known. A context manager; `update` may be called by any thread."""

    def __init__(self, done_word: str, thing: str, total: int | None, output: Output) -> None:
        self._done_word, self._thing, self._total, self._output = done_word, thing, total, output
        self._bar: Bar | None = None
        self._told = time.monotonic()
        self._line = ""

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and not self._output.quiet:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=32),
                TextColumn("{task.completed:,.0f} of {task.total:,.0f}" if self._total else "{task.completed:,.0f}"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[details]}", markup=False),
            )
            console = Console(file=sys.stderr, markup=False, highlight=False)
            self._bar = Progress(*columns, console=console, transient=True)
            self._bar.add_task(f"{self._done_word} {self._thing}s", total=self._total, details="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def note(self, text: str) -> None:
        """One line that stays, above the bar."""
        if self._bar is not None:
            self._bar.console.print(printable(text), soft_wrap=True)
        else:
            self._output.note(text)

    def update(self, done: int, details: str = "") -> None:
        """So many are done; `details` stand behind the bar."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, details=details)
            return
        of = f" of {self._total:,}" if self._total is not None else ""
        line = f"{self._done_word} {done:,}{of} {self._thing}s" + (f"; {details}" if details else "")
        quiet_for = time.monotonic() - self._told
        if quiet_for >= SAME_EVERY_S or (quiet_for >= PLAIN_EVERY_S and line != self._line):
            self._told, self._line = time.monotonic(), line
            self._output.note(line)


def job_details(status: Mapping[str, Any]) -> tuple[int, str]:
    """How many takes a running job has settled, and what else to say, from its dispatcher's status."""
    takes = status.get("takes", {})
    settled = sum(int(takes.get(name, 0)) for name in ("committed", "cached", "quarantined", "skipped"))
    parts = [f"following {status['following']}"] if status.get("following") else []
    if running := takes.get("running"):
        parts.append(f"{running} rendering")
    if failed := takes.get("quarantined"):
        parts.append(f"{failed} quarantined")
    if skipped := takes.get("skipped"):
        parts.append(f"{skipped} not needed")
    for entry in list(status.get("running", ()))[:1]:
        if entry.get("steps"):
            parts.append(
                f"{entry.get('shot_id')} take {entry.get('take')}, step {entry.get('step', 0)} of {entry['steps']}"
            )
    if status.get("pause"):
        done = "" if status["pause"].get("drained") else ", takes at work are being rendered"
        parts.append(f"{status['pause']['reason']}{done}")
    elif status.get("state") == "running" and status.get("gangs") == 0 and takes.get("pending"):
        parts.append("gangs are starting")
    if status.get("eta_s"):
        parts.append(f"about {seconds(float(status['eta_s']))} left")
    return settled, "; ".join(parts)


class JobProgress:
    """Progress of a job from its dispatcher's statuses. A context manager; `update` is what `run_job` calls."""

    def __init__(self, total: int, output: Output) -> None:
        self._counted = Counted("settled", "take", total, output)
        self._page: str | None = None

    def __enter__(self) -> Self:
        self._counted.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._counted.__exit__(kind, error, trace)

    def update(self, status: Mapping[str, Any]) -> None:
        """A new status; the address of the run's page is told once."""
        page = status.get("run_page")
        if page and page != self._page:
            self._page = str(page)
            self._counted.note(f"watch it at {page}")
        self._counted.update(*job_details(status))

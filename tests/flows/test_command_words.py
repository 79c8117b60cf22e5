"""Numbers, tables and progress as people see them."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from flows.verbs import words
from flows.verbs.console import LOGGERS, MOST_REFUSED_ROWS, Output, logged, printable
from flows.verbs.progress import Counted, JobProgress, job_details
from infra.settings import PriceSettings


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.04, "0.0 s"),
        (9.96, "10.0 s"),
        (42.4, "42 s"),
        (59.7, "1 min"),
        (200, "3 min 20 s"),
        (3_600, "1 h 0 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_seconds(value: float, told: str) -> None:
    assert words.seconds(value) == told


@pytest.mark.parametrize(
    ("gpu_s", "price", "told"),
    [
        (3600, 2.5, "2.50 USD"),
        (0, 2.5, "0.00 USD"),
        (36, 2.0, "0.02 USD"),
        (1e7, 2.5, "6,944.44 USD"),
        (36, None, None),
    ],
)
def test_money(gpu_s: float, price: float | None, told: str | None) -> None:
    assert words.money(gpu_s, PriceSettings(gpu_hour=price)) == told


@pytest.mark.parametrize(("count", "told"), [(0, "0 B"), (999, "999 B"), (1400, "1.4 kB"), (25_300_000_000, "25.3 GB")])
def test_size(count: int, told: str) -> None:
    assert words.size(count) == told


def test_moment_is_utc() -> None:
    assert words.moment(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02 03:04:05"
    assert words.moment(None) == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("plain ü 🎬\nline", "plain ü 🎬\nline"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\rb\r\nc", "a\\rb\nc"),
        ("\u202egnp", "\\u202egnp"),
    ],
)
def test_text_cannot_drive_the_terminal(text: str, told: str) -> None:
    assert printable(text) == told


def test_markup_of_a_catalog_is_text(capsys: Any) -> None:
    output = Output()
    output.table(("shot",), [("[red]x[/red] [link=http://a]b",)])
    output.line("[bold]name[/bold]")
    out = capsys.readouterr().out
    assert "[red]x[/red] [link=http://a]b" in out and "[bold]name[/bold]" in out


def test_many_refused_rows_are_cut_on_the_terminal_only(capsys: Any) -> None:
    rows = [{"row": i, "column": "width", "value": "33", "legal": "even"} for i in range(MOST_REFUSED_ROWS + 7)]
    Output().refused(rows, 100)
    err = capsys.readouterr().err
    assert f"{MOST_REFUSED_ROWS + 7} of 100 rows refused" in err and "and 7 more" in err


def test_json_output_is_one_line_and_nothing_else(capsys: Any) -> None:
    output = Output(as_json=True)
    output.line("for people")
    output.table(("a",), [("b",)])
    output.raw("text")
    output.result({"ü": 1})
    assert capsys.readouterr().out == '{"ü": 1}\n'


def test_quiet_keeps_errors(capsys: Any) -> None:
    output = Output(quiet=True)
    output.note("a note")
    output.error("an error", "what to do")
    assert capsys.readouterr().err == "error: an error\nwhat to do\n"


def test_progress_off_a_terminal_is_a_line_now_and_then(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with Counted("verified", "commit", 1000, Output()) as counted:
        for step in range(100):
            now[0] = step * 0.25
            counted.update(step * 10, "all well")
    assert capsys.readouterr().err.splitlines() == [
        "verified 400 of 1,000 commits; all well",
        "verified 800 of 1,000 commits; all well",
    ]


def test_progress_on_a_terminal_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with JobProgress(10, Output()) as progress:
        progress.update({"takes": {"committed": 3, "quarantined": 1, "running": 2}, "run_page": "http://127.0.0.1/run"})
        progress.update({"takes": {"committed": 4, "quarantined": 1}, "run_page": "http://127.0.0.1/run"})
    assert terminal.getvalue().count("watch it at http://127.0.0.1/run") == 1
    assert "5 of 10" in terminal.getvalue()


@pytest.mark.parametrize(
    ("verbose", "told"), [(0, ["WARNING"]), (1, ["INFO", "WARNING"]), (2, ["DEBUG", "INFO", "WARNING"])]
)
def test_logs_of_ours_go_to_standard_error_while_a_command_runs(verbose: int, told: list[str], capsys: Any) -> None:
    log = logging.getLogger("rushes.test")
    before = [(logging.getLogger(name).level, logging.getLogger(name).propagate) for name in LOGGERS]
    with logged(verbose):
        for level in (logging.DEBUG, logging.INFO, logging.WARNING):
            log.log(level, "a line")
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == told
    assert [(logging.getLogger(name).level, logging.getLogger(name).propagate) for name in LOGGERS] == before


def test_details_of_a_running_job() -> None:
    status = {
        "takes": {"committed": 3, "cached": 2, "quarantined": 1, "running": 2},
        "running": [{"shot_id": "opening", "take": 2, "step": 4, "steps": 30}],
        "eta_s": 200.0,
    }
    settled, details = job_details(status)
    assert settled == 6
    assert details == "2 rendering; 1 quarantined; opening take 2, step 4 of 30; about 3 min 20 s left"
    starting = {"state": "running", "gangs": 0, "takes": {"pending": 2}}
    assert job_details(starting) == (0, "gangs are starting")
    assert job_details({**starting, "takes": {"committed": 2, "pending": 0}}) == (2, "")
    assert job_details({"following": "render-7, process 9"}) == (0, "following render-7, process 9")


@pytest.mark.parametrize("as_json", [True, False])
def test_a_reader_that_has_gone_does_not_change_how_a_command_ends(as_json: bool) -> None:
    """As in `rushes jobs STORE | head -1`: rich would end it with 1, which is for takes given up."""
    code = (
        "from flows.verbs.console import Output\n"
        f"output = Output(as_json={as_json})\n"
        "for _ in range(3):\n"
        "    output.line('a line'); output.table(('a',), [('b',)]); output.raw('text'); output.result({'a': 1})\n"
        "raise SystemExit(7)\n"
    )
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        done = subprocess.run([sys.executable, "-c", code], stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (7, "")

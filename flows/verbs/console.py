"""What a verb prints: results on standard output, everything else on standard error.

Text from catalogs and error messages is printed without its control characters, so that a prompt cannot drive the
terminal, and never read as rich's markup.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

WIDE = 160
"""Columns where the output is not a terminal: tables in a log are not folded."""
MOST_REFUSED_ROWS = 50
MOST_FOREIGN = 8
LOGGERS = ("rushes", "actors", "catalogs", "flows", "infra", "model")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # a byte of a file's name that is not UTF-8, as Python holds it


def printable(text: object) -> str:
    r"""`text` with control and direction-changing characters written out as \x1b and the like; new lines are kept."""
    return _CONTROL.sub(
        lambda match: match.group().encode("unicode_escape").decode("ascii"), str(text).replace("\r\n", "\n")
    )


@contextmanager
def logged(verbose: int) -> Iterator[None]:
    """Sends our own loggers to standard error: warnings, with 1 what happens, with 2 everything."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel((logging.WARNING, logging.INFO)[verbose] if verbose < 2 else logging.DEBUG)
        logger.propagate = False  # Prefect puts a handler of its own above them, which would print each line again
    if not verbose:  # libraries warn each other of what nobody here can mend, such as of proxies that nobody uses
        warnings.filterwarnings("ignore", message="SOCKS support in urllib3")
    try:
        yield
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


class Output:
    """Where one run of the command prints.

    Attributes:
        as_json: print the result as one JSON object and nothing else on standard output.
        quiet: leave out progress and notes; errors still show.
        verbose: 0, 1 or more: how much is logged.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False, verbose: int = 0) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.verbose = verbose

    def note(self, text: str) -> None:
        """One line about what happens, on standard error."""
        if not self.quiet:
            self._console(sys.stderr).print(printable(text), soft_wrap=True)

    def error(self, text: str, hint: str | None = None) -> None:
        """What went wrong and what to do, on standard error, also when quiet."""
        console = self._console(sys.stderr)
        console.print("error: ", style="bold red", end="")
        console.print(printable(text), soft_wrap=True)
        if hint:
            console.print(printable(hint), soft_wrap=True)

    def line(self, text: str = "") -> None:
        """One line of the result for people; nothing where the result is JSON."""
        if not self.as_json:
            self._console(sys.stdout).print(printable(text), soft_wrap=True)

    def raw(self, text: str) -> None:
        """Text of the result as it is (a log), less its control characters; nothing where the result is JSON."""
        if not self.as_json:
            _write(printable(text))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
        """A table of the result for people. A column named with a leading `>` is set to the right."""
        if not self.as_json:
            self._print_table(sys.stdout, columns, rows, title)

    def refused(self, refused: Sequence[Any], total: int) -> None:
        """The table of refused rows, on standard error."""
        from flows.report import refusal_dict

        if not refused:
            return
        rows = [refusal_dict(row) for row in refused[:MOST_REFUSED_ROWS]]
        self._print_table(
            sys.stderr,
            (">row", "column", "value", "what is legal"),
            [(row["row"], row["column"], row["value"], row["legal"]) for row in rows],
            f"{len(refused):,} of {total:,} rows refused",
        )
        if len(refused) > len(rows):
            self._console(sys.stderr).print(f"and {len(refused) - len(rows):,} more; --json lists them all")

    def foreign(self, paths: Sequence[str]) -> None:
        """What stands in a store and bears no name of ours, of which nothing is done."""
        if paths:
            more = f" and {len(paths) - MOST_FOREIGN:,} more" if len(paths) > MOST_FOREIGN else ""
            shown = ", ".join(paths[:MOST_FOREIGN])
            self.line(f"foreign {shown}{more}: no name that rushes gives; ignored, and left for you to remove")

    def result(self, result: Mapping[str, Any]) -> None:
        """The JSON object, where --json asks for it."""
        if self.as_json:
            text = json.dumps(result, ensure_ascii=False, separators=(", ", ": "), allow_nan=False)
            _write(_SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")

    def _print_table(
        self, stream: IO[str], columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None
    ) -> None:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, title_style="bold")
        for name in columns:
            table.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
        for row in rows:
            table.add_row(*("" if cell is None else printable(cell) for cell in row))
        self._console(stream).print(table)

    def _console(self, stream: IO[str]) -> Console:
        from rich.console import Console

        wide = None if stream.isatty() else WIDE
        console = Console(file=stream, markup=False, highlight=False, emoji=False, width=wide)
        # rich would end the process with 1, which is for takes given up; it means this to be overridden in a class, of
        # which there would be no other need.
        console.on_broken_pipe = partial(_unheard, stream)  # type: ignore[method-assign]
        return console


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _unheard(sys.stdout)


def _unheard(stream: IO[str]) -> None:
    """The reader has gone (`rushes jobs … | head`): what is still said goes nowhere, and the exit code stays."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)

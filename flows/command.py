"""The command `rushes`: its grammar, and how every verb ends.

Importing this loads neither torch, Ray nor Prefect; each verb loads what it needs when it runs.
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NoReturn

import typer

from flows.report import ExitCode, failure_dict
from flows.verbs import (
    add,
    assets,
    cancel,
    cut,
    dashboard,
    deliver,
    doctor,
    final,
    forget,
    gc,
    jobs,
    logs,
    pause,
    render,
    report,
    resume,
    retry,
    review,
    select,
    status,
    storyboard,
    verify,
)
from flows.verbs.console import Output, logged
from flows.verbs.failure import Failure, explain

app = typer.Typer(
    name="rushes",
    help="A render farm for generated video: a catalog of shots in, finished films in object storage out.",
    epilog="Exit codes: 0 done, 1 takes or rows given up, 2 nothing started, 3 budget, 4 fault, 130 cancelled.",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _verb(function: Callable[..., int]) -> Callable[..., int]:
    """Turns Ctrl-C into a failure of ours, because typer would turn it into a silent exit."""

    @functools.wraps(function)
    def guarded(*arguments: Any, **options: Any) -> int:
        try:
            return function(*arguments, **options)
        except KeyboardInterrupt as error:
            raise Failure("stopped by the keyboard", exit_code=ExitCode.CANCELLED) from error

    return guarded


plan_or_render = _verb(render.plan_or_render)
app.command("plan", help="Validate, count and estimate; writes nothing.")(plan_or_render)
app.command("render", help="Plan and render; the same command again goes on where it stopped.")(plan_or_render)
app.command("final")(_verb(final.final))
app.command("storyboard")(_verb(storyboard.storyboard))
app.command("add")(_verb(add.add))
app.command("status")(_verb(status.status))
app.command("jobs")(_verb(jobs.jobs))
app.command("logs")(_verb(logs.logs))
app.command("cancel")(_verb(cancel.cancel))
app.command("pause")(_verb(pause.pause))
app.command("resume")(_verb(resume.resume))
app.command("assets")(_verb(assets.assets))
app.command("cut")(_verb(cut.cut))
app.command("deliver")(_verb(deliver.deliver))
app.command("verify")(_verb(verify.verify))
app.command("gc")(_verb(gc.gc))
app.command("forget")(_verb(forget.forget))
app.command("review")(_verb(review.review))
app.command("select")(_verb(select.select))
app.command("retry")(_verb(retry.retry))
app.command("report")(_verb(report.report))
app.command("doctor")(_verb(doctor.doctor))
app.command("dashboard")(_verb(dashboard.dashboard))

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Of typer itself or of click, whichever this typer is built on."""


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"rushes {version('rushes')}")
        raise typer.Exit


@app.callback()
def rushes(
    version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """A render farm for generated video: a catalog of shots in, finished films in object storage out."""


def run() -> NoReturn:
    """The console script: `main`, then the end of the process."""
    leave(main())


def leave(code: int) -> NoReturn:
    """Ends the process with `code`, as Python does, but without taking native libraries apart.

    pyarrow 26 calls `std::terminate` now and then while its thread pools are taken apart at exit, which would turn any
    exit code into an abort after all the work is done.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # joins the threads that are not daemons
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code; errors are told in words, with a traceback only under -v."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = words[: words.index("--")] if "--" in words else words
    verbose = 2 if "-vv" in options else sum(word in ("-v", "--verbose") for word in options)
    with logged(verbose):
        return _run(words, Output(as_json="--json" in options, verbose=verbose))


def _run(words: list[str], output: Output) -> int:
    try:
        from infra.names import check_import_names

        check_import_names()
        if not words:
            app(args=["--help"], prog_name="rushes", standalone_mode=False)
            return ExitCode.REFUSED
        return int(app(args=words, prog_name="rushes", standalone_mode=False) or ExitCode.DONE)
    except UsageError as error:
        return _usage(error, output, words)
    except KeyboardInterrupt:  # before a verb began
        return ExitCode.CANCELLED
    except BrokenPipeError:
        # The reader has gone (`rushes jobs … | head`): nothing is left to say, and Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    except Exception as error:
        return _end(error, output, words)


def _usage(error: Exception, output: Output, words: list[str]) -> int:
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "rushes"
    output.error(message, f"See: {path} --help")
    output.result(failure_dict(ExitCode.REFUSED, message, verb=_verb_of(words)))
    return ExitCode.REFUSED


def _verb_of(words: list[str]) -> str | None:
    return next((word for word in words if not word.startswith("-")), None)


def _end(error: Exception, output: Output, words: list[str]) -> int:
    failure = explain(error)
    if output.verbose:
        traceback.print_exception(error)
    if failure is None:
        failure = Failure(
            f"internal error: {type(error).__name__}: {error}",
            exit_code=ExitCode.FAULT,
            hint=None if output.verbose else "Run it again with -v for the traceback.",
        )
        logging.getLogger("rushes").debug("internal error", exc_info=error)
    if failure.refused:
        output.refused(failure.refused, failure.rows_total)
    output.error(str(failure), failure.hint)
    refused, total = failure.refused, failure.rows_total
    output.result(failure_dict(failure.exit_code, str(failure), refused, total, verb=_verb_of(words)))
    return failure.exit_code

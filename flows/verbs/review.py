"""`rushes review`: the board in the browser, over the store itself; or as a page that only shows."""

from __future__ import annotations

import os
import re
import secrets
import socket
import sys
import threading
import time
import webbrowser
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.report import FORMAT, ExitCode
from flows.verbs.console import Output
from flows.verbs.failure import Failure, half_done
from flows.verbs.options import Config, Json, Quiet, Verbose, check_id
from flows.verbs.options import Store as StoreUrl
from flows.verbs.words import login

if TYPE_CHECKING:
    import uvicorn

    from infra.settings import Settings
    from infra.store import Store

PORT = 8321
NESTED = {"measures": "mean", "reasons": "failed by"}
TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")


def _job_ids(values: list[str] | None) -> list[str] | None:
    for value in values or ():
        check_id(value)
    return values


def review(
    store: StoreUrl,
    job: Annotated[
        list[str] | None,
        typer.Option(
            "--job",
            help="The job; the newest if left out. Given again: these jobs side by side.",
            metavar="ID",
            callback=_job_ids,
        ),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; another than this machine needs a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", help="Port; another one if it is taken, 0 for any.", min=0, max=65535)
    ] = PORT,
    token: Annotated[
        str | None,
        typer.Option("--token", help="What visitors have to show; made up where it is needed.", metavar="TEXT"),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
    export: Annotated[
        bool, typer.Option("--export", help="Write the board that only shows into the store, and serve nothing.")
    ] = False,
    table: Annotated[
        bool, typer.Option("--table", help="With several jobs: print what each came to, and serve nothing.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Look at takes in the browser, approve, reject, ask for others. Stops with Ctrl-C."""
    from flows.verbs.target import choose_job, open_for_reading
    from infra.settings import Settings

    if token is not None and not TOKEN.fullmatch(token):
        raise typer.BadParameter("--token is 16 to 128 letters, digits, '-' and '_'.")
    if export and table:
        raise typer.BadParameter("--export and --table exclude each other.")
    output = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    settings = Settings.load(config)
    opened = open_for_reading(store, settings)
    jobs = list(dict.fromkeys(choose_job(opened, one) for one in job or (None,)))
    if table:
        return _table(opened, jobs, settings, output)
    with half_done():
        if export:
            return _export(opened, jobs, settings, output)
        return _serve(opened, jobs, settings, output, host=host, port=port, token=token, open_page=open_page)


def _export(store: Store, jobs: list[str], settings: Settings, output: Output) -> int:
    from flows.accounts import price_of
    from flows.at_work import at_work
    from flows.outputs import Outputs, board_url
    from flows.verbs.ledger import Ledger
    from infra.store.lease import read_lease

    boards = []
    for job_id in jobs:
        ledger = Ledger.read(store, job_id)
        lease = read_lease(store, job_id)
        refused = ledger.rows().refused
        outputs = Outputs(store, job_id, epoch=lease.epoch if lease else 0, price=price_of(settings), refused=refused)
        outputs.refresh(ledger.verdict()[0], running=at_work(lease, live=ledger.running))
        boards.append(board_url(store, job_id))
        output.line(boards[-1])
    output.result({"format": FORMAT, "store": store.url, "exit": 0, "jobs": jobs, "boards": boards})
    return ExitCode.DONE


def _table(store: Store, jobs: list[str], settings: Settings, output: Output) -> int:
    from flows.review.bakeoff import compare
    from flows.review.shots import JobTakes

    told = compare([JobTakes(store, job_id) for job_id in jobs], settings.price)
    output.result({"format": FORMAT, "store": store.url, "exit": 0, **told})
    heads = told["jobs"]
    rows: list[list[Any]] = [["model", *(head["model"] for head in heads)]]
    rows += [[name, *(head["options"][name] for head in heads)] for name in heads[0]["options"]]
    for name in (name for name in heads[0]["metrics"] if name not in NESTED):
        values = [head["metrics"][name] for head in heads]
        if any(value is not None for value in values):
            rows.append([name.replace("_", " "), *values])
    for kind, title in NESTED.items():
        names = sorted({name for head in heads for name in head["metrics"][kind]})
        rows += [[f"{title} {name}", *(head["metrics"][kind].get(name) for head in heads)] for name in names]
    output.table(("", *(f">{head['job_id']}" for head in heads)), rows)
    return ExitCode.DONE


def _serve(
    store: Store, jobs: list[str], settings: Settings, output: Output, *, host: str, port: int, token: str | None,
    open_page: bool,
) -> int:  # fmt: skip
    import uvicorn

    from flows.retakes import facts_of
    from flows.review.choosing import queue_forgotten
    from flows.review.guard import is_loopback
    from flows.review.server import make_app

    if not is_loopback(host):
        token = token or secrets.token_urlsafe(24)
    for job_id in jobs:
        try:
            for mended in queue_forgotten(store, job_id, partial(facts_of, store, job_id, settings)):
                output.note(f"{mended}: a retake that was asked for and not queued is queued now.")
        except Failure as error:  # the model is gone; takes can be looked at all the same
            output.note(str(error))
    listener = _listen(host, port, output)
    bound = listener.getsockname()[1]
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    page = "bakeoff" if len(jobs) > 1 else ""
    url = f"http://{f'[{shown}]' if ':' in shown else shown}:{bound}/{page}" + (f"?token={token}" if token else "")
    app = make_app(store, settings, first=jobs, who="" if token else login(), token=token)
    level = "info" if output.verbose else "warning"
    server = uvicorn.Server(uvicorn.Config(app, log_level=level, access_log=False, server_header=False, lifespan="on"))
    output.result(
        {"format": FORMAT, "store": store.url, "jobs": jobs, "url": url, "host": host, "port": bound, "token": token}
    )
    output.line(url)
    sys.stdout.flush()
    output.note("Ctrl-C ends it." if not token else "Who has this address may decide. Ctrl-C ends it.")
    if shown != host:
        output.note("From elsewhere, put this machine's name in place of 127.0.0.1.")
    if open_page and _has_screen():
        threading.Thread(target=_show, args=(server, url), name="rushes-browser", daemon=True).start()
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:  # the way to end it
        output.note("The review has ended; what was decided is in the store.")
    finally:
        listener.close()
    return ExitCode.DONE


def _has_screen() -> bool:
    """Whether a browser can open a window here; one in the terminal would fight with this command for it."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _show(server: uvicorn.Server, url: str) -> None:
    """Opens the page as soon as it is served: some browsers return when they have it, or never."""
    while not server.started:
        if server.should_exit:
            return
        time.sleep(0.05)
    webbrowser.open(url)


def _listen(host: str, port: int, output: Output) -> socket.socket:
    """A socket that listens: on the port, else, where that is taken, on any."""
    for wanted in dict.fromkeys((port, 0)):
        try:
            found = socket.create_server((host, wanted), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        except OSError as error:
            if wanted == 0:
                raise Failure(f"cannot listen on {host}: {error.strerror or error}") from error
            output.note(f"Port {wanted} is taken.")
        else:
            return found
    raise Failure(f"cannot listen on {host}, port {port}")

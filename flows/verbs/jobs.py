"""`rushes jobs`: the jobs of a store."""

from __future__ import annotations

from flows.report import FORMAT, ExitCode
from flows.verbs.console import Output
from flows.verbs.options import Config, Json, Quiet, Store, Verbose
from flows.verbs.words import moment


def jobs(store: Store, config: Config = None, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = 0) -> int:
    """The jobs of a store, the newest last: state and counts."""
    from flows.verbs.ledger import Ledger, open_for_reading
    from infra.settings import Settings
    from infra.store.commits import committed_keys
    from infra.store.jobs import list_jobs

    output = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    opened = open_for_reading(store, Settings.load(config))
    committed = committed_keys(opened)
    ledgers = [Ledger.read(opened, job_id, costs=False, committed=committed) for job_id in list_jobs(opened)]
    ledgers.sort(key=lambda ledger: ledger.lease.renewed if ledger.lease else 0.0)
    entries = []
    for ledger in ledgers:
        state, exit_code = ledger.verdict()
        renewed = ledger.renewed()
        entries.append(
            {
                "job_id": ledger.job_id,
                "state": state,
                "exit": exit_code,
                "takes": ledger.counts().as_dict(),
                "round": ledger.round,
                "catalog": ledger.origin.catalog if ledger.origin else None,
                "changed": None if renewed is None else renewed.isoformat(timespec="seconds"),
            }
        )
    output.result({"format": FORMAT, "store": opened.url, "jobs": entries})
    if not entries:
        output.note(f"{opened.url} has no jobs yet.")
        return ExitCode.DONE
    output.table(
        ("job", "state", ">takes", ">committed", ">quarantined", ">pending", "last change (UTC)"),
        [
            (
                ledger.job_id,
                entry["state"],
                f"{counts.total:,}",
                f"{counts.committed:,}",
                f"{counts.quarantined:,}",
                f"{counts.pending:,}",
                moment(ledger.renewed()),
            )
            for ledger, entry in zip(ledgers, entries, strict=True)
            for counts in [ledger.counts()]
        ],
    )
    return ExitCode.DONE

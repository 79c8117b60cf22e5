"""`rushes jobs`: the jobs of a store."""

from __future__ import annotations

from flows.report import FORMAT, ExitCode, Takes
from flows.verbs.console import Output
from flows.verbs.options import Config, Json, Quiet, Store, Verbose
from flows.verbs.words import moment

_UNKNOWN = {
    "job_id": None, "state": "damaged", "exit": None, "takes": Takes().as_dict(), "round": None, "catalog": None,
    "changed": None,
}  # fmt: skip


def jobs(store: Store, config: Config = None, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = 0) -> int:
    """The jobs of a store, the newest last: state and counts."""
    from flows.verbs.ledger import Ledger
    from flows.verbs.target import open_for_reading
    from infra.settings import Settings
    from infra.store.commits import list_commits
    from infra.store.errors import Damaged, StoreRefused
    from infra.store.jobs import list_jobs

    output = Output(as_json=as_json, quiet=quiet, verbose=verbose)
    opened = open_for_reading(store, Settings.load(config))
    listed = dict(list_commits(opened))
    ledgers, damaged = [], []
    for job_id in list_jobs(opened):
        try:
            ledgers.append(Ledger.read(opened, job_id, listed=listed))
        except (Damaged, StoreRefused) as error:  # it hides no other job
            damaged.append({**_UNKNOWN, "job_id": job_id, "error": str(error)})
            output.error(f"{job_id} cannot be read: {error}")
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
    output.result({"format": FORMAT, "store": opened.url, "jobs": [*damaged, *entries]})
    if not entries and not damaged:
        output.note(f"{opened.url} has no jobs yet.")
        return ExitCode.DONE
    output.table(
        ("job", "state", ">takes", ">committed", ">quarantined", ">pending", "last change (UTC)"),
        [(entry["job_id"], entry["state"], "", "", "", "", "") for entry in damaged]
        + [
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

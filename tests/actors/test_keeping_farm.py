"""Best of several takes on a real farm: it renders until enough have passed, and the store alone says what is left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from actors.client import Connection, render_job
from actors.dispatch.orders import Ledger
from infra.store import open_store
from infra.store.commits import committed_keys
from infra.store.keeping import verdict_of
from tests.actors.farm import commits, job, kinds, shot

KEPT = {"media": {"preset": "ultrafast", "refuse": []}, "gangs_max": 2}


def test_takes_are_rendered_until_enough_have_passed(farm: Connection, tmp_path: Path) -> None:
    rows = [
        shot(1, "shows=one", "until=1", takes=4, keep=1),  # the first is of one colour
        shot(2, takes=4, keep=2),
        shot(3, "shows=one", "for-good", takes=2, keep=1),  # none will do
        shot(4, takes=2),
    ]
    spec = job(tmp_path, rows, **KEPT)
    events: list[Any] = []
    status = render_job(farm, spec, on_events=events.extend)
    made = {(one["shot_id"], one["take"]): verdict_of(one) for one in commits(spec)}
    assert made == {
        ("s001", 1): "retry", ("s001", 2): "pass", ("s002", 1): "pass", ("s002", 2): "pass", ("s003", 1): "retry",
        ("s003", 2): "retry", ("s004", 1): "pass", ("s004", 2): "pass",
    }  # fmt: skip
    takes = status["takes"]
    assert status["state"] == "done" and (takes["committed"], takes["skipped"], takes["pending"]) == (8, 4, 0)
    assert sum(row["skipped"] for row in status["shards"]) == 4
    assert sum(event["skipped"] for event in events if event["kind"] == "enough") == 4
    assert kinds(events).count("committed") == 8

    # Resumed, it has nothing to do; with a commit less, it needs that shot's next takes again.
    again = replace(spec, epoch=2)
    store = open_store(spec.store_url)
    ledger = Ledger.read(store, again)
    assert (ledger.pending, len(ledger.kept.skipped), ledger.kept.passed[("default", "s002")]) == (0, 4, 2)
    assert render_job(farm, again)["takes"]["skipped"] == 4
    assert len(committed_keys(store)) == 8
    lost = next(one for one in commits(spec) if (one["shot_id"], one["take"]) == ("s002", 1))
    store.delete(f"commits/{lost['spec_key'][:2]}/{lost['spec_key']}.json")
    after = render_job(farm, replace(spec, epoch=3))["takes"]
    assert (after["committed"], after["skipped"], after["cached"]) == (1, 4, 7)

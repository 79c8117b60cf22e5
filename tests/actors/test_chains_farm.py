"""Shots that start from one another, and shots that share their pictures, on a real Ray with a fake renderer."""

from __future__ import annotations

import json
from pathlib import Path

from actors.client import Connection, render_job
from catalogs.keys import spec_fields, spec_key
from infra.store import Store, layout, open_store
from infra.store.jobs import list_quarantine, open_round, read_plan
from infra.store.verify import audit
from tests.actors.farm import assert_whole, commits, job, kinds, shot

I2V = {"task": "i2v"}


def by_shot(spec) -> dict[tuple[str, int], dict]:
    return {(commit["shot_id"], commit["take"]): commit for commit in commits(spec)}


def key_from(spec, store: Store, name: str, take: int, source: str) -> str:
    """The key that a take must have where it started from another."""
    rows = read_plan(store, spec.job_id).to_pylist()
    row = next(row for row in rows if (row["shot_id"], row["take"]) == (name, take))
    assert row["spec_key"] is None
    return spec_key(spec_fields(row, spec.model_facts, source=source))


def test_chains_run_in_order_side_by_side_and_resume(farm: Connection, tmp_path: Path) -> None:
    # The last first, so that the catalog's order does not help; s1xx is a chain of its own.
    shots = [
        shot(2, "sleep=0.2", depends_on="s001", **I2V),
        shot(1, "sleep=0.2", depends_on="s000", **I2V),
        shot(0, "sleep=0.2"),
        shot(101, "sleep=0.2", depends_on="s100", priority=5, **I2V),
        shot(100, "sleep=0.2"),
    ]
    spec = job(tmp_path, shots, gangs_max=2)
    events: list = []
    status = render_job(farm, spec, on_events=events.extend, poll_s=0.1)
    counts = {"total": 5, "pending": 0, "running": 0, "committed": 5, "cached": 0, "quarantined": 0}
    assert status["takes"] == counts | {"skipped": 0}
    assert_whole(spec, 5)
    made, store = by_shot(spec), open_store(spec.store_url)
    for name, upstream in (("s001", "s000"), ("s002", "s001"), ("s101", "s100")):
        after, before = made[name, 1], made[upstream, 1]
        assert after["times"]["started"] >= before["times"]["committed"]
        assert after["spec_key"] == key_from(spec, store, name, 1, before["spec_key"])
    # What the urgent shot waits for is as urgent (`test_scheduler` says which comes first): no later than the longer
    # chain's second shot, whichever of two gangs was up first.
    assert made["s100", 1]["times"]["started"] < made["s001", 1]["times"]["started"]

    events.clear()
    again = render_job(farm, spec, on_events=events.extend, poll_s=0.1)
    assert (again["state"], again["takes"]["cached"], again["takes"]["committed"]) == ("done", 5, 0)
    assert again["gpu_s"]["rendered"] == 0.0
    assert "gang_ready" not in kinds(events)  # nothing was left to be found by a gang
    assert {e["shot_id"]: e["spec_key"] for e in events if e["kind"] == "committed"} == {
        name: made[name, 1]["spec_key"] for name in ("s001", "s002", "s101")
    }


def test_a_lost_shot_takes_its_chain_with_it_until_it_is_tried_again(farm: Connection, tmp_path: Path) -> None:
    flag = tmp_path / "once"
    shots = [
        shot(0, f"fail-once={flag}", takes=1),
        shot(1, depends_on="s000", takes=2, **I2V),
        shot(2, depends_on="s001", **I2V),
        shot(9),
    ]
    spec = job(tmp_path, shots, limits={"take_attempts": 1})
    status = render_job(farm, spec, poll_s=0.1)
    assert (status["state"], status["takes"]["committed"], status["takes"]["quarantined"]) == ("done", 1, 4)
    store = open_store(spec.store_url)
    records = {(record["shot_id"], record["take"]): record for record in list_quarantine(store, spec.job_id)}
    assert records["s000", 1]["error_class"] == "internal"
    for name in (("s001", 1), ("s001", 2), ("s002", 1)):
        record = records[name]
        assert record["error_class"] == "input"
        assert "once only" in record["message"]
        assert store.stat(record["log"]) is not None
    assert "default/s000 take 1" in records["s001", 1]["message"]
    assert "default/s001 take" in records["s002", 1]["message"]

    same = render_job(farm, spec, poll_s=0.1)  # the same round: nothing is tried again
    assert (same["takes"]["quarantined"], same["takes"]["cached"]) == (4, 1)
    again = job(tmp_path, shots, limits={"take_attempts": 1}, round=open_round(store, spec.job_id))
    status = render_job(farm, again, poll_s=0.1)
    assert (status["takes"]["committed"], status["takes"]["cached"], status["takes"]["quarantined"]) == (4, 1, 0)
    assert_whole(spec, 5)


def test_the_selected_take_is_the_source_else_the_first_that_stands(farm: Connection, tmp_path: Path) -> None:
    shots = [
        shot(0, takes=3),
        shot(1, depends_on="s000", **I2V),
        shot(10, "always-nan", takes=2, seed=5),
        shot(11, depends_on="s010", **I2V),
    ]
    spec = job(tmp_path, shots)
    store = open_store(spec.store_url)
    store.write(layout.decision_path("default", "s000"), json.dumps({"selected": {"take": 2}}).encode())
    status = render_job(farm, spec, poll_s=0.1)
    assert status["takes"]["quarantined"] == 3
    made = by_shot(spec)
    assert made["s001", 1]["spec_key"] == key_from(spec, store, "s001", 1, made["s000", 2]["spec_key"])
    # Somebody chooses another take: that is another picture, and another start of the same shot.
    store.write(layout.decision_path("default", "s000"), json.dumps({"selected": 3}).encode())
    status = render_job(farm, spec, poll_s=0.1)
    assert status["takes"]["committed"] == 1
    wanted = key_from(spec, store, "s001", 1, made["s000", 3]["spec_key"])
    assert wanted in {commit["spec_key"] for commit in commits(spec)}
    # Without a decision, one that stands is as good as another: nothing is rendered twice.
    store.delete(layout.decision_path("default", "s000"))
    assert render_job(farm, spec, poll_s=0.1)["takes"]["committed"] == 0


def test_locales_share_one_render(farm: Connection, tmp_path: Path) -> None:
    variants = {"locale": ["de", "fr", "pt-BR"], "style": ["clay", "sketch"]}
    shots = [shot(0, takes=2, variants=json.dumps(variants)), shot(1, depends_on="s000.clay.fr", **I2V)]
    spec = job(tmp_path, shots)
    events: list = []
    status = render_job(farm, spec, on_events=events.extend, poll_s=0.1)
    assert (status["state"], status["takes"]["committed"], status["takes"]["quarantined"]) == ("done", 13, 0)
    assert_whole(spec, 13)
    made, store = by_shot(spec), open_store(spec.store_url)
    rendered = {name for name, commit in made.items() if commit["gpu_s"] > 0}
    assert rendered == {(f"s000.{style}.de", take) for style in ("clay", "sketch") for take in (1, 2)} | {("s001", 1)}
    for style in ("clay", "sketch"):
        for take in (1, 2):
            original = made[f"s000.{style}.de", take]
            for locale in ("fr", "pt-BR"):
                copy = made[f"s000.{style}.{locale}", take]
                assert copy["media"]["sha256"] == original["media"]["sha256"]
                assert copy["picture_key"] == original["picture_key"]
                assert copy["spec_key"] != original["spec_key"]
                assert copy["notes"]["copied_from"] == original["spec_key"]
                assert store.read(layout.poster_path(copy["spec_key"])) == store.read(
                    layout.poster_path(original["spec_key"])
                )
    assert audit(store).faults == []
    assert made["s001", 1]["spec_key"] == key_from(spec, store, "s001", 1, made["s000.clay.fr", 1]["spec_key"])

    # Only copies are missing: no gang is asked for.
    for locale in ("fr", "pt-BR"):
        store.delete(layout.commit_path(made[f"s000.clay.{locale}", 1]["spec_key"]))
    events.clear()
    again = render_job(farm, spec, on_events=events.extend, poll_s=0.1)
    assert (again["state"], again["takes"]["committed"], again["gpu_s"]["rendered"]) == ("done", 2, 0.0)
    assert "gang_ready" not in kinds(events)


def test_copies_of_shots_in_a_chain(farm: Connection, tmp_path: Path) -> None:
    variants = json.dumps({"locale": ["en", "de"]})
    shots = [
        shot(1, depends_on="s000", variants=variants, **I2V),
        shot(0, variants=variants),
    ]
    spec = job(tmp_path, shots)
    assert render_job(farm, spec, poll_s=0.1)["takes"]["committed"] == 4
    made = by_shot(spec)
    assert {name for name, commit in made.items() if commit["gpu_s"] > 0} == {("s000.en", 1), ("s001.en", 1)}
    assert made["s001.de", 1]["picture_key"] == made["s001.en", 1]["picture_key"]
    again = render_job(farm, spec, poll_s=0.1)
    assert (again["takes"]["cached"], again["takes"]["committed"]) == (4, 0)

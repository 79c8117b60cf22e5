"""Verbs that remove: gc, forget, and what `verify --repair` does where nothing can be rendered. No farm runs here."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from flows.planned import Planned
from infra.store import Store, layout, open_store
from infra.store.commits import committed_keys
from infra.store.forget import ShowInUse, ShowUnknown, forget
from infra.store.lease import Lease
from infra.store.repair import jobs_for, move_aside
from infra.store.verify import Fault, audit
from tests.flows.command_samples import commit, json_model, plan_into, quarantine, run, shots, write_catalog

OTHER = "f" * 64


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    """A job with two shows, all takes committed but for one that was given up."""
    rows = [{**row, "show": show} for show in ("alpha", "beta") for row in shots(2)]
    planned = plan_into(tmp_path / "out", write_catalog(tmp_path / "c.parquet", rows), json_model(tmp_path / "model"))
    takes = planned.plan.takes.to_pylist()
    for take in takes[:3]:
        commit(planned, take, tmp_path)
        planned.store.write(layout.poster_path(take["spec_key"]), b"jpeg")
        planned.store.write(
            layout.log_path(take["show"], take["shot_id"], take["revision"], 1, planned.job_id, 1, 1), b"log"
        )
    quarantine(planned.store, planned.job_id, takes[3])
    for show in ("alpha", "beta"):
        planned.store.write(layout.decision_path(show, "s0"), b'{"selected": 1}')
        planned.store.write(f"deliver/web/{show}/s0/film.mp4", b"web")
    return planned


def paths(store: Store) -> set[str]:
    return {found.path for found in store.list()}


def test_gc_says_what_it_would_remove_and_removes_it(planned: Planned, tmp_path: Path, capsys: Any) -> None:
    store, out = planned.store, tmp_path / "out"
    orphan = layout.media_path("alpha", "s0", "0011aabb", 7, OTHER)
    young = layout.media_path("alpha", "s0", "0011aabb", 8, OTHER)
    for path in (orphan, young):
        store.write(path, b"nobody names me")
    hour_ago = time.time() - 3600
    os.utime(out / orphan, (hour_ago, hour_ago))
    before = paths(store)
    told = run(capsys, "gc", out, "--dry-run", "--json")
    assert told.code == 0 and paths(store) == before
    [gone] = told.json["removed"]
    assert list(gone) == ["path", "bytes", "age_s", "reason"]
    assert (gone["path"], gone["bytes"], gone["reason"]) == (orphan, 15, "orphan-media") and gone["age_s"] > 3500
    result = told.json
    assert (result["format"], result["kept"], result["bytes"], result["older_than_s"]) == (1, 1, 15, 30.0)
    assert result["dry_run"] is True
    human = run(capsys, "gc", out)
    assert human.code == 0 and "removed 1 object, 15 B (1 orphan-media); 1 kept" in human.out
    assert paths(store) == before - {orphan}
    assert run(capsys, "gc", out, "--older-than", "0", "--json").json["bytes"] == 15
    assert run(capsys, "gc", out, "--json").json["removed"] == []
    assert run(capsys, "gc", tmp_path / "nowhere").code == 2


def test_forget_removes_one_show_and_nothing_of_another(planned: Planned, tmp_path: Path, capsys: Any) -> None:
    store, out = planned.store, tmp_path / "out"
    before = paths(store)
    refused = run(capsys, "forget", out, "--show", "alpha", "--json")
    assert refused.code == 2 and "--yes" in refused.err and paths(store) == before
    told = run(capsys, "forget", out, "--show", "alpha", "--dry-run", "--json")
    assert told.code == 0 and paths(store) == before
    done = run(capsys, "forget", out, "--show", "alpha", "--yes", "--json")
    assert done.code == 0, done
    expected = {"commits": 2, "media": 2, "posters": 2, "logs": 2, "decisions": 1, "deliverables": 1}
    assert told.json["removed"] == done.json["removed"] == expected
    assert (done.json["jobs"], done.json["left"]) == ([], [planned.job_id])
    left = paths(store)
    assert not [path for path in left if "/alpha/" in path]
    assert {path for path in before if "/beta/" in path} <= left
    assert [found.spec_key for found in audit(store).faults] == []
    assert len(committed_keys(store)) == 1
    counts = run(capsys, "status", out, "--json").json["takes"]
    assert (counts["committed"], counts["pending"], counts["quarantined"]) == (1, 2, 1), "it may be rendered again"
    assert layout.board_path(planned.job_id) in left, "its views are made anew"
    unknown = run(capsys, "forget", out, "--show", "gamma", "--yes")
    assert unknown.code == 2 and "gamma" in unknown.err and "beta" in unknown.err


def test_objects_that_others_put_there_do_not_stop_a_show_from_being_forgotten(
    planned: Planned, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "out"
    strange = ["shots/alpha/a?b#c.mp4", "shots/alpha/a\\b.mp4", "shots/alpha/a\nb.mp4", "deliver/a?b/alpha/x.mp4"]
    for path in strange:
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(b"x")
    done = run(capsys, "forget", out, "--show", "alpha", "--yes", "--json")
    assert done.code == 0 and done.json["removed"]["media"] == 2
    assert "a?b#c.mp4' is left" in done.err and "\nb.mp4" not in done.err
    assert {path for path in paths(planned.store) if "alpha/" in path} == set(strange)


def test_a_show_with_jobs_of_its_own_goes_with_them_but_not_while_one_runs(planned: Planned, tmp_path: Path) -> None:
    store = planned.store
    for show in ("alpha", "beta"):  # the plan of both is gone, so each has a job of its own
        rows = [{**row, "show": show} for row in shots(2)]
        plan_into(tmp_path / "out", write_catalog(tmp_path / f"{show}.parquet", rows), tmp_path / "model", job=show)
    store.delete(layout.plan_path(planned.job_id))
    lease = Lease.acquire(store, "alpha")
    assert isinstance(lease, Lease)
    with pytest.raises(ShowInUse, match=r"job alpha .* is being rendered"):
        forget(store, "alpha")
    assert len(committed_keys(store)) == 3
    lease.release("done", 0)
    assert forget(store, "alpha").jobs == ["alpha"]
    assert list(store.list(layout.job_folder("alpha"))) == []
    assert list(store.list(layout.job_folder("beta"))) != []
    with pytest.raises(ShowUnknown):
        forget(store, "alpha")


def test_a_lease_that_cannot_be_read_is_named_where_it_keeps_a_show(planned: Planned) -> None:
    path = layout.lease_path(planned.job_id)
    planned.store.write(path, b"{")
    before = paths(planned.store)
    with pytest.raises(ShowInUse, match=f"{path} cannot be read; when no render of it runs, delete that"):
        forget(planned.store, "alpha")
    assert paths(planned.store) == before


def test_commits_go_first(planned: Planned) -> None:
    """Killed at any moment, `forget` leaves no commit without its film."""

    class Killed(Exception):
        pass

    class Dying(Store):
        def delete(self, path: str) -> None:
            if not path.startswith(layout.COMMITS):
                raise Killed
            super().delete(path)

    with pytest.raises(Killed):
        forget(Dying(planned.store.url), "alpha")
    found = audit(planned.store)
    assert (found.commits, found.faults, len(found.orphans)) == (1, [], 4)
    assert forget(planned.store, "alpha").removed["media"] == 2, "the same command again goes on"


def test_a_damaged_commit_is_moved_and_its_take_is_pending_again(planned: Planned, tmp_path: Path) -> None:
    store = planned.store
    keys = planned.plan.takes["spec_key"].to_pylist()
    path = layout.commit_path(keys[0])
    sound = store.read(path)
    film = json.loads(sound)["media"]["path"]
    fault = Fault("media-missing", film, keys[0], "")
    assert move_aside(store, [fault]) == [], "it is looked at once more before anything is moved"
    store.delete(film)
    store.write(layout.moved_aside_path(keys[0], 1), b"an earlier one")
    store.write(layout.commit_path(keys[1]), b"{")
    store.write("commits/readme.txt", b"x")
    astray = f"commits/{OTHER}.json"
    store.write(astray, b"x")
    later = layout.commit_path(OTHER)
    store.write(later, json.dumps({"format": 2}).encode())
    moved = move_aside(store, audit(store).faults)
    assert {found.path: found.moved_to for found in moved} == {
        path: f"damaged/{keys[0]}.2.json",
        layout.commit_path(keys[1]): f"damaged/{keys[1]}.1.json",
        astray: f"damaged/{OTHER}.json.1.json",
    }
    assert store.read("commits/readme.txt") == b"x", "foreign, and left alone"
    assert store.read(f"damaged/{keys[0]}.2.json") == sound
    assert [fault.kind for fault in audit(store).faults] == ["commit-newer"], "that one is left alone"
    assert jobs_for(store, [keys[0], keys[1], OTHER]) == ({planned.job_id: sorted(keys[:2])}, [OTHER])
    # Killed between the copy and the removal: the copy that is there already serves.
    store.write(path, sound)
    assert [found.moved_to for found in move_aside(store, audit(store).faults)] == [f"damaged/{keys[0]}.2.json"]


def test_repair_says_what_to_do_where_it_cannot_render(planned: Planned, tmp_path: Path, capsys: Any) -> None:
    store, out = planned.store, tmp_path / "out"
    keys = planned.plan.takes["spec_key"].to_pylist()
    for key in keys[1:3]:  # these stand for films, and do not play
        store.delete(layout.commit_path(key))
    (tmp_path / "model" / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(b"other weights")
    ran = run(capsys, "verify", out, "--repair", "--json")
    assert ran.code == 0, "the audit is clean, and the take is pending"
    assert list(ran.json) == ["commits", "faults", "orphans", "repaired", "jobs", "commands"]
    [moved] = ran.json["repaired"]
    assert moved["spec_key"] == keys[0] and store.stat(moved["moved_to"]) is not None
    [command] = ran.json["commands"]
    assert command.startswith(f"rushes render {tmp_path}/c.parquet --out {store.url} --job {planned.job_id}")
    assert "has changed" in command
    assert run(capsys, "status", out, "--json").json["takes"]["committed"] == 0
    again = run(capsys, "verify", out, "--repair")
    assert again.code == 0 and "0 commits, 0 faults" in again.out


def test_a_store_that_goes_away_half_way_is_exit_4(planned: Planned, tmp_path: Path, capsys: Any) -> None:
    """A folder whose lock somebody holds for ever: reading goes on, removing does not."""
    store, out = planned.store, tmp_path / "out"
    before = paths(store)
    (tmp_path / "rushes.toml").write_text("[store]\ntimeout_s = 0.1\nretry_s = 0\n")
    with (out / ".rushes-lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        words = ("--config", tmp_path / "rushes.toml", "--json")
        ran = run(capsys, "forget", out, "--show", "alpha", "--yes", *words)
    assert ran.code == 4 and "held by another process" in ran.json["error"] and "again" in ran.err
    assert paths(store) == before


def test_a_commit_of_a_later_format_is_told_by_verify_and_hides_no_status(
    planned: Planned, tmp_path: Path, capsys: Any
) -> None:
    store, out = planned.store, tmp_path / "out"
    path = layout.commit_path(planned.plan.takes["spec_key"][0].as_py())
    store.write(path, json.dumps(json.loads(store.read(path)) | {"format": 2, "more": 1}).encode())
    ran = run(capsys, "verify", out, "--json")
    assert ran.code == 1 and ran.json["commits"] == 2, "the audit goes on"
    assert [fault["path"] for fault in ran.json["faults"] if fault["kind"] == "commit-newer"] == [path]
    assert run(capsys, "status", out, "--json").json["takes"]["committed"] == 3


def test_repair_of_a_take_that_no_job_plans_any_more(planned: Planned, tmp_path: Path, capsys: Any) -> None:
    store = planned.store
    store.delete(layout.plan_path(planned.job_id))
    ran = run(capsys, "verify", tmp_path / "out", "--repair")
    assert ran.code == 0
    assert ran.out.count("rushes render CATALOG") == 3 and "alpha/s0 take 1" in ran.out
    assert len(list(store.list(layout.DAMAGED))) == 3
    assert open_store(store.url).stat(layout.lease_path(planned.job_id)) is None, "nothing was started"

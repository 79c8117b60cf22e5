"""A short slice of the chaos suite, and the parts of it that need no farm. The whole is `make chaos`."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from pathlib import Path

import pytest

from infra.store import StoreOptions, open_store
from tests.chaos.campaign import run_job
from tests.chaos.results import BEGIN, END, PAGE, NoTable, append, put_table, read, table
from tests.chaos.schedule import PER_JOB, Kind, Network, Phase, Strike, possible, schedule
from tests.chaos.world import World
from tests.servers.faultproxy import FaultProxy, Hold, Rule
from tests.servers.prefect import PrefectServer
from tests.servers.seaweedfs import SeaweedFS


@pytest.mark.timeout(900)  # a busy machine needs minutes where an idle one needs 40 s
def test_a_farm_survives_a_death_of_each_of_four_kinds(s3: SeaweedFS, prefect_server: str, tmp_path: Path) -> None:
    """Each kill is checked where it happens (`striking`): the process lived, at that phase, and was gone afterwards."""
    strikes = [
        Strike(0, 0, Kind.RANK, Phase.DENOISING, Network.GOES_ON),
        Strike(1, 0, Kind.FINISHER, Phase.BEFORE_COMMIT, Network.RESET),
        Strike(2, 0, Kind.DISPATCHER, Phase.ENCODING, Network.REPLY_LOST),
        Strike(3, 0, Kind.FLOW, Phase.AFTER_COMMIT, Network.GOES_ON),
    ]
    port = int(prefect_server.rpartition(":")[2].partition("/")[0])
    world = World(tmp_path, s3, PrefectServer(tmp_path / "prefect", port=port))
    with world:
        *kills, job = run_job(world, tmp_path / "job", strikes, seed=1, takes=12)
    assert [(kill["process"], kill["phase"]) for kill in kills] == [(one.kind, one.phase) for one in strikes]
    assert all(kill["held"] and kill["pid"] for kill in kills)
    assert job["outcome"] == "clean", json.dumps(job, indent=1)
    assert (job["takes"], job["commits"]) == (12, 12)
    assert not world.strays()


def test_a_schedule_is_made_from_its_seed_alone_and_covers_every_kind_evenly() -> None:
    jobs = schedule(7, 104)
    assert jobs == schedule(7, 104) != schedule(8, 104)
    strikes = [strike for job in jobs for strike in job]
    assert [strike.number for strike in strikes] == list(range(104))
    assert Counter(strike.kind for strike in strikes) == {kind: 8 * PER_JOB.get(kind, 1) for kind in Kind}
    assert {strike.phase for strike in strikes} == set(Phase)
    for job in jobs:
        assert Counter(strike.kind for strike in job) == {kind: PER_JOB.get(kind, 1) for kind in Kind}
        for before, strike in zip([None, *(one.kind for one in job)], job, strict=False):
            assert strike.phase in possible(strike.kind, before)


def test_nobody_is_killed_where_it_cannot_be() -> None:
    for before in (None, *Kind):
        assert not {Phase.PLANNING, Phase.LOADING} & set(possible(Kind.FINISHER, before))
        assert Phase.PLANNING not in possible(Kind.RANK, before)
    assert Phase.PLANNING not in possible(Kind.POOL, None, first_job=True)
    assert Phase.LOADING not in possible(Kind.RANK, Kind.S3)


@pytest.mark.parametrize(("at", "there"), [("request", False), ("body", False), ("reply", True)])
def test_a_request_can_be_held_before_within_and_after(
    s3: SeaweedFS, fault_proxy: FaultProxy, at: str, there: bool
) -> None:
    options = {"region": s3.region, "access_key_id": s3.key, "secret_access_key": s3.secret}
    url = s3.bucket_url()
    behind = open_store(url, StoreOptions(endpoint_url=s3.endpoint, **options))
    proxied = open_store(url, StoreOptions(endpoint_url=fault_proxy.url, **options))
    hold = Hold(at)
    fault_proxy.rule = Rule(match=b"/shots/film", hold=hold, times=1)
    writer = threading.Thread(target=proxied.create, args=("shots/film", b"frame " * 5000))
    writer.start()
    assert hold.held.wait(20)
    assert hold.standing
    assert (behind.stat("shots/film") is not None) == there
    hold.release()
    writer.join(20)
    assert not writer.is_alive()
    assert not hold.standing
    assert behind.read("shots/film") == b"frame " * 5000
    puts = [one for one in fault_proxy.exchanges if one.method == "PUT" and one.path.endswith("/shots/film")]
    assert [one.status for one in puts] == [200]


def test_results_are_summed_into_the_page(tmp_path: Path) -> None:
    kill = {"kind": "kill", "seed": 3, "process": "rank", "phase": "mid-upload", "recovered_s": 2.5}
    job = {"kind": "job", "seed": 3, "outcome": "broken", "takes": 9, "exits": [4], "lost": ["a"], "double": []}
    append(tmp_path / "seed-3.jsonl", [kill, kill])
    append(tmp_path / "seed-3.jsonl", [job])
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    put_table(page, tmp_path)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert "| rank |  |  |  |  |  | 2 |  |  |  | 2 |" in text
    assert "1 takes lost, 0 committed twice" in text
    assert "did not end as they should: 1." in text
    page.write_text("nothing")
    with pytest.raises(NoTable):
        put_table(page, tmp_path)


def test_the_page_shows_what_the_results_say() -> None:
    """The table is made by the command, and made again when results are added."""
    shown = PAGE.read_text(encoding="utf-8").partition(BEGIN + "\n")[2].partition(END)[0]
    assert shown == table(read())


def test_the_page_goes_from_what_is_promised_to_what_follows_a_crash() -> None:
    text = PAGE.read_text(encoding="utf-8")
    parts = ["Guarantees", "How", "Scope", "Limits", "Recovery by crash point"]
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == parts


def test_each_promise_names_a_test_that_exists() -> None:
    text = PAGE.read_text(encoding="utf-8").partition("| | what | test |")[2].partition("\n\n")[0]
    rows = [row.rsplit("|", 2)[1] for row in text.splitlines() if row.startswith("| ")]
    assert len(rows) > 20
    for named in rows:
        tests = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", named)
        assert tests and named.count("`") == 2 * len(tests), named
        for file, name in tests:
            assert f"def {name}" in (PAGE.parents[1] / file).read_text(encoding="utf-8"), (file, name)


def test_each_crash_point_names_a_test_that_exists() -> None:
    rows = PAGE.read_text(encoding="utf-8").partition("## Recovery by crash point")[2].splitlines()
    tests = [row.rsplit("|", 2)[1] for row in rows if row.startswith("| ") and not row.startswith("| where")]
    assert len(tests) > 15
    for named in tests:
        files = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", named)
        assert files or "chaos" in named, named
        for file, name in files:
            assert f"def {name}(" in (PAGE.parents[1] / file).read_text(encoding="utf-8"), (file, name)
        for name in re.findall(r"chaos: ([\w, -]+)", named):
            assert set(name.strip().split(", ")) <= {*Phase, *Kind}, name

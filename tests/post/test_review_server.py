"""The review's server: who gets what, and that nothing but a job's own takes is ever served."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from flows.planned import Planned
from flows.review.guard import HEADER, cookie_of, is_loopback
from flows.review.pictures import Pictures, tiles_of
from flows.review.server import make_app
from infra.settings import Settings
from infra.store import StoreOptions, layout, open_store
from infra.store.additions import list_additions
from infra.store.decisions import TakeName, give_verdict, read_decision
from tests.flows.command_samples import run
from tests.post.review_store import FRAMES, make_takes, review_store, rows
from tests.servers.seaweedfs import SeaweedFS

OWN = {HEADER: "1"}


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    made = review_store(tmp_path, rows(3, 2))
    make_takes(made, made.plan.takes.slice(0, 4).to_pylist())
    return made


@pytest.fixture
def client(planned: Planned) -> Iterator[TestClient]:
    app = make_app(planned.store, Settings(), first=["job"], who="Ida")
    with TestClient(app, base_url="http://127.0.0.1:8321") as opened:
        yield opened


def take(client: TestClient, shot: int = 0, number: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/api/jobs/job").json()["shots"][shot]["takes"][number - 1]
    return found


def say(client: TestClient, spec_key: str, verdict: str | None, seen: int = 0, **more: Any) -> Any:
    body = {"spec_key": spec_key, "verdict": verdict, "who": "Ida", "seen": seen, **more}
    return client.post("/api/jobs/job/verdicts", json=body, headers=OWN)


def test_the_page_may_load_nothing_from_elsewhere_and_run_nothing_inline(client: TestClient) -> None:
    for page in ("/", "/bakeoff"):
        reply = client.get(page)
        assert reply.status_code == 200
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
        assert not re.search(r"<script(?![^>]*src=)|\sstyle=|\son\w+=|https?://", reply.text)
    for name in ("main.js", "review.css", "icon.svg"):
        assert client.get(f"/{name}").status_code == 200


def test_a_film_is_served_in_ranges(client: TestClient, planned: Planned) -> None:
    made = take(client)
    film = planned.store.read(made["media"])
    url = f"/film/job/{made['spec_key']}"
    whole = client.get(url)
    assert (whole.status_code, whole.content, whole.headers["content-type"]) == (200, film, "video/mp4")
    part = client.get(url, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, film[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(film)}"
    assert client.get(url, headers={"range": f"bytes={len(film) + 5}-"}).status_code == 416


def test_sprite_and_poster_are_made_when_asked_for(client: TestClient, planned: Planned) -> None:
    made = take(client)
    sprite = client.get(f"/sprite/job/{made['spec_key']}")
    assert sprite.headers["content-type"] == "image/jpeg"
    width, height = Image.open(io.BytesIO(sprite.content)).size
    assert (width, height) == (240 * FRAMES, 180)
    planned.store.delete(layout.poster_path(made["spec_key"]))
    assert Image.open(io.BytesIO(client.get(f"/poster/job/{made['spec_key']}").content)).size == (240, 180)


@pytest.mark.parametrize("frames", [1, 2, 24, 25, 26, 81, 240, 1500])
def test_a_sprite_has_room_for_any_length(frames: int) -> None:
    tiles, step = tiles_of(frames)
    assert 1 <= tiles <= 25 and (tiles - 1) * step < frames <= tiles * step


def test_only_takes_of_the_job_are_served(client: TestClient, planned: Planned) -> None:
    pending = planned.plan.takes["spec_key"][4].as_py()
    for kind in ("film", "poster", "sprite"):
        for key in ("0" * 64, pending, "..%2f..%2frushes.json", "rushes.json", "%00"):
            assert client.get(f"/{kind}/job/{key}").status_code == 404, (kind, key)
        assert client.get(f"/{kind}/none/{take(client)['spec_key']}").status_code == 404
    for path in (
        "/..%2f..%2fserver.py",
        "/server.py",
        "/static/main.js",
        "/%2e%2e/server.py",
        "/jobs/job/plan.parquet",
    ):
        assert client.get(path).status_code == 404, path


def test_a_commit_that_names_something_else_is_not_served(client: TestClient, planned: Planned) -> None:
    made = take(client)
    path = layout.commit_path(made["spec_key"])
    spoilt = planned.store.read(path).decode().replace(made["media"], "jobs/job/plan.parquet")
    planned.store.write(path, spoilt.encode())
    fresh = make_app(planned.store, Settings(), first=["job"])
    with TestClient(fresh, base_url="http://127.0.0.1") as other:
        assert other.get(f"/film/job/{made['spec_key']}").status_code == 404


def test_a_verdict_is_written_and_who_is_late_is_told(client: TestClient, planned: Planned) -> None:
    made = take(client)
    done = say(client, made["spec_key"], "approved", note="steady")
    assert (done.status_code, done.json()["shot"]["state"]) == (200, "approved")
    late = say(client, made["spec_key"], "rejected")
    assert late.status_code == 409
    assert "Ida has approved take 1 of shot-000 meanwhile" in late.json()["error"]
    assert late.json()["shot"]["seq"] == 1, "what stands now comes with the refusal"
    assert read_decision(planned.store, "default", "shot-000").state == "approved"
    again = say(client, take(client, number=2)["spec_key"], "retake", seen=1, note="slower", count=2)
    assert again.json()["queued"] == [3, 4]
    counted = client.get("/api/jobs/job").json()["counts"]["takes"]
    assert counted == {"committed": 4, "running": 0, "pending": 4, "quarantined": 0, "skipped": 0}


def test_an_answer_that_is_known_is_not_sent_again(client: TestClient) -> None:
    version = client.get("/api/jobs/job").json()["version"]
    assert client.get("/api/jobs/job", params={"have": version}).status_code == 204
    say(client, take(client)["spec_key"], "approved")
    assert client.get("/api/jobs/job", params={"have": version}).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"verdict": "splendid"}, 422),
        ({"who": ""}, 422),
        ({"who": "  "}, 422),
        ({"note": "x" * 4001}, 422),
        ({"spec_key": "../../x"}, 422),
        ({"spec_key": "0" * 64}, 404),
        ({"seen": -1}, 422),
        ({"more": 1}, 422),
        ({"count": 101, "verdict": "retake"}, 422),
        ({"note": "x" * 70_000}, 413),
    ],
)
def test_a_bad_verdict_changes_nothing(client: TestClient, planned: Planned, body: Any, status: int) -> None:
    good = {"spec_key": take(client)["spec_key"], "verdict": "approved", "who": "Ida", "seen": 0}
    assert client.post("/api/jobs/job/verdicts", json={**good, **body}, headers=OWN).status_code == status
    assert not list(planned.store.list(layout.DECISIONS))
    assert list_additions(planned.store, "job") == []


def test_a_take_without_a_film_cannot_be_approved(client: TestClient) -> None:
    assert say(client, take(client, shot=2)["spec_key"], "approved").status_code == 409


def test_pages_of_others_can_say_nothing(client: TestClient, planned: Planned) -> None:
    good = {"spec_key": take(client)["spec_key"], "verdict": "approved", "who": "Eve", "seen": 0}
    url = "/api/jobs/job/verdicts"
    assert client.post(url, json=good).status_code == 403
    assert client.post(url, json=good, headers={**OWN, "sec-fetch-site": "cross-site"}).status_code == 403
    assert client.get("/api/start", headers={"host": "rebound.example"}).status_code == 403
    assert client.request("DELETE", url, headers=OWN).status_code == 405
    assert not list(planned.store.list(layout.DECISIONS))


def test_with_a_token_nothing_is_shown_without_it(planned: Planned) -> None:
    token = "a-token-of-many-letters"
    app = make_app(planned.store, Settings(), first=["job"], token=token)
    with TestClient(app, base_url="http://farm.example:8321", follow_redirects=False) as visitor:
        for url in ("/", "/api/start", "/main.js", f"/?token={token}x", "/?token="):
            assert visitor.get(url).status_code == 401, url
        visitor.cookies.set(cookie_of(token), "guessed")
        assert visitor.get("/").status_code == 401
        visitor.cookies.clear()
        let_in = visitor.get(f"//elsewhere.example/?token={token}")
        assert (let_in.status_code, let_in.headers["location"][:2] != "//") == (303, True)
        assert "HttpOnly" in let_in.headers["set-cookie"] and "SameSite=Strict" in let_in.headers["set-cookie"]
        visitor.cookies.set(cookie_of(token), token)
        assert visitor.get("/").status_code == 200
        assert visitor.get("/api/start").json()["who"] == ""
    assert [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "10.0.0.5")] == [True] * 3 + [
        False
    ] * 2


def test_two_boards_of_one_host_leave_each_other_alone(planned: Planned) -> None:
    tokens = ["a-token-of-many-letters", "another-token-of-many"]
    cookies: dict[str, str] = {}
    for token in tokens:
        app = make_app(planned.store, Settings(), first=["job"], token=token)
        with TestClient(app, base_url="http://farm.example", follow_redirects=False) as visitor:
            cookies |= dict(visitor.get(f"/?token={token}").cookies)
    for token in tokens:
        app = make_app(planned.store, Settings(), first=["job"], token=token)
        with TestClient(app, base_url="http://farm.example", cookies=cookies) as visitor:
            assert visitor.get("/").status_code == 200


def test_a_retake_of_a_model_that_is_gone_is_refused_in_words(
    client: TestClient, planned: Planned, tmp_path: Path
) -> None:
    (tmp_path / "model-job").rename(tmp_path / "elsewhere")
    refused = say(client, take(client)["spec_key"], "retake")
    assert refused.status_code == 422 and refused.json()["error"]
    assert read_decision(planned.store, "default", "shot-000").seq == 0


def test_the_cache_stays_below_its_bound(planned: Planned) -> None:
    commits = make_takes(planned, planned.plan.takes.slice(0, 1).to_pylist())
    media = commits[0]["media"]
    pictures = Pictures(planned.store, most_bytes=1)
    film = pictures.film(media)
    assert film.exists()
    pictures.sprite(media)
    assert not film.exists(), "the oldest goes first"
    folder = film.parent
    pictures.close()
    assert not folder.exists()


def test_a_bake_off_tells_what_each_job_came_to(capsys: Any, planned: Planned, tmp_path: Path) -> None:
    other = review_store(tmp_path, rows(3, 2), job="quick", steps=2)
    make_takes(other, other.plan.takes.slice(0, 4).to_pylist(), gpu_s=0.5)
    with TestClient(make_app(planned.store, Settings(), first=["job", "quick"]), base_url="http://localhost") as client:
        say(client, take(client)["spec_key"], "approved")
        told = client.get("/api/bakeoff", params={"job": ["job", "quick"]}).json()
    one, two = (head["metrics"] for head in told["jobs"])
    assert [head["options"] for head in told["jobs"]] == [{"steps": 4}, {"steps": 2}]
    assert (one["kept"], one["keep_rate"], two["kept"]) == (1, 0.25, 0)
    assert (one["gpu_s"], two["gpu_s"]) == (6.0, 2.0)
    assert (one["gpu_s_per_used_s"], two["gpu_s_per_used_s"]) == (6.0, None)
    assert one["quality_mean"] == pytest.approx((0 + 0.37 + 0.74 + 0.11) / 4)
    assert one["measures"] == {"flicker": pytest.approx(0.25)} and one["reasons"] == {"flicker": 2}
    assert len(told["rows"]) == 6
    assert [cell["state"] for cell in told["rows"][0]["cells"]] == ["committed", "committed"]
    done = run(capsys, "review", planned.store.url, "--job", "job", "--job", "quick", "--table", "--json")
    assert [head["job_id"] for head in done.json["jobs"]] == ["job", "quick"]
    assert "keep rate" in run(capsys, "review", planned.store.url, "--job", "job", "--job", "quick", "--table").out


def test_what_review_is_asked_for_wrongly_is_told(capsys: Any, planned: Planned, tmp_path: Path) -> None:
    store = planned.store.url
    for words, told in (
        (["--token", "short"], "16 to 128"),
        (["--job", "none"], "no job none"),
        (["--job", "../x"], "is not a name"),
        (["--export", "--table"], "exclude each other"),
        (["--host", "192.0.2.1", "--no-open"], "cannot listen on 192.0.2.1"),
    ):
        done = run(capsys, "review", store, *words)
        assert (done.code, told in done.err.replace("\n", " ")) == (2, True), done.err
    assert run(capsys, "review", tmp_path / "nothing").code == 2


def test_the_board_that_only_shows_has_the_decisions(capsys: Any, client: TestClient, planned: Planned) -> None:
    say(client, take(client)["spec_key"], "approved", note="<b>steady</b>")
    done = run(capsys, "review", planned.store.url, "--export", "--json")
    assert done.json["boards"] == [f"{planned.store.url}/jobs/job/board.html"]
    page = planned.store.read(layout.board_path("job")).decode()
    assert "approved, goes on" in page and "&lt;b&gt;steady&lt;/b&gt;" in page and "Ida" in page


def test_a_store_on_s3(planned: Planned, s3: SeaweedFS) -> None:
    options = StoreOptions(
        endpoint_url=s3.endpoint, region=s3.region, access_key_id=s3.key, secret_access_key=s3.secret
    )
    store = open_store(s3.bucket_url(), options)
    for found in planned.store.list():
        store.write(found.path, planned.store.read(found.path))
    with TestClient(make_app(store, Settings(), first=["job"]), base_url="http://127.0.0.1") as client:
        made = take(client)
        part = client.get(f"/film/job/{made['spec_key']}", headers={"range": "bytes=0-9"})
        assert (part.status_code, part.content) == (206, planned.store.read(made["media"])[:10])
        assert say(client, made["spec_key"], "approved").status_code == 200
        assert say(client, made["spec_key"], "rejected").status_code == 409
        give_verdict(store, TakeName.of(made), "rejected", who="Noor")  # elsewhere
        time.sleep(1.1)  # longer than an answer is kept
        assert client.get("/api/jobs/job").json()["shots"][0]["takes"][0]["who"] == "Noor"
        assert say(client, made["spec_key"], "retake", seen=2).json()["queued"] == [3]

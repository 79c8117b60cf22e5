"""The commit protocol: once, with its media, whatever breaks on the way."""

from __future__ import annotations

import hashlib
import json
import platform
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from infra.store import Store, layout, open_store
from infra.store.commits import committed_keys, publish, read_commit, read_commits, read_many
from infra.store.errors import CommitUnreadable, OutcomeUnknown, StoreError, StoreRefused, StoreUnavailable
from tests.infra.conftest import RecordOf
from tests.servers.faultproxy import FaultProxy, Rule


def only(store: Store, prefix: str) -> str:
    found = [stat.path for stat in store.list(prefix)]
    assert len(found) == 1
    return found[0]


def test_a_commit_says_what_it_was_made_with(store: Store, film: Path, record_of: RecordOf) -> None:
    record = {key: value for key, value in record_of().items() if key != "tools"}
    tools = publish(store, local=film, record=record).commit["tools"]
    assert tools["python"] == platform.python_version()
    assert tools["av"] == metadata.version("av")
    given = publish(store, local=film, record=record_of(take=2, spec_key="2" * 64, tools={"x": "1"})).commit
    assert given["tools"] == {"x": "1"}


def test_a_commit_names_its_media(store: Store, film: Path, record_of: RecordOf) -> None:
    record = record_of(times={"started": "2026-01-01T00:00:00+00:00"}, notes={"retried_in": "float32"})
    published = publish(store, local=film, record=record)
    assert (published.outcome, published.duplicate_gpu_s) == ("committed", 0.0)
    data = film.read_bytes()
    commit = read_commit(store, record["spec_key"])
    assert commit == published.commit == json.loads(store.read(layout.commit_path(record["spec_key"])))
    media = commit["media"]
    assert media["path"] == only(store, "shots")
    assert (media["bytes"], media["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert store.read(media["path"]) == data
    assert {key: commit[key] for key in record if key not in ("media", "times")} == {
        key: record[key] for key in record if key not in ("media", "times")
    }
    assert set(commit["times"]) == {"started", "committed"}
    assert set(commit) == {
        *("format", "spec_key", "picture_key", "show", "shot_id", "revision", "take", "seed", "media", "gang"),
        *("layout", "attempt", "gpu_s", "owner", "epoch", "times", "tools", "notes"),
    }
    assert committed_keys(store) == {record["spec_key"]}


def test_many_gangs_finish_one_take(store: Store, tmp_path: Path, record_of: RecordOf) -> None:
    films = []
    for i in range(16):
        films.append(tmp_path / f"film-{i}")
        films[i].write_bytes(b"rendered by %d" % i)
    with ThreadPoolExecutor(16) as pool:
        published = list(
            pool.map(lambda i: publish(store, local=films[i], record=record_of(attempt=i, gpu_s=2.0)), range(16))
        )
    outcomes = [one.outcome for one in published]
    assert outcomes.count("committed") == 1
    assert outcomes.count("adopted") == 15
    winner = published[outcomes.index("committed")]
    assert all(one.commit == winner.commit for one in published)
    assert sum(one.duplicate_gpu_s for one in published) == 30.0
    assert len(committed_keys(store)) == 1
    media = winner.commit["media"]
    assert store.digest(media["path"]) == (media["bytes"], media["sha256"])


def test_publishing_again_with_the_same_owner_is_the_same_commit(store: Store, film: Path, record_of: RecordOf) -> None:
    first = publish(store, local=film, record=record_of(owner="finisher-1"))
    again = publish(store, local=film, record=record_of(owner="finisher-1"))
    assert (again.outcome, again.duplicate_gpu_s) == ("committed", 0.0)
    assert again.commit == first.commit
    unnamed = record_of("b", gpu_s=0.123)
    assert [publish(store, local=film, record=unnamed).outcome for _ in range(2)] == ["committed"] * 2
    assert publish(store, local=film, record=unnamed | {"gpu_s": 0.124}).outcome == "adopted"
    retried = publish(store, local=film, record=record_of(owner="finisher-1", attempt=2))
    assert (retried.outcome, retried.duplicate_gpu_s) == ("adopted", 1.5), "another attempt did the work twice"


def test_a_lost_reply_to_the_commit_is_no_duplicate(
    s3_store: Store, proxied: Store, fault_proxy: FaultProxy, film: Path, record_of: RecordOf
) -> None:
    fault_proxy.rule = Rule(match=b"/commits/", drop_reply=True, times=1)
    published = publish(proxied, local=film, record=record_of())
    assert fault_proxy.hits == 1
    assert published.outcome == "committed"
    assert read_commit(s3_store, published.commit["spec_key"]) == published.commit


def test_a_lost_reply_to_the_media_is_no_harm(
    s3_store: Store, proxied: Store, fault_proxy: FaultProxy, film: Path, record_of: RecordOf
) -> None:
    fault_proxy.rule = Rule(match=b"/shots/", drop_reply=True, times=1)
    assert publish(proxied, local=film, record=record_of()).outcome == "committed"
    assert fault_proxy.hits == 1
    assert s3_store.read(only(s3_store, "shots")) == film.read_bytes()


def test_no_answer_to_the_commit_is_settled_by_calling_again(
    s3_store: Store, proxied: Store, fault_proxy: FaultProxy, film: Path, record_of: RecordOf
) -> None:
    """The commit arrives, then the network goes away for good: unknown. Later the same call finds its own commit."""
    impatient = open_store(proxied.url, proxied.options.model_copy(update={"retry_s": 0, "timeout_s": 1}))
    fault_proxy.rule = Rule(match=b"/commits/", drop_reply=True)
    with pytest.raises(StoreUnavailable):
        publish(impatient, local=film, record=record_of(owner="finisher-1"))
    assert fault_proxy.hits >= 2, "the put and the read-back"
    assert len(committed_keys(s3_store)) == 1
    fault_proxy.clear()
    again = publish(impatient, local=film, record=record_of(owner="finisher-1"))
    assert (again.outcome, again.duplicate_gpu_s) == ("committed", 0.0)


def test_no_commit_without_its_media(
    s3_store: Store, proxied: Store, fault_proxy: FaultProxy, film: Path, record_of: RecordOf
) -> None:
    impatient = open_store(proxied.url, proxied.options.model_copy(update={"retry_s": 0, "timeout_s": 1}))
    fault_proxy.rule = Rule(match=b"/shots/", cut_up=1000)
    with pytest.raises(OutcomeUnknown):
        publish(impatient, local=film, record=record_of())
    assert fault_proxy.hits >= 1
    assert list(s3_store.list()) == []


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"format": 1}',
        b'{"format": true, "spec_key": "x"}',
        b"SPEC_KEY OF ANOTHER",
    ],
)
def test_an_unreadable_commit_is_never_done_and_is_replaced(
    store: Store, film: Path, record_of: RecordOf, damaged: bytes
) -> None:
    record = record_of()
    if damaged == b"SPEC_KEY OF ANOTHER":
        other = publish(store, local=film, record=record_of("other")).commit
        damaged = json.dumps(other).encode()
        store.delete(layout.commit_path(other["spec_key"]))
        store.delete(other["media"]["path"])
    store.write(layout.commit_path(record["spec_key"]), damaged)

    assert committed_keys(store) == ({record["spec_key"]} if damaged else set()), "a name is not yet a commit"
    with pytest.raises(CommitUnreadable):
        read_commit(store, record["spec_key"])
    assert isinstance(read_many(store, [record["spec_key"]])[record["spec_key"]], CommitUnreadable)

    published = publish(store, local=film, record=record)
    assert published.outcome == "committed"
    assert read_commit(store, record["spec_key"]) == published.commit
    kept = [stat.path for stat in store.list("commits") if layout.is_damaged_path(stat.path)]
    assert [store.read(path) for path in kept] == [damaged]
    assert len([one for one in read_commits(store) if one.commit]) == 1


def test_a_commit_of_a_newer_format_is_neither_replaced_nor_adopted(
    store: Store, film: Path, record_of: RecordOf
) -> None:
    record = record_of()
    newer = json.dumps({"format": 2, "spec_key": record["spec_key"]}).encode()
    store.write(layout.commit_path(record["spec_key"]), newer)
    with pytest.raises(StoreRefused, match="newer"):
        publish(store, local=film, record=record)
    assert store.read(layout.commit_path(record["spec_key"])) == newer


def without(key: str) -> Any:
    return lambda record: {k: v for k, v in record.items() if k != key}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without("seed"), "missing: \\['seed'\\]"),
        (lambda record: record | {"device": "H100"}, "not known: \\['device'\\]"),
        (lambda record: record | {"take": "1"}, "take is str"),
        (lambda record: record | {"take": True}, "take is bool"),
        (lambda record: record | {"media": {"width": 1}}, "missing: \\['fps', 'frames', 'height'\\]"),
        (lambda record: record | {"shot_id": "../escape"}, "does not match"),
        (lambda record: record | {"gpu_s": float("nan")}, "gpu_s is nan"),
    ],
)
def test_records_that_are_refused_before_anything_is_committed(
    tmp_path: Path, film: Path, record_of: RecordOf, change: Any, says: str
) -> None:
    store = open_store(tmp_path / "store")
    with pytest.raises(ValueError, match=says):
        publish(store, local=film, record=change(record_of()))
    assert list(store.list("commits")) == []


def test_a_film_that_is_gone_is_no_store_error(store: Store, tmp_path: Path, record_of: RecordOf) -> None:
    with pytest.raises(FileNotFoundError) as gone:
        publish(store, local=tmp_path / "gone.mp4", record=record_of())
    assert not isinstance(gone.value, StoreError)
    assert list(store.list()) == []


def test_reading_what_matters(store: Store, film: Path, record_of: RecordOf) -> None:
    records = [record_of(shot, take) for shot in "ab" for take in (1, 2)]
    for record in records:
        publish(store, local=film, record=record)
    store.write("commits/readme.txt", b"left by somebody")
    keys = [record["spec_key"] for record in records]
    assert committed_keys(store) == set(keys)
    assert read_commit(store, "0" * 64) is None
    found = read_many(store, [*keys[:3], "0" * 64])
    assert set(found) == set(keys[:3])
    everything = list(read_commits(store))
    assert {one.spec_key for one in everything} == {*keys, None}
    assert [one.path for one in everything if one.fault] == ["commits/readme.txt"]


def test_a_still_has_no_rate(store: Store, film: Path, record_of: RecordOf) -> None:
    record = record_of(media={"width": 64, "height": 64, "frames": 1, "fps": None})
    published = publish(store, local=film, record=record, suffix=".png")
    assert published.commit["media"]["path"].endswith(".png")
    assert read_commit(store, record["spec_key"]) == published.commit

"""The store on a server that fails a fifth of all requests: it is slower, and never wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.store import Store, layout, open_store
from infra.store.commits import committed_keys, publish
from infra.store.errors import StoreUnavailable
from infra.store.lease import Lease
from infra.store.s3_tags import TagCheck
from infra.store.verify import audit
from tests.infra.conftest import RecordOf
from tests.servers.faultproxy import FaultProxy, Rule
from tests.servers.flakys3 import FlakyS3
from tests.servers.seaweedfs import SeaweedFS


@pytest.fixture
def flaky(s3: SeaweedFS) -> Iterator[FlakyS3]:
    with FlakyS3(s3.port, chance=0.0, seed=4) as front:
        yield front


@pytest.fixture
def unsteady(s3_store: Store, flaky: FlakyS3) -> Store:
    """The same place as `s3_store`, by way of `flaky`. Patient: a machine may be busy with other things."""
    options = {"endpoint_url": flaky.url, "timeout_s": 10.0, "retry_s": 60.0}
    return open_store(s3_store.url, s3_store.options.model_copy(update=options))


def test_a_fifth_of_all_requests_may_fail(
    s3_store: Store, unsteady: Store, flaky: FlakyS3, tmp_path: Path, record_of: RecordOf
) -> None:
    flaky.chance = 0.2
    unsteady.probe()
    lease = Lease.acquire(unsteady, "job")
    assert isinstance(lease, Lease)
    films = []
    for number in range(8):
        films.append(tmp_path / f"{number}.mp4")
        films[-1].write_bytes(b"%d" % number * 100_000)

    def finish(number: int) -> str:  # every take is finished by two gangs
        shot = number % len(films)
        record = record_of(f"s{shot}", owner=f"gang-{number}", attempt=number)
        return publish(unsteady, local=films[shot], record=record).outcome

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(finish, range(2 * len(films))))
    lease.renew()
    lease.release("done", 0)
    assert sorted(outcomes) == ["adopted"] * len(films) + ["committed"] * len(films)
    assert audit(unsteady) == (len(films), [], [], [])
    assert sum(flaky.failed.values()) >= 0.1 * flaky.requests > 8
    flaky.chance = 0.0
    assert audit(s3_store) == (len(films), [], [], [])
    assert len(committed_keys(s3_store)) == len(films)


def test_a_read_that_was_shortened_in_good_order_is_found(
    s3_store: Store, unsteady: Store, flaky: FlakyS3, tmp_path: Path
) -> None:
    """Content-Length agrees with what came; the ETag does not."""
    data = bytes(range(256)) * 4000
    s3_store.write("film", data)
    impatient = open_store(unsteady.url, unsteady.options.model_copy(update={"retry_s": 0}))
    flaky.faults, flaky.chance = ("short",), 1.0
    for read in (impatient.read, impatient.digest):
        with pytest.raises(StoreUnavailable, match=r"other bytes came|checksum"):
            read("film")
        flaky.chance = 0.0
        read("film")
        flaky.chance = 1.0
    with pytest.raises(StoreUnavailable, match=r"other bytes came|checksum"):
        impatient.fetch("film", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert flaky.failed["short"] == 3
    flaky.chance = 0.5
    assert [unsteady.read("film") for _ in range(4)] == [data] * 4


def test_a_slow_link_is_slow_and_nothing_else(
    s3_store: Store, proxied: Store, fault_proxy: FaultProxy, film: Path, record_of: RecordOf
) -> None:
    """Each piece of each reply comes late, together later than one request may stay without an answer."""
    quick = open_store(proxied.url, proxied.options.model_copy(update={"timeout_s": 2.0, "retry_s": 30.0}))
    fault_proxy.rule = Rule(match=b" /", delay=0.4)
    began = time.monotonic()
    published = publish(quick, local=film, record=record_of())
    assert quick.read(published.commit["media"]["path"]) == film.read_bytes()
    assert time.monotonic() - began > 2 * 0.4
    assert fault_proxy.hits >= 3
    assert audit(s3_store) == (1, [], [], [])
    assert [found.path for found in s3_store.list(layout.COMMITS)] == [layout.commit_path(record_of()["spec_key"])]


def test_an_etag_that_looks_like_an_md5_and_is_none_is_no_fault() -> None:
    """Some servers that encrypt have such. The same bytes twice under one tag are what is there."""
    check = TagCheck().check
    check("a", '"0cc175b9c0f1b6a831c399e269772661"', "0cc175b9c0f1b6a831c399e269772661", {})
    check("a", '"0cc175b9c0f1b6a831c399e269772661-2"', "e" * 32, {})
    check("a", f'"{"0" * 32}"', "e" * 32, {"ServerSideEncryption": "aws:kms"})
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=r"other bytes came than the ETag 0+ says"):
            check("a", f'"{"0" * 32}"', "e" * 32, {})
        check("a", f'"{"0" * 32}"', "e" * 32, {})
    for other in "abc":
        with pytest.raises(StoreUnavailable):
            check("a", f'"{"0" * 32}"', other * 32, {})

"""The command on a real S3 server: catalog, inputs and store, by settings and by the usual AWS places."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from flows.verbs.plan import make_plan
from flows.verbs.source import storage_options
from infra.settings import Settings
from infra.store import StoreOptions
from tests.flows.command_samples import json_model, run, shots, write_catalog
from tests.servers.seaweedfs import SeaweedFS


@pytest.fixture
def catalog(s3: SeaweedFS, tmp_path: Path) -> str:
    """A catalog on S3, with an input beside it."""
    rows = [{"shot_id": "a", "prompt": "x", "task": "i2v", "image_uri": "in/first.png"}, *shots(2)]
    client = s3.client()
    client.put_object(Bucket=s3.bucket, Key="catalogs/c.parquet", Body=write_catalog(tmp_path / "c", rows).read_bytes())
    client.put_object(Bucket=s3.bucket, Key="catalogs/in/first.png", Body=b"picture")
    return f"s3://{s3.bucket}/catalogs/c.parquet"


@pytest.fixture
def keys(s3: SeaweedFS) -> dict[str, str]:
    return {
        "endpoint_url": s3.endpoint,
        "access_key_id": s3.key,
        "secret_access_key": s3.secret,
        "region": s3.region,
    }


def test_catalog_and_inputs_are_read_with_the_stores_keys(
    catalog: str, keys: dict[str, str], s3: SeaweedFS, tmp_path: Path
) -> None:
    settings = Settings.load(store=keys)
    planned = make_plan(catalog, s3.bucket_url("plan"), settings, model=str(json_model(tmp_path / "model")))
    assert planned.plan.refused == []
    assert planned.roots == (f"s3://{s3.bucket}/catalogs",)
    digests = planned.plan.takes["image_sha256"].to_pylist()
    assert digests[0] == hashlib.sha256(b"picture").hexdigest()
    assert list(planned.store.list()) == [], "a plan writes nothing"


def test_keys_from_the_environment_do(
    catalog: str, s3: SeaweedFS, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": s3.key,
        "AWS_SECRET_ACCESS_KEY": s3.secret,
        "AWS_DEFAULT_REGION": s3.region,
        "AWS_ENDPOINT_URL_S3": s3.endpoint,
    }.items():
        monkeypatch.setenv(name, value)
    model = json_model(tmp_path / "model")
    ran = run(capsys, "plan", catalog, "--out", s3.bucket_url("plan"), "--model", model, "--json")
    assert ran.code == 0, ran
    assert ran.json["takes"]["total"] == 3 and ran.json["rows"]["refused"] == []
    assert run(capsys, "status", s3.bucket_url("plan")).code == 2
    found = run(capsys, "doctor", s3.bucket_url("doctor"), "--json")
    assert [check["state"] for check in found.json["checks"] if check["name"] == "store"] == ["ok"]


def test_wrong_keys_and_missing_buckets_are_exit_2(
    s3: SeaweedFS, keys: dict[str, str], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, local = json_model(tmp_path / "model"), write_catalog(tmp_path / "c.parquet", shots(1))
    for name, value in keys.items():
        monkeypatch.setenv(f"RUSHES_STORE__{name.upper()}", value)
    missing = run(capsys, "plan", local, "--out", "s3://there-is-no-such-bucket/x", "--model", model, "--json")
    assert missing.code == 2 and "there-is-no-such-bucket" in missing.json["error"]
    monkeypatch.setenv("RUSHES_STORE__SECRET_ACCESS_KEY", "not-the-secret")
    wrong = run(capsys, "plan", local, "--out", s3.bucket_url("plan"), "--model", model, "--json")
    assert wrong.code == 2
    assert s3.secret not in wrong.out + wrong.err and "not-the-secret" not in wrong.out + wrong.err
    catalog = run(
        capsys, "plan", f"s3://{s3.bucket}/nope.parquet", "--out", tmp_path / "out", "--model", model, "--json"
    )
    assert catalog.code == 2 and "nope.parquet" in catalog.json["error"]


def test_a_catalog_is_addressed_as_the_store_is() -> None:
    virtual = storage_options("s3://bucket/c.parquet", StoreOptions(addressing_style="virtual"))
    assert virtual == {"config_kwargs": {"s3": {"addressing_style": "virtual"}}}
    assert storage_options("s3://bucket/c.parquet", StoreOptions()) == {}

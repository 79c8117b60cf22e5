"""Small JSON objects that somebody wrote by hand, or that a disk cut short: one error for all of them, and no crash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.store import Store, layout, open_store
from infra.store.commits import parse, publish, read_many
from infra.store.errors import CommitUnreadable
from infra.store.strict import read_json, read_object
from infra.store.verify import audit
from tests.infra.conftest import RecordOf

NOT_JSON = [b"", b'{"a": 1', b"\xff\xfe{}", b"[" * 200_000, b"1e999", b"[NaN]", b"-Infinity", b"9" * 5000, b"1" * 20]


@pytest.mark.parametrize("data", NOT_JSON, ids=lambda data: repr(data[:12]))
def test_what_is_no_json_is_one_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_json(data)


def test_an_object_is_asked_for() -> None:
    assert read_object(b'{"a": [1, -2.5, null]}') == {"a": [1, -2.5, None]}
    for data in (b"[]", b"null", b'"x"', b"1"):
        with pytest.raises(ValueError, match="no object"):
            read_object(data)


IMPOSSIBLE: list[tuple[str, Any]] = [
    ("gpu_s", float("nan")), ("gpu_s", float("inf")), ("gpu_s", -1.0), ("gpu_s", 10**400), ("attempt", 10**12),
    ("attempt", -1), ("epoch", 2**63), ("gang", -1), ("notes", ["x"]), ("times", [1]), ("tools", "x"), ("format", 0),
    ("notes", {"quality": {"rank": float("inf")}}), ("seed", 2**63),
    ("media", {"width": 10**400}), ("media", {"fps": float("nan")}), ("media", {"bytes": -1}),
    ("media", {"bytes": 10**30}),
]  # fmt: skip


def test_a_commit_with_values_that_no_render_gives_is_unreadable(
    tmp_path: Path, film: Path, record_of: RecordOf
) -> None:
    store: Store = open_store(tmp_path / "out")
    store.probe()
    commit = publish(store, local=film, record=record_of()).commit
    key = commit["spec_key"]
    assert parse(key, json.dumps(commit).encode()) == commit
    assert parse(key, json.dumps(commit | {"seed": -(2**63)}).encode())["seed"] == -(2**63)
    for name, value in IMPOSSIBLE:
        changed = commit["media"] | value if name == "media" else value
        data = json.dumps(commit | {name: changed}).encode()
        with pytest.raises(CommitUnreadable):
            parse(key, data)
    store.write(layout.commit_path(key), json.dumps(commit | {"gpu_s": float("nan")}).encode())
    assert isinstance(read_many(store, [key])[key], CommitUnreadable)
    assert [fault.kind for fault in audit(store).faults] == ["commit-unreadable"]

"""A cut says where it comes from, in its film and beside it; `rushes verify` looks at that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.command import main
from infra.provenance import validate
from infra.provenance.manifest import AI_COMPOSITE, AI_MEDIA
from tests.post.cuts import cut_record, local_film, objects, rushes_cut, store_of

BROKEN = "tests.post.signers:broken"


def source_type(manifest: dict) -> str:
    (actions,) = (a["data"]["actions"] for a in manifest["assertions"] if a["label"].startswith("c2pa.actions"))
    return str(actions[0]["digitalSourceType"])


def test_a_cut_is_signed_and_lists_its_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = store_of(tmp_path, "a", "b")
    assert rushes_cut(store) == 0
    record, found = cut_record(store), validate(local_film(store))
    assert found.state == "Valid" and source_type(found.manifest) == AI_MEDIA
    assert [(one["title"], one["relationship"]) for one in found.ingredients] == [
        (part["media"].rpartition("/")[2], "componentOf") for part in record["parts"]
    ]
    provenance = record["provenance"]
    assert (provenance["c2pa"], provenance["certificate"]) == ("embedded", "test")
    (sidecar,) = (json.loads(store.read(file["path"])) for file in provenance["files"])
    assert [take["shot_id"] for take in sidecar["takes"]] == ["a", "b"]
    assert sidecar["file"]["sha256"] == record["film"]["sha256"]
    before = objects(store)
    assert rushes_cut(store) == 0 and objects(store) == before, "what stands is not signed again"
    assert rushes_cut(store, "--title", "A day out") == 0
    assert source_type(validate(local_film(store)).manifest) == AI_COMPOSITE, "a title card is no model's"
    assert not [path for path in objects(store) if path == provenance["files"][0]["path"]], "the old one's is gone"
    capsys.readouterr()
    assert main(["verify", store.url, "--json", "--strict"]) == 0, capsys.readouterr().out
    film = cut_record(store)["film"]["path"]
    store.write(film, b"x" * cut_record(store)["film"]["bytes"])
    assert main(["verify", store.url, "--json"]) == 1
    assert '"derived-hash"' in capsys.readouterr().out


def test_a_signer_that_fails_leaves_no_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = store_of(tmp_path, "a")
    before = objects(store)
    for verb in (["cut", store.url, "--name", "film"], ["assets", store.url]):
        monkeypatch.setenv("RUSHES_PROVENANCE__SIGNER", "no.such:signer")
        assert main(verb) == 2 and "cannot be loaded" in capsys.readouterr().err
    monkeypatch.setenv("RUSHES_PROVENANCE__SIGNER", BROKEN)
    assert rushes_cut(store) == 4
    told = capsys.readouterr()
    assert "signer raised RuntimeError" in told.err and "0000" not in told.err + told.out
    assert objects(store) == before

"""Signing: what a reader finds, what a change does to it, and what is never told."""

from __future__ import annotations

import json
import logging
import pickle
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest
from PIL import Image

from infra.media import encode_film, probe
from infra.provenance import Invalid, SigningFailed, Source, Takes, Work, check_stored, finish, validate
from infra.provenance.certificates import ORGANIZATION, process_chain
from infra.provenance.facts import is_rights_column, rights_of, shown_uri
from infra.provenance.manifest import AI_COMPOSITE, AI_MEDIA, ASSERTION
from infra.provenance_settings import ProvenanceSettings
from tests.post import signers
from tests.post.takes import film, row, store_with

SETTINGS = ProvenanceSettings()


@pytest.fixture(autouse=True)
def _operator(monkeypatch: pytest.MonkeyPatch) -> None:
    """`operator:house` and its like, as a module that an operator installed."""
    module = ModuleType("operator_signers")
    module.__dict__.update({name: getattr(signers, name) for name in ("house", "broken", "leaky", "with_key")})
    monkeypatch.setitem(sys.modules, "operator_signers", module)


ROW = row(
    "a", rights="all rights: Ida", licence="CC-BY-4.0", image_uri="https://me:pw@host/a.png?sig=s3cret",
    image_sha256="7" * 64,
)  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A take of a store, as a source."""
    folder = tmp_path_factory.mktemp("takes")
    store, (commit,) = store_with(folder, [ROW])
    take = folder / "source.mp4"
    store.fetch(commit["media"]["path"], take)
    film(folder / "other.mp4", 3)
    return Source("a.mp4", take, Takes(store).facts(commit))


@pytest.fixture
def made(source: Source, tmp_path: Path) -> Path:
    """A finished film, in a folder of its own."""
    (tmp_path / "made").mkdir()
    return Path(shutil.copy(source.path.with_name("other.mp4"), tmp_path / "made" / "web.mp4"))


@pytest.fixture
def work(source: Source) -> Work:
    """What it was made from."""
    return Work("deliverable", "web.mp4", [source], profile="web")


def actions(found: dict) -> list[dict]:
    return next(a for a in found["assertions"] if a["label"].startswith("c2pa.actions"))["data"]["actions"]


def told(found: dict) -> dict:
    return next(a for a in found["assertions"] if a["label"] == ASSERTION)["data"]


def test_a_deliverable_says_what_it_is_and_what_it_came_from(made: Path, work: Work, tmp_path: Path) -> None:
    before = probe(made)
    done = finish(made, work, SETTINGS)
    found = validate(done.path)
    assert found.state == "Valid" and found.codes == () and found.active == done.told["manifest"]
    assert probe(made) == before, "the pictures, and the index in front, are as they were"
    assert [a["action"] for a in actions(found.manifest)] == ["c2pa.opened", "c2pa.transcoded"]
    (parent,) = found.ingredients
    assert parent["relationship"] == "parentOf"
    take = found.store["manifests"][parent["active_manifest"]]
    assert actions(take)[0]["action"] == "c2pa.created"
    assert actions(take)[0]["digitalSourceType"] == AI_MEDIA
    fact = told(found.manifest)["takes"][0]
    assert fact["rights"] == {"licence": "CC-BY-4.0", "rights": "all rights: Ida"}
    assert fact["seed"] == 41 and fact["model"]["digest"] == "5" * 64
    assert found.manifest["signature_info"]["issuer"] == ORGANIZATION


def test_the_sidecar_tells_how_to_make_it_again(made: Path, work: Work, tmp_path: Path) -> None:
    done = finish(made, work, SETTINGS)
    told = json.loads(done.beside[-1].read_text())
    assert done.beside[-1].name == "web.mp4.provenance.json"
    assert told["file"] == {"name": "web.mp4", "sha256": done.sha256, "bytes": made.stat().st_size}
    (take,) = told["takes"]
    wanted = {"prompt": "a square named a", "negative_prompt": "blur", "seed": 41, "licence": "CC-BY-4.0"}
    assert wanted.items() <= take.items() and len(take["spec_key"]) == 64 and take["tools"]["rushes"]
    assert take["model"] == {"name": "shapes-128", "digest": "5" * 64}
    assert take["inputs"] == [{"kind": "image", "uri": "https://host/a.png", "sha256": "7" * 64}]
    assert told["disclosure"]["ai_generated"] is True and told["disclosure"]["digital_source_types"] == [AI_MEDIA]
    assert told["c2pa"]["certificate"] == "test" and "no identity" in told["c2pa"]["note"]


def test_prompts_stay_out_of_the_file_unless_they_are_wanted(made: Path, work: Work, tmp_path: Path) -> None:
    again = shutil.copy(made, tmp_path / "again.mp4")
    assert b"a square named a" not in finish(made, work, SETTINGS).path.read_bytes()
    assert b"a square named a" in finish(again, work, ProvenanceSettings(prompts=True)).path.read_bytes()


def test_one_changed_byte_is_told(made: Path, work: Work, tmp_path: Path) -> None:
    data = bytearray(finish(made, work, SETTINGS).path.read_bytes())
    data[data.rindex(b"mdat") + 200] ^= 1
    made.write_bytes(data)
    found = validate(made)
    assert found.state == "Invalid" and "assertion.bmffHash.mismatch" in found.codes


def test_a_changed_word_in_the_manifest_is_told(made: Path, work: Work, tmp_path: Path) -> None:
    data = finish(made, work, SETTINGS).path.read_bytes()
    made.write_bytes(data.replace(b"all rights: Ida", b"all rights: Eve"))
    found = validate(made)
    assert found.state == "Invalid" and any("hashedURI" in code for code in found.codes)


def test_a_file_that_is_encoded_again_has_lost_it_and_that_is_told(made: Path, work: Work, tmp_path: Path) -> None:
    done = finish(made, work, SETTINGS)
    with av.open(str(done.path)) as signed:
        pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in signed.decode(video=0)])
    encode_film(pictures, tmp_path / "again.mp4", fps=24)
    assert validate(tmp_path / "again.mp4").state is None
    store, _ = store_with(tmp_path / "other", [])
    store.write_file("deliver/web.mp4", tmp_path / "again.mp4")
    with pytest.raises(Invalid, match="no C2PA manifest"):
        check_stored(store, done.at("deliver/web.mp4"))


def test_a_cut_names_every_take_once(made: Path, work: Work, tmp_path: Path) -> None:
    rows = [row("a"), row("b", video_uri="film.mp4", task="extend"), row("c")]
    store, commits = store_with(tmp_path, rows)
    facts, sources = Takes(store), []
    for number, commit in enumerate(commits):
        local = tmp_path / f"{number}.mp4"
        store.fetch(commit["media"]["path"], local)
        sources.append(Source(commit["shot_id"], local, facts.facts(commit)))
    cut = film(tmp_path / "cut.mp4", 9)
    found = validate(finish(cut, Work("cut", "cut.mp4", sources, other_media=["bed.wav"]), SETTINGS).path)
    assert found.state == "Valid"
    assert [(i["title"], i["relationship"]) for i in found.ingredients] == [
        (name, "componentOf") for name in ("a", "b", "c")
    ]
    did = actions(found.manifest)
    assert [a["action"] for a in did] == ["c2pa.created", *["c2pa.placed"] * 3]
    assert did[0]["digitalSourceType"] == AI_COMPOSITE
    kept = found.store["manifests"][found.ingredients[1]["active_manifest"]]
    assert actions(kept)[0]["digitalSourceType"] == AI_COMPOSITE, "it keeps frames of a film that people brought"
    # and a deliverable of the cut has the cut for its parent, with its takes behind it
    web = film(tmp_path / "web.mp4", 9)
    work = Work("deliverable", "web.mp4", [Source("cut.mp4", cut)], more_takes=[source.facts for source in sources])
    chain = validate(finish(web, work, SETTINGS).path)
    assert chain.state == "Valid" and len(chain.store["manifests"]) == 5
    assert [fact["shot_id"] for fact in told(chain.manifest)["takes"]] == ["a", "b", "c"]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".mov"])
def test_other_files_that_can_hold_a_manifest(made: Path, work: Work, tmp_path: Path, suffix: str) -> None:
    other = made.with_suffix(suffix)
    if suffix == ".mov":
        with av.open(str(made)) as source, av.open(str(other), "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
    else:
        Image.new("RGB", (64, 64), (200, 30, 30)).save(other)
    done = finish(other, work, SETTINGS)
    assert done.told["c2pa"] == "embedded" and validate(other).sound
    data = bytearray(other.read_bytes())
    data[-30] ^= 1
    other.write_bytes(data)
    assert not validate(other).sound


def test_a_container_that_holds_none_gets_it_beside(made: Path, work: Work, tmp_path: Path) -> None:
    other = made.rename(made.with_suffix(".mkv"))
    before = other.read_bytes()
    done = finish(other, work, SETTINGS)
    assert other.read_bytes() == before and done.told["c2pa"] == "detached"
    assert [file.name for file in done.beside] == ["web.mkv.c2pa", "web.mkv.provenance.json"]
    detached = done.beside[0].read_bytes()
    assert validate(other, detached=detached).state == "Valid" and "beside" in done.told["note"]
    other.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    assert validate(other, detached=detached).state == "Invalid"


def test_a_folder_of_frames_is_signed_by_its_list(made: Path, work: Work, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    (folder / "0").mkdir(parents=True)
    for number in range(3):
        (folder / "0" / f"{number:04d}.exr").write_bytes(bytes([number]) * 9)
    done = finish(folder, work, SETTINGS)
    listed = json.loads(done.path.read_text())["files"]
    assert [found["name"] for found in listed] == ["0/0000.exr", "0/0001.exr", "0/0002.exr"]
    assert validate(done.path, detached=done.beside[0].read_bytes()).sound


def test_after_upload_it_is_read_back(made: Path, work: Work, tmp_path: Path) -> None:
    done = finish(made, work, SETTINGS)
    store, _ = store_with(tmp_path / "other", [])
    store.write_file("deliver/web.mp4", done.path, sha256=done.sha256)
    assert check_stored(store, done.at("deliver/web.mp4")).state == "Valid"
    with pytest.raises(Invalid, match="another manifest"):
        check_stored(store, {**done.at("deliver/web.mp4"), "manifest": "urn:c2pa:0"})
    assert check_stored(store, {"c2pa": "none"}) is None


def test_signing_can_be_switched_off_and_that_is_said(made: Path, work: Work, tmp_path: Path) -> None:
    before = made.read_bytes()
    done = finish(made, work, ProvenanceSettings(sign=False))
    assert made.read_bytes() == before and done.told["c2pa"] == "none" and "switched off" in done.told["note"]
    assert json.loads(done.beside[0].read_text())["disclosure"]["ai_generated"] is True


def test_the_operators_signer_signs_and_is_trusted_below_his_authority(made: Path, work: Work, tmp_path: Path) -> None:
    anchors = tmp_path / "roots.pem"
    anchors.write_text(signers.root())
    settings = ProvenanceSettings(signer="operator_signers:house", trust_anchors=anchors)
    done = finish(made, work, settings)
    assert done.told["certificate"] == "operator" and done.told["state"] == "Trusted"
    assert validate(made, trust_anchors=signers.root()).state == "Trusted"
    other = process_chain().certificates
    assert "signingCredential.untrusted" in validate(made, trust_anchors=other).codes


@pytest.mark.parametrize("name", ["broken", "leaky", "with_key", "nobody"])
def test_a_signer_that_fails_costs_nothing_and_tells_no_secret(
    made: Path, work: Work, name: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    before = made.read_bytes()
    with pytest.raises(SigningFailed) as failed:
        finish(made, work, ProvenanceSettings(signer=f"operator_signers:{name}"))
    shown = "".join([str(failed.value), repr(failed.value), caplog.text, *capfd.readouterr()])
    assert signers.SECRET not in shown and failed.value.__cause__ is None
    assert "operator_signers" in shown or "RuntimeError" in shown
    assert made.read_bytes() == before and [file.name for file in made.parent.iterdir()] == [made.name]


def test_the_key_of_the_test_certificate_goes_nowhere(made: Path, work: Work, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="does not leave"):
        pickle.dumps(process_chain())
    done = finish(made, work, SETTINGS)
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    secret = process_chain()._key.private_numbers().private_value.to_bytes(32, "big")
    assert secret not in written and b"PRIVATE KEY" not in written and done.told["certificate"] == "test"


def test_what_is_no_film_is_not_signed(made: Path, work: Work, tmp_path: Path) -> None:
    made.write_bytes(b"not a film")
    with pytest.raises(SigningFailed, match=r"web\.mp4"):
        finish(made, work, SETTINGS)
    assert made.read_bytes() == b"not a film"
    (tmp_path / "empty").mkdir()
    with pytest.raises(SigningFailed, match="no files"):
        finish(tmp_path / "empty", work, SETTINGS)


@pytest.mark.parametrize("name", ["rights", "Licence", "music_license", "rights_basis", "modelRelease", "credit-line"])
def test_columns_that_speak_of_rights(name: str) -> None:
    assert is_rights_column(name)


@pytest.mark.parametrize("name", ["brightness", "copy", "camera", "prompt", "direction_right", "owner"])
def test_columns_that_do_not(name: str) -> None:
    assert not is_rights_column(name)


def test_values_of_any_kind_are_told_as_json_can_hold_them() -> None:
    when = datetime(2026, 11, 1, tzinfo=UTC)
    odd = {
        "licence": float("nan"),
        "release": [when, None],
        "credit": {"by": b"Ida"},
        "rights": "",
        "tags": [("a", "b")],
    }
    told = rights_of({**odd, "copyright": "x" * 9000})
    assert told["licence"] == "nan" and told["release"] == [str(when), None] and "rights" not in told
    assert len(told["copyright"]) == 4000 and json.dumps(told, allow_nan=False)


def test_addresses_are_shown_without_what_opens_them() -> None:
    assert shown_uri("s3://key:secret@bucket/a.png?X-Amz-Signature=1#x") == "s3://bucket/a.png"
    assert shown_uri("a/b.png") == "a/b.png"

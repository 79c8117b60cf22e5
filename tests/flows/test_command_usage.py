"""What a user gets for a command that cannot be carried out: the code, the words, and one JSON object with --json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows.command import main
from tests.flows.command_samples import json_model, run, shots, write_catalog

USAGE = [
    (["frobnicate"], "No such command"),
    (["plan"], "--out"),
    (["render", "x.parquet"], "--out"),
    (["plan", "--out", "OUT"], "CATALOG"),
    (["plan", "CATALOG", "--prompt", "a", "--out", "OUT"], "exclude each other"),
    (["plan", "CATALOG", "--out", "OUT", "--width", "64"], "--width: only with --prompt"),
    (["plan", "CATALOG", "--out", "OUT", "--image", "a.png"], "--image: only with --prompt"),
    (["plan", "CATALOG", "--out", "OUT", "--model", "MODEL", "--preset", "film"], "there is no preset 'film'"),
    (["plan", "CATALOG", "--out", "OUT", "--job", "../x"], "'../x' is not a name"),
    (["plan", "CATALOG", "--out", "OUT", "--job", ""], "is not a name"),
    (["plan", "CATALOG", "--out", "OUT", "--gang", "0"], "--gang"),
    (["plan", "CATALOG", "--out", "OUT", "--gang", "two"], "--gang"),
    (["plan", "CATALOG", "--out", "OUT", "--layout", "tp=2"], "cfg=2,ulysses=2,ring=2"),
    (["plan", "CATALOG", "--out", "OUT", "--layout", "cfg=4"], "cfg up to 2"),
    (["plan", "CATALOG", "--out", "OUT", "--layout", "ring=2,ring=2"], "each part once"),
    (["plan", "CATALOG", "--out", "OUT", "--layout", "ring=2", "--gang", "4"], "a gang of 2"),
    (["render", "CATALOG", "--out", "OUT", "--address", "ray://host:10001"], "ray://"),
    (["plan", "CATALOG", "--out", ""], "--out"),
    (["plan", "CATALOG", "--out", "OUT", "--nope"], "--nope"),
    (["plan", "CATALOG", "--out", "OUT", "--config", "no.toml"], "no.toml"),
    (["plan", "CATALOG", "--out", "OUT", "--model", "no-such-model"], "no-such-model"),
    (["plan", "CATALOG", "--out", "s4://bucket/x", "--model", "MODEL"], "s4"),
    (["plan", "CATALOG", "--out", "s3://key:secret@bucket/x", "--model", "MODEL"], ""),
    (["plan", "missing.parquet", "--out", "OUT", "--model", "MODEL"], "missing.parquet"),
    (["plan", "MODEL", "--out", "OUT", "--model", "MODEL"], "folder"),
    (["plan", "file:///etc/hostname::s3://b/c", "--out", "OUT", "--model", "MODEL"], "chain"),
    (["plan", "CATALOG", "--out", "OUT", "--model", "https://key:secret@host/m"], "a user or password"),
    (["plan", "CATALOG", "--out", "OUT", "--model", "MODEL", "--allow", "https://key:secret@host/x"], "--allow"),
    (["plan", "CATALOG", "--out", "OUT", "--model", "MODEL", "--allow", ""], "it is empty"),
    (["plan", "s3://key:secret@bucket/c.parquet", "--out", "OUT", "--model", "MODEL"], "***@bucket/c.parquet"),
    (["status"], "STORE"),
    (["status", "OUT"], "no store"),
    (["jobs", "OUT"], "no store"),
    (["logs", "OUT"], "no store"),
    (["cancel", "OUT"], "no store"),
    (["verify", "OUT"], "no store"),
    (["retry", "OUT"], "no store"),
    (["gc", "OUT", "--older-than", "inf"], "--older-than"),
    (["storyboard", "CATALOG", "--out", "OUT", "--approve-by", "9999-12-31T23:59:59-14:00"], "is no time"),
    (["dashboard", "--port", "0"], "--port"),
]


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)
    return {
        "CATALOG": str(write_catalog(tmp_path / "shots.parquet", shots(1))),
        "OUT": str(tmp_path / "out"),
        "MODEL": str(json_model(tmp_path / "model")),
    }


@pytest.mark.parametrize(("words", "told"), USAGE, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_what_cannot_start_is_exit_2(words: list[str], told: str, places: dict[str, str], capsys: Any) -> None:
    ran = run(capsys, *(places.get(word, word) for word in words), "--json")
    assert ran.code == 2, ran
    assert set(ran.json) >= {"format", "job_id", "store", "state", "exit", "board", "takes", "rows", "gpu_s", "error"}
    assert (ran.json["state"], ran.json["exit"]) == ("refused", 2)
    assert told in ran.json["error"]
    if words[0] == "verify":
        assert (ran.json["commits"], ran.json["faults"], ran.json["orphans"]) == (0, [], [])
    assert ran.err.startswith("error: ") and "Traceback" not in ran.err
    assert "secret" not in ran.err + ran.out
    assert not Path(places["OUT"]).exists()


def test_without_json_nothing_is_on_standard_output(places: dict[str, str], capsys: Any) -> None:
    ran = run(capsys, "plan", "missing.parquet", "--out", places["OUT"], "--model", places["MODEL"])
    assert (ran.code, ran.out) == (2, "")


def test_catalog_without_a_required_column_is_exit_2(places: dict[str, str], tmp_path: Path, capsys: Any) -> None:
    catalog = write_catalog(tmp_path / "bad.parquet", [{"shot_id": "a"}])
    ran = run(capsys, "plan", catalog, "--out", places["OUT"], "--model", places["MODEL"], "--json")
    assert ran.code == 2 and "prompt" in ran.json["error"]


def test_no_words_at_all_show_the_help(capsys: Any) -> None:
    ran = run(capsys)
    assert ran.code == 2
    assert ran.out.count("Usage: rushes") == 1 and "verify" in ran.out


@pytest.mark.parametrize(
    "verb",
    [
        *("plan", "render", "status", "jobs", "logs", "cancel", "verify", "gc", "forget", "retry", "doctor"),
        *("dashboard", "add"),
    ],
)
def test_every_verb_explains_itself(verb: str, capsys: Any) -> None:
    ran = run(capsys, verb, "--help")
    assert ran.code == 0 and ran.err == ""
    assert "--json" in ran.out and f"rushes {verb}" in ran.out


def test_version(capsys: Any) -> None:
    ran = run(capsys, "--version")
    assert ran.code == 0 and ran.out.startswith("rushes ")


def test_internal_error_is_exit_4_and_has_its_traceback_under_v_only(
    places: dict[str, str], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("model.facts.read_facts", broken)
    words = ["plan", places["CATALOG"], "--out", places["OUT"], "--json"]
    assert main(words) == 4
    quiet = capsys.readouterr()
    result = json.loads(quiet.out)
    assert (result["state"], result["exit"]) == ("failed", 4)
    assert result["error"] == "internal error: RuntimeError: a bug"
    assert "Traceback" not in quiet.err and "-v" in quiet.err
    assert main([*words, "-v"]) == 4
    assert "Traceback" in capsys.readouterr().err


def test_keyboard_is_exit_130(places: dict[str, str], capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("model.facts.read_facts", interrupted)
    ran = run(capsys, "plan", places["CATALOG"], "--out", places["OUT"], "--json")
    assert ran.code == 130
    assert (ran.json["state"], ran.json["exit"]) == ("cancelled", 130)


def test_bad_settings_are_named_without_their_value(
    places: dict[str, str], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUSHES_STORE__SECRET_ACCESS_KEY", "hunter2")
    ran = run(capsys, "plan", places["CATALOG"], "--out", places["OUT"], "--model", places["MODEL"])
    assert ran.code == 2
    assert "access_key_id" in ran.err and "hunter2" not in ran.err

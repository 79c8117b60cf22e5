"""`rushes plan` and `make_plan`: what is counted, refused, how the job is called, and that nothing is written."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from catalogs import CatalogError
from flows.planned import Planned
from flows.verbs.failure import Failure
from flows.verbs.origin import Origin, shown_url
from flows.verbs.plan import make_plan, replan
from flows.verbs.request import shot_of
from flows.verbs.source import job_id_of
from infra.settings import Settings
from infra.store.jobs import read_plan
from tests.flows.command_samples import (
    GPU_KEYS,
    JSON_KEYS,
    TAKES_KEYS,
    commit,
    json_model,
    plan_into,
    quarantine,
    run,
    shots,
    write_catalog,
)

HEAVY = ("torch", "ray", "prefect", "diffusers", "transformers", "fastapi")
BAD = [{"shot_id": "../x", "prompt": "up"}, {"shot_id": "s0", "prompt": "again"}]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return json_model(tmp_path / "model")


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return write_catalog(tmp_path / "my shots.parquet", shots(3, takes=2))


def test_json_has_exactly_the_keys_of_the_design(catalog: Path, model: Path, tmp_path: Path, capsys: Any) -> None:
    ran = run(capsys, "plan", catalog, "--out", tmp_path / "out", "--model", model, "--json")
    assert ran.code == 0 and ran.err == ""
    result = ran.json
    assert list(result) == JSON_KEYS
    assert list(result["takes"]) == TAKES_KEYS and list(result["gpu_s"]) == GPU_KEYS
    assert list(result["rows"]) == ["total", "refused"]
    assert result["takes"] == dict.fromkeys(TAKES_KEYS, 0) | {"total": 6, "pending": 6}
    assert (result["state"], result["exit"], result["board"]) == ("planned", 0, None)
    assert result["store"] == f"file://{tmp_path}/out"
    assert result["gpu_s"]["rendered"] > 0 and result["gpu_s"]["cached"] == 0
    assert re.fullmatch(r"my-shots-[0-9a-f]{12}", result["job_id"])


def test_nothing_is_written(catalog: Path, model: Path, tmp_path: Path, capsys: Any) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert run(capsys, "plan", catalog, "--out", tmp_path / "out", "--model", model).code == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_human_output_tells_shapes_cost_and_time(catalog: Path, model: Path, tmp_path: Path, capsys: Any) -> None:
    settings = tmp_path / "rushes.toml"
    settings.write_text("[price]\ngpu_hour = 7200.0\ncurrency = 'EUR'\n")
    ran = run(capsys, "plan", catalog, "--out", tmp_path / "out", "--model", model, "--config", settings, "--gangs", 4)
    assert ran.code == 0
    for told in ("3 rows", "6 to render", "64x48", "EUR", "on 4 ranks"):
        assert told in ran.out, told


def test_estimate_above_the_budget_is_told(catalog: Path, model: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["plan", catalog, "--out", tmp_path / "out", "--model", model, "--budget"]
    assert "above --budget" in run(capsys, *words, 0.001).err
    assert run(capsys, *words, 1e9).err == ""


def test_refused_rows_are_told_and_the_others_planned(model: Path, tmp_path: Path, capsys: Any) -> None:
    catalog = write_catalog(tmp_path / "c.parquet", [*shots(2), *BAD])
    ran = run(capsys, "plan", catalog, "--out", tmp_path / "out", "--model", model, "--json")
    assert ran.code == 1 and ran.json["exit"] == 1
    assert ran.json["takes"]["total"] == 2 and ran.json["rows"]["total"] == 4
    first, second = ran.json["rows"]["refused"]
    assert list(first) == ["row", "column", "value", "legal"]
    assert (first["row"], first["column"], first["value"]) == (2, "shot_id", "../x")
    assert (second["row"], second["column"]) == (3, "shot_id")
    assert "2 of 4 rows refused" in ran.err and "../x" in ran.err


def test_takes_that_only_copy_a_film_are_told(model: Path, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "variants.jsonl"
    path.write_text('{"shot_id": "a", "prompt": "a cat", "takes": 2, "variants": {"locale": ["de", "fr", "ja"]}}\n')
    ran = run(capsys, "plan", path, "--out", tmp_path / "store", "--model", model)
    assert "6 to render" in ran.out and "4 of these are copies of another's film" in ran.out
    path.write_text('{"shot_id": "a", "prompt": "a cat"}\n')
    assert "copies" not in run(capsys, "plan", path, "--out", tmp_path / "store", "--model", model).out


def test_a_column_that_was_meant_as_another_is_told(model: Path, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("shot_id,prompt,frames,director\na,a red circle,81,Ida\n")
    ran = run(capsys, "plan", path, "--out", tmp_path / "store", "--model", model)
    said = " ".join(ran.err.split())
    assert ran.code == 0 and "the column frames is handed through and changes no picture; was duration_s meant?" in said
    assert "director" not in said


def test_all_rows_refused_is_exit_1_with_the_rows(model: Path, tmp_path: Path, capsys: Any) -> None:
    catalog = write_catalog(tmp_path / "c.parquet", BAD[:1])
    ran = run(capsys, "plan", catalog, "--out", tmp_path / "out", "--model", model, "--json")
    assert ran.code == 1
    assert ran.json["exit"] == 1 and ran.json["rows"]["refused"][0]["column"] == "shot_id"
    assert "../x" in ran.err
    told = run(capsys, "plan", catalog, "--out", tmp_path / "out", "--model", model).out
    assert "Nothing can be rendered: every row is refused." in told


def test_strict_refuses_the_catalog(model: Path, tmp_path: Path, capsys: Any) -> None:
    catalog = write_catalog(tmp_path / "c.parquet", [*shots(2), *BAD])
    words = ["plan", catalog, "--out", tmp_path / "out", "--model", model, "--strict", "--json"]
    ran = run(capsys, *words)
    assert ran.code == 2 and len(ran.json["rows"]["refused"]) == 2
    assert run(capsys, *["plan", write_catalog(tmp_path / "good.parquet", shots(1)), *words[2:]]).code == 0


def test_control_characters_of_a_catalog_do_not_reach_the_terminal(model: Path, tmp_path: Path, capsys: Any) -> None:
    catalog = write_catalog(tmp_path / "c.parquet", [*shots(1), {"shot_id": "a\x1b[2J\u202eb", "prompt": "x"}])
    ran = run(capsys, "plan", catalog, "--out", tmp_path / "out", "--model", model)
    assert ran.code == 1
    assert "\x1b" not in ran.err and "\u202e" not in ran.err and "x1b[2J" in ran.err


def test_committed_takes_are_cached_and_given_up_ones_are_not_pending(
    catalog: Path, model: Path, tmp_path: Path, capsys: Any
) -> None:
    planned = plan_into(tmp_path / "out", catalog, model)
    rows = planned.plan.takes.to_pylist()
    for row in rows[:2]:
        commit(planned, row, tmp_path)
    quarantine(planned.store, planned.job_id, rows[1])  # committed all the same: another job was luckier
    quarantine(planned.store, planned.job_id, rows[4])
    ran = run(capsys, "plan", catalog, "--out", tmp_path / "out", "--model", model, "--json")
    assert ran.json["takes"] == {
        "total": 6,
        "committed": 2,
        "rendered": 0,
        "cached": 2,
        "quarantined": 1,
        "pending": 3,
    }
    assert ran.json["gpu_s"]["cached"] > 0
    human = run(capsys, "plan", catalog, "--out", tmp_path / "out", "--model", model).out
    assert "6: 2 cached, 1 quarantined, 3 to render" in human


def test_job_is_named_by_content_and_by_what_changes_pictures(catalog: Path, model: Path, tmp_path: Path) -> None:
    def name(path: Path = catalog, pipeline: Path = model, **options: Any) -> str:
        return make_plan(str(path), str(tmp_path / "out"), Settings(), model=str(pipeline), **options).job_id

    moved = tmp_path / "elsewhere" / catalog.name
    moved.parent.mkdir()
    moved.write_bytes(catalog.read_bytes())
    other_model = json_model(tmp_path / "other")
    (other_model / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(b"other weights")
    assert name() == name(moved) == name(allow=("/somewhere",))
    assert name(pipeline=other_model) != name()
    assert name(job="by-hand") == "by-hand"


def test_model_is_the_same_from_wherever_it_is_asked_for(
    catalog: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = str(tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    near = make_plan(str(catalog), out, Settings(), model="./model")
    monkeypatch.chdir("/")
    far = make_plan(str(catalog), out, Settings(), model=str(model))
    assert near.job_id == far.job_id and near.origin.model == far.origin.model == str(model)
    assert near.plan.takes.equals(far.plan.takes)


def test_edited_catalog_is_another_job(model: Path, tmp_path: Path) -> None:
    names = set()
    for index, takes in enumerate((1, 2)):
        folder = tmp_path / str(index)
        folder.mkdir()
        path = write_catalog(folder / "same.parquet", shots(2, takes=takes))
        names.add(make_plan(str(path), str(tmp_path / "out"), Settings(), model=str(model)).job_id)
    assert len(names) == 2 and {name.rpartition("-")[0] for name in names} == {"same"}


def test_a_preset_is_for_the_rows_that_name_none(model: Path, tmp_path: Path, capsys: Any) -> None:
    rows = [{"shot_id": "own", "prompt": "up", "preset": "square-256"}, {"shot_id": "open", "prompt": "down"}]
    catalog, out = write_catalog(tmp_path / "c.parquet", [row | {"fps": 8.0} for row in rows]), tmp_path / "out"
    plain, preset = (
        make_plan(str(catalog), str(out), Settings(), model=str(model), preset=name) for name in (None, "clip-4s")
    )
    assert preset.plan.takes["frames"].to_pylist() == [32, 32] and plain.plan.takes["frames"].to_pylist() == [32, 17]
    assert plain.job_id != preset.job_id and preset.origin.options["preset"] == "clip-4s"
    words = ["plan", catalog, "--out", out, "--model", model, "--preset", "clip-4s", "--json"]
    assert run(capsys, *words).json["job_id"] == preset.job_id


@pytest.mark.parametrize(
    ("catalog", "stem"),
    [
        ("a/b/demo.parquet", "demo"),
        ("s3://bucket/nightly run.csv", "nightly-run"),
        ("https://host/x/Über.jsonl?sig=1", "ber"),
        ("file:///a/nightly%20run.csv", "nightly-run"),
        ("s3://bucket/nightly%20run.csv", "nightly-20run"),
        ("...parquet", "catalog"),
        ("¡¡.csv", "catalog"),
        ("x" * 300 + ".csv", "x" * 115),
    ],
)
def test_stem_of_a_job_is_a_name(catalog: str, stem: str) -> None:
    job_id = job_id_of(catalog, "00", {})
    assert job_id.rpartition("-")[0] == stem
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", job_id)


def test_prompt_is_one_shot(model: Path, tmp_path: Path, capsys: Any) -> None:
    prompt = "A red circle, über alles — “quoted”\nand a second line"
    options = {"width": 96, "height": 64, "fps": 8.0, "duration": 1.0, "seed": 7, "takes": 3, "steps": 2}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    plan = ["plan", "--prompt", prompt, "--out", tmp_path / "out", "--model", model, *words]
    ran = run(capsys, *plan, "--guidance-scale", 2.5, "--json")
    assert ran.code == 0 and ran.json["takes"]["total"] == 3
    assert re.fullmatch(r"prompt-[0-9a-f]{12}", ran.json["job_id"])
    assert run(capsys, *plan, "--guidance-scale", 2.5, "--json").json == ran.json
    assert run(capsys, *plan, "--guidance-scale", 3.5, "--json").json["job_id"] != ran.json["job_id"]


def test_shot_of_a_prompt_has_the_columns_that_were_asked_for(model: Path, tmp_path: Path) -> None:
    image = tmp_path / "first frame.png"
    image.write_bytes(b"a picture that a plan does not look into")
    prompt = "a cat"
    shot, allow = shot_of(
        prompt, {"image_uri": str(image)}, {"width": 64, "duration": 2.0, "seed": None, "negative_prompt": "dogs"}
    )
    planned = make_plan(None, str(tmp_path / "out"), Settings(), shot=shot, model=str(model), allow=allow)
    [row] = planned.plan.takes.to_pylist()
    assert row["shot_id"] == "prompt-" + hashlib.sha256(b"a cat").hexdigest()[:8]
    assert (row["prompt"], row["negative_prompt"], row["task"]) == ("a cat", "dogs", "i2v")
    assert (row["width"], row["height"], row["frames"], row["fps"]) == (64, 48, 16, 8.0)
    assert row["image_sha256"] == hashlib.sha256(image.read_bytes()).hexdigest()
    assert row["spec_key"] is not None and planned.roots == (f"file://{image}",)


@pytest.mark.parametrize(
    ("inputs", "task"),
    [
        ({"image_uri": "a.png"}, "i2v"),
        ({"image_uri": "a.png", "last_image_uri": "b.png"}, "flf2v"),
        ({"video_uri": "a.mp4"}, None),
        ({"video_uri": "a.mp4", "mask_uri": "m.png"}, None),
    ],
)
def test_what_a_shot_is_given_says_its_task_where_only_one_can_be_meant(
    inputs: dict[str, str], task: str | None
) -> None:
    shot, allow = shot_of("a cat", inputs, {})
    assert shot is not None and shot.get("task") == task
    assert list(allow) == [str(Path(name).resolve()) for name in inputs.values()]
    named, _ = shot_of("a cat", inputs, {"task": "loop"})
    assert named is not None and named["task"] == "loop"


def plan_enhanced(model: Path, tmp_path: Path, enhance: str | None) -> Planned:
    rows = [{"shot_id": "a", "prompt": "red ball going right"}, {"shot_id": "b", "prompt": "a cat"}]
    catalog = write_catalog(tmp_path / "c.parquet", rows)
    return make_plan(str(catalog), str(tmp_path / "out"), Settings(), model=str(model), enhance=enhance)


def test_prompts_are_made_dense_by_rule_and_both_are_kept(model: Path, tmp_path: Path) -> None:
    plain, rich = (plan_enhanced(model, tmp_path, name) for name in (None, "rules"))
    [ball, cat] = rich.plan.takes.to_pylist()
    assert ball["prompt"] == "red ball going right"
    assert ball["encoded_prompt"] == "a large red circle moving right on a black background"
    assert cat["encoded_prompt"] is None
    before = [row["spec_key"] for row in plain.plan.takes.to_pylist()]
    assert ball["spec_key"] != before[0] and cat["spec_key"] == before[1], "only what is encoded enters a key"
    assert plain.job_id != rich.job_id


def test_a_function_of_ones_own_takes_the_rules_place(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ours.py").write_text(
        "def louder(prompt): return prompt.upper()\n"
        "def nothing(prompt): return None\n"
        "def broken(prompt): raise OSError('no answer from the model')\n"
        "def cut_off(prompt): return prompt[:3] + '\\0' + prompt[3:]\n"
        "def half(prompt): return '\\ud83c'\n"
        "number = 3\n"
    )
    (tmp_path / "unfinished.py").write_text("def f(prompt:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    planned = plan_enhanced(model, tmp_path, "ours:louder")
    assert [row["encoded_prompt"] for row in planned.plan.takes.to_pylist()] == ["RED BALL GOING RIGHT", "A CAT"]
    for name, said in [
        ("ours:nothing", "not a text"),
        ("ours:broken", "no answer from the model"),
        ("ours:cut_off", "not a text"),
        ("ours:half", "not a text"),
        ("unfinished:f", "was never closed"),
        ("ours:number", "not a function"),
        ("ours:missing", "missing"),
        ("nowhere:f", "nowhere"),
        ("sparkle", "module:function"),
    ]:
        with pytest.raises(Failure, match=said):
            plan_enhanced(model, tmp_path, name)


def test_image_that_cannot_be_read_is_left_to_its_take(model: Path, tmp_path: Path) -> None:
    rows = [{"shot_id": "a", "prompt": "x", "task": "i2v", "image_uri": "missing.png"}, *shots(1)]
    catalog = write_catalog(tmp_path / "c.parquet", rows)
    planned = make_plan(str(catalog), str(tmp_path / "out"), Settings(), model=str(model))
    assert planned.plan.refused == []
    assert [row["spec_key"] is None for row in planned.plan.takes.to_pylist()] == [True, False]


def test_inputs_are_held_to_the_catalogs_folder_and_what_is_allowed(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, other = tmp_path / "in", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    (other / "a.png").write_bytes(b"not looked into here")
    row = {"shot_id": "a", "prompt": "x", "task": "i2v", "image_uri": f"file://{other}/a.png"}
    catalog = write_catalog(folder / "c.parquet", [row, *shots(1)])
    out = str(tmp_path / "out")
    assert len(make_plan(str(catalog), out, Settings(), model=str(model)).plan.refused) == 1
    monkeypatch.chdir(tmp_path)
    allowed = make_plan(str(catalog), out, Settings(), model=str(model), allow=["other"])
    assert allowed.roots == (f"file://{folder}", f"file://{other}"), "ranks have other working folders"
    assert allowed.plan.refused == []
    assert {row["image_sha256"] for row in allowed.plan.takes.to_pylist()} == {
        None,
        hashlib.sha256(b"not looked into here").hexdigest(),
    }


def test_plan_remembers_where_it_came_from(catalog: Path, model: Path, tmp_path: Path) -> None:
    planned = plan_into(tmp_path / "out", catalog, model, allow=["/a"])
    origin = Origin.of(read_plan(planned.store, planned.job_id))
    assert origin == planned.origin
    assert origin is not None and origin.catalog == str(catalog) and origin.rows_total == 3
    assert origin.catalog_sha256 == hashlib.sha256(catalog.read_bytes()).hexdigest()
    again = replan(planned.store, planned.job_id, Settings())
    assert again.plan.takes.select(["spec_key"]).equals(planned.plan.takes.select(["spec_key"]))
    assert again.roots == planned.roots and again.facts == planned.facts


def test_replan_refuses_a_model_that_has_changed(catalog: Path, model: Path, tmp_path: Path) -> None:
    planned = plan_into(tmp_path / "out", catalog, model)
    (model / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(b"retrained weights")
    with pytest.raises(Failure, match="has changed"):
        replan(planned.store, planned.job_id, Settings())


def test_passwords_of_a_catalogs_url_are_not_kept(model: Path, tmp_path: Path) -> None:
    assert shown_url("https://user:pass@host/c.parquet?X-Amz-Signature=1") == "https://host/c.parquet"
    assert shown_url("s3://bucket/a?b.parquet") == "s3://bucket/a?b.parquet"
    with pytest.raises(CatalogError) as raised:
        make_plan("https://user:pass@127.0.0.1:9/c.parquet", str(tmp_path / "out"), Settings(), model=str(model))
    assert "pass" not in str(raised.value)


@pytest.mark.parametrize("verb", ["plan", "--help", "status", "jobs", "verify", "logs"])
def test_light_verbs_load_nothing_heavy(verb: str, catalog: Path, model: Path, tmp_path: Path) -> None:
    plan_into(tmp_path / "out", catalog, model)
    words = {
        "plan": ["plan", str(catalog), "--out", str(tmp_path / "out"), "--model", str(model)],
        "--help": ["render", "--help"],
    }.get(verb, [verb, str(tmp_path / "out")])
    script = (
        "import json, sys\nfrom flows.command import main\n"
        f"code = main({words!r})\n"
        f"print(json.dumps([code, [name for name in {HEAVY!r} if name in sys.modules]]), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    code, heavy = json.loads(done.stderr.splitlines()[-1])
    assert heavy == []
    assert code == (2 if verb == "logs" else 0), done.stderr  # no take has a log yet


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux's /proc")
def test_a_million_rows_stay_small_and_quick(model: Path, tmp_path: Path) -> None:
    count = 1_000_000
    number = pa.array(np.arange(count)).cast(pa.string())
    table = pa.table(
        {
            "shot_id": pc.binary_join_element_wise("shot", number, "-"),
            "prompt": pc.binary_join_element_wise("A red circle moves to the left, take care of number", number, " "),
            "width": np.tile(np.array([64, 96], np.int32), count // 2),
        }
    )
    pq.write_table(table, tmp_path / "million.parquet")
    del table
    words = ["plan", "million.parquet", "--out", "out", "--model", str(model), "--json"]
    # VmHWM and not ru_maxrss: the latter would begin with the size of the tests' own process.
    script = (
        "import re, sys\nfrom flows.command import main\n"
        f"code = main({words!r})\n"
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1], file=sys.stderr)\n"
        "sys.exit(code)"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=240)
    wall = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["takes"]["pending"] == count
    peak_mb = int(done.stderr.splitlines()[-1]) / 1024
    assert peak_mb < 500, f"{peak_mb:.0f} MB"
    assert wall < 90, f"{wall:.0f} s"  # 30 s on a machine that does nothing else; 10 s of CPU


def test_what_a_render_would_be_refused_for_is_told_by_the_plan(
    catalog: Path, model: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "out"
    planned = plan_into(out, catalog, model)
    words = ("--out", out, "--model", model, "--job", planned.job_id, "--json")
    assert run(capsys, "plan", catalog, *words).code == 0
    other = write_catalog(tmp_path / "other.parquet", shots(2))
    ran = run(capsys, "plan", other, *words)
    assert ran.code == 2 and "already has another plan" in ran.json["error"]
    (out / "rushes.json").write_text('{"format": 99}')
    ran = run(capsys, "plan", catalog, *words)
    assert ran.code == 2 and "use a newer rushes" in ran.json["error"]


def test_a_prompt_that_is_not_utf8_is_a_refused_row(model: Path, tmp_path: Path, capsys: Any) -> None:
    ran = run(capsys, "plan", "--prompt", "caf\udce9", "--out", tmp_path / "out", "--model", model, "--json")
    assert ran.code == 1
    assert [(row["column"], row["legal"]) for row in ran.json["rows"]["refused"]] == [("prompt", "text in UTF-8")]


@pytest.mark.parametrize("draft", [False, True])
def test_a_remote_catalog_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draft: bool) -> None:
    """Its digest and its rows are of the same bytes, also where somebody writes it again meanwhile."""
    held = MemoryFileSystem()
    held.pipe("/once/c.parquet", write_catalog(tmp_path / "c.parquet", shots(2)).read_bytes())
    fetched: list[str] = []
    there = MemoryFileSystem._open

    def counted(self: MemoryFileSystem, path: str, *args: Any, **kwargs: Any) -> Any:
        fetched.append(path)
        return there(self, path, *args, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "_open", counted)
    before = set(Path(tempfile.gettempdir()).glob("rushes-catalog-*"))
    model = str(json_model(tmp_path / "model"))
    planned = make_plan("memory://once/c.parquet", str(tmp_path / "out"), Settings(), model=model, draft=draft)
    assert planned.plan.takes.num_rows == 2
    assert planned.origin.catalog_sha256 == hashlib.sha256((tmp_path / "c.parquet").read_bytes()).hexdigest()
    assert fetched == ["/once/c.parquet"]
    assert set(Path(tempfile.gettempdir()).glob("rushes-catalog-*")) <= before, "the copy is gone"

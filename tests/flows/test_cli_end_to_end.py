"""The command as people use it, with a real farm, a real Prefect and a tiny random model."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from infra.media import probe
from infra.store import StoreOptions, open_store
from infra.store.commits import read_commits
from infra.store.jobs import read_manifest
from tests.flows.command_samples import JSON_KEYS, write_catalog
from tests.model.folders import build_folder
from tests.processes import assert_gone, descendants, living
from tests.servers.command import CliResult, RunCli
from tests.servers.seaweedfs import SeaweedFS

pytestmark = pytest.mark.timeout(600)  # a render takes 25 s on a machine of its own
DEFAULTS = {"width": 64, "height": 48, "frames": 9, "fps": 8, "steps": 2, "guidance_scale": 3.0, "min_size": 32}
DEFAULTS |= {"max_size": 512, "max_frames": 161, "max_tokens": 40_000}
SAME = ["show", "shot_id", "revision", "take", "seed", "spec_key", "state", "width", "height", "frames", "fps", "mood"]
ROWS = [
    {"shot_id": "film", "prompt": "a red circle moves left", "takes": 2, "duration_s": 1.0, "mood": "calm"},
    {"shot_id": "still", "prompt": "a blue square", "task": "still", "width": 96, "mood": None},
    {"shot_id": "animated", "prompt": "a green circle", "task": "i2v", "image_uri": "first.png"},
    {"shot_id": "broken", "prompt": "no picture to start from", "task": "i2v", "image_uri": "missing.png"},
    {"shot_id": "odd", "prompt": "an odd width", "width": 33},
]
COLUMNS = ("shot_id", "prompt", "task", "takes", "width", "duration_s", "image_uri", "mood")


@dataclass(frozen=True)
class Rendered:
    """One render of the catalog, with two faults of its own: a row and an image."""

    folder: Path
    result: CliResult

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def words(self, out: object = None) -> list[Any]:
        """The same render command again."""
        model, catalog = self.folder / "model", self.folder / "shots.parquet"
        return ["render", catalog, "--out", out or self.out, "--model", model, "--gangs", "1"]


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunCli]:
    home = tmp_path_factory.getbasetemp() / "home"
    home.mkdir(exist_ok=True)
    runner = RunCli(home=home, cwd=tmp_path_factory.mktemp("cwd"))
    yield runner
    runner.end_all()


@pytest.fixture(scope="module")
def rendered(cli: RunCli, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    folder = tmp_path_factory.mktemp("job")
    build_folder(folder / "model", scheduler="euler")
    (folder / "model" / "rushes.json").write_text(json.dumps(DEFAULTS))
    Image.new("RGB", (80, 60), "green").save(folder / "first.png")
    write_catalog(folder / "shots.parquet", [{name: row.get(name) for name in COLUMNS} for row in ROWS])
    job = Rendered(folder, CliResult((), 0, "", ""))
    return Rendered(folder, cli(*job.words(), "--json", timeout=570))


def test_render_finishes_and_tells_what_failed(rendered: Rendered) -> None:
    result = rendered.result
    assert result.rc == 1, result
    assert list(result.json) == JSON_KEYS
    assert (result.json["state"], result.json["exit"]) == ("finished", 1)
    takes = {"total": 5, "committed": 4, "rendered": 4, "cached": 0, "quarantined": 1, "pending": 0}
    assert result.json["takes"] == takes
    assert [row["column"] for row in result.json["rows"]["refused"]] == ["width"]
    assert result.json["gpu_s"]["rendered"] > 0
    assert "1 of 5 rows refused" in result.stderr and "Traceback" not in result.stderr
    assert "watch it at http://127.0.0.1" in result.stderr


def test_films_are_as_asked(rendered: Rendered) -> None:
    manifest = read_manifest(open_store(rendered.out), rendered.result.json["job_id"]).to_pylist()
    states = {(row["shot_id"], row["take"]): row["state"] for row in manifest}
    assert states.pop(("broken", 1)) == "quarantined"
    assert set(states.values()) == {"committed"} and len(states) == 4
    for row in manifest:
        if row["state"] != "committed":
            continue
        facts = probe(rendered.out / row["media_path"])
        assert (facts.width, facts.height, facts.frames) == (row["width"], row["height"], row["frames"]), row["shot_id"]
    assert {row["mood"] for row in manifest if row["shot_id"] == "film"} == {"calm"}


def test_board_links_films_that_are_there(rendered: Rendered) -> None:
    import re

    board = Path(rendered.result.json["board"].removeprefix("file://"))
    page = board.read_text()
    linked = re.findall(r'(?:src|href)="(\.\./\.\./[^"]+)"', page)
    assert len([link for link in linked if link.endswith(".mp4")]) >= 3
    for link in linked:
        assert (board.parent / link).is_file(), link
    assert "missing.png" in page


def test_same_command_again_renders_nothing_and_says_so_in_seconds(cli: RunCli, rendered: Rendered) -> None:
    began = time.monotonic()
    again = cli(*rendered.words(), "--json")
    wall = time.monotonic() - began
    assert again.rc == 1  # the broken one is still given up
    takes = {"total": 5, "committed": 4, "rendered": 0, "cached": 4, "quarantined": 1, "pending": 0}
    assert again.json["takes"] == takes
    assert again.json["gpu_s"]["rendered"] == 0
    assert wall < 15, f"{wall:.1f} s"  # 2 s on a machine that does nothing else
    assert "Nothing to render" in cli(*rendered.words()).stdout


def test_status_says_the_same_from_the_store_alone(cli: RunCli, rendered: Rendered) -> None:
    status = cli("status", rendered.out, "--json", check=0).json
    render = rendered.result.json
    for key in ("job_id", "store", "state", "exit", "board", "takes", "rows"):
        assert status[key] == render[key], key
    assert status["gpu_s"]["rendered"] == pytest.approx(render["gpu_s"]["rendered"], abs=0.01)
    human = cli("status", rendered.out, check=0).stdout
    assert "missing.png" in human


def test_log_of_the_failed_take_says_why(cli: RunCli, rendered: Rendered) -> None:
    assert "missing.png" in cli("logs", rendered.out, "--shot", "broken", check=0).stdout


def test_verify_finds_no_fault(cli: RunCli, rendered: Rendered) -> None:
    assert cli("verify", rendered.out, "--json", check=0).json == {"commits": 4, "faults": [], "orphans": []}


def test_retry_renders_what_was_given_up_once_the_reason_is_gone(cli: RunCli, rendered: Rendered) -> None:
    """Runs last of those on the shared store: it changes it."""
    Image.new("RGB", (80, 60), "red").save(rendered.folder / "missing.png")
    result = cli("retry", rendered.out, "--gangs", "1", "--json", timeout=570)
    assert result.rc == 1, result  # a row of the catalog is refused all the same
    takes = {"total": 5, "committed": 5, "rendered": 1, "cached": 4, "quarantined": 0, "pending": 0}
    assert result.json["takes"] == takes
    assert cli("verify", rendered.out, "--json", check=0).json["commits"] == 5
    last = cli(*rendered.words(), "--json")
    assert last.json["takes"]["rendered"] == 0 and last.json["takes"]["quarantined"] == 0


def test_repair_renders_what_is_damaged(cli: RunCli, rendered: Rendered) -> None:
    """Of the takes that stand one loses its film, another its commit. All are there again."""
    store = open_store(rendered.out)
    commits = sorted((read.path, read.commit) for read in read_commits(store) if read.commit is not None)
    paths = [path for path, _ in commits[:2]]
    store.delete(commits[0][1]["media"]["path"])
    store.write(paths[1], b"{")
    found = cli("verify", rendered.out, "--repair", "--gangs", "1", "--json", timeout=570)
    assert found.rc == 0, found
    assert (found.json["commits"], found.json["faults"]) == (len(commits), [])
    assert {moved["path"] for moved in found.json["repaired"]} == set(paths)
    assert [job["job_id"] for job in found.json["jobs"]] == [rendered.result.json["job_id"]]
    assert cli(*rendered.words(), "--json").json["takes"]["rendered"] == 0


def test_same_catalog_on_s3_gives_the_same_manifest(cli: RunCli, rendered: Rendered, s3: SeaweedFS) -> None:
    (rendered.folder / "missing.png").unlink(missing_ok=True)
    url = s3.bucket_url("end-to-end")
    keys = {"AWS_ACCESS_KEY_ID": s3.key, "AWS_SECRET_ACCESS_KEY": s3.secret, "AWS_DEFAULT_REGION": s3.region}
    environment = {**keys, "AWS_ENDPOINT_URL_S3": s3.endpoint}
    result = cli(*rendered.words(url), "--json", env=environment, timeout=570)
    assert result.rc == 1, result
    assert s3.secret not in result.stderr + result.stdout
    assert result.json["job_id"] == rendered.result.json["job_id"]
    options = StoreOptions(
        endpoint_url=s3.endpoint, access_key_id=s3.key, secret_access_key=s3.secret, region=s3.region
    )
    there = read_manifest(open_store(url, options), result.json["job_id"])
    # The one on the disk as it was before the retry: the broken take as it is here.
    here = read_manifest(open_store(rendered.out), result.json["job_id"])
    assert _rows(there, without="broken") == _rows(here, without="broken")
    assert cli("verify", url, "--json", env=environment, check=0).json["faults"] == []
    assert cli("status", url, "--json", env=environment, check=0).json["takes"] == result.json["takes"]


def _long_film(rendered: Rendered, out: Path) -> list[str]:
    shot = ["--prompt", "a very long film", "--steps", 900, "--width", 128, "--height", 96, "--duration", 10]
    words = ["render", *shot, "--out", out, "--model", rendered.folder / "model", "--gangs", "1", "--json"]
    return list(map(str, words))


def test_cancel_from_another_process_leaves_nothing_behind(cli: RunCli, rendered: Rendered) -> None:
    out = rendered.folder / "cancelled"
    process = cli.start(*_long_film(rendered, out))
    _wait(lambda: _status(cli, out).get("state") == "running", 120)
    family = descendants(process.pid)
    ended = cli("cancel", out, "--json", check=0, timeout=90)
    assert (ended.json["state"], ended.json["exit"]) == ("cancelled", 130)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert json.loads(stdout)["state"] == "cancelled" and json.loads(stdout)["exit"] == 130
    assert_gone(family, 30)


@pytest.mark.parametrize("child", ["gcs_server", "raylet"])
def test_a_stop_while_ray_starts_is_one_in_good_order(cli: RunCli, rendered: Rendered, child: str) -> None:
    out = rendered.folder / f"stopped-at-{child}"
    process = cli.start(*_long_film(rendered, out))
    _wait(lambda: any(child in line for line in living(descendants(process.pid))), 120)
    children = descendants(process.pid)
    process.terminate()
    stdout, stderr = process.communicate(timeout=90)
    assert process.returncode == 130, stderr
    assert json.loads(stdout)["state"] == "cancelled"
    assert _status(cli, out)["state"] == "cancelled"
    assert_gone(children, 30)


def _rows(manifest: pa.Table, without: str) -> list[dict[str, Any]]:
    return [row for row in manifest.select(SAME).to_pylist() if row["shot_id"] != without]


def _status(cli: RunCli, out: Path) -> dict[str, Any]:
    result = cli("status", out, "--json")
    found: dict[str, Any] = result.json
    return found


def _wait(condition: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.5)

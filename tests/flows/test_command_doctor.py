"""`rushes doctor` and `rushes dashboard`."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from flows.verbs import doctor
from tests.flows.command_samples import run
from tests.servers.command import RunCli


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder and Prefect home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    return tmp_path


def checks(ran: Any) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in ran.json["checks"]}


def test_doctor_finds_this_machine_fit(at: Path, capsys: Any) -> None:
    ran = run(capsys, "doctor", at / "out", "--json")
    found = checks(ran)
    assert ran.code == 0 and ran.json["exit"] == 0, found
    for name in ("python", "import names", "packages", "machine", "disk", "ffmpeg", "Prefect", "settings", "store"):
        assert found[name]["state"] in ("ok", "warning") and found[name]["found"], name
    assert "libx264" in found["ffmpeg"]["found"]
    assert "conditional puts" in found["store"]["found"]
    assert [path.name for path in (at / "out").iterdir() if not path.name.startswith(".")] == ["rushes.json"]


def test_doctor_names_what_does_not_work(at: Path, capsys: Any) -> None:
    (at / "rushes.toml").write_text("[farm]\ngnag = 2\n")
    (at / "file").write_text("not a folder")
    ran = run(capsys, "doctor", at / "file", "--json")
    found = checks(ran)
    assert ran.code == 1 and ran.json["exit"] == 1
    assert found["settings"]["state"] == "failed" and "farm.gnag" in found["settings"]["found"]
    assert found["store"]["state"] == "failed"
    assert found["ffmpeg"]["state"] == "ok", "one failed check must not hide the others"


def test_doctor_warns_of_versions_that_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"prefect": "3.8.8", "fastapi": "0.160.1", "fsspec": "2026.9.0", "s3fs": "2026.8.0"}
    monkeypatch.setattr(doctor, "version", lambda name: versions.get(name, "1.0"))
    states = {finding.name: finding.state for finding in doctor.packages()}
    assert states["fastapi"] == "failed" and states["fsspec and s3fs"] == "warning"


def test_dashboard_check_says_that_none_runs(at: Path, capsys: Any) -> None:
    ran = run(capsys, "dashboard", "--check", "--json")
    assert (ran.code, ran.json) == (1, {"format": 1, "running": False})


@pytest.mark.parametrize(
    ("flags", "place"),
    [((), ("0.0.0.0", 4301)), (("--port", "4302"), ("0.0.0.0", 4302)), (("--host", "::1"), ("::1", 4301))],
)
def test_dashboard_listens_where_settings_and_then_flags_say(
    at: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], place: tuple[str, int]
) -> None:
    def serve(*, host: str, port: int, on_ready: object) -> int:
        places.append((host, port))
        return 0

    places: list[tuple[str, int]] = []
    monkeypatch.setattr("flows.server.serve_dashboard", serve)
    (at / "rushes.toml").write_text("[prefect]\nhost = '0.0.0.0'\nport = 4301\n")
    assert run(capsys, "dashboard", *flags).code == 0
    assert places == [place]


def test_doctor_names_the_api_of_the_settings(at: Path) -> None:
    (at / "rushes.toml").write_text("[prefect]\napi_url = 'http://prefect:4200/api'\n")
    (found,) = doctor.prefect_of(None)()
    assert found.found == "http://prefect:4200/api (prefect.api_url)"


def test_dashboard_runs_until_it_is_told_to_stop(run_cli: RunCli, tmp_path: Path) -> None:
    environment = {"PREFECT_HOME": str(tmp_path / "prefect")}
    process = run_cli.start("dashboard", "--json", env=environment)
    assert process.stdout is not None
    record = json.loads(process.stdout.readline())
    assert record["running"] and record["url"].endswith("/api")
    with urllib.request.urlopen(f"{record['url']}/health", timeout=10) as answer:
        assert answer.status == 200
    found = run_cli("dashboard", "--check", "--json", env=environment, check=0)
    assert found.json["url"] == record["url"]
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert process.wait(30) == 0
    assert time.monotonic() - began < 20
    assert run_cli("dashboard", "--check", env=environment).rc == 1

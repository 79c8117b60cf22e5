"""The worked example's driver: which commands it gives, in which order, and how it stops."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flows import trailer
from flows.command import app
from infra.deliver.profiles import load_profiles


class Commands:
    """Stands for `flows.trailer.rushes`: remembers the command lines, and says what the storyboard would say."""

    def __init__(self, fail: str | None = None) -> None:
        self.given: list[list[str]] = []
        self._fail = fail

    def __call__(self, *words: object, read: bool = False) -> str:
        self.given.append([str(word) for word in words])
        if words[0] == self._fail:
            raise trailer.Stopped(4)
        job = ["stills", "clips"][sum(line[0] == "storyboard" for line in self.given) - 1]
        return json.dumps({"job_id": job, "storyboard": {"stills_job": "stills"}}) if read else ""


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    made = Commands()
    monkeypatch.setattr(trailer, "rushes", made)
    return made


def test_the_steps_in_their_order(commands: Commands, capsys: Any) -> None:
    assert trailer.main(["--out", "there"]) == 0
    assert [line[0] for line in commands.given] == [
        "storyboard", "select", "storyboard", "select", "cut", "deliver", "verify"
    ]  # fmt: skip
    first, approval, second, choice, cut, deliver, audit = commands.given
    assert first == second, "the same command goes on"
    jobs = [line[line.index("--job") + 1] for line in (approval, choice, cut)]
    assert jobs == ["stills", "clips", "clips"]
    profiles = [deliver[place + 1] for place, word in enumerate(deliver) if word == "--profile"]
    assert {"mp4", "vertical", "square", "hls", "prores-hq"} <= set(profiles) <= set(load_profiles())
    assert cut[cut.index("--name") + 1] == deliver[deliver.index("--cut") + 1]
    assert audit == ["verify", "there"] and "there/cuts/trailer" in capsys.readouterr().out


def test_every_command_is_one_that_rushes_knows(commands: Commands) -> None:
    import typer.main

    trailer.make_trailer("there")
    known = typer.main.get_command(app).commands
    for line in commands.given:
        options = {name for option in known[line[0]].params for name in option.opts}
        assert {word for word in line if word.startswith("--") and word != "--no-wait"} <= options | {"--json"}


def test_it_stops_with_the_code_of_the_command_that_stopped(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    made = Commands(fail="cut")
    monkeypatch.setattr(trailer, "rushes", made)
    assert trailer.main(["--out", "there"]) == 4
    assert made.given[-1][0] == "cut" and "goes on" in capsys.readouterr().err


def test_a_command_runs_as_a_process_and_is_shown(capfd: Any) -> None:
    assert trailer.rushes("--version", read=True).startswith("rushes ")
    with pytest.raises(trailer.Stopped) as caught:
        trailer.rushes("verify", "/no/such/store")
    assert caught.value.code == 2
    assert "$ rushes verify /no/such/store" in capfd.readouterr().err

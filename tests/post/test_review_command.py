"""`rushes review` with a browser."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from flows.planned import Planned
from flows.verbs.review import _has_screen
from tests.flows.command_samples import run
from tests.post.review_store import review_store, rows


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    return review_store(tmp_path, rows(1, 1))


def test_a_browser_that_waits_for_the_page_gets_it(
    capsys: Any, planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[int] = []

    def browse(url: str) -> None:
        try:
            with urlopen(url, timeout=10) as reply:
                answers.append(reply.status)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("webbrowser.open", browse)
    monkeypatch.setenv("DISPLAY", ":0")
    assert run(capsys, "review", planned.store.url, "--port", 0).code == 0
    assert answers == [200]
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert not _has_screen(), "nothing is opened in a terminal"

"""A cluster of one's own on a machine that is too busy to start it at once."""

from __future__ import annotations

from typing import Any

import pytest

from actors import client
from actors.handle import FarmGone

SLOW = "The current node timed out during startup. This could happen because ..."


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[BaseException | None]:
    """What becomes of each start, in order; None starts."""
    ends: list[BaseException | None] = []

    def init(options: Any) -> None:
        end = ends.pop(0)
        if end is not None:
            raise end

    monkeypatch.setattr(client, "_init", init)
    monkeypatch.setattr(client.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(client.ray, "shutdown", lambda: None)
    monkeypatch.setattr(client, "Connection", lambda **options: "connected")
    return ends


def test_a_start_that_takes_too_long_is_tried_again(starts: list[BaseException | None]) -> None:
    starts += [Exception(SLOW), Exception(SLOW), None]
    assert client.connect() == "connected" and starts == []


def test_in_the_end_it_is_given_up_in_words(starts: list[BaseException | None]) -> None:
    starts += [Exception(SLOW)] * 3
    with pytest.raises(FarmGone, match=r"no Ray cluster on this machine: .*timed out"):
        client.connect()


@pytest.mark.parametrize(("error", "raised"), [(RuntimeError("no disk"), FarmGone), (KeyError("bug"), KeyError)])
def test_other_errors_are_not_tried_again(
    starts: list[BaseException | None], error: Exception, raised: type[Exception]
) -> None:
    starts += [error]
    with pytest.raises(raised):
        client.connect()

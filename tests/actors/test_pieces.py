"""Pieces of long clips in the store: kept, taken again, dropped; and what is damaged or another's is not taken."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from actors.gangs.pieces import PieceKeeper, drop_pieces, long_of, pieces_kept
from actors.job import InputRules
from infra.store import Store, open_store
from infra.store.commits import publish
from infra.store.layout import parse_piece_path, piece_path
from infra.store.verify import audit

KEY = "a" * 64
LATENTS = torch.arange(24, dtype=torch.float32).reshape(1, 2, 3, 2, 2)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


def kept(store: Store, precision: str = "float32") -> PieceKeeper:
    keeper = PieceKeeper(store, "job", KEY, precision)
    keeper.save("gap-00001", "stamp", LATENTS)
    keeper.close()
    return PieceKeeper(store, "job", KEY, precision)


def test_a_piece_comes_back_as_it_was(store: Store) -> None:
    keeper = kept(store)
    found = keeper.load("gap-00001", "stamp")
    assert found is not None and torch.equal(found, LATENTS)
    assert keeper.listed() == ["gap-00001"]
    assert keeper.load("gap-00002", "stamp") is None


def test_another_plan_or_precision_is_not_taken(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    assert kept(store).load("gap-00001", "another") is None
    assert PieceKeeper(store, "job", KEY, "bfloat16").load("gap-00001", "stamp") is None
    assert "of another plan or precision" in caplog.text


@pytest.mark.parametrize("data", [b"", b"half", b"\x10" + b"\0" * 40, b"\xff" * 100, b"\x02" + b"\0" * 7 + b"[]"])
def test_a_damaged_piece_is_not_taken(store: Store, data: bytes) -> None:
    keeper = kept(store)
    store.write(piece_path("job", KEY, "gap-00001"), data)
    assert keeper.load("gap-00001", "stamp") is None
    whole = kept(store)
    path = piece_path("job", KEY, "gap-00001")
    store.write(path, store.read(path)[:-4])
    assert whole.load("gap-00001", "stamp") is None


def test_a_store_that_is_away_costs_pieces_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "store").write_text("not a folder")
    keeper = PieceKeeper(open_store(tmp_path / "store"), "job", KEY, "float32")
    with caplog.at_level(logging.INFO):
        assert keeper.load("gap-00001", "stamp") is None
        keeper.save("gap-00001", "stamp", LATENTS)
        keeper.close()
        assert keeper.listed() == []
    assert "is not kept" in caplog.text


def test_pieces_are_dropped_with_their_take(store: Store) -> None:
    kept(store)
    assert drop_pieces(store, "job", "b" * 64) == 0
    assert drop_pieces(store, "job", KEY) == 1
    assert list(store.list("jobs/job/pieces")) == []


def test_leftovers_are_listed_once_their_take_is_committed(store: Store, tmp_path: Path) -> None:
    kept(store)
    path = piece_path("job", KEY, "gap-00001")
    assert parse_piece_path(path) == ("job", KEY, "gap-00001")
    assert audit(store).orphans == [], "work that a resume goes on from is no leftover"
    film = tmp_path / "film.mp4"
    film.write_bytes(b"film")
    record = {
        "spec_key": KEY, "picture_key": KEY, "show": "s", "shot_id": "a", "revision": "0" * 8, "take": 1, "seed": 1,
        "attempt": 1, "epoch": 1, "gang": 1, "layout": "single", "gpu_s": 1.0, "times": {}, "notes": {},
        "media": {"width": 2, "height": 2, "frames": 1, "fps": 8.0},
    }  # fmt: skip
    publish(store, local=film, record=record, suffix=".mp4")
    assert audit(store).orphans == [path]


def test_only_the_rank_that_is_told_the_store_keeps_pieces(store: Store) -> None:
    order = {"long_method": "overlap", "window_frames": 17, "spec_key": KEY, "job_id": "job"}
    rules = InputRules(store_url=store.url)
    first, other = long_of(order, rules, {"transformer": "float32"}), long_of(order, None, {})
    assert first is not None and isinstance(first.keeper, PieceKeeper)
    assert other is not None and other.keeper is None
    assert (other.method, other.window_frames) == ("overlap", 17)
    assert long_of({**order, "long_method": None}, rules, {}) is None
    with pieces_kept(first):
        first.keeper.save("gap-00001", "stamp", LATENTS)
    assert store.stat(piece_path("job", KEY, "gap-00001")) is not None

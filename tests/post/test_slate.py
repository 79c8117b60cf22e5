"""The slate before a programme: what it tells, and its clock, frame by frame."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.deliver.drawing import clock_texts
from infra.deliver.orders import Wanted, orders_of
from infra.deliver.profiles import load_profiles
from infra.deliver.video import slate_fields
from infra.deliver.work import shape_of
from tests.flows.command_samples import run
from tests.post.deliveries import grey_film, job_of, made_of, profile
from tests.post.takes import row, store_with

HEAD = [{"kind": "slate", "seconds": 2, "clock": True}, {"kind": "black", "seconds": 1}]


RATES = [Fraction(8), Fraction(25), Fraction(30_000, 1001)]


@given(head=st.integers(1, 400), share=st.fractions(0, 1), rate=st.sampled_from(RATES))
def test_each_frame_of_a_slate_tells_the_seconds_that_are_left(head: int, share: Fraction, rate: Fraction) -> None:
    slate = max(1, int(head * share))
    texts = clock_texts(head, slate, rate)
    told = {frame: text.lines for text in texts for frame in range(text.start, text.end)}
    assert told == {frame: (str(ceil((head - frame) / rate)),) for frame in range(slate)}
    assert all(one.end == other.start for one, other in pairwise(texts)), "no two at once"


def frames_of(film: Path) -> list[np.ndarray]:
    with av.open(str(film)) as container:
        return [frame.to_ndarray(format="gray").astype(int) for frame in container.decode(video=0)]


def test_the_clock_changes_with_each_second_and_ends_with_the_slate(tmp_path: Path) -> None:
    film = grey_film(tmp_path / "take.mp4", frames=12, size=(320, 180))
    made = made_of(job_of(film, profile(head=HEAD), fields={"show": "s", "title": "{\\b1}Night':[0]"}), tmp_path)
    found = frames_of(made.files[0])
    assert len(found) == 24 + 12 + 12
    lower = [picture[135:] for picture in found[:24]]  # the clock's place, below the lines
    assert min(picture.max() for picture in lower) > 150
    differs = [float(np.abs(one - other).mean()) > 0.1 for one, other in pairwise(lower)]
    assert [number + 1 for number, changed in enumerate(differs) if changed] == [12], "3 for a second, then 2"
    assert max(picture.mean() for picture in found[24:36]) < 18, "black before the programme"


def test_what_a_slate_tells(tmp_path: Path) -> None:
    film = grey_film(tmp_path / "take.mp4")
    fields = {"show": "ad", "shot_id": "a", "take": 2, "title": "Night drive", "date": "2026-03-01"}
    job = job_of(film, profile(head=HEAD), fields=fields)
    assert slate_fields(job, shape_of(job.source.film, job.profile)) == [
        ("title", "Night drive"), ("show", "ad"), ("shot_id", "a"), ("take", "2"),
        ("duration", "2.00 s, 24 frames"), ("date", "2026-03-01"), ("format", "64x48 12 fps"),
    ]  # fmt: skip
    cut = job_of(film, profile(head=HEAD), fields={"cut": "trailer"})
    told = dict(slate_fields(cut, shape_of(cut.source.film, cut.profile)))
    assert told["title"] == "trailer" and "cut" not in told, "a cut without a title has its name"
    (slate, black) = load_profiles()["broadcast-uk"].head
    assert slate.clock and not black.clock


def test_a_title_and_the_day_of_the_source_go_into_the_order(tmp_path: Path, capsys: Any) -> None:
    from flows.verbs.deliver import _items  # as the verb finds them

    store, _ = store_with(tmp_path, [row("a")])
    (item,), _missing = _items(store, None, None, None, None, False)
    assert str(item.fields["date"]).startswith("20") and len(item.fields["date"]) == 10
    (order,) = orders_of([item], Wanted(load_profiles(), named=["mp4"], title="Night drive"))
    assert (order.item.fields["title"], item.fields.get("title")) == ("Night drive", None)
    words = (
        "deliver",
        store.url,
        "-p",
        "mp4",
        "--title",
        "Night drive",
        "--template",
        "{shot_id}_{date}",
        "-n",
        "--json",
    )
    (told,) = run(capsys, *words).json["orders"]
    assert told["name"] == f"a_{item.fields['date']}"


def test_a_clock_stands_on_a_slate_alone() -> None:
    with pytest.raises(ValueError, match="a clock stands on a slate"):
        profile(head=[{"kind": "black", "frames": 2, "clock": True}])

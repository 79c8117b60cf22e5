"""The worked examples: what their scripts make, and that catalogs, timelines and sound fit together to the frame."""

from __future__ import annotations

import tomllib
import wave

import numpy as np
import pyarrow.parquet as pq
import pytest

from catalogs import plan, read
from catalogs.samples import music_video, trailer
from catalogs.samples.music_video import make as make_video
from catalogs.samples.trailer import make as make_film
from catalogs.samples.trailer.sound import RATE, bed
from catalogs.storyboard import stills

EXAMPLES = pytest.mark.parametrize(
    ("example", "maker"), [(trailer, make_film), (music_video, make_video)], ids=["trailer", "music_video"]
)


def frames(example, maker):
    """Frames of the film, as its timeline adds them up: no part of it overlaps another."""
    fps, seconds = maker._CLIP["fps"], maker._CLIP["duration_s"]
    parts = tomllib.loads(example.TIMELINE.read_text())["part"]
    assert not any("dissolve" in part for part in parts)
    return sum(round(fps * part.get("seconds", seconds)) for part in parts)


@EXAMPLES
def test_the_script_makes_the_same_again(example, maker, tmp_path):
    catalog, sound = maker.make(tmp_path)
    assert pq.read_table(catalog).equals(pq.read_table(example.CATALOG), check_metadata=True)
    with wave.open(str(sound)) as file:
        assert file.getnframes() == example.SECONDS * RATE and file.getnchannels() == 2


@EXAMPLES
def test_every_row_renders_and_every_part_of_the_timeline_is_a_shot(example, maker, facts):
    made = plan(read(example.CATALOG), {**facts, "max_size": 1024, "max_tokens": 40_000})
    assert not made.refused
    shots = {f"{row['show']}/{row['shot_id']}" for row in made.takes.to_pylist()}
    cut = [part["shot"] for part in tomllib.loads(example.TIMELINE.read_text())["part"] if "shot" in part]
    assert len(cut) == len(set(cut)) and set(cut) <= shots
    assert frames(example, maker) == example.SECONDS * maker._CLIP["fps"]


def test_the_trailer_uses_all_its_shots_and_each_has_a_still(facts):
    made = plan(stills(read(trailer.CATALOG), 2), facts)
    assert not made.refused and made.takes.num_rows == 2 * len(make_film.SHOTS)
    cut = [part for part in tomllib.loads(trailer.TIMELINE.read_text())["part"] if "shot" in part]
    assert len(cut) == len(make_film.SHOTS)


def test_the_music_video_has_seventy_takes_of_which_six_are_kept(facts):
    assert plan(read(music_video.CATALOG), facts).takes.num_rows == 70
    cut = [part["shot"] for part in tomllib.loads(music_video.TIMELINE.read_text())["part"]]
    assert tuple(shot.partition("/")[2] for shot in cut) == music_video.KEPT


def test_the_sound_is_the_same_each_time_loud_enough_and_has_no_click_at_its_ends():
    once, again = bed(2.0), bed(2.0)
    assert (once == again).all() and once.shape == (2 * RATE, 2) and once.dtype == np.int16
    assert 0.5 < np.abs(once).max() / 32767 < 0.8
    assert np.abs(once[:8]).max() < 400 and np.abs(once[-8:]).max() < 400
    assert (once[:, 0] != once[:, 1]).any(), "it is stereo"

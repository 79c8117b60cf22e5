"""The sample catalogs are what their script makes, and do what they are for."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageSequence

from catalogs import plan, read
from catalogs.samples import BAD_ROWS, DEMO, FOLDER, TASKS
from catalogs.samples.make_samples import BAD_SHOTS, make, sample_inputs
from catalogs.samples.pictures import animation, png, square, travelling
from catalogs.tasks import TASKS as TASK_TABLE


def pictures(path):
    """Every frame of a picture or film, (frames, h, w, 3)."""
    with Image.open(path) as image:
        return np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)])


def test_the_script_makes_the_same_again(tmp_path):
    made = make(tmp_path)
    assert len(made) == len(sample_inputs()) + 3
    for path in made:
        shipped = FOLDER / path.relative_to(tmp_path)
        if path.suffix != ".parquet":  # another zlib packs the same pictures into other bytes
            assert (pictures(path) == pictures(shipped)).all(), path.name
        elif pa.__version__ not in pq.read_metadata(shipped).created_by:
            # Another version of the library signs its files otherwise; what they hold is the same.
            assert pq.read_table(path).equals(pq.read_table(shipped), check_metadata=True)
        else:
            assert path.read_bytes() == shipped.read_bytes(), path.name


def test_the_image_is_a_png_of_what_was_drawn():
    picture = np.asarray(Image.open(io.BytesIO(png(square(0.3)))))
    assert picture.shape == (128, 128, 3)
    assert (picture == square(0.3)).all()
    assert tuple(picture[64, 38]) == (50, 90, 220)
    assert tuple(picture[4, 120]) == (120, 120, 120)
    large = np.random.default_rng(0).integers(0, 256, (200, 150, 3), np.uint8)
    assert (np.asarray(Image.open(io.BytesIO(png(large)))) == large).all()


def test_the_demo_holds_what_it_promises(facts):
    asked = []
    planned = plan(read(DEMO), facts, digest_input=lambda uri: asked.append(uri) or "ab" * 32)
    takes = planned.takes.to_pylist()
    assert planned.rows_total == 8
    assert planned.refused == []
    assert len(takes) == 10
    assert {take["task"] for take in takes} == {"t2v", "still", "i2v"}
    assert {(take["width"], take["height"]) for take in takes} == {(128, 128), (160, 96)}
    assert {take["frames"] for take in takes} == {1, 17}
    assert sorted(take["take"] for take in takes)[-1] == 3
    assert asked == [f"file://{FOLDER}/images/blue-square.png"]


def test_every_bad_row_is_refused_and_no_good_one(facts):
    planned = plan(read(BAD_ROWS), facts)
    assert planned.rows_total == len(BAD_SHOTS) == 20
    assert planned.takes["shot_id"].to_pylist() == ["good", "also-good", "also-good"]
    assert [entry.row for entry in planned.refused] == list(range(1, 19))


def test_an_animation_is_the_film_that_was_drawn():
    film = travelling(5)
    film[3] = film[2]
    picture = Image.open(io.BytesIO(animation(film, fps=8)))
    assert picture.n_frames == 5
    for number in range(5):
        picture.seek(number)
        assert (np.asarray(picture.convert("RGB")) == film[number]).all()
        assert picture.info["duration"] == 125


def test_the_catalog_of_tasks_has_a_row_of_each(facts):
    planned = plan(read(TASKS), facts | {"tasks": list(TASK_TABLE)}, digest_input=lambda uri: "ab" * 32)
    assert planned.refused == []
    takes = planned.takes.to_pylist()
    assert {take["task"] for take in takes} == set(TASK_TABLE)
    assert all(take["spec_key"] for take in takes)
    named = {take[name] for take in takes for name in ("image_uri", "last_image_uri", "video_uri", "mask_uri")} - {None}
    assert named == {f"file://{FOLDER}/{name}" for name in sample_inputs()}
    assert sum(len(data) for data in sample_inputs().values()) < 30_000

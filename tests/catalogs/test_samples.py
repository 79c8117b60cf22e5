"""The sample catalogs are what their script makes, and do what they are for."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from catalogs import plan, read
from catalogs.samples import BAD_ROWS, DEMO, FOLDER
from catalogs.samples.make_samples import BAD_SHOTS, blue_square, make, png


def test_the_script_makes_the_same_bytes_again(tmp_path):
    made = make(tmp_path)
    assert len(made) == 3
    for path in made:
        shipped = FOLDER / path.relative_to(tmp_path)
        if path.suffix == ".parquet" and pa.__version__ not in pq.read_metadata(shipped).created_by:
            # Another version of the library signs its files otherwise; what they hold is the same.
            assert pq.read_table(path).equals(pq.read_table(shipped), check_metadata=True)
        else:
            assert path.read_bytes() == shipped.read_bytes(), path.name


def test_the_image_is_a_png_of_what_was_drawn():
    picture = np.asarray(Image.open(io.BytesIO(png(blue_square()))))
    assert picture.shape == (64, 64, 3)
    assert (picture == blue_square()).all()
    assert tuple(picture[32, 19]) == (50, 90, 220)
    assert tuple(picture[2, 60]) == (120, 120, 120)
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
    assert {(take["width"], take["height"]) for take in takes} == {(64, 64), (96, 64)}
    assert {take["frames"] for take in takes} == {1, 17}
    assert sorted(take["take"] for take in takes)[-1] == 3
    assert asked == [f"file://{FOLDER}/images/blue-square.png"]


def test_every_bad_row_is_refused_and_no_good_one(facts):
    planned = plan(read(BAD_ROWS), facts)
    assert planned.rows_total == len(BAD_SHOTS) == 20
    assert planned.takes["shot_id"].to_pylist() == ["good", "also-good", "also-good"]
    assert [entry.row for entry in planned.refused] == list(range(1, 19))

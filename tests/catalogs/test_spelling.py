"""A column that was most likely meant as another is told; one of the user's own is not."""

from __future__ import annotations

import pytest

from catalogs.schema import BY_NAME, PLAN_COLUMNS
from catalogs.spelling import misspelt


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        ("imageuri", "image_uri"), ("durations", "duration_s"), ("duration", "duration_s"), ("Width", "width"),
        ("heigth", "height"), ("depend_on", "depends_on"), ("keep-frames", "keep_frames"), ("seeds", "seed"),
        ("catalog.frames", "duration_s"), ("image", "image_uri"), ("guidance", "guidance_scale"),
        ("varaints", "variants"),
    ],
)  # fmt: skip
def test_what_looks_like_a_column_is_told(column: str, meant: str) -> None:
    assert misspelt([column]) == {column: meant}


def test_columns_of_ones_own_and_the_known_ones_are_left_alone() -> None:
    own = [
        "director",
        "rights",
        "client",
        "notes",
        "ticket",
        "act",
        "voice_over",
        "licence",
        "shoot_day",
        "catalog.state",
    ]
    assert misspelt([*BY_NAME, *PLAN_COLUMNS, *own]) == {}

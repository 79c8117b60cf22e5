"""Names of deliverables: templates over fields, safe whatever these hold."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.deliver.errors import BadTemplate
from infra.deliver.naming import LONGEST, Template, aspect_of, safe

FIELDS = {"show": "ad", "shot_id": "opening", "take": 3, "locale": "pt-BR", "aspect": "9x16", "fps": 24.0, "note": None}


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{show}_{shot_id}_{aspect}_{locale}_v{take:03}", "ad_opening_9x16_pt-BR_v003"),
        ("{show}_{note}_{take}", "ad_3"),
        ("{note}_{show}", "ad"),
        ("{show}-{fps}", "ad-24"),
        ("{take:05d}", "00003"),
        ("{{{show}}}", "ad"),
    ],
)
def test_fields_become_a_name(template: str, name: str) -> None:
    assert Template(template).name(FIELDS) == name


@pytest.mark.parametrize(
    "text",
    ["", "a/b", "{", "{show", "{0}", "{}", "{show[0]}", "{show!r}", "{take:{show}}", "{take:>99}"],
)
def test_more_than_plain_fields_is_refused(text: str) -> None:
    with pytest.raises(BadTemplate):
        Template(text)


def test_an_unknown_field_is_told_with_those_there_are() -> None:
    with pytest.raises(BadTemplate, match=r"no field shwo; there are: aspect, fps, locale, note, shot_id, show, take"):
        Template("{shwo}").check(FIELDS)


def test_a_field_with_a_dot_is_a_column_of_that_name_and_no_attribute() -> None:
    with pytest.raises(BadTemplate, match=r"no field show\.__class__"):
        Template("{show.__class__}").check(FIELDS)
    assert Template("{catalog.note}").name({"catalog.note": "x"}) == "x"


def test_a_number_format_wants_a_number() -> None:
    with pytest.raises(BadTemplate, match="wants a number"):
        Template("{show:03}").name(FIELDS)


@given(st.text(max_size=300))
def test_whatever_a_field_holds_the_name_is_one_safe_file(text: str) -> None:
    name = Template("{show}_v{take:03}").name({"show": text, "take": 1})
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name)
    assert ".." not in name and len(name) <= LONGEST
    assert safe(name) == name


def test_two_long_names_that_differ_late_stay_two() -> None:
    assert safe("x" * 200 + "a") != safe("x" * 200 + "b")


def test_aspects_are_called_as_people_do() -> None:
    assert [aspect_of(*size) for size in ((1920, 1080), (1080, 1920), (1080, 1350), (640, 640), (854, 480))] == [
        "16x9", "9x16", "4x5", "1x1", "16x9",
    ]  # fmt: skip

"""A catalog in two phases: stills first, then clips that begin with the approved ones."""

from __future__ import annotations

from catalogs import plan, read
from catalogs.storyboard import clips, still_id, stills

STORE = "file:///films/out"


def planned(batches, facts):
    return plan(batches, facts)


def test_every_shot_gets_a_still_of_its_words_size_and_seed(write, facts):
    catalog = write(shot_id=["a", "b"], takes=[2, 1], width=[96, 64], height=[64, 64], duration_s=[2.0, 1.0])
    rows = planned(stills(read(catalog)), facts).takes.to_pylist()
    clip = plan(read(catalog), facts).takes.to_pylist()
    assert [(row["shot_id"], row["task"], row["take"], row["frames"]) for row in rows] == [
        ("a.still", "still", 1, 1), ("a.still", "still", 2, 1), ("b.still", "still", 1, 1)
    ]  # fmt: skip
    assert [(row["seed"], row["width"], row["prompt"]) for row in rows] == [
        (row["seed"], row["width"], row["prompt"]) for row in clip
    ]
    assert [row["take"] for row in planned(stills(read(catalog), 3), facts).takes.to_pylist()] == [1, 2, 3, 1, 2, 3]


def test_a_row_that_starts_from_something_else_is_refused_alone(write, facts):
    catalog = write(shot_id=["a", "b", "c"], task=["t2v", "still", "t2v"], width=[64, 64, 63])
    for phase in (stills(read(catalog)), clips(read(catalog), {("default", "a.still"): f"{STORE}/a.png"}, STORE)):
        made = planned(phase, facts)
        assert [(one.row, one.column) for one in made.refused] == [(1, "task"), (2, "width")]
        assert made.takes.num_rows == 1 and made.rows_total == 3


def test_clips_are_made_of_the_approved_alone_and_begin_with_their_stills(write, facts):
    catalog = write(shot_id=["a", "b"], takes=[3, 3], duration_s=[2.0, 2.0])
    pictures = {("default", still_id("b")): f"{STORE}/shots/default/b.still/0.png"}
    rows = planned(clips(read(catalog), pictures, STORE), facts).takes.to_pylist()
    assert [(row["shot_id"], row["task"], row["take"]) for row in rows] == [("b", "i2v", take) for take in (1, 2, 3)]
    assert {row["image_uri"] for row in rows} == {f"{STORE}/shots/default/b.still/0.png"}
    assert [row["seed"] for row in rows] == [
        row["seed"] for row in plan(read(catalog), facts).takes.to_pylist() if row["shot_id"] == "b"
    ]


def test_a_store_may_move(write, facts):
    catalog = write(shot_id=["a"])

    def revision(store):
        pictures = {("default", "a.still"): f"{store}/shots/default/a.still/0.png"}
        return planned(clips(read(catalog), pictures, store), facts).takes["revision"].to_pylist()

    assert revision(STORE) == revision("s3://bucket/elsewhere")


def test_variants_by_locale_share_their_still(write, facts):
    variants = {"aspect": ["16:9", "1:1"], "duration_s": None, "locale": ["de", "fr"], "style": None}
    catalog = write(shot_id=["hero"], variants=[variants])
    boards = planned(stills(read(catalog)), facts).takes.to_pylist()
    assert [row["shot_id"] for row in boards] == ["hero.16x9.de.still", "hero.1x1.de.still"]
    pictures = {("default", row["shot_id"]): f"{STORE}/{row['shot_id']}.png" for row in boards[:1]}
    rows = planned(clips(read(catalog), pictures, STORE), facts).takes.to_pylist()
    assert [(row["shot_id"], row["picture_of"]) for row in rows] == [
        ("hero.16x9.de", None), ("hero.16x9.fr", "hero.16x9.de")
    ]  # fmt: skip
    assert len({row["image_uri"] for row in rows}) == 1


def test_a_still_belongs_to_the_row_that_has_the_name(write, facts):
    both = {"aspect": None, "duration_s": None, "locale": ["de", "fr"], "style": None}
    catalog = write(shot_id=["hero.de", "hero", "hero.de"], variants=[None, both, None])
    made = planned(stills(read(catalog, batch_rows=1)), facts)
    assert [(row["row"], row["shot_id"]) for row in made.takes.to_pylist()] == [
        (0, "hero.de.still"), (1, "hero.fr.still")
    ]  # fmt: skip
    assert [(entry.row, entry.value) for entry in made.refused] == [(1, "hero.de"), (2, "hero.de")]
    pictures = {("default", name): f"{STORE}/{name}.png" for name in ("hero.de.still", "hero.fr.still")}
    rows = planned(clips(read(catalog, batch_rows=1), pictures, STORE), facts).takes.to_pylist()
    assert {row["shot_id"]: row["image_uri"] for row in rows} == {
        name: f"{STORE}/{name}.still.png" for name in ("hero.de", "hero.fr")
    }


def test_of_duplicates_the_first_whose_clip_can_be_rendered_has_the_name(write, facts):
    """A still of the first could be rendered: it would begin the clip of the second, whose words are others."""
    catalog = write(
        shot_id=["a", "a", "a"], prompt=["too long", "right", "too late"], duration_s=[1000.0, 2.0, 2.0]
    )  # fmt: skip
    boards = planned(stills(read(catalog), facts=facts), facts)
    pictures = {("default", "a.still"): f"{STORE}/a.png"}
    films = planned(clips(read(catalog), pictures, STORE, facts=facts), facts)
    for made in (boards, films):
        assert made.takes["prompt"].to_pylist() == ["right"]
        assert [(entry.row, entry.column) for entry in made.refused] == [(0, "duration_s"), (2, "shot_id")]


def test_a_long_name_has_a_still_too(write, facts):
    name = "n" * 128
    made = planned(stills(read(write(shot_id=[name]))), facts).takes["shot_id"].to_pylist()
    assert made == [still_id(name)] and len(made[0]) <= 128 and made[0] != name

"""Every task in each form of checkpoint: what is given comes back, what is not is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from model.conditions.canvas import laid
from model.conditions.given import Given
from model.conditions.spans import Clip
from model.conditions.takes import clip_of, decode, render, sample
from model.errors import InputError
from model.facts import CHANNEL_TASKS, TASKS
from model.pipeline import Pipeline
from model.velocity import Form
from tests.model.folders import Kind, build_folder

FORMS = {"ti2v": "TIMESTEPS", "i2v": "CHANNELS", "t2v": "IMPOSED"}
WIDTH, HEIGHT = 48, 32
PROMPT = "a red circle moves left ."
SETTINGS: dict[str, Any] = {"seed": 5, "steps": 3, "guidance_scale": 3.0}
Load = Callable[[Kind], Pipeline]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    torch.set_num_threads(1)
    made: dict[str, Pipeline] = {}

    def loaded(kind: Kind) -> Pipeline:
        if kind not in made:
            folder = build_folder(tmp_path_factory.mktemp(kind), kind)
            made[kind] = Pipeline.from_pretrained(folder, autoencoder_dtype="float32")
        return made[kind]

    return loaded


def film(frames: int, seed: int = 0) -> np.ndarray:
    """Coarse noise that changes from frame to frame: (frames, height, width, 3)."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (frames, 4, 6, 3)).astype(np.uint8).repeat(8, 1).repeat(8, 2)


def half_mask() -> np.ndarray:
    """White on the right: one column of tokens of 16 pixels, and a half of another."""
    mask = np.zeros((1, HEIGHT, WIDTH), bool)
    mask[:, :, 24:] = True
    return mask


def spot_mask() -> np.ndarray:
    """White on a thing that lies in the right two columns of tokens and fills none of them."""
    mask = np.zeros((1, HEIGHT, WIDTH), bool)
    mask[:, 8:24, 20:44] = True
    return mask


def given_for(task: str, frames: int) -> Given:
    source = film(frames)
    return {
        "i2v": Given(image=source[0]),
        "flf2v": Given(image=source[0], last=source[-1:]),
        "extend": Given(video=source[-5:]),
        "extend_back": Given(video=source),
        "connect": Given(video=source[:5], last=film(frames, 1)),
        "infill": Given(video=source),
        "loop": Given(image=source[0]),
        "v2v": Given(video=source, strength=0.7),
        "edit": Given(video=source, mask=half_mask(), strength=1.0),
    }.get(task, Given())


def told(pipeline: Pipeline, task: str, clip: Clip, given: Given) -> Any:
    found = pipeline.condition(task, given, clip)
    assert found is not None
    return found


# Latent frames that are known whole, for a clip of 17 frames (20 with a loop's last group).
KNOWN = {
    "i2v": [0], "flf2v": [0, 4], "extend": [0, 1], "extend_back": [3, 4], "connect": [0, 1, 4], "infill": [0, 4],
    "loop": [0, 5],
}  # fmt: skip


# A checkpoint with condition channels is asked for its own tasks alone.
ASKED = [(kind, task) for kind in FORMS for task in KNOWN if kind != "i2v" or task in CHANNEL_TASKS]


@pytest.mark.parametrize(("kind", "task"), ASKED)
def test_known_latents_come_back(load: Load, kind: Kind, task: str) -> None:
    pipeline = load(kind)
    assert pipeline.form.name == FORMS[kind]
    clip = clip_of(pipeline, task, WIDTH, HEIGHT, 17)
    given = given_for(task, 17)
    condition = told(pipeline, task, clip, given)
    known = condition.condition.known[0, 0].amin((1, 2))
    wanted = KNOWN[task]
    if (kind, task) == ("i2v", "flf2v"):
        wanted = [0]  # its mask tells of the last frame alone, which does not make its group known
        assert condition.condition.mask[0, :, 4, 0, 0].tolist() == [0, 0, 0, 1]
    assert known.nonzero().flatten().tolist() == wanted
    latents = sample(pipeline, task, PROMPT, clip, told=condition, **SETTINGS).latents
    assert latents is not None
    if task == "loop":
        wanted = [5]  # a ring: its first latent is its last one
        assert torch.equal(latents[:, :, 0], latents[:, :, 5])
    if kind == "i2v" and task in ("i2v", "flf2v"):
        return  # told by channels alone, as diffusers does it
    truth = condition.condition.truth
    assert torch.equal(latents[:, :, wanted], truth[:, :, wanted])
    free = [group for group in range(1, clip.groups) if group not in wanted]
    assert (latents - truth)[:, :, free].abs().amax((0, 1, 3, 4)).min() > 1e-2, "the others are made"
    alone = (
        pipeline.denoise(PROMPT, width=WIDTH, height=HEIGHT, frames=clip.frames, condition=None, **SETTINGS)
        if (kind != "i2v")
        else None
    )
    if alone is not None:
        assert (latents - alone)[:, :, free].abs().max() > 1e-3, "and know of what is given"


@pytest.mark.parametrize("kind", FORMS)
def test_an_edit_keeps_what_is_black_in_the_mask(load: Load, kind: Kind) -> None:
    pipeline = load(kind)
    clip = clip_of(pipeline, "edit", WIDTH, HEIGHT, 17)
    given = given_for("edit", 17)
    condition = told(pipeline, "edit", clip, given)
    known = condition.condition.known
    columns = known[0, 0].amin((0, 1)).tolist()
    if kind == "ti2v":
        assert columns == [1, 1, 0, 0, 0, 0], "tokens of 16 pixels, of which the left 24 are kept"
    else:
        assert columns == [1, 1, 1, 0, 0, 0], "latents of 8 pixels, of which the left 24 are kept"
    assert condition.condition.told((1, 2, 2))[0, 0, 0, 0].tolist() == [1, 1, 0, 0, 0, 0], "tokens are told whole"
    sampled = sample(pipeline, "edit", PROMPT, clip, told=condition, strength=1.0, **SETTINGS)
    assert sampled.latents is not None
    kept = known.expand_as(sampled.latents) == 1
    assert torch.equal(sampled.latents[kept], condition.condition.truth[kept])
    assert (sampled.latents - condition.condition.truth)[~kept].abs().mean() > 1e-2
    frames = decode(pipeline, sampled, "edit", clip)
    assert given.video is not None
    assert (frames[:, :, :24] == given.video[:, :, :24]).all(), "kept pixels are the source's"
    assert np.abs(frames[:, :, 24:].astype(int) - given.video[:, :, 24:]).mean() > 5


def test_only_the_mask_moves_in_a_picture_that_is_animated(load: Load) -> None:
    picture = film(1)[0]
    given = Given(image=picture, mask=half_mask())
    frames = render(load("ti2v"), "edit", PROMPT, given, width=WIDTH, height=HEIGHT, frames=9, **SETTINGS)
    assert (frames[:, :, :24] == picture[:, :24]).all()
    assert (frames[0] == picture).all(), "it moves on from where the picture shows it"
    assert frames[1:, :, 24:].std(axis=0).mean() > 0.5


@pytest.mark.parametrize(
    "given",
    [
        Given(image=film(1)[0], mask=half_mask().repeat(9, axis=0)),
        Given(image=film(1)[0], mask=~spot_mask()),
        Given(video=film(9), mask=half_mask()),
    ],
    ids=["a mask film", "a background", "a film"],
)
def test_other_edits_make_their_first_frame_anew(load: Load, given: Given) -> None:
    frames = render(load("ti2v"), "edit", PROMPT, given, width=WIDTH, height=HEIGHT, frames=9, **SETTINGS)
    source = given.image if given.video is None else given.video[0]
    assert source is not None and given.mask is not None
    anew = given.mask[0]
    assert (frames[0][~anew] == source[~anew]).all()
    assert (frames[0][anew] != source[anew]).mean() > 0.5


def test_a_picture_is_edited_as_a_clip_of_one_frame(load: Load) -> None:
    given = Given(image=film(1)[0], mask=half_mask())
    [frame] = render(load("ti2v"), "edit", PROMPT, given, width=WIDTH, height=HEIGHT, frames=1, **SETTINGS)
    assert given.image is not None
    assert (frame[:, :24] == given.image[:, :24]).all() and (frame[:, 24:] != given.image[:, 24:]).mean() > 0.5


@pytest.mark.parametrize("kind", FORMS)
def test_nothing_of_a_replaced_thing_that_moves_is_held_in_part(load: Load, kind: Kind) -> None:
    mask = np.zeros((9, HEIGHT, WIDTH), bool)
    for frame in range(9):
        mask[frame, 8:24, 2 * frame + 4 : 2 * frame + 16] = True
    condition = told(
        load(kind), "edit", clip_of(load(kind), "edit", WIDTH, HEIGHT, 9), Given(video=film(9), mask=mask)
    ).condition
    for level in (1.0, 0.5):
        assert torch.equal(condition.held(level), condition.known) and condition.known.any()


def test_what_lies_across_the_edge_of_a_replaced_thing_is_not_held_to_it(load: Load) -> None:
    clip = clip_of(load("ti2v"), "edit", WIDTH, HEIGHT, 9)
    thing = spot_mask()
    edit, background = (told(load("ti2v"), "edit", clip, Given(video=film(9), mask=m)) for m in (thing, ~thing))
    for level in (1.0, 0.5, 0.0):
        known = edit.condition.token_mask((1, 2, 2), level)
        assert torch.equal(known, edit.condition.token_mask((1, 2, 2))), "known whole, at every noise level"
    assert 0 < known.sum() < known.numel() / 2
    assert background.condition.token_mask((1, 2, 2), 1.0).sum() > background.condition.token_mask((1, 2, 2)).sum()


def test_a_mask_may_move(load: Load) -> None:
    mask = np.zeros((9, HEIGHT, WIDTH), bool)
    for frame in range(9):
        mask[frame, :, 4 * frame : 4 * frame + 8] = True
    given = Given(video=film(9), mask=mask)
    frames = render(load("ti2v"), "edit", PROMPT, given, width=WIDTH, height=HEIGHT, frames=9, **SETTINGS)
    assert (frames[~mask] == film(9)[~mask]).all()
    assert (frames[mask] != film(9)[mask]).mean() > 0.5


@pytest.mark.parametrize("kind", ["ti2v", "t2v"])
@pytest.mark.parametrize("task", ["v2v", "edit"])
def test_strength_is_how_far_from_the_source(load: Load, kind: Kind, task: str) -> None:
    pipeline = load(kind)
    clip = clip_of(pipeline, task, WIDTH, HEIGHT, 9)
    everything = np.ones((1, HEIGHT, WIDTH), bool)
    away = {}
    for strength in (0.0, 0.05, 0.5, 1.0):
        given = Given(video=film(9), mask=everything if task == "edit" else None, strength=strength)
        condition = told(pipeline, task, clip, given)
        steps: list[tuple[str, int, int]] = []
        sampled = sample(
            pipeline, task, PROMPT, clip, told=condition, strength=strength, seed=5, steps=4, guidance_scale=1.0,
            on_stage=lambda *stage, steps=steps: steps.append(stage),
        )  # fmt: skip
        assert sampled.latents is not None
        away[strength] = float((sampled.latents - condition.condition.truth).abs().mean())
        assert [stage[1] for stage in steps] == list(range(int(4 * strength) + 1))[: len(steps)]
        assert all(total == int(4 * strength) for _, _, total in steps)
    assert away[0.0] == away[0.05] == 0.0, "less than a step is the source as it is"
    assert 0 < away[0.5] < away[1.0]


@pytest.mark.parametrize("kind", FORMS)
def test_infill_keeps_single_frames_too(load: Load, kind: Kind) -> None:
    source = film(17)
    given = Given(video=source, keep=((0, 4), (7, 7)))
    frames = render(load(kind), "infill", PROMPT, given, width=WIDTH, height=HEIGHT, frames=17, **SETTINGS)
    assert (frames[7] == source[7]).all(), "a frame whose group is not kept whole is laid over"
    assert (frames[8] != source[8]).any()
    alone = decoded(load(kind), source[:5])
    assert psnr(frames[:5], source[:5]) >= psnr(alone, source[:5]) - 1.0


@pytest.mark.parametrize("task", ["i2v", "flf2v", "extend", "connect", "infill"])
@pytest.mark.parametrize("kind", FORMS)
def test_given_frames_come_back_though_the_autoencoder_cannot_give_them(load: Load, kind: Kind, task: str) -> None:
    pipeline, first = load(kind), film(17)[-5 if task == "extend" else 0]
    assert psnr(decoded(pipeline, first[None])[0], first) < 30, "or this test shows nothing"
    made = render(pipeline, task, PROMPT, given_for(task, 17), width=WIDTH, height=HEIGHT, frames=17, **SETTINGS)
    own = FORMS[kind] == "CHANNELS" and task in ("i2v", "flf2v")  # what it was trained for is left to it
    assert (psnr(made[0], first) >= 30) is not own


def decoded(pipeline: Pipeline, frames: np.ndarray) -> np.ndarray:
    """What the autoencoder alone gives back of frames."""
    pixels = torch.from_numpy(frames.copy()).permute(3, 0, 1, 2)[None].float() / 127.5 - 1.0
    autoencoder = pipeline._autoencoder
    assert autoencoder is not None
    return pipeline.decode(autoencoder.encode(pixels))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255.0**2 / max(np.mean((a.astype(float) - b.astype(float)) ** 2), 1e-9)))


@pytest.mark.parametrize("frames", [6, 7, 8, 9, 17, 18])
@pytest.mark.parametrize("task", ["flf2v", "extend_back", "connect", "infill", "loop", "extend", "v2v"])
def test_films_of_any_length(load: Load, task: str, frames: int) -> None:
    pipeline = load("ti2v")
    made = render(
        pipeline, task, PROMPT, given_for(task, frames), width=WIDTH, height=HEIGHT, frames=frames, **SETTINGS
    )
    assert made.shape == (frames, HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("frames", [6, 7, 8, 9])
@pytest.mark.parametrize("task", ["flf2v", "connect", "extend_back", "infill"])
def test_the_given_end_is_the_films_end_whatever_its_length(load: Load, task: str, frames: int) -> None:
    pipeline = load("ti2v")
    clip = clip_of(pipeline, task, WIDTH, HEIGHT, frames)
    given = given_for(task, frames)
    found = told(pipeline, task, clip, given)
    assert found.condition.known[0, 0, -1].min() == 1
    # The frames that the last group was encoded from: the film's last frame is the given one, not one after it.
    end = {"flf2v": film(frames)[-1], "extend_back": None, "connect": None, "infill": film(frames)[-1]}[task]
    if end is None:  # a head: its frames end with the film
        source = given.video if task == "extend_back" else given.last
        assert source is not None
        end = source[frames - clip.end - 1]
    canvas = laid(task, given, clip, pipeline.form)
    assert canvas is not None
    assert (canvas.film[frames - 1] == end).all()


def seam(made: np.ndarray) -> tuple[float, float]:
    """The step from the last frame to the first, and the median step between frames."""
    film_ = made.astype(float)
    steps = np.abs(np.diff(film_, axis=0)).mean(axis=(1, 2, 3))
    return float(np.abs(film_[-1] - film_[0]).mean()), float(np.median(steps))


@pytest.mark.parametrize("frames", [9, 14, 17])
@pytest.mark.parametrize("kind", ["ti2v", "t2v"])
def test_a_loop_meets_its_beginning(load: Load, kind: Kind, frames: int) -> None:
    for given in (None, Given(image=film(1)[0])):
        made = render(load(kind), "loop", PROMPT, given, width=WIDTH, height=HEIGHT, frames=frames, **SETTINGS)
        assert made.shape == (frames, HEIGHT, WIDTH, 3)
        at_seam, median = seam(made)
        assert at_seam <= median
        if given is not None:
            assert psnr(made[0], film(1)[0]) >= 30


def test_a_loop_too_short_for_a_ring_draws_its_first_frame(load: Load) -> None:
    pipeline = load("ti2v")
    stages: list[tuple[str, int, int]] = []
    size = {"width": WIDTH, "height": HEIGHT}
    made = render(pipeline, "loop", PROMPT, frames=5, on_stage=lambda *at: stages.append(at), **size, **SETTINGS)
    assert made.shape == (5, HEIGHT, WIDTH, 3)
    assert [at for at in stages if at[1]] == [(name, step, 3) for name in ("still", "denoise") for step in (1, 2, 3)]
    still = render(pipeline, "still", PROMPT, frames=1, **size, **SETTINGS)
    given = render(pipeline, "loop", PROMPT, Given(image=still[0]), frames=5, **size, **SETTINGS)
    assert (made == given).all()


@pytest.mark.parametrize(
    ("task", "given", "says"),
    [
        ("i2v", Given(), "image_uri"),
        ("flf2v", Given(image=film(1)[0]), "last_image_uri"),
        ("extend", Given(), "video_uri"),
        ("connect", Given(video=film(5)), "last_image_uri"),
        ("edit", Given(video=film(9)), "mask_uri"),
        ("v2v", Given(video=film(5), strength=0.5), "5 frames; this clip takes 9"),
        ("v2v", Given(video=film(9)[:, :16], strength=0.5), "48x32"),
        ("infill", Given(video=film(9), keep=((0, 9),)), "0 to 8"),
        ("dance", Given(), "no task"),
        ("dance", Given(image=film(1)[0]), "no task"),
        ("t2v", Given(image=film(1)[0]), "image_uri: the task t2v does not look at it"),
        ("loop", Given(video=film(9)), "video_uri: the task loop does not look at it"),
        ("i2v", Given(image=film(1)[0] / 255.0), "uint8 .*not float64"),
        ("i2v", Given(image=film(1)[0].repeat(2, 2)[..., :4]), r"RGB .*\(32, 48, 4\)"),
        ("i2v", Given(image=film(1)[0, ..., 0]), r"RGB .*\(32, 48\)"),
        ("edit", Given(video=film(9), mask=half_mask().astype(np.uint8) * 255), "True where .*not uint8"),
        ("still", Given(), "a still is one frame, not 9"),
        ("edit", Given(image=film(1)[0], video=film(9), mask=half_mask()), "image_uri: an edit has one source"),
    ],
)
def test_what_is_missing_is_an_input_error(load: Load, task: str, given: Given, says: str) -> None:
    with pytest.raises(InputError, match=says):
        render(load("ti2v"), task, PROMPT, given, width=WIDTH, height=HEIGHT, frames=9, **SETTINGS)


def test_a_still_mask_may_be_one_picture(load: Load) -> None:
    size = {"width": WIDTH, "height": HEIGHT, "frames": 5}
    one, other = (
        render(load("ti2v"), "edit", PROMPT, Given(image=film(1)[0], mask=mask), **size, **SETTINGS)
        for mask in (half_mask(), half_mask()[0])
    )
    assert (one == other).all()


@pytest.mark.parametrize("task", ["flf2v", "connect"])
@pytest.mark.parametrize("form", Form)
def test_one_frame_has_no_room_for_two_ends(task: str, form: Form) -> None:
    one, two = film(2)[:, None]
    given = Given(image=one, last=two) if task == "flf2v" else Given(video=one, last=two)
    with pytest.raises(InputError, match="a film of 1 has no room"):
        laid(task, given, Clip(WIDTH, HEIGHT, 1, 1, 4), form)
    canvas = laid(task, given, Clip(WIDTH, HEIGHT, 5, 2, 4), form)
    assert canvas is not None
    assert (canvas.film[0] == one[0]).all() and (canvas.film[1] == two[0]).all()


@pytest.mark.parametrize("task", ["extend", "extend_back", "connect", "infill", "v2v"])
def test_a_picture_will_do_for_a_film(load: Load, task: str) -> None:
    pipeline = load("ti2v")
    clip = clip_of(pipeline, task, WIDTH, HEIGHT, 5)
    one, other = film(1), film(1, 1)
    last = {"last": (other, other[0])} if task == "connect" else {}
    frames, picture = (
        told(pipeline, task, clip, Given(video=video, **{name: both[place] for name, both in last.items()}))
        for place, video in enumerate((one, one[0]))
    )
    assert (frames.condition.latents == picture.condition.latents).all()


@pytest.mark.parametrize(
    ("setting", "says"),
    [({"guidance_scale": float("nan")}, "guidance scale is nan"), ({"seed": 1.5}, "seed"), ({"frames": 9.0}, "whole")],
)
def test_numbers_that_are_none_are_input_errors(load: Load, setting: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        load("ti2v").denoise(PROMPT, **{"width": WIDTH, "height": HEIGHT, "frames": 9, **SETTINGS, **setting})


def test_a_method_by_name_alone_is_an_input_error(load: Load) -> None:
    named: Any = "overlap"
    with pytest.raises(InputError, match=r"long is 'overlap'; .* Long\('overlap'\)"):
        render(load("ti2v"), "loop", PROMPT, width=WIDTH, height=HEIGHT, frames=9, long=named, **SETTINGS)


def test_which_checkpoint_does_which_task(load: Load) -> None:
    assert load("ti2v").facts["tasks"] == load("t2v").facts["tasks"] == list(TASKS)
    assert load("i2v").facts["tasks"] == list(CHANNEL_TASKS)

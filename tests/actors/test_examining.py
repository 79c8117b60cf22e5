"""What stands between a rendered film and its commit: neither unusable nor forbidden films are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from actors.errors import ErrorClass, ModerationFailed, PolicyRefused, QualityFault, classify
from actors.finish.examining import examine
from actors.finish.moderation import moderate
from actors.job import JobSpec
from tests.actors.farm import FACTS

HOOKS = "tests.actors.moderator"
FILM = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)
BLACK, FROZEN = np.zeros_like(FILM), FILM[:1].repeat(5, axis=0)


def order(prompt: str = "a dog runs", **columns: Any) -> dict[str, Any]:
    size = {"width": 32, "height": 32, "frames": 5, "fps": 8.0}
    return {
        "show": "default", "shot_id": "a", "take": 1, "task": "t2v", "prompt": prompt, **size,
        **{f"render_{name}": value for name, value in size.items()}, **columns,
    }  # fmt: skip


def spec(tmp_path: Path, media: dict[str, Any] | None = None, **limits: Any) -> JobSpec:
    return JobSpec(
        "job", str(tmp_path / "store"), "/nowhere", FACTS, 1, {"token": "t"}, roots=(str(tmp_path),), limits=limits,
        media=media or {},
    )  # fmt: skip


def test_sound_films_pass_and_unusable_ones_are_named(tmp_path: Path) -> None:
    examine(order(), FILM, spec(tmp_path))
    with pytest.raises(QualityFault, match=r"wholly black.*without 'black' in media\.refuse") as caught:
        examine(order(), BLACK, spec(tmp_path))
    assert classify(caught.value).error is ErrorClass.QUALITY
    with pytest.raises(QualityFault, match="frozen"):
        examine(order(), FROZEN, spec(tmp_path))
    examine(order("a dog asleep, motionless"), FROZEN, spec(tmp_path))


def test_bounds_and_what_is_refused_are_settings(tmp_path: Path) -> None:
    examine(order(), BLACK, spec(tmp_path, {"refuse": []}))
    dim = FILM // 8  # 0 to 31
    examine(order(), dim, spec(tmp_path))
    with pytest.raises(QualityFault, match="black"):
        examine(order(), dim, spec(tmp_path, {"black_level": 40.0}))


def test_what_a_film_has_from_its_inputs_is_no_fault(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), (0, 0, 0)).save(tmp_path / "black.png")
    Image.fromarray(FILM[0]).save(tmp_path / "dog.png")
    for name in ("black", "dog"):
        given = order(task="i2v", image_uri=str(tmp_path / f"{name}.png"))
        if name == "black":
            examine(given, BLACK, spec(tmp_path))
        else:
            with pytest.raises(QualityFault, match="black"):
                examine(given, BLACK, spec(tmp_path))


def test_forbidden_prompts_and_films_are_refused_with_the_reason(tmp_path: Path) -> None:
    hook = f"{HOOKS}:moderate"
    moderate(hook, order())
    moderate(None, order("wicked"))
    with pytest.raises(PolicyRefused, match="the prompt is forbidden: it speaks of wickedness"):
        moderate(hook, order("wicked"))
    moderate(hook, order("unseemly"))
    with pytest.raises(PolicyRefused, match="the film is forbidden: it shows what is unseemly"):
        examine(order("unseemly"), FILM, spec(tmp_path, moderation=hook))


@pytest.mark.parametrize(
    ("hook", "frames", "said"),
    [
        ("paint_black", FILM, "read-only"),
        ("say_yes", None, "bool is neither a reason nor None"),
        ("out_of_reach", None, "no route to host"),
        ("nobody", None, "no attribute 'nobody'"),
    ],
)
def test_without_a_verdict_nothing_is_kept_and_no_shot_is_blamed(hook: str, frames: Any, said: str) -> None:
    before = FILM.copy()
    with pytest.raises(ModerationFailed, match=said) as caught:
        moderate(f"{HOOKS}:{hook}", order(), frames)
    assert classify(caught.value) == (ErrorClass.NODE, "farm")
    assert (before == FILM).all()


def test_a_hook_is_named_as_module_and_function(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="moderation"):
        _ = spec(tmp_path, moderation="checks.moderate").farm

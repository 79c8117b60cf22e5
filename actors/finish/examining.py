"""What is looked at between rendering and keeping: films that nobody can use, and films that are forbidden."""

from __future__ import annotations

from typing import Any

from actors.errors import QualityFault
from actors.finish.moderation import moderate
from actors.gangs.inputs import inputs_of, is_given
from actors.gangs.rendering import Frames, Order
from actors.job import InputRules, JobSpec
from model.conditions.pixels import COLUMNS

_SAID = {"black": "wholly black", "flat": "of one flat colour throughout", "frozen": "frozen from its first frame on"}


def examine(order: Order, frames: Frames, spec: JobSpec) -> None:
    """Lets a film (frames, height, width, 3) pass, or raises what is wrong with it.

    Raises:
        QualityFault: it is black, flat or frozen, and neither its prompt nor its inputs may have asked for that.
        PolicyRefused, ModerationFailed: as `actors.finish.moderation.moderate`.
        InputError, InputUnreadable, StoreError: inputs had to be looked at again and could not be had.
    """
    from model.quality.unusable import Bounds, unusable

    film = spec.film
    bounds = Bounds(film.black_level, film.flat_range, film.frozen_range)
    look = unusable(frames, order["prompt"], task=order["task"], bounds=bounds, refused=film.refuse)
    if look is not None and not _is_given_so(order, look, bounds, spec):
        raise QualityFault(
            f"the film is {_SAID[look]}, and nothing in its prompt asks for that; "
            f"without {look!r} in media.refuse it would be kept"
        )
    moderate(spec.farm.moderation, order, frames)


def _is_given_so(order: Order, look: str, bounds: Any, spec: JobSpec) -> bool:
    """Whether an input of the take looks the same, so that the film has it from there."""
    from model.quality.unusable import looks

    if not any(is_given(order, name) for name in COLUMNS):
        return False
    given = inputs_of(order, InputRules.of(spec), int(spec.model_facts["frame_stride"]))
    if given is None:
        return False
    if look == "frozen" and given.video is not None and len(given.video) == 1:  # a picture, held
        return True
    pictures = (given.image, given.last, given.video)
    films = (picture[None] if picture.ndim == 3 else picture for picture in pictures if picture is not None)
    return any(look in looks(film, bounds) for film in films)
